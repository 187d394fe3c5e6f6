//! A field that need not be there is never `null`.

use schemars::{Schema, transform::Transform};
use serde_json::{Map, Value};

/// Takes `null` from optional fields, as zod's `.optional()` has it: `title?: string`.
///
/// In an input every `Option` is such a field. In an output only those are that serde leaves out
/// (`skip_serializing_if = "Option::is_none"`); the others are there and may be `null`.
#[derive(Clone, Copy, Debug)]
pub struct OptionalFields;

impl Transform for OptionalFields {
    fn transform(&mut self, schema: &mut Schema) {
        schemars::transform::transform_subschemas(self, schema);
        let Some(schema) = schema.as_object_mut() else {
            return;
        };
        let required = schema.get("required").cloned().unwrap_or_default();
        let is_required = |name: &str| {
            let mut names = required.as_array().into_iter().flatten();
            names.any(|required| required == name)
        };
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if let Value::Object(property) = property
                && !is_required(name)
                && !property.contains_key("x-superjson")
            {
                refuse_null(property);
            }
        }
    }
}

fn refuse_null(schema: &mut Map<String, Value>) {
    if schema.get("default") == Some(&Value::Null) {
        schema.shift_remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && values.len() > 1
    {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(branches)) = schema.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            schema.shift_remove("anyOf");
            for (keyword, value) in only {
                // The field's own description stays before that of its type.
                schema.entry(keyword).or_insert(value);
            }
        }
    }
}
