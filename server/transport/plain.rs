//! Outputs as plain JSON, the way `JSON.stringify` writes them: what is `undefined` is not there.
//!
//! An output says `null` where its shape says `undefined` (`x-superjson: undefined`). superjson can
//! tell the two apart; plain JSON cannot, so such fields are left out.

use std::sync::{Arc, OnceLock};

use serde::ser::Error as _;
use serde_json::{Map, Value, value::RawValue};

use crate::_core::{procedure::Output, shape::Shape};

/// Writes outputs of one shape.
#[derive(Clone, Debug)]
pub struct Plain {
    shape: Arc<Shape>,
    has_undefined: bool,
}

impl Plain {
    /// A writer for this shape.
    pub fn new(shape: Arc<Shape>) -> Self {
        let has_undefined = has_undefined(&shape, &mut Vec::new());
        Self {
            shape,
            has_undefined,
        }
    }

    /// The output as JSON text.
    pub fn encode(&self, output: &dyn Output) -> serde_json::Result<Box<RawValue>> {
        if self.has_undefined {
            let mut value = output.to_value()?;
            prune(&self.shape, &mut value);
            return serde_json::value::to_raw_value(&value);
        }
        let mut json = Vec::with_capacity(256);
        output.write_json(&mut json)?;
        RawValue::from_string(String::from_utf8(json).map_err(serde_json::Error::custom)?)
    }
}

/// Whether `undefined` can occur below; `seen` ends the walk of recursive types.
fn has_undefined(shape: &Shape, seen: &mut Vec<*const OnceLock<Shape>>) -> bool {
    match shape {
        Shape::UndefinedOr(_) => true,
        Shape::Array { items, .. } => has_undefined(items, seen),
        Shape::Tuple(items) | Shape::Union(items) => {
            items.iter().any(|item| has_undefined(item, seen))
        }
        Shape::Object { fields, additional } => {
            fields.iter().any(|field| has_undefined(&field.shape, seen))
                || additional.iter().any(|shape| has_undefined(shape, seen))
        }
        Shape::Map { key, value } => has_undefined(key, seen) || has_undefined(value, seen),
        Shape::Reference(target) => {
            let address = Arc::as_ptr(target);
            if seen.contains(&address) {
                return false;
            }
            seen.push(address);
            target.get().is_some_and(|shape| has_undefined(shape, seen))
        }
        _ => false,
    }
}

fn prune(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object { fields, additional }, Value::Object(object)) => {
            for field in fields {
                prune_field(&field.shape, &field.name, object);
            }
            if let Some(shape) = additional {
                for (name, value) in object.iter_mut() {
                    if fields.iter().all(|field| field.name != *name) {
                        prune(shape, value);
                    }
                }
            }
        }
        (Shape::Array { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|value| prune(items, value));
        }
        (Shape::Tuple(items), Value::Array(list)) => {
            for (shape, value) in items.iter().zip(list) {
                prune(shape, value);
            }
        }
        (Shape::Map { key, value }, Value::Array(pairs)) => {
            for pair in pairs {
                if let Value::Array(pair) = pair {
                    for (shape, value) in [key, value].into_iter().zip(pair) {
                        prune(shape, value);
                    }
                }
            }
        }
        (Shape::UndefinedOr(shape), value) => prune(shape, value),
        (Shape::Union(shapes), value) => {
            let matching = shapes.iter().find(|s| s.check(Some(value)).is_empty());
            if let Some(shape) = matching {
                prune(shape, value);
            }
        }
        (Shape::Reference(target), value) => {
            if let Some(shape) = target.get() {
                prune(shape, value);
            }
        }
        _ => {}
    }
}

fn prune_field(shape: &Shape, name: &str, object: &mut Map<String, Value>) {
    match (shape, object.get_mut(name)) {
        (_, None) => {}
        (Shape::UndefinedOr(_), Some(Value::Null)) => {
            object.shift_remove(name);
        }
        (shape, Some(value)) => prune(shape, value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::_core::shape::Field;

    fn object(fields: impl IntoIterator<Item = (&'static str, Shape)>) -> Shape {
        Shape::Object {
            fields: fields
                .into_iter()
                .map(|(name, shape)| Field {
                    name: name.into(),
                    required: true,
                    shape,
                })
                .collect(),
            additional: None,
        }
    }

    fn encoded(shape: Shape, output: &Value) -> String {
        let plain = Plain::new(Arc::new(shape));
        plain.encode(output).unwrap().get().to_owned()
    }

    #[test]
    fn undefined_fields_are_absent_and_null_ones_stay() {
        let inner = object([("c", Shape::UndefinedOr(Box::new(Shape::Any)))]);
        let shape = object([
            ("a", Shape::UndefinedOr(Box::new(Shape::Any))),
            ("b", Shape::Null),
            (
                "list",
                Shape::Array {
                    items: Box::new(inner),
                    min: None,
                    max: None,
                    set: false,
                },
            ),
        ]);
        let output = json!({ "a": null, "b": null, "list": [{ "c": null }, { "c": 1 }] });
        assert_eq!(encoded(shape, &output), r#"{"b":null,"list":[{},{"c":1}]}"#);
    }

    #[test]
    fn recursive_types_are_walked_to_their_end() {
        let target = Arc::new(OnceLock::new());
        let node = object([
            ("next", Shape::Reference(target.clone())),
            ("note", Shape::UndefinedOr(Box::new(Shape::Any))),
        ]);
        target.set(node).unwrap();
        let output = json!({ "next": { "next": null, "note": null }, "note": null });
        assert_eq!(
            encoded(Shape::Reference(target), &output),
            r#"{"next":{"next":null}}"#
        );
    }

    #[test]
    fn outputs_without_undefined_are_written_as_they_are() {
        assert_eq!(encoded(Shape::Any, &json!({ "a": null })), r#"{"a":null}"#);
    }
}
