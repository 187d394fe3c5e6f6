//! Values that JavaScript has and JSON has not, for the inputs and outputs of procedures.
//!
//! Dates need nothing of this: `chrono::DateTime<Utc>` is a `Date`. A `BTreeSet` or `HashSet` is a
//! `Set`. On wires with superjson these types arrive as what they are; on plain JSON as
//! [`Shape::plain_json`](super::shape::Shape::plain_json) says.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A `bigint`: an integer beyond what a double holds exactly, decimal text on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BigInt(pub i128);

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// From decimal text, or from a JSON integer, which other clients than JavaScript's send.
impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = BigInt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer as decimal text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BigInt, E> {
                text.parse()
                    .map(BigInt)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<BigInt, E> {
                Ok(BigInt(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<BigInt, E> {
                Ok(BigInt(value.into()))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

impl JsonSchema for BigInt {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BigInt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^-?[0-9]+$", "x-superjson": "bigint" })
    }
}

/// A number that may be NaN, infinite or −0; a plain `f64` that is not finite becomes `null` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Float(pub f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if value.is_nan() {
            serializer.serialize_str("NaN")
        } else if value.is_infinite() {
            serializer.serialize_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
        } else if value == 0.0 && value.is_sign_negative() {
            serializer.serialize_str("-0")
        } else {
            serializer.serialize_f64(value)
        }
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Float;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, `NaN`, `Infinity`, `-Infinity` or `-0`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Float, E> {
                match text {
                    "NaN" => Ok(Float(f64::NAN)),
                    "Infinity" => Ok(Float(f64::INFINITY)),
                    "-Infinity" => Ok(Float(f64::NEG_INFINITY)),
                    "-0" => Ok(Float(-0.0)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Float, E> {
                Ok(Float(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for Float {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Float".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "x-superjson": "number" })
    }
}

/// A `Map`, whose keys may be of any type and keep their order; a list of pairs on the wire.
///
/// Maps with text keys need not be this: a `BTreeMap<String, V>` is a plain object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsMap<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for JsMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> FromIterator<(K, V)> for JsMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<K: JsonSchema, V: JsonSchema> JsonSchema for JsMap<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("JsMap_of_{}_to_{}", K::schema_name(), V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pair = [
            generator.subschema_for::<K>(),
            generator.subschema_for::<V>(),
        ];
        json_schema!({
            "type": "array",
            "items": { "type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2 },
            "x-superjson": "map",
        })
    }
}

/// For outputs: a value, or `undefined` where an `Option` would be `null`.
///
/// In TypeScript the key is there: `name: T | undefined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndefinedOr<T>(pub Option<T>);

impl<T> Default for UndefinedOr<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<Option<T>> for UndefinedOr<T> {
    fn from(value: Option<T>) -> Self {
        Self(value)
    }
}

impl<T: Serialize> Serialize for UndefinedOr<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for UndefinedOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("UndefinedOr_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [inner, { "type": "null" }], "x-superjson": "undefined" })
    }
}
