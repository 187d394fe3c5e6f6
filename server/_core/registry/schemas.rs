//! The schemas of the procedures' inputs and outputs, as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Registry;
use crate::_core::{
    contract_side::{ContractSide, root_schema},
    procedure::Procedure,
};

impl Registry {
    /// Schemas of one side of the contract: each procedure's, and the definitions they share.
    pub fn schemas(&self, side: ContractSide) -> Schemas {
        let mut generator = side.settings().into_generator();
        let of = |p: &Procedure| match side {
            ContractSide::Input => p.input_schema,
            ContractSide::Output => p.output_schema,
        };
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
