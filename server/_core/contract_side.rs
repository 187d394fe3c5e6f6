//! The two sides of the contract, and how the schema of a type is made for each.

use std::sync::Arc;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::Transform};
use serde_json::Value;

use super::shape::{OptionalFields, Shape};

/// Makes a schema with a generator of the contract's side.
pub type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// Which side of the contract a schema describes; a type may look different on the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractSide {
    /// What callers send.
    Input,
    /// What they get.
    Output,
}

impl ContractSide {
    /// The generator's settings for this side.
    pub fn settings(self) -> SchemaSettings {
        let settings = SchemaSettings::draft2020_12().with_transform(OptionalFields);
        match self {
            Self::Input => settings.for_deserialize(),
            Self::Output => settings.for_serialize(),
        }
    }

    pub(super) fn compile(self, schema: SchemaFn) -> Arc<Shape> {
        let mut generator = self.settings().into_generator();
        let root = root_schema(schema, &mut generator);
        Arc::new(Shape::compile(&root, &generator.take_definitions(true)))
    }
}

/// The generator transforms definitions only, not what it returns.
pub(super) fn root_schema(schema: SchemaFn, generator: &mut SchemaGenerator) -> Value {
    let mut schema = schema(generator);
    OptionalFields.transform(&mut schema);
    schema.to_value()
}
