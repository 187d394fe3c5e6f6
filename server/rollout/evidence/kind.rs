//! Outcomes that are not counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An outcome that is not an error of the model, as far as one request can tell; named as in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Kind")]
pub enum UncountedKind {
    /// Too long for the model.
    ContextLength,
    /// The request itself is wrong.
    BadRequest,
    /// Forbidden by policy or moderation.
    Refused,
    /// An answer that says no.
    RefusedAnswer,
}

impl UncountedKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::ContextLength,
        Self::BadRequest,
        Self::Refused,
        Self::RefusedAnswer,
    ];

    /// As it is serialised, and as events are.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContextLength => "context-length",
            Self::BadRequest => "bad-request",
            Self::Refused => "refused",
            Self::RefusedAnswer => "refused-answer",
        }
    }
}
