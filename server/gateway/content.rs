//! The parts of a message's content: what a model says, and what it thinks.

use serde_json::Value;

/// A text, or the texts of a list of parts, without those of thoughts.
pub(super) fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().filter(|part| !is_thought(part));
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
        _ => String::new(),
    }
}

/// Whether a part of a content is what a model thought.
pub(super) fn is_thought(part: &Value) -> bool {
    matches!(
        part["type"].as_str(),
        Some("thinking" | "reasoning" | "redacted_thinking")
    )
}
