//! The schemas of the procedures' inputs and outputs, as JSON.

use std::{collections::BTreeMap, sync::Arc};

use schemars::{SchemaGenerator, generate::SchemaSettings, transform::Transform};
use serde_json::{Map, Value};

use super::Registry;
use crate::_core::{
    procedure::{Procedure, SchemaFn},
    shape::{OptionalFields, Shape},
};

impl Registry {
    /// Schemas of one side of the contract: each procedure's, and the definitions they share.
    pub fn schemas(&self, side: ContractSide) -> Schemas {
        let mut generator = side.settings().into_generator();
        let of = side.of();
        let procedures = self
            .iter()
            .map(|p| (p.path, root_schema(of(p), &mut generator)))
            .collect();
        let details = self
            .iter()
            .filter(|_| side == ContractSide::Output)
            .map(|p| {
                let errors = p.errors.iter();
                let schemas =
                    errors.map(|error| Some(root_schema(error.details_schema?, &mut generator)));
                (p.path, schemas.collect())
            });
        Schemas {
            procedures,
            details: details.collect(),
            definitions: generator.take_definitions(true),
        }
    }
}

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

    fn of(self) -> fn(&Procedure) -> SchemaFn {
        match self {
            Self::Input => |p| p.input_schema,
            Self::Output => |p| p.output_schema,
        }
    }

    pub(in crate::_core) fn compile(self, schema: SchemaFn) -> Arc<Shape> {
        let mut generator = self.settings().into_generator();
        let root = root_schema(schema, &mut generator);
        Arc::new(Shape::compile(&root, &generator.take_definitions(true)))
    }
}

/// The generator transforms definitions only, not what it returns.
fn root_schema(schema: SchemaFn, generator: &mut SchemaGenerator) -> Value {
    let mut schema = schema(generator);
    OptionalFields.transform(&mut schema);
    schema.to_value()
}

/// The schemas of one side.
#[derive(Debug)]
pub struct Schemas {
    /// By procedure.
    pub procedures: BTreeMap<&'static str, Value>,
    /// By procedure, what the details of each of its errors are, on the side of the output.
    pub details: BTreeMap<&'static str, Vec<Option<Value>>>,
    /// By type name, as `$defs`.
    pub definitions: Map<String, Value>,
}
