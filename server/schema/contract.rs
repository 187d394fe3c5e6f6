//! Both sides of the contract under one set of names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::_core::{
    contract_side::ContractSide,
    declared::PossibleError,
    procedure::{Accepts, Procedure},
    registry::{Registry, Schemas},
};

/// The start of a reference to a definition.
const DEFINITIONS: &str = "#/$defs/";

/// Every procedure with its schemas, and the definitions that they share.
///
/// A type may look different to those who send it and those who get it (a field with a default may
/// be left out, but is always there in answers). Such a type is there twice: `Thing` is what comes
/// out, `ThingInput` what goes in; so is every type that holds one.
pub struct Contract<'a> {
    /// By path.
    pub procedures: Vec<ContractEntry<'a>>,
    /// By name, in order.
    pub definitions: BTreeMap<String, Value>,
    /// The definitions of what callers send, some of which they also get.
    pub sent: BTreeSet<String>,
}

/// One procedure of the contract.
pub struct ContractEntry<'a> {
    /// As registered.
    pub procedure: &'a Procedure,
    /// What it does, line by line.
    pub docs: Vec<&'a str>,
    /// The input's schema; `None` where it takes none.
    pub input: Option<Value>,
    /// Whether the input may be left out.
    pub input_optional: bool,
    /// The output's schema; of one event's data for a subscription.
    pub output: Value,
    /// What can go wrong, by status.
    pub errors: Vec<ErrorEntry<'a>>,
}

impl<'a> ContractEntry<'a> {
    /// What it does, in the first line of its docs.
    pub fn summary(&self) -> &str {
        self.docs.first().copied().unwrap_or_default()
    }

    /// The first part of its path.
    pub fn namespace(&self) -> &'a str {
        let path = self.procedure.path;
        path.split_once('.')
            .map_or(path, |(namespace, _)| namespace)
    }

    /// The rest of its path.
    pub fn name(&self) -> &'a str {
        let path = self.procedure.path;
        path.split_once('.').map_or(path, |(_, name)| name)
    }
}

/// One error of a procedure.
pub struct ErrorEntry<'a> {
    /// As declared.
    pub error: &'a PossibleError,
    /// The schema of `data.details`; `None` where there are none.
    pub details: Option<Value>,
}

impl<'a> Contract<'a> {
    /// The contract of a registry.
    pub fn new(registry: &'a Registry) -> Self {
        let mut inputs = registry.schemas(ContractSide::Input);
        let mut outputs = registry.schemas(ContractSide::Output);
        let renamed = input_names(&inputs.definitions, &outputs.definitions);
        rename(&mut inputs, &renamed);
        let procedures = registry
            .iter()
            .map(|procedure| {
                let takes_input = procedure.accepts != Accepts::Nothing;
                let input = inputs.procedures.remove(procedure.path);
                let details = outputs.details.remove(procedure.path).unwrap_or_default();
                let errors = procedure.errors.iter().zip(details);
                ContractEntry {
                    procedure,
                    docs: procedure.docs.lines().map(str::trim).collect(),
                    input: input.filter(|_| takes_input),
                    input_optional: procedure.accepts == Accepts::Json
                        && procedure.input.takes_undefined(),
                    output: outputs
                        .procedures
                        .remove(procedure.path)
                        .unwrap_or_default(),
                    errors: errors
                        .map(|(error, details)| ErrorEntry { error, details })
                        .collect(),
                }
            })
            .collect();
        Self {
            procedures,
            sent: inputs.definitions.keys().cloned().collect(),
            definitions: outputs
                .definitions
                .into_iter()
                .chain(inputs.definitions)
                .collect(),
        }
    }
}

/// New names for the definitions of the input side that differ from their namesakes.
fn input_names(
    inputs: &Map<String, Value>,
    outputs: &Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut different: BTreeSet<&str> = inputs
        .iter()
        .filter(|(name, schema)| outputs.get(*name).is_some_and(|other| other != *schema))
        .map(|(name, _)| name.as_str())
        .collect();
    loop {
        let more: Vec<&str> = inputs
            .iter()
            .map(|(name, schema)| (name.as_str(), schema))
            .filter(|(name, _)| outputs.contains_key(*name) && !different.contains(name))
            .filter(|(_, schema)| refers_to(schema, &different))
            .map(|(name, _)| name)
            .collect();
        if more.is_empty() {
            break;
        }
        different.extend(more);
    }
    let mut names = BTreeMap::new();
    let mut taken: BTreeSet<String> = inputs.keys().chain(outputs.keys()).cloned().collect();
    for name in different {
        let mut new = format!("{name}Input");
        while !taken.insert(new.clone()) {
            new.push('_');
        }
        names.insert(name.to_owned(), new);
    }
    names
}

fn refers_to(schema: &Value, names: &BTreeSet<&str>) -> bool {
    match schema {
        Value::Object(schema) => {
            schema
                .get("$ref")
                .and_then(referred)
                .is_some_and(|name| names.contains(name))
                || schema.values().any(|part| refers_to(part, names))
        }
        Value::Array(parts) => parts.iter().any(|part| refers_to(part, names)),
        _ => false,
    }
}

/// The name that a `$ref` leads to.
pub(super) fn referred(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix(DEFINITIONS)
}

fn rename(schemas: &mut Schemas, names: &BTreeMap<String, String>) {
    schemas.definitions = std::mem::take(&mut schemas.definitions)
        .into_iter()
        .map(|(name, schema)| (names.get(&name).cloned().unwrap_or(name), schema))
        .collect();
    schemas
        .definitions
        .values_mut()
        .chain(schemas.procedures.values_mut())
        .for_each(|schema| rename_references(schema, names));
}

fn rename_references(schema: &mut Value, names: &BTreeMap<String, String>) {
    match schema {
        Value::Object(schema) => {
            for (keyword, part) in schema {
                match referred(part).filter(|_| keyword == "$ref") {
                    Some(name) => {
                        if let Some(new) = names.get(name) {
                            *part = format!("{DEFINITIONS}{new}").into();
                        }
                    }
                    None => rename_references(part, names),
                }
            }
        }
        Value::Array(parts) => parts
            .iter_mut()
            .for_each(|part| rename_references(part, names)),
        _ => {}
    }
}
