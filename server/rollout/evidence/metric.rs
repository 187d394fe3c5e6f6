//! What is compared between the arms.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Requests that failed.
    Errors,
    /// Requests slower than control's P50, and than its P95: of streams their first words, of others the whole answer.
    Slow,
    /// Requests slower than control's P99, and timeouts.
    VerySlow,
    /// Answers that users rated bad.
    Feedback,
    /// Answers that are refused, cut off, not of the task's schema, or in another language.
    Quality,
}

impl Metric {
    /// Whether it is of latencies.
    pub const fn is_of_time(self) -> bool {
        matches!(self, Self::Slow | Self::VerySlow)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::VerySlow => "very-slow",
            Self::Feedback => "feedback",
            Self::Quality => "quality",
        })
    }
}
