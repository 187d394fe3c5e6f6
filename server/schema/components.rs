//! The contract's types below `#/components/schemas`, where OpenRPC and OpenAPI keep them.

use serde_json::{Map, Value};

use super::contract::{Contract, referred};
use crate::config::Transformer;

const COMPONENTS: &str = "#/components/schemas/";

/// The definitions of a contract as one wire carries them.
pub(super) struct Components<'a> {
    contract: &'a Contract<'a>,
    transformer: Transformer,
}

impl<'a> Components<'a> {
    /// For a wire with this transformer.
    pub(super) fn new(contract: &'a Contract<'a>, transformer: Transformer) -> Self {
        Self {
            contract,
            transformer,
        }
    }

    /// Every definition.
    pub(super) fn schemas(&self) -> Map<String, Value> {
        let definitions = self.contract.definitions.iter();
        definitions
            .map(|(name, schema)| (name.clone(), self.place(schema)))
            .collect()
    }

    /// A schema with its references turned to where the document keeps them.
    pub(super) fn place(&self, schema: &Value) -> Value {
        match schema {
            Value::Object(object) => {
                let mut placed: Map<String, Value> = object
                    .iter()
                    .map(|(keyword, part)| {
                        let part = match referred(part).filter(|_| keyword == "$ref") {
                            Some(name) => reference(name),
                            None => self.place(part),
                        };
                        (keyword.clone(), part)
                    })
                    .collect();
                if self.transformer == Transformer::None {
                    drop_undefined(&mut placed);
                }
                placed.into()
            }
            Value::Array(list) => list.iter().map(|part| self.place(part)).collect(),
            value => value.clone(),
        }
    }
}

/// Where the document keeps a type.
pub(super) fn reference(name: &str) -> Value {
    format!("{COMPONENTS}{name}").into()
}

/// Fields that are `undefined` in JavaScript are absent in plain JSON, so they are not required.
fn drop_undefined(object: &mut Map<String, Value>) {
    let is_undefined = |schema: &Value| schema.get("x-superjson").is_some_and(|x| x == "undefined");
    let properties = object.get("properties").and_then(Value::as_object);
    let undefined: Vec<String> = properties
        .into_iter()
        .flatten()
        .filter(|(_, schema)| is_undefined(schema))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|name| undefined.iter().all(|undefined| name != undefined));
    }
}
