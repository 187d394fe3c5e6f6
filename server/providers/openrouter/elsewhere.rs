//! A request that this server wrote in OpenRouter's words, as another provider takes it.

use serde_json::Value;

use crate::providers::RawObject;

/// What another provider gets in the place of what only OpenRouter takes: `top_k`, `reasoning`, and marks for a
/// cache. There they may be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// How much the model is to think: `low`, `medium` or `high`, or what the caller says.
    pub reasoning_effort: Option<String>,
    /// Whether texts are marked for a cache (`cache_control`).
    pub marks_cache: bool,
}

impl Elsewhere {
    /// Makes the request one for another provider than OpenRouter.
    pub fn apply(&self, body: &mut RawObject) -> serde_json::Result<()> {
        body.remove("top_k");
        body.remove("reasoning");
        if let Some(effort) = &self.reasoning_effort {
            body.set("reasoning_effort", effort)?;
        }
        if self.marks_cache
            && let Some(messages) = body.get("messages")
        {
            let mut messages: Vec<Value> = serde_json::from_str(messages.get())?;
            messages.iter_mut().for_each(unmark);
            body.set("messages", &messages)?;
        }
        Ok(())
    }
}

/// Takes the marks from the parts of a message. Parts that are apart for their marks alone become one text.
fn unmark(message: &mut Value) {
    let is_system = message["role"] == "system";
    let Some(content) = message.get_mut("content") else {
        return;
    };
    let Some(parts) = content.as_array_mut() else {
        return;
    };
    for part in parts.iter_mut().filter_map(Value::as_object_mut) {
        part.shift_remove("cache_control");
    }
    if is_system || parts.len() == 1 {
        let texts: Option<Vec<_>> = parts.iter().map(|part| part["text"].as_str()).collect();
        if let Some(texts) = texts {
            *content = texts.join("\n\n").into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_openrouter_takes_stays_there() {
        let mark = json!({"type": "ephemeral"});
        let marked = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
        let plain = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image_url", "image_url": {"url": "x"}});
        let written = json!({
            "messages": [
                {"role": "system", "content": [plain("a"), marked("b")]},
                {"role": "user", "content": [marked("c")]},
                {"role": "assistant", "content": null},
                {"role": "user", "content": [plain("d"), marked("e")]},
                {"role": "user", "content": [image]},
            ],
            "top_k": 5,
            "reasoning": {"max_tokens": 9_000},
            "temperature": 0.5,
        });
        let mut body = RawObject::parse(written.to_string().as_bytes()).unwrap();
        let elsewhere = Elsewhere {
            reasoning_effort: Some("medium".into()),
            marks_cache: true,
        };
        elsewhere.apply(&mut body).unwrap();
        let sent: Value = serde_json::from_str(&body.to_json()).unwrap();
        assert_eq!(
            sent,
            json!({
                "messages": [
                    {"role": "system", "content": "a\n\nb"},
                    {"role": "user", "content": "c"},
                    {"role": "assistant", "content": null},
                    {"role": "user", "content": [plain("d"), plain("e")]},
                    {"role": "user", "content": [image]},
                ],
                "temperature": 0.5,
                "reasoning_effort": "medium",
            })
        );
    }
}
