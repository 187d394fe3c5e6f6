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

    /// The call that a fragment belongs to: of its index and its id, where it has them, else the last. Servers that
    /// number everything with 0 still give each call an id.
    fn call_of(&mut self, fragment: &Value) -> &mut Call {
        let index = fragment["index"].as_u64();
        let id = fragment["id"].as_str().unwrap_or("");
        let same_index = |call: &Call| index.is_none() || call.index == index;
        let same_id = |call: &Call| id.is_empty() || call.id == id;
        let place = self
            .calls
            .iter()
            .rposition(|call| same_index(call) && same_id(call));
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
        // Where it has a finish reason of its own, it is sent as a text.
        if answer.is_refusal && answer.finish_reason.as_deref() != Some("refusal") {
            message["refusal"] = message["content"].take();
        }
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

    fn joined(deltas: impl IntoIterator<Item = Delta>) -> Value {
        let mut joined = Joined::default();
        deltas.into_iter().for_each(|delta| joined.add(delta));
        let whole: Value = serde_json::from_str(&joined.finish().raw).unwrap();
        whole["choices"][0]["message"].clone()
    }

    #[test]
    fn calls_that_share_a_number_are_told_apart_by_their_ids() {
        let call = |id: &str, piece: &str| Delta {
            tool_calls: Some(
                json!([{"index": 0, "id": id, "function": {"name": "f", "arguments": piece}}]),
            ),
            ..Delta::default()
        };
        let message = joined([
            call("a", "{"),
            call("", "}"),
            call("b", "{"),
            call("b", "}"),
        ]);
        let calls = message["tool_calls"].as_array().unwrap();
        let told = calls
            .iter()
            .map(|it| (&it["id"], &it["function"]["arguments"]));
        let (a, b, all) = (json!("a"), json!("b"), json!("{}"));
        assert_eq!(told.collect::<Vec<_>>(), [(&a, &all), (&b, &all)]);
    }

    #[test]
    fn a_refusal_stays_one() {
        let refusal = Delta {
            content: "I cannot".into(),
            is_refusal: true,
            ..Delta::default()
        };
        let wanted = json!({"role": "assistant", "content": null, "refusal": "I cannot"});
        assert_eq!(joined([refusal]), wanted);
    }

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
