//! The steps of a stream as one whole answer, for a server that streams unasked.

use serde_json::{Map, Value, json, value::RawValue};

use super::{Completion, Delta, fields::fields};

/// An answer that is put together.
#[derive(Default)]
pub(super) struct Joined {
    answer: Completion,
    calls: Vec<Call>,
    /// What all chunks say alike, or the last one says: `id`, `created` and `usage`.
    around: Map<String, Value>,
}

/// A call of a tool, whose name and arguments come in fragments.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Joined {
    pub(super) fn add(&mut self, delta: Delta) {
        self.answer.content += &delta.content;
        self.answer.reasoning += &delta.reasoning;
        self.answer.is_refusal |= delta.is_refusal;
        let calls = delta.tool_calls.as_ref().and_then(Value::as_array);
        for fragment in calls.into_iter().flatten() {
            self.call_of(fragment).add(fragment);
        }
        if let Some(model) = delta.model {
            self.answer.model = model;
        }
        self.answer.finish_reason = delta.finish_reason.or(self.answer.finish_reason.take());
        self.answer.usage = delta.usage.or(self.answer.usage);
        let names = ["id", "created", "usage"];
        let raw: Option<&RawValue> = serde_json::from_str(&delta.raw).ok();
        let told = raw.map(|raw| fields(raw, names)).unwrap_or_default();
        for (name, value) in names.into_iter().zip(told) {
            let value = value.and_then(|value| serde_json::from_str(value.get()).ok());
            if let Some(value) = value.filter(|value: &Value| !value.is_null()) {
                self.around.insert(name.to_owned(), value);
            }
        }
    }

    /// The call that a fragment belongs to: of its index, else a new one where it has an id, else the last.
    fn call_of(&mut self, fragment: &Value) -> &mut Call {
        let index = fragment["index"].as_u64();
        let has_id = fragment["id"].as_str().is_some_and(|id| !id.is_empty());
        let place = match index {
            Some(_) => self.calls.iter().position(|call| call.index == index),
            None if has_id => None,
            None => self.calls.len().checked_sub(1),
        };
        let place = place.unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                ..Call::default()
            });
            self.calls.len() - 1
        });
        &mut self.calls[place]
    }

    pub(super) fn finish(mut self) -> Completion {
        let answer = &mut self.answer;
        let calls: Vec<Value> = self.calls.iter().map(Call::to_json).collect();
        answer.tool_calls = (!calls.is_empty()).then_some(calls.into());
        let mut message = json!({"role": "assistant", "content": answer.content});
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = answer.reasoning.as_str().into();
        }
        if let Some(calls) = &answer.tool_calls {
            message["tool_calls"] = calls.clone();
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": answer.finish_reason});
        let mut whole = json!({
            "object": "chat.completion", "model": answer.model, "choices": [choice],
        });
        for (name, value) in self.around {
            whole[name] = value;
        }
        answer.raw = whole.to_string();
        self.answer
    }
}

impl Call {
    fn add(&mut self, fragment: &Value) {
        let function = &fragment["function"];
        for (known, told) in [
            (&mut self.id, &fragment["id"]),
            (&mut self.name, &function["name"]),
        ] {
            if let Some(told) = told.as_str().filter(|told| !told.is_empty()) {
                *known = told.to_owned();
            }
        }
        match &function["arguments"] {
            Value::Null => {}
            Value::String(piece) => self.arguments += piece,
            whole => self.arguments += &whole.to_string(),
        }
    }

    fn to_json(&self) -> Value {
        let function = json!({"name": self.name, "arguments": self.arguments});
        json!({"id": self.id, "type": "function", "function": function})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_the_answer_that_a_server_would_have_given_whole() {
        let mut joined = Joined::default();
        for (content, calls, around) in [
            (
                "Hej",
                json!(null),
                json!({"id": "a", "created": 7, "usage": null}),
            ),
            (
                " du",
                json!([{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{\"x\":"}}]),
                json!({"id": "a"}),
            ),
            (
                "",
                json!([{"index": 0, "function": {"arguments": "1}"}}, {"index": 1, "id": "d", "function": {"name": "g", "arguments": {"y": 2}}}]),
                json!({"id": "a", "usage": {"prompt_tokens": 3}}),
            ),
        ] {
            joined.add(Delta {
                content: content.into(),
                tool_calls: Some(calls).filter(Value::is_array),
                model: Some("m".into()),
                raw: around.to_string(),
                ..Delta::default()
            });
        }
        let whole: Value = serde_json::from_str(&joined.finish().raw).unwrap();
        let call = |id, name, arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        };
        let message = json!({
            "role": "assistant", "content": "Hej du",
            "tool_calls": [call("c", "f", "{\"x\":1}"), call("d", "g", "{\"y\":2}")],
        });
        let expected = json!({
            "id": "a", "created": 7, "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": null}],
            "usage": {"prompt_tokens": 3},
        });
        assert_eq!(whole, expected);
    }
}
