//! Where the kill switch and the live share are kept.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{actor::Actor, units::Percent},
    alerting::Alert,
};

/// What people steer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagPosition {
    /// Users below this share get the candidate.
    pub share: Percent,
    /// Whether everybody gets control, whatever the share.
    pub killed: bool,
}

/// One change, which is a line of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagChange {
    /// UUIDv7 text; also the id of its alert.
    pub id: String,
    /// The version that it made.
    pub version: i64,
    /// When it came into force.
    pub at: DateTime<Utc>,
    /// `user:7`, `settings`.
    pub actor: Actor,
    /// Why, in words.
    pub reason: String,
    /// What was in force before.
    pub before: FlagPosition,
    /// And after.
    pub after: FlagPosition,
}

/// The flag as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFlag {
    /// What is in force.
    pub position: FlagPosition,
    /// Counts the changes; 0 as first configured.
    pub version: i64,
    /// The share of the settings that was last taken over.
    pub configured: Percent,
    /// The change that made the version.
    pub last: Option<FlagChange>,
}

impl StoredFlag {
    /// Whether it was made by the same change. Not whether all is equal: a store keeps times to the
    /// millisecond.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let id = |flag: &Self| flag.last.as_ref().map(|last| last.id.clone());
        self.version == other.version && id(self) == id(other)
    }
}

/// Why a change was not written.
#[derive(Debug, thiserror::Error)]
pub enum FlagCommitError {
    /// Another process has changed the flag.
    #[error("another process has changed the flag")]
    Stale,
    /// The database failed.
    #[error("cannot write: {0:#}")]
    Store(anyhow::Error),
}

/// Where the flag is kept. Every process may write; the version gives the order.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// The flag; made with this share where there is none.
    async fn open_flag(&self, configured: Percent) -> anyhow::Result<StoredFlag>;
    /// The flag as it is now.
    async fn flag(&self) -> anyhow::Result<StoredFlag>;
    /// Writes the flag, its last change and the alerts, or nothing; [`FlagCommitError::Stale`]
    /// where the stored version is not the one before.
    async fn commit_flag(
        &self,
        flag: &StoredFlag,
        alert: Option<&Alert>,
    ) -> Result<(), FlagCommitError>;
    /// Changes with versions from `from` to `to`, oldest first, the newest `limit` of them.
    async fn flag_history(&self, from: i64, to: i64, limit: u32)
    -> anyhow::Result<Vec<FlagChange>>;
}
