//! Who changed what, whatever it was: rollouts, the kill switch with the live share, keys, users, sessions,
//! moves of procedures, settings, and who opened texts.
//!
//! Each of these has a history of its own, to which lines are only added; here they are one list.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use super::audited::AuditSubject;

use super::audited::AuditedState;
use crate::_core::actor::Actor;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Names the line.
    pub id: String,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// What was changed.
    pub subject: AuditSubject,
    /// Which one: a rollout's id, a name, a user's number; none for flags, of which there is one set.
    pub subject_id: Option<String>,
    /// Who did it; none where that is not kept.
    pub actor: Option<Actor>,
    /// What was done.
    pub action: String,
    /// How it was before; none at a beginning, and where that is not kept or cannot be read.
    pub before: Option<AuditedState>,
    /// How it was after; none where that is not kept or cannot be read.
    pub after: Option<AuditedState>,
    /// The reason that was given; none where none is asked for.
    pub reason: Option<String>,
    /// The version that this made, where versions are counted.
    pub version: Option<i64>,
}

/// Which changes are asked for; what is not given is not looked at.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// What was changed: one of these, each once.
    pub subjects: Vec<AuditSubject>,
    /// Which one: a rollout's id, the name of a key or a setting, a user's number.
    pub subject_id: Option<String>,
    /// By whom, as histories name it: `user:7`, `controller`.
    pub actor: Option<String>,
    /// At or after, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Before, in milliseconds since 1970.
    pub to_ms: Option<i64>,
}

/// A place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPlace {
    /// When the line was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its id.
    pub id: String,
}

/// Where the histories are looked up.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// The newest changes before a place.
    async fn changes(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<AuditEntry>>;

    /// When the newest change was made, in milliseconds since 1970; `None` before the first.
    async fn newest_ms(&self) -> anyhow::Result<Option<i64>>;
}
