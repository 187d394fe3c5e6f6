//! Which users are in a rollout: a hash of salt and subject, compared with the share.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of the two routes serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The models in use so far.
    Control,
    /// The models being rolled out.
    Candidate,
}

/// Who is assigned: a user of the database, or whatever id an API caller brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A positive user id.
    User(i64),
    /// An opaque id, not empty.
    Opaque(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Opaque(id) => id.fmt(f),
        }
    }
}
