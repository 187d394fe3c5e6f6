//! What a model thought, carried by clients that can only carry an opaque text.
//!
//! Models want what they thought back on the next turn, in the fields in which it came. Where the caller's
//! API has no such fields, they are packed into the text that it has for a signature. A caller could
//! write such a text itself; it gains nothing that the fields of the other API do not give it.
//!
//! Gemini signs calls of tools: what it thought stands in `extra_content` of a call, and a call without it is
//! refused on the next turn.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content::{self, is_thought};

/// What a packed text begins with.
const MARK: &str = "mr1.";

/// What a model thought.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Thoughts {
    /// In words.
    pub(super) text: String,
    /// The fields that held the words.
    names: Vec<String>,
    details: Vec<Value>,
    /// What stands at calls of tools, by the id of the call, or by the tool's name where it has none.
    of_calls: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Packed {
    model: String,
    names: Vec<String>,
    #[serde(default)]
    details: Vec<Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    of_calls: Map<String, Value>,
}

const TEXTS: [&str; 2] = ["reasoning", "reasoning_content"];
/// What a call of a tool carries for the model that made it.
const EXTRA: &str = "extra_content";

impl Thoughts {
    /// Adds those of a message or a delta; the words that it adds.
    pub(super) fn add(&mut self, message: &Map<String, Value>) -> String {
        let mut added = String::new();
        for name in TEXTS {
            let text = message.get(name).and_then(Value::as_str).unwrap_or("");
            if text.is_empty() {
                continue;
            }
            if !self.names.iter().any(|known| known == name) {
                self.names.push(name.to_owned());
            }
            if added.is_empty() {
                added.push_str(text);
            }
        }
        // Mistral's are parts of the content, which its servers do not miss.
        let parts = message.get("content").and_then(Value::as_array);
        let parts = parts.filter(|_| added.is_empty()).into_iter().flatten();
        for part in parts.filter(|part| is_thought(part)) {
            for words in [&part["text"], &part["thinking"]] {
                added += &content::text(Some(words));
            }
        }
        self.text.push_str(&added);
        let details = message.get("reasoning_details").and_then(Value::as_array);
        for detail in details.into_iter().flatten() {
            self.add_detail(detail);
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            if let Some(extra) = call.get(EXTRA).filter(|extra| !extra.is_null())
                && let Some(name) = names_of(call).next()
            {
                self.of_calls.insert(name.to_owned(), extra.clone());
            }
        }
        added
    }

    /// Pieces of one detail follow each other, as their words do.
    fn add_detail(&mut self, detail: &Value) {
        let same = |key: &str, last: &Value| last.get(key) == detail.get(key);
        let last = self.details.last_mut();
        let last = last.filter(|last| same("type", last) && same("index", last));
        let (Some(Value::Object(last)), Value::Object(new)) = (last, detail) else {
            self.details.push(detail.clone());
            return;
        };
        for (key, value) in new {
            match (last.get_mut(key), value) {
                (_, Value::Null) => {}
                (Some(Value::String(old)), Value::String(new))
                    if matches!(key.as_str(), "text" | "summary" | "data") =>
                {
                    old.push_str(new);
                }
                _ => _ = last.insert(key.clone(), value.clone()),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.details.is_empty() && self.of_calls.is_empty()
    }

    /// The opaque text, good for this model only.
    pub(super) fn pack(&self, model: &str) -> String {
        let packed = Packed {
            model: model.to_owned(),
            names: self.names.clone(),
            details: self.details.clone(),
            of_calls: self.of_calls.clone(),
        };
        let json = serde_json::to_vec(&packed).unwrap_or_default();
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// The fields of an assistant's message, if the text was packed for this model. What is its calls' is
    /// given to them by [`Thoughts::give_back`], once they are there.
    pub(super) fn unpack(text: &str, packed: &str, model: &str) -> Option<Map<String, Value>> {
        let json = URL_SAFE_NO_PAD.decode(packed.strip_prefix(MARK)?).ok()?;
        let packed: Packed = serde_json::from_slice(&json).ok()?;
        if packed.model != model {
            return None;
        }
        let names = packed.names.into_iter();
        let names = names.filter(|name| TEXTS.contains(&name.as_str()));
        let mut fields: Map<_, _> = names.map(|name| (name, Value::from(text))).collect();
        if !packed.details.is_empty() {
            fields.insert("reasoning_details".into(), packed.details.into());
        }
        if !packed.of_calls.is_empty() {
            fields.insert(EXTRA.into(), packed.of_calls.into());
        }
        Some(fields)
    }

    /// Adds the fields of one thought to those of the thoughts before it: each carries its own.
    pub(super) fn join(fields: &mut Map<String, Value>, thought: Map<String, Value>) {
        for (name, value) in thought {
            match (fields.get_mut(&name), value) {
                (Some(Value::String(all)), Value::String(more)) => all.push_str(&more),
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
                (Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
                (_, value) => _ = fields.insert(name, value),
            }
        }
    }

    /// Gives the calls of an assistant's message what was unpacked for them.
    pub(super) fn give_back(message: &mut Map<String, Value>) {
        let Some(Value::Object(mut of_calls)) = message.shift_remove(EXTRA) else {
            return;
        };
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            let extra = names_of(call).find_map(|name| of_calls.shift_remove(name));
            if let (Some(extra), Some(call)) = (extra, call.as_object_mut()) {
                call.insert(EXTRA.into(), extra);
            }
        }
    }
}

/// By what a call is known: its id, where its server gave one, and its tool.
fn names_of(call: &Value) -> impl Iterator<Item = &str> {
    let names = [&call["id"], &call["function"]["name"]];
    let names = names.into_iter().filter_map(Value::as_str);
    names.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thoughts_come_back_as_they_came_and_to_the_same_model() {
        let mut thoughts = Thoughts::default();
        for delta in [
            json!({"content": "", "reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a", "signature": null, "index": 0}]}),
            json!({"reasoning": "b", "reasoning_details": [{"type": "reasoning.text", "text": "b", "signature": "s", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "index": 1}]}),
        ] {
            thoughts.add(delta.as_object().unwrap());
        }
        assert_eq!(thoughts.text, "ab");
        let packed = thoughts.pack("m");
        let fields = Thoughts::unpack("ab", &packed, "m").unwrap();
        let wanted = json!({"reasoning": "ab", "reasoning_details": [
            {"type": "reasoning.text", "text": "ab", "signature": "s", "index": 0},
            {"type": "reasoning.encrypted", "data": "d", "index": 1},
        ]});
        assert_eq!(Value::from(fields), wanted);
        assert_eq!(Thoughts::unpack("ab", &packed, "other"), None);
        for foreign in ["c29tZQ==", "mr1.", "mr1.c29tZQ", ""] {
            assert_eq!(Thoughts::unpack("ab", foreign, "m"), None);
        }
    }

    #[test]
    fn thoughts_among_the_parts_of_a_content_are_no_text() {
        let part = |kind: &str, name: &str, value: Value| json!({"type": kind, name: value});
        let nested = json!([{"type": "text", "text": "b"}]);
        let content = json!([
            part("reasoning", "text", json!("a")),
            part("thinking", "thinking", nested),
            part("text", "text", json!("answer")),
        ]);
        let mut thoughts = Thoughts::default();
        let message = json!({ "content": content });
        assert_eq!(thoughts.add(message.as_object().unwrap()), "ab");
        assert_eq!(content::text(message.get("content")), "answer");
    }

    #[test]
    fn what_stands_at_a_call_comes_back_to_it() {
        let signed = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}});
        for (came, told) in [("c", "c"), ("", "call_1")] {
            let mut thoughts = Thoughts::default();
            let other = json!({"id": "d", "function": {"name": "g"}});
            let delta = json!({"tool_calls": [signed(came), other]});
            thoughts.add(delta.as_object().unwrap());
            assert!(!thoughts.is_empty());
            let mut message = Thoughts::unpack("", &thoughts.pack("m"), "m").unwrap();
            let mut call = signed(told);
            call.as_object_mut().unwrap().shift_remove(EXTRA);
            message.insert("tool_calls".into(), json!([call, other]));
            Thoughts::give_back(&mut message);
            let wanted = json!({"tool_calls": [signed(told), other]});
            assert_eq!(Value::from(message), wanted, "{came:?}");
        }
    }
}
