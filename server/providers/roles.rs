//! Puts messages into the order that templates of models insist on.
//!
//! Many templates take one system message, first, and then users and assistants in turns; they refuse
//! anything else, or drop it silently.

use serde_json::{Value, json};

use super::ChatMessage;

/// The same conversation with one message for each run of one role. Texts are joined by an empty line;
/// parts stay parts. Results and calls of tools stand for themselves.
pub fn joined(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut joined: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        match joined.last_mut() {
            Some(last) if can_join(last, &message) => {
                last.content = both(last.content.take(), message.content);
            }
            _ => joined.push(message),
        }
    }
    joined
}

fn can_join(first: &ChatMessage, second: &ChatMessage) -> bool {
    let is_plain = |message: &ChatMessage| {
        matches!(message.role.as_str(), "system" | "user" | "assistant")
            && message.rest.is_empty()
            && (message.content.is_string() || message.content.is_array())
    };
    first.role == second.role && is_plain(first) && is_plain(second)
}

fn both(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::String(first), Value::String(second)) => format!("{first}\n\n{second}").into(),
        (first, second) => {
            let parts = |content: Value| match content {
                Value::Array(parts) => parts,
                text => vec![json!({"type": "text", "text": text})],
            };
            let mut all = parts(first);
            all.extend(parts(second));
            all.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_role_become_one_message() {
        let text = ChatMessage::text;
        let messages = vec![
            text("system", "a"),
            text("system", "b"),
            text("user", "c"),
            text("user", "d"),
            text("assistant", "e"),
            text("user", "f"),
        ];
        let expected = [
            text("system", "a\n\nb"),
            text("user", "c\n\nd"),
            text("assistant", "e"),
            text("user", "f"),
        ];
        assert_eq!(joined(messages), expected);
    }

    #[test]
    fn parts_stay_parts_and_tools_stand_for_themselves() {
        let with = |role: &str, content: Value| ChatMessage {
            content,
            ..ChatMessage::text(role, "")
        };
        let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        let messages = vec![with("user", image), with("user", json!("what is it?"))];
        let all = joined(messages);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].content[1]["text"], "what is it?");
        let results = vec![with("tool", json!("1")), with("tool", json!("2"))];
        assert_eq!(joined(results).len(), 2);
    }
}
