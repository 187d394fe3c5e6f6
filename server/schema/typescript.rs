//! JSON Schema, as schemars writes it, in TypeScript.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Map, Value};

use super::contract::referred;

/// Names that mean something else in the generated files.
const RESERVED: &[&str] = &[
    "AppErrorCode",
    "AppErrorData",
    "AppErrorDataOf",
    "AppErrorDetails",
    "AppErrorShape",
    "AppRouter",
    "Array",
    "AsyncIterable",
    "Blob",
    "Config",
    "Date",
    "FormData",
    "Map",
    "Mutation",
    "Observable",
    "Partial",
    "Procedure",
    "ProcedureOf",
    "Promise",
    "Query",
    "Record",
    "Root",
    "Routes",
    "Router",
    "Set",
    "Subscription",
    "Transformer",
    "Uint8Array",
    "RouterOf",
    "any",
    "bigint",
    "boolean",
    "never",
    "null",
    "number",
    "object",
    "string",
    "symbol",
    "undefined",
    "unknown",
    "void",
];

/// The definitions by the names they have in TypeScript.
pub(super) struct Types<'a> {
    definitions: &'a BTreeMap<String, Value>,
    sent: &'a BTreeSet<String>,
    names: BTreeMap<&'a str, String>,
}

/// Shows schemas of one side of the contract.
#[derive(Clone, Copy)]
pub(super) struct Printer<'a> {
    types: &'a Types<'a>,
    /// Whether a caller sends it: then a field that may be left out may also be `undefined`, which
    /// `exactOptionalPropertyTypes` would forbid.
    sent: bool,
}

/// How loosely the parts of a type hang together.
#[derive(Clone, Copy, PartialEq)]
enum Bond {
    Atom,
    Intersection,
    Union,
}

struct Type {
    text: String,
    bond: Bond,
}

impl Type {
    fn atom(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            text,
            bond: Bond::Atom,
        }
    }

    /// As an item of a list, or a part of an intersection.
    fn grouped(self) -> String {
        match self.bond {
            Bond::Atom => self.text,
            Bond::Intersection | Bond::Union => format!("({})", self.text),
        }
    }

    fn union(types: Vec<Self>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for part in types {
            let text = match part.bond {
                Bond::Intersection => part.grouped(),
                Bond::Atom | Bond::Union => part.text,
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.len() {
            0 => Self::atom("never"),
            1 => Self::atom(texts.swap_remove(0)),
            _ => Self {
                text: texts.join(" | "),
                bond: Bond::Union,
            },
        }
    }

    fn intersection(mut types: Vec<Self>) -> Self {
        match types.len() {
            0 => Self::atom("unknown"),
            1 => types.swap_remove(0),
            _ => Self {
                text: types
                    .into_iter()
                    .map(Self::grouped)
                    .collect::<Vec<_>>()
                    .join(" & "),
                bond: Bond::Intersection,
            },
        }
    }
}

impl<'a> Types<'a> {
    /// All definitions, and which of them callers send.
    pub(super) fn new(
        definitions: &'a BTreeMap<String, Value>,
        sent: &'a BTreeSet<String>,
    ) -> Self {
        let mut taken = BTreeSet::new();
        let names = definitions
            .keys()
            .map(|name| {
                let mut identifier = identifier(name);
                while !taken.insert(identifier.clone()) {
                    identifier.push('_');
                }
                (name.as_str(), identifier)
            })
            .collect();
        Self {
            definitions,
            sent,
            names,
        }
    }

    /// Shows what callers send.
    pub(super) fn sent(&self) -> Printer<'_> {
        Printer {
            types: self,
            sent: true,
        }
    }

    /// Shows what callers get.
    pub(super) fn got(&self) -> Printer<'_> {
        Printer {
            types: self,
            sent: false,
        }
    }

    /// Every definition, exported.
    pub(super) fn exports(&self) -> String {
        let texts = self.declarations().map(|(_, text)| text + "\n");
        texts.collect()
    }

    /// Whether there is a definition of this name.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.names.values().any(|known| known == name)
    }

    /// Every definition by its name, with its words.
    pub(super) fn declarations(&self) -> impl Iterator<Item = (&str, String)> {
        self.definitions.iter().filter_map(|(name, schema)| {
            let printer = Printer {
                types: self,
                sent: self.sent.contains(name),
            };
            let name = self.names.get(name.as_str())?;
            Some((name.as_str(), printer.declaration(name, schema)))
        })
    }
}

impl Printer<'_> {
    fn declaration(self, name: &str, schema: &Value) -> String {
        let mut text = docs(schema, false, "");
        if let Some(options) = documented_options(schema) {
            let _ = writeln!(text, "export type {name} =");
            for (index, option) in options.iter().enumerate() {
                let end = if index + 1 == options.len() { ";" } else { "" };
                let _ = writeln!(
                    text,
                    "{}  | {}{end}",
                    docs(option, false, "  "),
                    self.show(option, "  ")
                );
            }
            return text;
        }
        let shown = self.of(schema, "");
        let is_record = shown.bond == Bond::Atom && shown.text.starts_with('{');
        let _ = if is_record {
            writeln!(text, "export interface {name} {}", shown.text)
        } else {
            writeln!(text, "export type {name} = {};", shown.text)
        };
        text
    }

    /// A schema as a type; further lines are indented by `indent`.
    pub(super) fn show(self, schema: &Value, indent: &str) -> String {
        self.of(schema, indent).text
    }

    fn of(self, schema: &Value, indent: &str) -> Type {
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return Type::atom("never"),
            _ => return Type::atom("unknown"),
        };
        if let Some(own) = schema.get("x-ts-type").and_then(Value::as_str) {
            // Whoever wrote it may have written a union.
            let bond = if own.contains(['|', '&']) {
                Bond::Union
            } else {
                Bond::Atom
            };
            return Type {
                text: own.to_owned(),
                bond,
            };
        }
        match schema.get("x-superjson").and_then(Value::as_str) {
            Some("bigint") => Type::atom("bigint"),
            Some("number") => Type::atom("number"),
            Some("map") => {
                let pair = schema
                    .get("items")
                    .map_or(&[][..], |i| list(i, "prefixItems"));
                let at = |index| {
                    pair.get(index)
                        .map_or("unknown".into(), |s| self.show(s, indent))
                };
                Type::atom(format!("Map<{}, {}>", at(0), at(1)))
            }
            Some("undefined") => {
                let inner = list_of(schema, "anyOf").first();
                let inner = inner.map_or(Type::atom("unknown"), |schema| self.of(schema, indent));
                Type::union(vec![inner, Type::atom("undefined")])
            }
            _ => self.composed(schema, indent),
        }
    }

    fn composed(self, schema: &Map<String, Value>, indent: &str) -> Type {
        let mut parts = Vec::new();
        if let Some(name) = schema.get("$ref").and_then(referred) {
            let name = self.types.names.get(name).map_or("unknown", String::as_str);
            parts.push(Type::atom(name));
        }
        for keyword in ["anyOf", "oneOf"] {
            if schema.contains_key(keyword) {
                let branches = list_of(schema, keyword).iter();
                parts.push(Type::union(branches.map(|s| self.of(s, indent)).collect()));
            }
        }
        parts.extend(list_of(schema, "allOf").iter().map(|s| self.of(s, indent)));
        if let Some(constant) = schema.get("const") {
            parts.push(Type::atom(constant.to_string()));
        } else if schema.contains_key("enum") {
            let constants = list_of(schema, "enum").iter();
            parts.push(Type::union(
                constants.map(|c| Type::atom(c.to_string())).collect(),
            ));
        } else {
            let types: Vec<Type> = types(schema)
                .into_iter()
                // `type: object` alone adds nothing to what stands beside it.
                .filter(|name| {
                    *name != "object" || parts.is_empty() || schema.contains_key("properties")
                })
                .map(|name| self.of_type(name, schema, indent))
                .collect();
            if !types.is_empty() {
                parts.push(Type::union(types));
            }
        }
        Type::intersection(parts)
    }

    fn of_type(self, name: &str, schema: &Map<String, Value>, indent: &str) -> Type {
        match name {
            "string" => match schema.get("format").and_then(Value::as_str) {
                Some("date-time") => Type::atom("Date"),
                _ => Type::atom("string"),
            },
            "integer" | "number" => Type::atom("number"),
            "boolean" => Type::atom("boolean"),
            "null" => Type::atom("null"),
            "array" => self.array(schema, indent),
            "object" => self.object(schema, indent),
            _ => Type::atom("unknown"),
        }
    }

    fn array(self, schema: &Map<String, Value>, indent: &str) -> Type {
        if schema.contains_key("prefixItems") {
            let items: Vec<String> = list_of(schema, "prefixItems")
                .iter()
                .map(|item| self.show(item, indent))
                .collect();
            return Type::atom(format!("[{}]", items.join(", ")));
        }
        let items = schema
            .get("items")
            .map_or(Type::atom("unknown"), |items| self.of(items, indent));
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            Type::atom(format!("Set<{}>", items.text))
        } else if items.bond == Bond::Atom {
            Type::atom(format!("{}[]", items.text))
        } else {
            Type::atom(format!("Array<{}>", items.text))
        }
    }

    fn object(self, schema: &Map<String, Value>, indent: &str) -> Type {
        let others = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .and_then(|patterns| patterns.values().next())
            .or_else(|| schema.get("additionalProperties"))
            .filter(|schema| **schema != Value::Bool(false));
        let others = others.map(|schema| self.show(schema, indent));
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            let values = others.unwrap_or_else(|| "never".into());
            return Type::atom(format!("Record<string, {values}>"));
        };
        let required: BTreeSet<&str> = list_of(schema, "required")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let inner = format!("{indent}  ");
        let mut text = String::from("{\n");
        for (name, schema) in properties {
            let mark = if required.contains(name.as_str()) {
                ""
            } else {
                "?"
            };
            let mut shown = self.of(schema, &inner);
            if self.sent && mark == "?" {
                shown = Type::union(vec![shown, Type::atom("undefined")]);
            }
            let _ = writeln!(
                text,
                "{}{inner}{}{mark}: {};",
                docs(schema, mark == "?", &inner),
                property_name(name),
                shown.text
            );
        }
        match others.as_deref() {
            // Fits beside any field, which an index of another type would not.
            Some("unknown") => {
                let _ = writeln!(text, "{inner}[key: string]: unknown;");
            }
            Some(others) => {
                let record = Type::atom(format!("Record<string, {others}>"));
                return Type::intersection(vec![Type::atom(text + indent + "}"), record]);
            }
            None => {}
        }
        Type::atom(text + indent + "}")
    }
}

/// A comment that editors show; nothing where there is nothing to say. A default is given where a
/// field may be left out.
fn docs(schema: &Value, optional: bool, indent: &str) -> String {
    let mut lines: Vec<String> = schema
        .get("description")
        .and_then(Value::as_str)
        .into_iter()
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect();
    if let Some(default) = schema.get("default").filter(|_| optional) {
        lines.push(format!("@default {default}"));
    }
    if schema.get("deprecated") == Some(&Value::Bool(true)) {
        lines.push("@deprecated".into());
    }
    comment(&lines, indent)
}

/// A documentation comment of these lines.
pub(super) fn comment(lines: &[String], indent: &str) -> String {
    let mut text = String::new();
    match lines {
        [] => {}
        [line] => {
            let _ = writeln!(text, "{indent}/** {} */", harmless(line));
        }
        lines => {
            let _ = writeln!(text, "{indent}/**");
            for line in lines {
                let line = format!("{indent} * {}", harmless(line));
                let _ = writeln!(text, "{}", line.trim_end());
            }
            let _ = writeln!(text, "{indent} */");
        }
    }
    text
}

fn harmless(line: &str) -> String {
    line.replace("*/", "*\\/")
}

/// A name of a property, quoted where it must be.
pub(super) fn property_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    if plain {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

fn identifier(name: &str) -> String {
    let mut identifier: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if identifier.starts_with(|c: char| c.is_ascii_digit()) {
        identifier.insert(0, '_');
    }
    if RESERVED.contains(&identifier.as_str()) {
        identifier.push('_');
    }
    identifier
}

/// Constants of which each says what it means.
fn documented_options(schema: &Value) -> Option<&[Value]> {
    let options = list(schema, "oneOf");
    let all_constant = options
        .iter()
        .all(|option| option.get("const").is_some() || option.get("enum").is_some());
    (!options.is_empty() && all_constant).then_some(options)
}

fn list<'v>(schema: &'v Value, keyword: &str) -> &'v [Value] {
    schema
        .get(keyword)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn list_of<'v>(schema: &'v Map<String, Value>, keyword: &str) -> &'v [Value] {
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
        _ => Vec::new(),
    }
}
