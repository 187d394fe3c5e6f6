//! What kind of failure an attempt met, whose it was, and whether another model can help.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request itself is wrong; no model will take it.
    BadRequest,
    /// Too long for this model's context; a larger one may take it.
    ContextLength,
    /// The provider refuses our key (401).
    Authentication,
    /// Out of credits (402).
    Payment,
    /// Refused by policy or moderation (403).
    Refused,
    /// The model does not exist there (404).
    NotFound,
    /// Too many requests to the platform as a whole, for this account.
    RateLimited,
    /// Too many requests to this model's provider.
    ProviderRateLimited,
    /// No answer in time.
    Timeout,
    /// The connection could not be made or broke.
    Connection,
    /// The provider failed (5xx, or an error in a 200).
    Upstream,
    /// An answer that cannot be read, or without a choice.
    InvalidReply,
}
