//! Looks into JSON without building it: replies can be long, and little of them is used.
//!
//! A tree of values takes many times the memory of its text. Here only the wanted pieces are found, as
//! parts of the text itself, and what lies between them is passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of these names, of which the last counts; none where this is no object. Null is as good
/// as absent.
pub(crate) fn fields<'a, const N: usize>(
    json: &'a RawValue,
    names: [&str; N],
) -> [Option<&'a RawValue>; N] {
    struct Fields<'n, const N: usize>([&'n str; N]);

    impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(place) = map.next_key_seed(Key(&self.0))? {
                match place.and_then(|place| found.get_mut(place)) {
                    Some(slot) => {
                        let value: &RawValue = map.next_value()?;
                        *slot = (value.get() != "null").then_some(value);
                    }
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json.get());
    reader.deserialize_map(Fields(names)).unwrap_or([None; N])
}

/// The place of a key among those that are wanted.
struct Key<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Hands out each item of a list; none where this is no list.
pub(crate) fn each<'a>(json: &'a RawValue, take: impl FnMut(&'a RawValue)) {
    struct Items<F>(F);

    impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Items<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item);
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json.get());
    // What is no list has no items.
    let _ = reader.deserialize_seq(Items(take));
}

/// The first item of a list.
pub(crate) fn first(json: &RawValue) -> Option<&RawValue> {
    let mut first = None;
    each(json, |item| {
        first.get_or_insert(item);
    });
    first
}

/// A text.
pub(crate) fn text(json: Option<&RawValue>) -> Option<String> {
    let json = json.filter(|json| json.get().starts_with('"'))?;
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn fields_are_found_by_name_and_the_last_counts() {
        let json = raw(r#" {"a": [1, {"b": 2}], "b": "x", "\u0061": {"c": null}, "d": null} "#);
        let [a, b, c, d] = fields(json, ["a", "b", "c", "d"]).map(|it| it.map(RawValue::get));
        assert_eq!((a, b), (Some(r#"{"c": null}"#), Some(r#""x""#)));
        assert_eq!((c, d), (None, None));
        for other in ["[1]", "7", "null", "\"a\""] {
            assert!(fields(raw(other), ["a"])[0].is_none());
        }
    }

    #[test]
    fn lists_are_walked() {
        let mut seen = Vec::new();
        each(raw(r#"[1, "b", {}]"#), |item| seen.push(item.get()));
        assert_eq!(seen, ["1", "\"b\"", "{}"]);
        assert_eq!(first(raw("[7, 8]")).map(RawValue::get), Some("7"));
        assert!(first(raw("[]")).is_none() && first(raw("{\"0\": 1}")).is_none());
        assert_eq!(text(Some(raw(r#""a\nb""#))).as_deref(), Some("a\nb"));
        assert_eq!(text(Some(raw("7"))), None);
    }
}
