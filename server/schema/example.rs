//! A value that fits a schema, to begin with: what must be there, and what has a default.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::contract::referred;

/// How deep types that hold themselves are followed.
const DEPTH: usize = 6;

/// An example for a schema of the contract.
pub(super) fn example(schema: &Value, definitions: &BTreeMap<String, Value>) -> Value {
    build(schema, definitions, DEPTH)
}

fn build(schema: &Value, definitions: &BTreeMap<String, Value>, depth: usize) -> Value {
    for known in ["default", "const"] {
        if let Some(value) = schema.get(known) {
            return value.clone();
        }
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    let target = schema.get("$ref").and_then(referred);
    if let Some(target) = target.and_then(|name| definitions.get(name)) {
        return build(target, definitions, depth - 1);
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let parts = all.iter().map(|part| build(part, definitions, depth - 1));
        let objects = parts.filter_map(|part| match part {
            Value::Object(object) => Some(object),
            _ => None,
        });
        return Value::Object(objects.flatten().collect());
    }
    let branch = ["oneOf", "anyOf"]
        .iter()
        .find_map(|keyword| schema.get(keyword)?.get(0));
    let fields = object(schema, definitions, depth);
    if let Some(branch) = branch {
        let mut value = build(branch, definitions, depth - 1);
        if let (Value::Object(value), Some(fields)) = (&mut value, fields) {
            value.extend(fields);
        }
        return value;
    }
    if let Some(fields) = fields {
        return fields.into();
    }
    let name = match schema.get("type") {
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        name => name.and_then(Value::as_str),
    };
    match name {
        Some("string") => text(schema).into(),
        Some("integer" | "number") => number(schema),
        Some("boolean") => false.into(),
        Some("array") => list(schema, definitions, depth),
        Some("object") => json!({}),
        _ => Value::Null,
    }
}

fn object(
    schema: &Value,
    definitions: &BTreeMap<String, Value>,
    depth: usize,
) -> Option<Map<String, Value>> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
    let shown = properties
        .iter()
        .filter(|(name, schema)| is_required(name) || schema.get("default").is_some());
    Some(
        shown
            .map(|(name, schema)| (name.clone(), build(schema, definitions, depth - 1)))
            .collect(),
    )
}

fn text(schema: &Value) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => return "2026-01-31T12:00:00.000Z".into(),
        Some("email") => return "somebody@example.com".into(),
        Some("uuid") => return "00000000-0000-4000-8000-000000000000".into(),
        _ => {}
    }
    if schema.get("x-superjson").is_some() {
        return "1".into();
    }
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
    let most = schema.get("maxLength").and_then(Value::as_u64);
    let mut text = String::from("text");
    while (text.len() as u64) < least {
        text.push_str(" text");
    }
    match most.and_then(|most| usize::try_from(most).ok()) {
        Some(most) if most < text.len() => text[..most].to_owned(),
        _ => text,
    }
}

fn number(schema: &Value) -> Value {
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64);
    let mut value = 1.0_f64;
    if let Some(least) = bound("minimum") {
        value = value.max(least);
    }
    if let Some(below) = bound("exclusiveMinimum") {
        value = value.max(below + 1.0);
    }
    if let Some(most) = bound("maximum") {
        value = value.min(most);
    }
    if value.fract() == 0.0 {
        (value as i64).into()
    } else {
        value.into()
    }
}

fn list(schema: &Value, definitions: &BTreeMap<String, Value>, depth: usize) -> Value {
    if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
        let items = items.iter();
        return items
            .map(|item| build(item, definitions, depth - 1))
            .collect();
    }
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    let item = schema.get("items").cloned().unwrap_or(Value::Bool(true));
    (0..least)
        .map(|_| build(&item, definitions, depth - 1))
        .collect()
}
