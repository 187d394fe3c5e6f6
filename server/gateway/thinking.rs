//! What a model thought, carried by clients that can only carry an opaque text.
//!
//! Models want what they thought back on the next turn, in the fields in which it came. Where the caller's
//! API has no such fields, they are packed into the text that it has for a signature. A caller could
//! write such a text itself; it gains nothing that the fields of the other API do not give it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
}

#[derive(Serialize, Deserialize)]
struct Packed {
    model: String,
    names: Vec<String>,
    #[serde(default)]
    details: Vec<Value>,
}

const TEXTS: [&str; 2] = ["reasoning", "reasoning_content"];

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
        self.text.push_str(&added);
        let details = message.get("reasoning_details").and_then(Value::as_array);
        for detail in details.into_iter().flatten() {
            self.add_detail(detail);
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
        self.text.is_empty() && self.details.is_empty()
    }

    /// The opaque text, good for this model only.
    pub(super) fn pack(&self, model: &str) -> String {
        let packed = Packed {
            model: model.to_owned(),
            names: self.names.clone(),
            details: self.details.clone(),
        };
        let json = serde_json::to_vec(&packed).unwrap_or_default();
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// The fields of an assistant's message, if the text was packed for this model.
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
        Some(fields)
    }
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
}
