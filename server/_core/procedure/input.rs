//! What a procedure takes: JSON that fits a shape, a form, bytes, or nothing.

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::_core::{
    errors::{ErrorCode, RpcError},
    shape::Shape,
};

/// What came with a call, after the transport has undone its encoding.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing, or JavaScript's `undefined`.
    #[default]
    Absent,
    /// A JSON value.
    Json(Value),
    /// `multipart/form-data`.
    Form(FormData),
    /// `application/octet-stream`.
    Binary(Bytes),
}

/// Which bodies a procedure takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// JSON, the rule.
    Json,
    /// `multipart/form-data`.
    Form,
    /// `application/octet-stream`.
    Binary,
    /// No input; whatever comes is ignored.
    Nothing,
}

/// The fields of a `multipart/form-data` body, in order.
#[derive(Debug, Default)]
pub struct FormData(pub Vec<FormField>);

/// One field of a form.
#[derive(Debug)]
pub struct FormField {
    /// The field's name.
    pub name: String,
    /// Set for files.
    pub file_name: Option<String>,
    /// The content.
    pub bytes: Bytes,
}

/// A type that can be a procedure's input.
pub trait ProcedureInput: Sized + Send + 'static {
    /// Which body it is read from.
    const ACCEPTS: Accepts;
    /// Its schema for callers.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
    /// Checks against the shape, then converts.
    fn parse(input: Input, shape: &Shape) -> Result<Self, RpcError>;
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> ProcedureInput for T {
    const ACCEPTS: Accepts = Accepts::Json;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }

    fn parse(input: Input, shape: &Shape) -> Result<Self, RpcError> {
        let value = match input {
            Input::Json(value) => Some(value),
            Input::Absent => None,
            Input::Form(_) | Input::Binary(_) => return Err(unsupported_body(Accepts::Json)),
        };
        let issues = shape.check(value.as_ref());
        if !issues.is_empty() {
            return Err(RpcError::bad_request(
                serde_json::to_string_pretty(&issues).map_err(RpcError::internal)?,
            ));
        }
        let mut value = value.unwrap_or_else(|| shape.undefined());
        shape.settle_integers(&mut value);
        serde_json::from_value(value).map_err(|error| RpcError::bad_request(error.to_string()))
    }
}

impl ProcedureInput for FormData {
    const ACCEPTS: Accepts = Accepts::Form;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "FormData" })
    }

    fn parse(input: Input, _: &Shape) -> Result<Self, RpcError> {
        match input {
            Input::Form(form) => Ok(form),
            _ => Err(unsupported_body(Accepts::Form)),
        }
    }
}

/// A raw `application/octet-stream` body.
#[derive(Debug)]
pub struct Binary(pub Bytes);

impl ProcedureInput for Binary {
    const ACCEPTS: Accepts = Accepts::Binary;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "Blob | Uint8Array" })
    }

    fn parse(input: Input, _: &Shape) -> Result<Self, RpcError> {
        match input {
            Input::Binary(bytes) => Ok(Self(bytes)),
            _ => Err(unsupported_body(Accepts::Binary)),
        }
    }
}

/// The input of a procedure that takes none; a client sends an empty object.
#[derive(Debug, Serialize)]
pub struct NoInput {}

impl ProcedureInput for NoInput {
    const ACCEPTS: Accepts = Accepts::Nothing;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "void" })
    }

    fn parse(_: Input, _: &Shape) -> Result<Self, RpcError> {
        Ok(Self {})
    }
}

fn unsupported_body(accepts: Accepts) -> RpcError {
    let expected = match accepts {
        Accepts::Form => "multipart/form-data",
        Accepts::Binary => "application/octet-stream",
        Accepts::Json | Accepts::Nothing => "application/json",
    };
    RpcError::new(
        ErrorCode::UnsupportedMediaType,
        format!("this procedure takes a body of type `{expected}`"),
    )
}
