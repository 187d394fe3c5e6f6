//! What of a call is kept for those who look into it, where texts of its task are.

use serde_json::{Value, value::RawValue};

use crate::{
    _core::assignment::Subject,
    model_router::{Call, Route, attempt::now_ms},
    providers::{ChatMessage, Completion, Delta, masking::Vault},
    recording::texts::{CallTexts, Note, PromptMessage},
};

/// What a call asks, as it leaves.
pub(super) fn asked(call: &Call, route: &Route, vault: Option<&Vault>) -> CallTexts {
    let given = call.request.given.as_ref();
    let given: Option<Vec<&RawValue>> = given
        .and_then(|given| given.get("messages"))
        .and_then(|messages| serde_json::from_str(messages.get()).ok());
    let prompt = match given {
        Some(messages) => messages.into_iter().map(as_it_came).collect(),
        None => call.request.messages.iter().map(said).collect(),
    };
    CallTexts {
        request_id: call.request_id.to_string(),
        at_ms: now_ms(),
        user_id: match route.subject {
            Some(Subject::User(id)) => Some(id),
            _ => None,
        },
        task: route.task.to_string(),
        prompt,
        answer: None,
        is_cut: false,
        masked: vault.map_or(0, |vault| u32::try_from(vault.count()).unwrap_or(u32::MAX)),
    }
}

/// A message that is none by our reading is kept as its JSON: it is what one looks for.
fn as_it_came(message: &RawValue) -> PromptMessage {
    let read = serde_json::from_str(message.get());
    read.map_or_else(
        |_| PromptMessage {
            role: String::new(),
            text: message.get().to_owned(),
        },
        |message| said(&message),
    )
}

fn said(message: &ChatMessage) -> PromptMessage {
    let mut text = match &message.content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part).collect::<Vec<_>>().join("\n"),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    if let Some(calls) = message.rest.get("tool_calls") {
        text += &calls.to_string();
    }
    PromptMessage {
        role: message.role.clone(),
        text,
    }
}

/// A picture or a file is only named: it is large, and no text.
fn part(part: &Value) -> String {
    match (part["text"].as_str(), part["type"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(kind)) => format!("[{kind}]"),
        (None, None) => part.as_str().unwrap_or_default().to_owned(),
    }
}

/// Notes a whole answer.
pub(in crate::model_router) fn answered(note: &mut Note, answer: &Completion) {
    note.add(&answer.content);
    if let Some(calls) = &answer.tool_calls {
        note.add(&calls.to_string());
    }
}

/// Notes a step of a streamed one.
pub(in crate::model_router) fn heard(note: &mut Note, step: &Delta) {
    note.add(&step.content);
    step.calls().for_each(|text| note.add(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_that_cannot_be_read_hides_no_other() {
        let read = |text: &str| as_it_came(&RawValue::from_string(text.to_owned()).unwrap());
        let odd = r#"{"role":"user","content":"cut emoji \ud83d"}"#;
        assert_eq!((&*read(odd).role, &*read(odd).text), ("", odd));
        let plain = read(r#"{"role":"user","content":"hello"}"#);
        assert_eq!((&*plain.role, &*plain.text), ("user", "hello"));
    }
}
