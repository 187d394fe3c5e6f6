//! A JSON object field by field, each value as the text that somebody wrote.
//!
//! What is passed on has to arrive as it came: the order of the fields, how numbers are written, fields
//! that nobody here knows. So values are kept as text, and only the fields that are set are others.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// Values of so many bytes are sent from where they lie.
const LONG: usize = 16 * 1024;

/// A JSON object; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(Arc<str>, Shared)>);

/// A value that is not copied. What serde reads is a box, of which an `Arc` of the text alone would be another copy.
type Shared = Arc<Box<RawValue>>;

impl RawObject {
    /// Reads an object; an error for anything else.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// The value of a field, of which the last counts. Null is as good as absent.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        let mut fields = self.0.iter().rev();
        let (_, value) = fields.find(|(key, _)| **key == *name)?;
        (value.get() != "null").then_some(value)
    }

    /// Gives a field this value, in its place, or at the end where there is none.
    pub fn set(&mut self, name: &str, value: &impl serde::Serialize) -> serde_json::Result<()> {
        let value: Shared = to_raw_value(value)?.into();
        let place = self.0.iter().position(|(key, _)| **key == *name);
        let mut index = 0;
        self.0.retain(|(key, _)| {
            let is_kept = **key != *name || place == Some(index);
            index += 1;
            is_kept
        });
        match place.and_then(|place| self.0.get_mut(place)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
        Ok(())
    }

    /// Leaves a field out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| **key != *name);
    }

    /// Puts other values in the place of those for which `edit` gives some. A name that stands twice is
    /// asked about twice: whoever reads the object may take either.
    pub fn edit(&mut self, mut edit: impl FnMut(&str, &RawValue) -> Option<Box<RawValue>>) {
        for (name, value) in &mut self.0 {
            if let Some(other) = edit(name, value) {
                *value = other.into();
            }
        }
    }

    /// The names of the fields, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| &**key)
    }

    /// The object as text.
    pub fn to_json(&self) -> String {
        self.written(usize::MAX).1
    }

    /// The object as text, in parts that belong one behind another. Long values are not copied.
    pub fn to_parts(&self) -> Vec<Bytes> {
        let (mut parts, last) = self.written(LONG);
        parts.push(last.into());
        parts
    }

    /// The object as text: the parts up to the last value of so many bytes, and what is behind it.
    fn written(&self, long: usize) -> (Vec<Bytes>, String) {
        let mut parts = Vec::new();
        let short = self.0.iter().map(|(key, value)| {
            let value = value.get().len();
            key.len() + 4 + if value < long { value } else { 0 }
        });
        let mut json = String::with_capacity(short.sum::<usize>() + 2);
        json.push('{');
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            match key.contains(|it: char| matches!(it, '"' | '\\') || it.is_control()) {
                false => json.extend(["\"", key, "\""]),
                true => json.push_str(&serde_json::Value::from(&**key).to_string()),
            }
            json.push(':');
            if value.get().len() < long {
                json.push_str(value.get());
            } else {
                parts.push(std::mem::take(&mut json).into());
                parts.push(Bytes::from_owner(LongText(value.clone())));
            }
        }
        json.push('}');
        (parts, json)
    }
}

/// A value as bytes that are not copied.
struct LongText(Shared);

impl AsRef<[u8]> for LongText {
    fn as_ref(&self) -> &[u8] {
        self.0.get().as_bytes()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = map.next_entry::<Arc<str>, Box<RawValue>>()? {
                    fields.push((key, value.into()));
                }
                Ok(RawObject(fields))
            }
        }

        from.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_as_it_was_written() {
        let text = br#" {"z": 1.0, "model" : "a", "big":123456789012345678901234567890, "e":1e5,
            "model":"b","\u00f8":{"k":[ 1,null ]}} "#;
        let mut object = RawObject::parse(text).unwrap();
        assert_eq!(object.get("model").map(RawValue::get), Some("\"b\""));
        object.set("model", &"c").unwrap();
        object.set("stream", &true).unwrap();
        assert_eq!(
            object.to_json(),
            r#"{"z":1.0,"model":"c","big":123456789012345678901234567890,"e":1e5,"ø":{"k":[ 1,null ]},"stream":true}"#
        );
        object.remove("big");
        assert!(object.get("big").is_none() && object.get("none").is_none());
        assert!(object.names().eq(["z", "model", "e", "ø", "stream"]));
    }

    #[test]
    fn in_parts_it_is_the_same_text() {
        let long = format!("[{}1]", "1,".repeat(LONG));
        for text in [
            "{}".to_owned(),
            r#"{"a":1,"\u0007 \"":"b"}"#.to_owned(),
            format!(r#"{{"messages":{long}}}"#),
            format!(r#"{{"a":1,"messages":{long},"tools":{long},"z":[]}}"#),
        ] {
            let object = RawObject::parse(text.as_bytes()).unwrap();
            assert_eq!(object.to_parts().concat(), text.as_bytes());
            assert_eq!(object.to_json(), text);
        }
        let object = RawObject::parse(format!(r#"{{"messages":{long}}}"#).as_bytes()).unwrap();
        let value = object.get("messages").unwrap().get();
        let sent = object.to_parts();
        assert!(sent.iter().any(|it| it.as_ptr() == value.as_ptr()));
    }

    #[test]
    fn only_objects_are_read() {
        for text in ["[]", "1", "null", "", "{\"a\":", "{\"a\":1}x"] {
            assert!(RawObject::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(RawObject::parse(b"{}").unwrap().to_json(), "{}");
    }
}
