//! What a model thought in earlier turns, where its server misses it or does not know it.
//!
//! It belongs to the model that thought it. A conversation that comes to another model, or back, brings
//! what that server refuses, or lacks what it wants; mended, the same request is taken.

use serde_json::{Map, Value};

use crate::providers::{RawObject, fault::Fault};

/// The request without foreign thoughts, or with empty ones where they are missed; `None` where that is no
/// other request.
pub(super) fn mended(given: &RawObject, fault: &Fault) -> Option<RawObject> {
    let change = match fault.detail().contains("passed back") {
        true => add_missed,
        false => remove_thoughts,
    };
    changed(given, change)
}

/// The request without thoughts; `None` where it has none.
pub(super) fn without_thoughts(given: &RawObject) -> Option<RawObject> {
    changed(given, remove_thoughts)
}

/// The request with each message changed; `None` where none was.
fn changed(given: &RawObject, change: fn(&mut Map<String, Value>) -> bool) -> Option<RawObject> {
    let messages = given.get("messages")?;
    let mut messages: Vec<Value> = serde_json::from_str(messages.get()).ok()?;
    let mut is_other = false;
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        is_other |= change(message);
    }
    if !is_other {
        return None;
    }
    let mut changed = given.clone();
    changed.set("messages", &messages).ok()?;
    Some(changed)
}

fn add_missed(message: &mut Map<String, Value>) -> bool {
    let misses = message.contains_key("tool_calls") && !message.contains_key("reasoning_content");
    if misses {
        message.insert("reasoning_content".into(), "".into());
    }
    misses
}

/// The fields of a message that hold thoughts.
const THOUGHTS: [&str; 3] = ["reasoning", "reasoning_content", "reasoning_details"];

fn remove_thoughts(message: &mut Map<String, Value>) -> bool {
    let mut is_other = false;
    for name in THOUGHTS {
        is_other |= message.shift_remove(name).is_some();
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
        is_other |= call.shift_remove("extra_content").is_some();
    }
    is_other
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::fault::FaultKind;

    #[test]
    fn missed_thoughts_are_added_and_foreign_ones_left_out() {
        let mend = |message: Value, words: &str| {
            let body = json!({"x": 1.0, "messages": [message]}).to_string();
            let given = RawObject::parse(body.as_bytes()).unwrap();
            let fault = Fault::new(FaultKind::BadRequest, words);
            let mended: Value = serde_json::from_str(&mended(&given, &fault)?.to_json()).unwrap();
            Some(mended["messages"][0].clone())
        };
        let missed = "The `reasoning_content` must be passed back to the API.";
        let call = json!({"tool_calls": [{"id": "c"}]});
        let with = json!({"tool_calls": [{"id": "c"}], "reasoning_content": ""});
        assert_eq!(mend(call.clone(), missed), Some(with.clone()));
        assert_eq!(mend(with, missed), None);
        let foreign = "Invalid `signature` in `thinking` block";
        let signed =
            json!({"tool_calls": [{"id": "c", "extra_content": {}}], "reasoning_details": []});
        assert_eq!(mend(signed, foreign), Some(call.clone()));
        assert_eq!(mend(call, foreign), None);
    }
}
