//! A JSON object field by field, each value as the text that somebody wrote.
//!
//! What is passed on has to arrive as it came: the order of the fields, how numbers are written, fields
//! that nobody here knows. So values are kept as text, and only the fields that are set are others.

use std::{fmt, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(Arc<str>, Arc<RawValue>)>);

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
        let value: Arc<RawValue> = to_raw_value(value)?.into();
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
        let length = self
            .0
            .iter()
            .map(|(key, value)| key.len() + value.get().len() + 4);
        let mut json = String::with_capacity(length.sum::<usize>() + 2);
        json.push('{');
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(&**key).to_string());
            json.push(':');
            json.push_str(value.get());
        }
        json.push('}');
        json
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
    fn only_objects_are_read() {
        for text in ["[]", "1", "null", "", "{\"a\":", "{\"a\":1}x"] {
            assert!(RawObject::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(RawObject::parse(b"{}").unwrap().to_json(), "{}");
    }
}
