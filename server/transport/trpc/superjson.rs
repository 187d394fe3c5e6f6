//! superjson 2 in and out: JSON, with a note of what JSON cannot say.
//!
//! The output's shape shows where dates, sets and the like are, so authors use plain Rust types and
//! nothing is guessed from a value. On the way in the notes are few: serde reads a date, a set or a
//! bigint from what JSON holds of it, so that mostly `undefined` has to be undone.

mod decode;
mod fault;
mod meaning;
mod meta;
mod path;

use serde_json::Value;

use crate::_core::{
    procedure::Output,
    shape::{Shape, javascript_date},
};

pub use decode::decode;
pub(super) use meaning::said;
pub use meta::Meta;
use meta::Notes;

/// One value in two parts, so that a line of several values can carry one common note.
#[derive(Debug)]
pub struct Encoded {
    /// The value as JSON text.
    pub json: Vec<u8>,
    /// What JSON cannot say about it.
    pub meta: Meta,
}

/// Encodes an output whose shape is known.
pub fn encode(shape: &Shape, output: &dyn Output) -> serde_json::Result<Encoded> {
    let mut json = Vec::with_capacity(1024);
    if !shape.is_special() {
        output.write_json(&mut json)?;
        return Ok(Encoded {
            json,
            meta: Meta::default(),
        });
    }
    let mut value = output.to_value()?;
    let mut notes = Notes::default();
    note(shape, &mut value, &mut notes);
    serde_json::to_writer(&mut json, &value)?;
    Ok(Encoded {
        json,
        meta: notes.into_meta(),
    })
}

/// Notes what `value` and all below it are, and puts dates into JavaScript's form.
fn note(shape: &Shape, value: &mut Value, notes: &mut Notes) {
    if !shape.is_special() {
        return;
    }
    match (shape, &mut *value) {
        (Shape::Date, Value::String(text)) => {
            if let Some(rewritten) = javascript_date(text) {
                if let Some(rewritten) = rewritten {
                    *text = rewritten;
                }
                notes.mark("Date");
            }
        }
        (Shape::BigInt, Value::String(_)) => notes.mark("bigint"),
        (Shape::SpecialNumber, Value::String(_)) => notes.mark("number"),
        (Shape::UndefinedOr(_), Value::Null) => notes.mark("undefined"),
        (Shape::UndefinedOr(inner), _) => note(inner, value, notes),
        (Shape::Array { items, set, .. }, Value::Array(list)) => {
            let mut each = |notes: &mut Notes| {
                for (index, item) in list.iter_mut().enumerate() {
                    notes.at_index(index, |notes| note(items, item, notes));
                }
            };
            match (set, items.is_special()) {
                (true, true) => notes.container("set", each),
                (true, false) => notes.mark("set"),
                (false, _) => each(notes),
            }
        }
        (Shape::Map { key, value }, Value::Array(pairs)) => notes.container("map", |notes| {
            for (index, pair) in pairs.iter_mut().enumerate() {
                if let Some([first, second]) = pair.as_array_mut().map(Vec::as_mut_slice) {
                    notes.at_index(index, |notes| {
                        notes.at_index(0, |notes| note(key, first, notes));
                        notes.at_index(1, |notes| note(value, second, notes));
                    });
                }
            }
        }),
        (Shape::Tuple(shapes), Value::Array(list)) => {
            for (index, (shape, item)) in shapes.iter().zip(list).enumerate() {
                notes.at_index(index, |notes| note(shape, item, notes));
            }
        }
        (
            Shape::Object {
                fields, additional, ..
            },
            Value::Object(object),
        ) => {
            for field in fields.iter().filter(|field| field.is_special()) {
                if let Some(value) = object.get_mut(&field.name) {
                    notes.at_key(&field.name, |notes| note(&field.shape, value, notes));
                }
            }
            if let Some(shape) = additional.as_deref().filter(|shape| shape.is_special()) {
                for (name, value) in object.iter_mut() {
                    if !fields.iter().any(|field| field.name == *name) {
                        notes.at_key(name, |notes| note(shape, value, notes));
                    }
                }
            }
        }
        (Shape::Union(branches), _) => {
            if let Some(branch) = Shape::branch(branches, value) {
                note(branch, value, notes);
            }
        }
        (Shape::All(shapes), _) => {
            for shape in shapes {
                note(shape, value, notes);
            }
        }
        (Shape::Reference(reference), _) => note(reference.shape(), value, notes),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
