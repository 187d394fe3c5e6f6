//! A JSON Schema compiled once, for two questions: is this input right, and where are the dates?
//!
//! The schema that describes a procedure to TypeScript is the same that judges its input: all faults
//! are reported at once, in the form that zod gave the front end (`code`, `path`, `message`), which
//! serde alone cannot do. Serde then only converts what is known to fit.
//!
//! What a schema says about texts beyond their length and `format: email` (`pattern`, `uuid`, …) is
//! documented for callers and left to serde.

mod check;
mod compile;
mod issue;
mod leaves;
mod optional;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

pub use issue::Issue;
pub(crate) use leaves::javascript_date;
pub use optional::OptionalFields;

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Anything at all, also nothing.
    Any,
    /// Nothing at all.
    Never,
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
        /// What each item may be.
        items: Box<Shape>,
        /// How many there may be.
        length: Length,
        /// Whether it is a set.
        set: bool,
    },
    /// A list of fixed length.
    Tuple(Vec<Shape>),
    /// Named fields.
    Object {
        /// Those that are known by name.
        fields: Vec<ShapeField>,
        /// What the others may be; `None` ignores them.
        additional: Option<Box<Shape>>,
        /// Whether it must be there even if all its fields are optional (`x-required`).
        required: bool,
    },
    /// A list of pairs (`x-superjson: map`); a `Map` in JavaScript.
    Map {
        /// The first of each pair.
        key: Box<Shape>,
        /// The second.
        value: Box<Shape>,
    },
    /// `null` here stands for `undefined` (`x-superjson: undefined`).
    UndefinedOr(Box<Shape>),
    /// Any of these.
    Union(Vec<Shape>),
    /// All of these at once.
    All(Vec<Shape>),
    /// A named definition, so that recursive types compile.
    Reference(ShapeReference),
}

/// One field of an object.
#[derive(Clone, Debug)]
pub struct ShapeField {
    /// As on the wire.
    pub name: String,
    /// Whether the key must be there.
    pub required: bool,
    /// What it may hold.
    pub shape: Shape,
    special: bool,
}

impl ShapeField {
    /// As [`Shape::is_special`], known beforehand.
    pub fn is_special(&self) -> bool {
        self.special
    }
}

/// A definition that may still be compiled, and may hold itself.
#[derive(Clone)]
pub struct ShapeReference {
    name: Arc<str>,
    special: bool,
    target: Arc<OnceLock<Shape>>,
}

impl ShapeReference {
    /// What it stands for.
    pub fn shape(&self) -> &Shape {
        // Every target is set before `compile` returns.
        self.target.get().unwrap_or(&Shape::Never)
    }
}

/// Only the name: the definition may hold itself.
impl fmt::Debug for ShapeReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({})", self.name)
    }
}

/// Bounds of a number.
#[derive(Clone, Debug, Default)]
pub struct NumberRule {
    /// No fraction.
    pub integer: bool,
    /// Least value.
    pub min: Option<Bound>,
    /// Greatest value.
    pub max: Option<Bound>,
    /// Texts that replace the standard ones (`x-messages`).
    pub messages: Messages,
}

/// One end of a range.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Where it lies.
    pub value: f64,
    /// Whether the value itself is within.
    pub inclusive: bool,
}

/// Bounds of a text, in UTF-16 code units as JavaScript counts them.
#[derive(Clone, Debug, Default)]
pub struct TextRule {
    /// How long it may be.
    pub length: Length,
    /// `format: email`, by zod's rule.
    pub email: bool,
    /// Whether a text that shows nothing counts as empty (`x-blank-is-empty`).
    pub blank_is_empty: bool,
}

/// How long a text or a list may be.
#[derive(Clone, Debug, Default)]
pub struct Length {
    /// Least length.
    pub min: Option<usize>,
    /// Greatest length.
    pub max: Option<usize>,
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

impl Shape {
    /// Whether a value of this shape can hold what JSON cannot say (a date, a set, `undefined`, …).
    ///
    /// Where it cannot, an output goes straight to text. Cheap: objects know it of their fields.
    pub fn is_special(&self) -> bool {
        match self {
            Self::SpecialNumber
            | Self::Date
            | Self::BigInt
            | Self::Map { .. }
            | Self::UndefinedOr(_)
            | Self::Array { set: true, .. } => true,
            Self::Array { items, .. } => items.is_special(),
            Self::Tuple(shapes) | Self::Union(shapes) | Self::All(shapes) => {
                shapes.iter().any(Self::is_special)
            }
            Self::Object {
                fields, additional, ..
            } => {
                fields.iter().any(|field| field.special)
                    || additional.as_ref().is_some_and(|shape| shape.is_special())
            }
            Self::Reference(reference) => reference.special,
            Self::Any
            | Self::Never
            | Self::Null
            | Self::Boolean
            | Self::Number(_)
            | Self::Text(_)
            | Self::Literal(_) => false,
        }
    }

    /// The shape itself, behind any names.
    pub fn resolve(&self) -> &Self {
        let mut shape = self;
        while let Self::Reference(reference) = shape {
            shape = reference.shape();
        }
        shape
    }

    /// The branch of a union that `value` takes: the only one, the one that accepts it, or the one
    /// with its tag.
    pub fn branch<'a>(branches: &'a [Self], value: &Value) -> Option<&'a Self> {
        let mut candidates = branches
            .iter()
            .filter(|branch| matches!(branch.resolve(), Self::Null) == value.is_null());
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(only),
            _ => branches
                .iter()
                .find(|branch| branch.accepts(value))
                .or_else(|| check::tagged_branch(branches, value)),
        }
    }

    /// What serde is given for an absent input that passed the check.
    pub fn undefined(&self) -> Value {
        match self.resolve() {
            Self::Object { .. } | Self::All(_) => Value::Object(serde_json::Map::new()),
            _ => Value::Null,
        }
    }

    /// Whether `undefined` will do: for an object whose fields are all optional, and where `null` would.
    pub fn takes_undefined(&self) -> bool {
        match self.resolve() {
            Self::Any | Self::Null | Self::UndefinedOr(_) => true,
            Self::Object {
                fields,
                additional,
                required,
            } => {
                !required
                    && fields.iter().all(|field| !field.required)
                    && !(fields.is_empty() && additional.is_some())
            }
            Self::Union(shapes) => shapes
                .iter()
                .any(|shape| matches!(shape.resolve(), Self::Null | Self::UndefinedOr(_))),
            Self::All(shapes) => {
                !shapes.is_empty()
                    && shapes.iter().all(|shape| {
                        matches!(shape.resolve(), Self::Object { .. } | Self::All(_))
                            && shape.takes_undefined()
                    })
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
