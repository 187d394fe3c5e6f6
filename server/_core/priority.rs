//! How urgent a call is, where calls have to wait for each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who goes first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A person waits.
    #[default]
    Interactive,
    /// Nobody waits, but it should not take for ever.
    Background,
    /// When nothing else is to be done.
    Batch,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Background, Self::Batch];

    /// As callers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
            Self::Batch => "batch",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}
