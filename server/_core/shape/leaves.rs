//! Two changes to a value by its shape: integers as serde wants them, and JSON as `JSON.stringify` writes it.

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde_json::Value;

use super::{NumberRule, Shape};
use crate::_core::output::Output;

/// Whether a field stays after its leaf was seen.
enum Leaf {
    Keep,
    Remove,
}

impl Shape {
    /// Makes `1.0` a `1` where an integer belongs: one number in JavaScript, two for serde.
    pub fn settle_integers(&self, value: &mut Value) {
        if !holds_float(value) {
            return;
        }
        self.leaves(value, &mut |shape, value| {
            if let Self::Number(NumberRule { integer: true, .. }) = shape
                && let Some(float) = value.as_f64().filter(|_| value.is_f64())
                && float.fract() == 0.0
            {
                *value = Value::from(float as i64);
            }
            Leaf::Keep
        });
    }

    /// An output as plain JSON, for wires without superjson; `None` is `undefined`.
    ///
    /// As `JSON.stringify` has it: fields that are `undefined` are absent, NaN and the infinities are
    /// `null`, dates have milliseconds. What that cannot write at all is sent as superjson would,
    /// without a mark: a bigint as text, a map as a list of pairs, a set as a list.
    pub fn plain_json(&self, output: &dyn Output) -> serde_json::Result<Option<Vec<u8>>> {
        let mut json = Vec::with_capacity(1024);
        if !self.is_special() {
            output.write_json(&mut json)?;
            return Ok(Some(json));
        }
        let mut value = output.to_value()?;
        let root = self.leaves(&mut value, &mut |shape, value| {
            match (shape, &*value) {
                (Self::UndefinedOr(_), _) => return Leaf::Remove,
                (Self::Date, Value::String(text)) => {
                    if let Some(Some(text)) = javascript_date(text) {
                        *value = text.into();
                    }
                }
                (Self::SpecialNumber, Value::String(text)) => {
                    *value = if text == "-0" { 0.into() } else { Value::Null };
                }
                _ => {}
            }
            Leaf::Keep
        });
        if let Leaf::Remove = root {
            return Ok(None);
        }
        serde_json::to_writer(&mut json, &value)?;
        Ok(Some(json))
    }

    /// Shows every leaf with the shape that it was found to have.
    fn leaves(&self, value: &mut Value, leaf: &mut dyn FnMut(&Self, &mut Value) -> Leaf) -> Leaf {
        match (self, &mut *value) {
            (Self::Array { items, .. }, Value::Array(list)) => {
                for item in list {
                    items.leaves(item, leaf);
                }
            }
            (Self::Tuple(shapes), Value::Array(list)) => {
                for (shape, item) in shapes.iter().zip(list) {
                    shape.leaves(item, leaf);
                }
            }
            (Self::Map { key, value }, Value::Array(pairs)) => {
                for pair in pairs {
                    if let Some([first, second]) = pair.as_array_mut().map(Vec::as_mut_slice) {
                        key.leaves(first, leaf);
                        value.leaves(second, leaf);
                    }
                }
            }
            (
                Self::Object {
                    fields, additional, ..
                },
                Value::Object(object),
            ) => {
                for field in fields {
                    if let Some(value) = object.get_mut(&field.name)
                        && let Leaf::Remove = field.shape.leaves(value, leaf)
                    {
                        object.shift_remove(&field.name);
                    }
                }
                if let Some(shape) = additional {
                    object.retain(|name, value| {
                        fields.iter().any(|field| field.name == *name)
                            || matches!(shape.leaves(value, leaf), Leaf::Keep)
                    });
                }
            }
            (Self::UndefinedOr(shape), inner) if !inner.is_null() => {
                return shape.leaves(value, leaf);
            }
            (Self::Union(branches), inner) => {
                if let Some(branch) = Self::branch(branches, inner) {
                    return branch.leaves(value, leaf);
                }
            }
            (Self::All(shapes), _) => {
                for shape in shapes {
                    shape.leaves(value, leaf);
                }
            }
            (Self::Reference(reference), _) => return reference.shape().leaves(value, leaf),
            _ => return leaf(self, value),
        }
        Leaf::Keep
    }
}

/// A date as JavaScript writes it: the outer `None` is no date, the inner says it already is.
///
/// Chrono prints nanoseconds, or none; JavaScript prints milliseconds, and years beyond 9999 with a
/// sign and six digits.
pub(crate) fn javascript_date(text: &str) -> Option<Option<String>> {
    if let Some((second, fraction)) = utc_second(text) {
        return Some(match fraction.len() {
            3 => None,
            digits => {
                let kept = fraction.get(..3.min(digits)).unwrap_or_default();
                Some(format!("{second}.{kept:0<3}Z"))
            }
        });
    }
    let date = DateTime::parse_from_rfc3339(text)
        .map(|date| date.with_timezone(&Utc))
        .or_else(|_| text.parse::<DateTime<Utc>>())
        .ok()?;
    Some(Some(if (0..=9999).contains(&date.year()) {
        date.to_rfc3339_opts(SecondsFormat::Millis, true)
    } else {
        let sign = if date.year() < 0 { '-' } else { '+' };
        let year = date.year().unsigned_abs();
        format!("{sign}{year:06}{}", date.format("-%m-%dT%H:%M:%S%.3fZ"))
    }))
}

/// What chrono prints for all but far dates, taken apart without reading it: the part up to the
/// second, and the digits after it.
fn utc_second(text: &str) -> Option<(&str, &str)> {
    let (second, rest) = text.split_at_checked(19)?;
    let rest = rest.strip_suffix('Z')?;
    let fraction = match rest.strip_prefix('.') {
        Some(digits) => digits,
        None if rest.is_empty() => "",
        None => return None,
    };
    let as_printed = second.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    (as_printed && fraction.bytes().all(|b| b.is_ascii_digit())).then_some((second, fraction))
}

fn holds_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(list) => list.iter().any(holds_float),
        Value::Object(object) => object.values().any(holds_float),
        _ => false,
    }
}
