//! Who used how many tokens, and how much money.

use schemars::JsonSchema;
use serde::Deserialize;

/// What the sums differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Spender {
    /// The model that was asked.
    Model,
    /// Control and candidate.
    Variant,
    /// The task.
    Task,
    /// The user that asked, by its number.
    User,
    /// The program's key, by its name. It is counted by days of UTC, with what its calls under way have reserved.
    Key,
}

/// What one of them used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Its name or number; `None` where nobody knows who it was.
    pub name: Option<String>,
    /// Attempts; `None` where they are not counted.
    pub attempts: Option<i64>,
    /// Tokens, read and written.
    pub tokens: i64,
    /// Tokens written, of these; `None` where they are not counted apart.
    pub written: Option<i64>,
    /// Millionths of a US dollar.
    pub cost: i64,
}
