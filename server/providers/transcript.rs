//! What was said in a request, as a text for a model that reads it.

use serde_json::{Value, value::RawValue};

use super::{
    ChatRequest,
    fields::{each, fields, text},
};

/// The conversation of a request, a paragraph for each message, of which the last so many bytes are kept: the question
/// is at its end.
pub fn transcript(request: &ChatRequest, bytes: usize) -> String {
    let mut told = String::new();
    let mut add = |role: &str, words: &str| {
        if !words.is_empty() {
            told += &format!("{role}: {words}\n\n");
        }
    };
    match &request.given {
        Some(given) => {
            if let Some(messages) = given.get("messages") {
                each(messages, |message| {
                    let [role, content] = fields(message, ["role", "content"]);
                    add(&text(role).unwrap_or_default(), &words_of(content));
                });
            }
        }
        None => {
            for message in &request.messages {
                add(&message.role, &words(&message.content));
            }
        }
    }
    ending(told.trim_end(), bytes).to_owned()
}

/// Whether the request lets its model call tools, whose answer is no text yet.
pub fn has_tools(request: &ChatRequest) -> bool {
    let is_given = |name| {
        request
            .given
            .as_ref()
            .is_some_and(|it| it.get(name).is_some())
    };
    ["tools", "functions"]
        .into_iter()
        .any(|name| request.rest.contains_key(name) || is_given(name))
}

fn words(content: &Value) -> String {
    match content {
        Value::Array(parts) => {
            let words = parts.iter().filter_map(|part| part.get("text")?.as_str());
            words.collect::<Vec<_>>().join("\n")
        }
        one => one.as_str().unwrap_or_default().to_owned(),
    }
}

fn words_of(content: Option<&RawValue>) -> String {
    let Some(content) = content else {
        return String::new();
    };
    text(Some(content)).unwrap_or_else(|| {
        let mut all = Vec::new();
        each(content, |part| {
            let [words] = fields(part, ["text"]);
            all.extend(text(words));
        });
        all.join("\n")
    })
}

/// At most so many of the last bytes of a text, whole characters.
fn ending(text: &str, bytes: usize) -> &str {
    let from = text.len().saturating_sub(bytes);
    text.get(text.ceil_char_boundary(from)..)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::ChatMessage, *};

    #[test]
    fn a_conversation_is_told_from_its_end() {
        let request = ChatRequest::new(vec![
            ChatMessage::text("system", "You help."),
            ChatMessage::text("user", "Hvad er en æske?"),
        ]);
        let whole = "system: You help.\n\nuser: Hvad er en æske?";
        assert_eq!(transcript(&request, 1_000), whole);
        assert_eq!(transcript(&request, 6), "æske?");
        assert!(!has_tools(&request));
        let mut with_tools = request;
        with_tools.rest.insert("tools".into(), json!([]));
        assert!(has_tools(&with_tools));
    }

    #[test]
    fn parts_of_a_message_are_read() {
        let content =
            json!([{"type": "text", "text": "one"}, {"type": "image_url"}, {"text": "two"}]);
        assert_eq!(words(&content), "one\ntwo");
        let raw = serde_json::value::to_raw_value(&content).expect("JSON");
        assert_eq!(words_of(Some(&raw)), "one\ntwo");
        assert_eq!(words_of(None), "");
    }
}
