//! Adds to what a model is told before a conversation: to its system message, or as one where there is none. Many
//! models take no second one.

use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{ChatMessage, ChatRequest, RawObject, fields};

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionPlace {
    /// Before what is there.
    First,
    /// After it.
    Last,
}

/// Tells a model this too.
pub fn tell(request: &mut ChatRequest, text: &str, place: InstructionPlace) {
    if let Some(given) = &mut request.given {
        tell_in(given, text, place);
        return;
    }
    let first = request.messages.first_mut();
    match first.filter(|first| is_system(&first.role)) {
        Some(first) => first.content = together(first.content.take(), text, place),
        None => request
            .messages
            .insert(0, ChatMessage::text("system", text)),
    }
}

/// The same in a caller's own body, whose other messages stay as they were written; without messages nothing is added.
fn tell_in(given: &mut RawObject, text: &str, place: InstructionPlace) {
    let Some(messages) = given.get("messages") else {
        return;
    };
    let mut all: Vec<Box<RawValue>> = Vec::new();
    fields::each(messages, |message| all.push(message.to_owned()));
    let first = all
        .first()
        .and_then(|it| serde_json::from_str(it.get()).ok());
    let system = first.filter(|it: &Value| it["role"].as_str().is_some_and(is_system));
    let (message, replaced) = match system {
        Some(mut system) => {
            system["content"] = together(system["content"].take(), text, place);
            (system, 1)
        }
        None => (json!({"role": "system", "content": text}), 0),
    };
    // A JSON value can be written.
    if let Ok(message) = to_raw_value(&message) {
        all.splice(..replaced, [message]);
        let _ = given.set("messages", &all);
    }
}

fn is_system(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

fn together(content: Value, text: &str, place: InstructionPlace) -> Value {
    match content {
        Value::String(before) => match place {
            InstructionPlace::First => format!("{text}\n\n{before}").into(),
            InstructionPlace::Last => format!("{before}\n\n{text}").into(),
        },
        Value::Array(mut parts) => {
            let at = match place {
                InstructionPlace::First => 0,
                InstructionPlace::Last => parts.len(),
            };
            parts.insert(at, json!({"type": "text", "text": text}));
            parts.into()
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_into_the_system_message_or_is_one() {
        let mut request = ChatRequest::new(vec![ChatMessage::text("user", "Hi")]);
        let told = |request: &ChatRequest| serde_json::to_value(&request.messages).unwrap();
        tell(&mut request, "P", InstructionPlace::First);
        let expected =
            json!([{"role": "system", "content": "P"}, {"role": "user", "content": "Hi"}]);
        assert_eq!(told(&request), expected);
        tell(&mut request, "first", InstructionPlace::First);
        tell(&mut request, "last", InstructionPlace::Last);
        assert_eq!(told(&request)[0]["content"], "first\n\nP\n\nlast");
    }

    #[test]
    fn the_rest_of_a_callers_body_stays_as_it_was_written() {
        let given = |messages: &str, place| {
            let body = format!(r#"{{"messages": {messages}, "seed": 1.0}}"#);
            let given = RawObject::parse(body.as_bytes()).unwrap();
            let mut request = ChatRequest::passing_on(given);
            tell(&mut request, "P", place);
            request.given.unwrap().to_json()
        };
        assert_eq!(
            given(
                r#"[{"role":"user","content":"a","x":1.0}]"#,
                InstructionPlace::First
            ),
            r#"{"messages":[{"role":"system","content":"P"},{"role":"user","content":"a","x":1.0}],"seed":1.0}"#
        );
        let parts = r#"[{"role":"developer","content":[{"type":"text","text":"a"}]}]"#;
        assert!(
            given(parts, InstructionPlace::First)
                .contains(r#""content":[{"type":"text","text":"P"},{"type":"text","text":"a"}]"#)
        );
        assert!(
            given(parts, InstructionPlace::Last)
                .contains(r#""content":[{"type":"text","text":"a"},{"type":"text","text":"P"}]"#)
        );
        let none = r#"{"messages":null,"seed":1.0}"#;
        assert_eq!(given("null", InstructionPlace::First), none);
    }
}
