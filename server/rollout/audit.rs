//! The history of a rollout, and its words.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// One decision with its evidence in words and figures.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When.
    pub at: DateTime<Utc>,
    /// `user:7`, `controller`.
    pub actor: String,
    /// What was done: `started`, `advanced`, `rolled-back`, …
    pub action: String,
    /// Why, in words.
    pub reason: String,
    /// The version that this made.
    pub version: i64,
    /// From where to where, and what was known, in sentences.
    pub text: String,
    /// The figures it was decided on.
    pub figures: Value,
}
