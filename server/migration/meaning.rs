//! What an answer means to the client that reads it, whatever its JSON looks like.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;

/// A value as JavaScript has it after the transformer.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// As good as a member that is not there.
    Undefined,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number of JavaScript: 1 and 1.0 are the same.
    Number(f64),
    /// A bigint, by its digits.
    BigInt(String),
    /// Milliseconds since 1970; none for an invalid date.
    Date(Option<i64>),
    /// A text.
    Text(String),
    /// A list, in its order.
    List(Vec<Meaning>),
    /// A set; its order means nothing.
    Set(Vec<Meaning>),
    /// A map, by pairs; their order means nothing.
    Map(Vec<Meaning>),
    /// An object.
    Object(BTreeMap<String, Meaning>),
    /// Something that only JavaScript has, such as a URL, by its kind.
    Other(String, Box<Meaning>),
}

impl From<Value> for Meaning {
    /// The meaning of plain JSON.
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            // A number that JSON can write is one that an f64 can hold, as JavaScript does.
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(object) => {
                let members = object.into_iter();
                Self::Object(members.map(|(name, it)| (name, it.into())).collect())
            }
        }
    }
}

/// The milliseconds since 1970 of a text that is a date with a time; `None` for any other text.
pub(super) fn instant(text: &str) -> Option<i64> {
    // Most texts are none, and are not read for it.
    let is_likely = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T');
    let date = is_likely.then(|| DateTime::parse_from_rfc3339(text).ok())??;
    Some(date.timestamp_millis())
}

/// What a server said to one call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallMeaning {
    /// It answered.
    Data(Meaning),
    /// It refused or failed.
    Error {
        /// tRPC's word, such as `NOT_FOUND`.
        code: String,
        /// The HTTP status that it would have alone.
        status: u16,
        /// For the client.
        message: String,
    },
}

impl CallMeaning {
    /// Whether the server failed, which is no fault of the caller's.
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Error { status, .. } if *status >= 500)
    }
}
