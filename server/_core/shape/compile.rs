//! Compiles what schemars emits (JSON Schema, draft 2020-12) into shapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use serde_json::{Map, Value};

use super::{Bound, Length, Messages, NumberRule, Shape, ShapeField, ShapeReference, TextRule};

impl Shape {
    /// Compiles a schema against its definitions (`$defs`).
    ///
    /// A definition that would only lead back to itself, without an object or a list between, can
    /// hold no value and becomes [`Shape::Never`]; so reading a value always comes to an end.
    pub fn compile(schema: &Value, definitions: &Map<String, Value>) -> Self {
        let mut compiler = Compiler {
            definitions,
            special: special_definitions(definitions),
            compiled: BTreeMap::new(),
        };
        compiler.shape(schema, &mut Vec::new())
    }
}

struct Compiler<'a> {
    definitions: &'a Map<String, Value>,
    special: BTreeSet<&'a str>,
    compiled: BTreeMap<&'a str, Arc<OnceLock<Shape>>>,
}

impl<'a> Compiler<'a> {
    /// `open` holds the definitions entered since the last object or list.
    fn shape(&mut self, schema: &'a Value, open: &mut Vec<&'a str>) -> Shape {
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return Shape::Never,
            _ => return Shape::Any,
        };
        match schema.get("x-superjson").and_then(Value::as_str) {
            Some("bigint") => return Shape::BigInt,
            Some("number") => return Shape::SpecialNumber,
            Some("map") => return self.map(schema),
            Some("undefined") => return Shape::UndefinedOr(Box::new(self.plain(schema, open))),
            _ => {}
        }
        self.plain(schema, open)
    }

    fn plain(&mut self, schema: &'a Map<String, Value>, open: &mut Vec<&'a str>) -> Shape {
        let mut parts = Vec::new();
        if let Some(name) = reference(schema) {
            parts.push(self.reference(name, open));
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
                let branches = branches.iter().map(|branch| self.shape(branch, open));
                parts.push(union(branches.collect()));
            }
        }
        for part in list(schema, "allOf") {
            parts.push(self.shape(part, open));
        }
        if let Some(constant) = schema.get("const") {
            parts.push(Shape::Literal(vec![constant.clone()]));
        } else if let Some(constants) = schema.get("enum").and_then(Value::as_array) {
            parts.push(Shape::Literal(constants.clone()));
        } else {
            let bare = !["properties", "additionalProperties", "patternProperties"]
                .iter()
                .any(|keyword| schema.contains_key(*keyword));
            let types: Vec<Shape> = types(schema)
                .into_iter()
                // `type: object` alone adds nothing to the branches beside it.
                .filter(|name| !(*name == "object" && bare && !parts.is_empty()))
                .map(|name| self.of_type(name, schema))
                .collect();
            if !types.is_empty() {
                parts.push(union(types));
            }
        }
        match parts.len() {
            0 => Shape::Any,
            1 => parts.swap_remove(0),
            _ => Shape::All(parts),
        }
    }

    fn reference(&mut self, name: &'a str, open: &mut Vec<&'a str>) -> Shape {
        let Some((name, schema)) = self.definitions.get_key_value(name) else {
            return Shape::Any;
        };
        if open.contains(&name.as_str()) {
            return Shape::Never;
        }
        let target = match self.compiled.get(name.as_str()) {
            Some(target) => target.clone(),
            None => {
                let target = Arc::new(OnceLock::new());
                self.compiled.insert(name, target.clone());
                open.push(name);
                let shape = self.shape(schema, open);
                open.pop();
                // The only place that sets it, once per name.
                let _ = target.set(shape);
                target
            }
        };
        Shape::Reference(ShapeReference {
            name: name.as_str().into(),
            special: self.special.contains(name.as_str()),
            target,
        })
    }

    fn of_type(&mut self, name: &str, schema: &'a Map<String, Value>) -> Shape {
        match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "integer" => Shape::Number(number_rule(schema, true)),
            "number" => Shape::Number(number_rule(schema, false)),
            "string" if schema.get("format").and_then(Value::as_str) == Some("date-time") => {
                Shape::Date
            }
            "string" => Shape::Text(TextRule {
                length: length(schema, "minLength", "maxLength"),
                email: schema.get("format").and_then(Value::as_str) == Some("email"),
                blank_is_empty: schema.get("x-blank-is-empty") == Some(&Value::Bool(true)),
            }),
            "array" => self.array(schema),
            "object" => self.object(schema),
            _ => Shape::Any,
        }
    }

    fn array(&mut self, schema: &'a Map<String, Value>) -> Shape {
        if schema.contains_key("prefixItems") {
            let items = list(schema, "prefixItems");
            return Shape::Tuple(
                items
                    .iter()
                    .map(|item| self.shape(item, &mut Vec::new()))
                    .collect(),
            );
        }
        Shape::Array {
            items: Box::new(self.optional(schema.get("items"))),
            length: length(schema, "minItems", "maxItems"),
            set: schema.get("uniqueItems") == Some(&Value::Bool(true)),
        }
    }

    fn map(&mut self, schema: &'a Map<String, Value>) -> Shape {
        let mut pair = schema
            .get("items")
            .and_then(|items| items.get("prefixItems"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Shape::Map {
            key: Box::new(self.optional(pair.next())),
            value: Box::new(self.optional(pair.next())),
        }
    }

    fn object(&mut self, schema: &'a Map<String, Value>) -> Shape {
        let required: BTreeSet<&str> = list(schema, "required")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, schema)| {
                let shape = self.shape(schema, &mut Vec::new());
                ShapeField {
                    required: required.contains(name.as_str()),
                    name: name.clone(),
                    special: self.is_special(schema),
                    shape,
                }
            })
            .collect();
        // Maps with integer keys come as one pattern; whether a key fits it is serde's to say.
        let others = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .and_then(|patterns| patterns.values().next())
            .or_else(|| schema.get("additionalProperties"))
            .filter(|schema| **schema != Value::Bool(true));
        Shape::Object {
            fields,
            additional: others.map(|schema| Box::new(self.shape(schema, &mut Vec::new()))),
            required: schema.get("x-required") == Some(&Value::Bool(true)),
        }
    }

    fn optional(&mut self, schema: Option<&'a Value>) -> Shape {
        schema.map_or(Shape::Any, |schema| self.shape(schema, &mut Vec::new()))
    }

    fn is_special(&self, schema: &Value) -> bool {
        mentions_special(schema, &|name| self.special.contains(name))
    }
}

/// The definitions that reach something JSON cannot say, themselves or through others.
fn special_definitions(definitions: &Map<String, Value>) -> BTreeSet<&str> {
    let mut special = BTreeSet::new();
    loop {
        let more: Vec<&str> = definitions
            .iter()
            .filter(|(name, _)| !special.contains(name.as_str()))
            .filter(|(_, schema)| mentions_special(schema, &|name| special.contains(name)))
            .map(|(name, _)| name.as_str())
            .collect();
        if more.is_empty() {
            return special;
        }
        special.extend(more);
    }
}

fn mentions_special(schema: &Value, is_special: &dyn Fn(&str) -> bool) -> bool {
    match schema {
        Value::Object(schema) => {
            schema.contains_key("x-superjson")
                || schema.get("format").and_then(Value::as_str) == Some("date-time")
                || schema.get("uniqueItems") == Some(&Value::Bool(true))
                || reference(schema).is_some_and(is_special)
                || schema
                    .values()
                    .any(|part| mentions_special(part, is_special))
        }
        Value::Array(parts) => parts.iter().any(|part| mentions_special(part, is_special)),
        _ => false,
    }
}

/// The name at the end of a `$ref`.
fn reference(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

fn list<'a>(schema: &'a Map<String, Value>, keyword: &str) -> &'a [Value] {
    schema
        .get(keyword)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn types(schema: &Map<String, Value>) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ if schema.contains_key("properties") => vec!["object"],
        _ if schema.contains_key("items") || schema.contains_key("prefixItems") => vec!["array"],
        _ => Vec::new(),
    }
}

/// Nested unions are one, and constants beside each other are one list of them.
fn union(branches: Vec<Shape>) -> Shape {
    let mut flat = Vec::new();
    for branch in branches {
        match branch {
            Shape::Union(inner) => flat.extend(inner),
            Shape::Literal(more) => match flat.last_mut() {
                Some(Shape::Literal(constants)) => constants.extend(more),
                _ => flat.push(Shape::Literal(more)),
            },
            other => flat.push(other),
        }
    }
    if flat.len() == 1 {
        flat.swap_remove(0)
    } else {
        Shape::Union(flat)
    }
}

fn number_rule(schema: &Map<String, Value>, integer: bool) -> NumberRule {
    let bound = |keyword: &str, inclusive| {
        let value = schema.get(keyword)?.as_f64()?;
        Some(Bound { value, inclusive })
    };
    // schemars writes bounds for the small integers only.
    let (least, greatest) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
        Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
        _ => (None, None),
    };
    let limit = |value: Option<f64>| {
        value.map(|value| Bound {
            value,
            inclusive: true,
        })
    };
    NumberRule {
        integer,
        min: bound("exclusiveMinimum", false)
            .or_else(|| bound("minimum", true))
            .or(limit(least)),
        max: bound("exclusiveMaximum", false)
            .or_else(|| bound("maximum", true))
            .or(limit(greatest)),
        messages: messages(schema),
    }
}

fn length(schema: &Map<String, Value>, min: &str, max: &str) -> Length {
    let bound = |keyword: &str| {
        let bound = schema.get(keyword)?.as_u64()?;
        usize::try_from(bound).ok()
    };
    Length {
        min: bound(min).filter(|min| *min > 0),
        max: bound(max),
        messages: messages(schema),
    }
}

fn messages(schema: &Map<String, Value>) -> Messages {
    let text = |key: &str| {
        let text = schema.get("x-messages")?.get(key)?.as_str()?;
        Some(text.to_owned())
    };
    Messages {
        too_small: text("tooSmall"),
        too_big: text("tooBig"),
    }
}
