//! Undoes an envelope that superjson wrote, or somebody who claims to.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde_json::{Map, Value};

use super::{
    fault::{DecodeError, short},
    path::{self, EscapeRule},
};

/// Undoes an envelope `{json, meta?}`; `None` is `undefined`. The error says what was wrong.
///
/// Dates, sets, maps, bigints and special numbers stay as JSON has them, which is how the types of
/// `_core::js` and chrono read them, but what is noted as one must look like one. An item of a list
/// that is `undefined` stays `null`. As with superjson itself, what is no envelope is `undefined`,
/// and `referentialEqualities` may be ignored, since the writer repeats the value.
pub fn decode(envelope: Value) -> Result<Option<Value>, String> {
    read(envelope).map_err(|error| error.to_string())
}

fn read(envelope: Value) -> Result<Option<Value>, DecodeError> {
    let mut envelope = match envelope {
        Value::Object(envelope) => envelope,
        Value::Null => return Err(DecodeError::Null),
        _ => return Ok(None),
    };
    let Some(json) = envelope.remove("json") else {
        return Ok(None);
    };
    let Some(Value::Object(meta)) = envelope.get("meta") else {
        return Ok(Some(json));
    };
    let rule = match meta.get("v") {
        Some(version) if version.as_f64().is_some_and(|v| v >= 1.0) => EscapeRule::V1,
        _ => EscapeRule::Legacy,
    };
    let Some(notes) = meta.get("values").filter(|notes| !notes.is_null()) else {
        return Ok(Some(json));
    };
    let mut json = json;
    let mut reader = Reader {
        rule,
        done: HashSet::new(),
        has_undefined: false,
    };
    reader.node(notes, &mut PathEnd::Found(&mut json), At::Root)?;
    if reader.is_undefined(&json) {
        return Ok(None);
    }
    if reader.has_undefined {
        reader.sweep(&mut json);
    }
    Ok(Some(json))
}

/// Applies notes in one walk each, from the value that the note above has led to.
///
/// The work is that of reading the notes and the value once, whatever the notes say: a place that many
/// notes name is looked at once per type, and what is `undefined` is taken out of its object at the end,
/// together with all others. Until then nothing moves, so that a place is known by its address.
struct Reader {
    rule: EscapeRule,
    /// What has been applied, and where.
    done: HashSet<(*const Value, ValueType)>,
    has_undefined: bool,
}

impl Reader {
    /// What lies below comes first, as superjson has it: a set's items are read before the set is.
    fn node(
        &mut self,
        node: &Value,
        place: &mut PathEnd<'_>,
        at: At<'_>,
    ) -> Result<(), DecodeError> {
        match node {
            Value::Object(children) => self.children(children, place, at),
            Value::Array(note) => {
                match note.get(1) {
                    None | Some(Value::Null) => {}
                    Some(Value::Object(children)) => self.children(children, place, at)?,
                    Some(other) => return Err(bad_note(at, other)),
                }
                let kind = note.first().ok_or_else(|| bad_note(at, node))?;
                self.apply(kind, place, at)
            }
            other => Err(bad_note(at, other)),
        }
    }

    fn children(
        &mut self,
        children: &Map<String, Value>,
        place: &mut PathEnd<'_>,
        at: At<'_>,
    ) -> Result<(), DecodeError> {
        for (path, child) in children {
            let keys = path::split(path, self.rule)?;
            let mut place = place.reborrow();
            for key in &keys {
                place = place.below(key);
            }
            self.node(child, &mut place, At::Below(&at, &keys))?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        kind: &Value,
        place: &mut PathEnd<'_>,
        at: At<'_>,
    ) -> Result<(), DecodeError> {
        let kind = ValueType::of(kind).ok_or_else(|| DecodeError::UnknownType {
            path: show(at),
            kind: short(
                kind.as_str()
                    .map_or_else(|| kind.to_string(), str::to_owned),
            ),
        })?;
        let value: &mut Value = match place {
            PathEnd::Found(value) => value,
            PathEnd::Missing if kind != ValueType::Undefined => return Err(kind.refuse(at)),
            // superjson ignores a parent that is not there, too.
            PathEnd::Missing | PathEnd::Nowhere => return Ok(()),
        };
        if !self.done.insert((std::ptr::from_ref(value), kind)) {
            return Ok(());
        }
        match kind {
            ValueType::Undefined => {
                *value = Value::Null;
                self.has_undefined = true;
                Ok(())
            }
            kind => kind.read(value, at),
        }
    }

    fn is_undefined(&self, value: &Value) -> bool {
        self.done
            .contains(&(std::ptr::from_ref(value), ValueType::Undefined))
    }

    /// Takes what is `undefined` out of objects; an item of a list stays `null`.
    fn sweep(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|item| self.sweep(item)),
            Value::Object(object) => {
                object.retain(|_, value| !self.is_undefined(value));
                object.values_mut().for_each(|value| self.sweep(value));
            }
            _ => {}
        }
    }
}

/// Where a note is, as a chain on the stack, so that a path is written only for an error.
#[derive(Clone, Copy)]
enum At<'a> {
    Root,
    Below(&'a At<'a>, &'a [Cow<'a, str>]),
}

/// What a path leads to.
enum PathEnd<'a> {
    Found(&'a mut Value),
    /// Its parent is there.
    Missing,
    /// Nor is its parent.
    Nowhere,
}

impl<'a> PathEnd<'a> {
    fn reborrow(&mut self) -> PathEnd<'_> {
        match self {
            Self::Found(value) => PathEnd::Found(value),
            Self::Missing => PathEnd::Missing,
            Self::Nowhere => PathEnd::Nowhere,
        }
    }

    fn below(self, key: &str) -> Self {
        let Self::Found(parent) = self else {
            return Self::Nowhere;
        };
        let value = match parent {
            Value::Object(object) => object.get_mut(key),
            Value::Array(list) => key
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index)),
            _ => None,
        };
        value.map_or(Self::Missing, Self::Found)
    }
}

/// The types that are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ValueType {
    Undefined,
    Date,
    BigInt,
    Number,
    Set,
    Map,
    RegExp,
    Url,
    Error,
    TypedArray,
}

impl ValueType {
    fn of(kind: &Value) -> Option<Self> {
        Some(match kind {
            Value::String(name) => match name.as_str() {
                "undefined" => Self::Undefined,
                "Date" => Self::Date,
                "bigint" => Self::BigInt,
                "number" => Self::Number,
                "set" => Self::Set,
                "map" => Self::Map,
                "regexp" => Self::RegExp,
                "URL" => Self::Url,
                "Error" => Self::Error,
                _ => return None,
            },
            // `["typed-array", "Uint8Array"]`; the classes and symbols that also come as lists are
            // objects of the client's program.
            Value::Array(parts) if parts.first().is_some_and(|name| name == "typed-array") => {
                Self::TypedArray
            }
            _ => return None,
        })
    }

    const fn name_and_form(self) -> (&'static str, &'static str) {
        match self {
            Self::Undefined => ("undefined", "anything"),
            Self::Date => ("Date", "an ISO 8601 text"),
            Self::BigInt => ("bigint", "a text of decimal digits"),
            Self::Number => ("number", "`NaN`, `Infinity`, `-Infinity` or `-0`"),
            Self::Set => ("set", "a list"),
            Self::Map => ("map", "a list of pairs"),
            Self::RegExp => ("regexp", "a text"),
            Self::Url => ("URL", "a text"),
            Self::Error => ("Error", "an object"),
            Self::TypedArray => ("typed-array", "a list of numbers"),
        }
    }

    fn refuse(self, at: At<'_>) -> DecodeError {
        let (kind, expected) = self.name_and_form();
        DecodeError::BadValue {
            path: show(at),
            kind,
            expected,
        }
    }

    fn read(self, value: &mut Value, at: At<'_>) -> Result<(), DecodeError> {
        let fits = match (self, &*value) {
            (Self::Date, Value::String(text)) => {
                // One that is no date goes on, so that the check of the input reports its field.
                if let Some(text) = whole_date(text) {
                    *value = text.into();
                }
                true
            }
            (Self::Date, Value::Number(number)) => {
                match number.as_i64().and_then(DateTime::from_timestamp_millis) {
                    Some(date) => {
                        *value = date.to_rfc3339_opts(SecondsFormat::Millis, true).into();
                        true
                    }
                    None => false,
                }
            }
            // An invalid date of JavaScript's is written as null.
            (Self::Date, Value::Null) => true,
            (Self::BigInt, Value::String(text)) => is_bigint(text),
            (Self::BigInt, Value::Number(number)) => !number.is_f64(),
            (Self::Number, Value::String(text)) => {
                matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") || {
                    text == "-0" && {
                        *value = Value::from(-0.0);
                        true
                    }
                }
            }
            (Self::Number, Value::Number(_)) => true,
            (Self::Map, Value::Array(pairs)) => pairs
                .iter()
                .all(|pair| pair.as_array().is_some_and(|pair| pair.len() == 2)),
            (Self::Set, Value::Array(_)) => true,
            (Self::TypedArray, Value::Array(items)) => items
                .iter()
                .all(|item| item.is_number() || item.is_string()),
            (Self::RegExp | Self::Url, Value::String(_)) | (Self::Error, Value::Object(_)) => true,
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.refuse(at)) }
    }
}

/// A day alone is midnight UTC, as in JavaScript.
fn whole_date(text: &str) -> Option<String> {
    let day: NaiveDate = text.parse().ok()?;
    Some(format!("{day}T00:00:00.000Z"))
}

fn is_bigint(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn bad_note(at: At<'_>, found: &Value) -> DecodeError {
    DecodeError::BadNote {
        path: show(at),
        found: found.to_string().chars().take(40).collect(),
    }
}

/// The path in superjson's form.
fn show(at: At<'_>) -> String {
    fn write(at: At<'_>, keys: &mut Vec<String>) {
        if let At::Below(above, below) = at {
            write(*above, keys);
            keys.extend(below.iter().map(|key| {
                let mut escaped = String::new();
                path::escape_into(key, &mut escaped);
                escaped
            }));
        }
    }
    let mut keys = Vec::new();
    write(at, &mut keys);
    short(keys.join("."))
}
