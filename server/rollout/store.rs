//! Where rollouts are kept: everything that one decision changes, in one transaction.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    evidence::UserHistory,
    placebos::KeptPlacebo,
    record::{Action, Damaged, Record, Standing},
    status::Status,
    trials::Trial,
};
use crate::{
    _core::actor::Actor,
    alerting::Alert,
    recording::{Batch, Event, Ordered},
};

/// A rollout as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRollout {
    /// UUIDv7 text.
    pub id: String,
    /// The plan as it was when the rollout began, as JSON.
    pub plan: Value,
    /// `status::Status` as JSON.
    pub status: Value,
    /// Counts the changes; what a change is based on.
    pub version: i64,
    /// The `observation::Ledger` as JSON; floats are written so that they read back bit-equal.
    pub evidence: Value,
    /// The number of the last event that the evidence holds.
    pub cursor: i64,
    /// Not one of the final states.
    pub is_live: bool,
}

/// Where a rollout is, without all that it is judged on.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredStatus {
    /// UUIDv7 text.
    pub id: String,
    /// `status::Status` as JSON, as it is stored: where one rollout is damaged, the others are told all the same.
    pub status: String,
    /// Counts the changes.
    pub version: i64,
    /// Not one of the final states.
    pub is_live: bool,
}

/// What is said of a rollout of which this part cannot be read in the database, and what a person does then.
pub fn damaged(id: &str, part: &str) -> String {
    format!(
        "rollout `{id}` is damaged: its {part} in the database cannot be read, and whom it gives which model is not \
         known without it. Restore the newest copy of the database (`modelramp restore --replace FILE`), or start the \
         release that wrote it"
    )
}

impl StoredStatus {
    /// The status that is stored.
    ///
    /// # Errors
    ///
    /// Where it cannot be read; the words say what to do then.
    pub fn read(&self) -> anyhow::Result<Status> {
        serde_json::from_str(&self.status)
            .and_then(|status| Status::read(&status, self.version))
            .with_context(|| damaged(&self.id, "status"))
    }
}

/// One line of a rollout's history.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// UUIDv7 text.
    pub id: String,
    /// The id of the rollout that it is about.
    pub rollout_id: String,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// Where the rollout was before; none at its start.
    pub before: Option<Standing>,
    /// And after.
    pub after: Standing,
    /// What was known; an error where what is stored of it cannot be read.
    pub record: Result<Record, Damaged>,
    /// The version that this made.
    pub version: i64,
}

/// All that one tick changes, written together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Where the log ends before this: the number of its last event.
    pub head: i64,
    /// Batches that are not stored yet, in their order.
    pub batches: Vec<Ordered>,
    /// Rollouts whose evidence or status moved.
    pub rollouts: Vec<RolloutChange>,
}

impl Commit {
    /// Where the log ends after this.
    pub fn new_head(&self) -> i64 {
        self.batches.last().map_or(self.head, Ordered::last_seq)
    }

    /// What the rollouts' mark is after this.
    pub fn moves(&self, (count, versions): RolloutsMark) -> RolloutsMark {
        let new = self.rollouts.iter().filter(|it| it.based_on.is_none());
        let versions_of = |it: &RolloutChange| it.rollout.version - it.based_on.unwrap_or(0);
        let more: i64 = self.rollouts.iter().map(versions_of).sum();
        (count + new.count() as i64, versions + more)
    }
}

/// What happened to one rollout.
#[derive(Clone, Debug)]
pub struct RolloutChange {
    /// As it is to be stored; `version` is the new one.
    pub rollout: StoredRollout,
    /// The version this is based on; `None` makes a new rollout. Equal to the new one where only
    /// evidence moved.
    pub based_on: Option<i64>,
    /// The line of the history, where the status changed.
    pub audit: Option<AuditRow>,
    /// Its alerts, in the same transaction.
    pub alerts: Vec<Alert>,
}

/// Why a commit was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the rollout first.
    #[error("rollout `{rollout_id}` is at version {current}, not {based_on}")]
    Stale {
        /// The rollout's id.
        rollout_id: String,
        /// What the change was based on.
        based_on: i64,
        /// What is stored.
        current: i64,
    },
    /// Another process holds the writer's lease, or the log does not end where this one believes.
    #[error("another process controls the rollouts")]
    Fenced,
    /// The database failed.
    #[error("cannot write: {0}")]
    Store(#[source] anyhow::Error),
}

/// The right to write, as one process has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Grows with each holder, so that an old one is refused.
    pub number: i64,
    /// Who holds it: another name with each start of a process.
    pub holder: Arc<str>,
    /// The process's number as a writer of batches, which nobody else has or gets.
    pub writer: i64,
}

/// What is another as soon as a rollout begins or changes: how many there are, and the sum of their versions.
pub type RolloutsMark = (i64, i64);

/// How far a process is with its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its number as a writer.
    pub writer: i64,
    /// The last of its batches that is stored.
    pub stored: i64,
    /// The last of them that has its place in the log.
    pub ordered: i64,
}

/// Where rollouts are kept.
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// Whether other processes may add to the log.
    fn is_shared(&self) -> bool;
    /// Takes the lease and registers this process as a writer; `None` while another process has the lease. On
    /// SQLite it is a lock on a file beside the database; on PostgreSQL it lasts 10 s by the clock of the
    /// database, and is renewed every 2.5 s.
    async fn acquire(&self, holder: &str, now: DateTime<Utc>) -> anyhow::Result<Option<Fence>>;
    /// Prolongs the lease; `false` if it was lost.
    async fn renew(&self, fence: &Fence) -> anyhow::Result<bool>;
    /// Gives the lease back, at a clean stop.
    async fn release(&self, fence: &Fence, now: DateTime<Utc>) -> anyhow::Result<()>;
    /// Another value as soon as a rollout was changed; costs little.
    async fn mark(&self) -> anyhow::Result<RolloutsMark>;
    /// All rollouts, the newest first. There may be years of them, so it is their status alone.
    async fn statuses(&self) -> anyhow::Result<Vec<StoredStatus>>;
    /// One rollout, whole.
    async fn rollout(&self, id: &str) -> anyhow::Result<Option<StoredRollout>> {
        Ok(self.rollouts(&[id.to_owned()]).await?.pop())
    }
    /// Those of these that there are, whole, in any order.
    async fn rollouts(&self, ids: &[String]) -> anyhow::Result<Vec<StoredRollout>>;
    /// Writes all of it, or nothing; only where the log ends at the commit's head.
    async fn commit(&self, fence: &Fence, commit: &Commit) -> Result<(), CommitError>;
    /// A rollout's history, oldest first.
    async fn audit(&self, rollout_id: &str) -> anyhow::Result<Vec<AuditRow>>;
    /// Lines of the history of all rollouts after this place, at most `limit`, in the order in which they were
    /// written, each with its place.
    async fn audit_after(&self, place: i64, limit: usize) -> anyhow::Result<Vec<(i64, AuditRow)>>;
    /// The place of the last line of the history, 0 before the first.
    async fn last_place(&self) -> anyhow::Result<i64>;
    /// The place of the line that made this version of a rollout; of the last line before this time where there
    /// is none.
    async fn place_of(&self, id: &str, version: i64, at_ms: i64) -> anyhow::Result<i64>;
    /// Events of a rollout after this number, in order, at most `limit`.
    async fn events_of(
        &self,
        rollout_id: &str,
        after: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>>;
    /// What every subject did in the time before a rollout, in these tasks or in all where there are none,
    /// for its strata.
    async fn history_by_subject(
        &self,
        from_ms: i64,
        to_ms: i64,
        tasks: &[String],
    ) -> anyhow::Result<Vec<UserHistory>>;
    /// Where the log ends: the number of its last event, 0 before the first.
    async fn head(&self) -> anyhow::Result<i64>;
    /// The newest trial of two models for a task.
    async fn newest_trial(
        &self,
        task: &str,
        control: &str,
        candidate: &str,
    ) -> anyhow::Result<Option<Trial>>;
    /// The newest placebo rollouts of a plan.
    async fn newest_placebo(&self, plan: &str) -> anyhow::Result<Option<KeptPlacebo>>;
    /// The number of the last batch that is stored of a writer.
    async fn last_batch(&self, writer: i64) -> anyhow::Result<i64>;
    /// Registers a process that does not lead as a writer; `None` where only the one that leads can be one,
    /// as on SQLite.
    async fn enter(&self, holder: &str, now: DateTime<Utc>) -> anyhow::Result<Option<i64>>;
    /// Stores a batch that has no place in the log yet, where the last that is stored of its writer has the number
    /// `after`. The number of the last that is stored now: the batch's, or else that of a later one whose answer
    /// was lost, or of an earlier one where the database went back.
    ///
    /// # Errors
    ///
    /// Also where the number is not this holder's, as in a database that went back to before it had one.
    async fn append(
        &self,
        holder: &str,
        writer: i64,
        after: i64,
        batch: &Batch,
    ) -> anyhow::Result<i64>;
    /// Whether this failure is one of what was to be written, and comes again however often it is tried.
    fn refuses(&self, error: &anyhow::Error) -> bool;
    /// Which of these events it refuses, by their place in the list. Stores nothing.
    async fn refused(&self, events: &[Event]) -> anyhow::Result<Vec<usize>>;
    /// How far processes are that may still add to the log, and where the log ends at that moment.
    async fn positions(&self) -> anyhow::Result<(i64, Vec<Position>)>;
    /// The next batches of a writer after this number, in order, some thousand events at once.
    async fn batches(&self, writer: i64, after: i64) -> anyhow::Result<Vec<Batch>>;
}
