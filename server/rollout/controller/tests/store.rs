//! A store in memory that fails when the test wants.

use std::collections::VecDeque;

use anyhow::Context as _;
use async_trait::async_trait;
use parking_lot::Mutex;

mod written;

use super::{
    link::{Late, Link},
    *,
};
use crate::{
    alerting::Alert,
    recording::{Batch, Event, Ordered},
    rollout::{
        evidence::UserHistory,
        placebos::KeptPlacebo,
        store::{Commit, CommitError, Position, RolloutsMark, StoredStatus},
        trials::Trial,
    },
};

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    /// Nothing is written.
    Before,
    /// All is written, and the answer is lost.
    After,
}

#[derive(Clone, Default)]
pub(super) struct Database {
    pub(super) rollouts: Vec<StoredRollout>,
    pub(super) audit: Vec<AuditRow>,
    pub(super) alerts: Vec<Alert>,
    pub(super) events: Vec<Event>,
    pub(super) trials: Vec<Trial>,
    holder: Option<String>,
    /// Whether its lease has run out, or was given back: the next who wants it has it.
    is_free: bool,
    fence: i64,
    /// Their names, and the last batch of each.
    writers: Vec<(String, i64)>,
    /// Of all writers.
    batches: Vec<Batch>,
    /// The last batch of each writer that has its place.
    ordered: HashMap<i64, i64>,
    /// Whether several processes add to the log.
    pub(super) is_shared: bool,
    head: i64,
    starts: usize,
    /// How often all rollouts were listed.
    pub(super) lists: usize,
    /// How often rollouts were read whole.
    pub(super) reads: usize,
    /// Commits since the beginning.
    pub(super) commits: usize,
    failures: VecDeque<Option<Failure>>,
    pub(super) is_full: bool,
    /// Nothing is answered.
    pub(super) is_away: bool,
    /// Commits wait.
    pub(super) is_hanging: bool,
    /// What users did is not read to its end yet.
    pub(super) is_reading: bool,
    /// From when to when what users did was asked for, in milliseconds since 1970.
    pub(super) histories: Vec<(i64, i64)>,
    /// Lowerings that processes handed over.
    pub(super) asked: Vec<fleet::Handed>,
    /// Events of this request are refused.
    pub(super) refused: Option<&'static str>,
    /// As it was after each of the last writes, the oldest first, where a standby follows it.
    before: Option<VecDeque<Database>>,
}

/// What is said where an event is refused.
const REFUSED: &str = "the table refuses the event";

/// Writes that a standby may lack.
const MOST_BEHIND: usize = 12;

impl Database {
    /// The next commits succeed.
    pub(super) fn clear_failures(&mut self) {
        self.failures.clear();
    }

    /// A standby follows it from now on.
    pub(super) fn follow(&mut self) {
        self.before = Some(VecDeque::new());
        self.note();
    }

    fn refuses(&self, event: &Event) -> bool {
        self.refused.is_some_and(|it| *event.request_id == *it)
    }

    /// Something was written.
    pub(super) fn note(&mut self) {
        let Some(mut before) = self.before.take() else {
            return;
        };
        if before.len() > MOST_BEHIND {
            before.pop_front();
        }
        before.push_back(self.clone());
        self.before = Some(before);
    }

    /// A standby takes its place that lacks so many of the last writes, or all that are known.
    pub(super) fn fail_over(&mut self, writes: usize) {
        let Some(mut before) = self.before.take() else {
            return;
        };
        for _ in 0..writes {
            if before.len() > 1 {
                before.pop_back();
            }
        }
        let (starts, writers) = (self.starts, self.writers.clone());
        if let Some(then) = before.back() {
            *self = then.clone();
        }
        // No two processes have one name, and none is forgotten: it registered long before.
        self.starts = starts;
        let known = self.writers.len();
        let new = writers.into_iter().skip(known);
        self.writers.extend(new.map(|(holder, _)| (holder, 0)));
        self.before = Some(before);
    }

    /// The last batch that it has of a process.
    pub(super) fn last_batch_of(&self, holder: &str) -> i64 {
        let row = self.writers.iter().find(|(it, _)| it == holder);
        row.map_or(0, |(_, last)| *last)
    }

    /// Whether a writer's batch holds an event of this request, with a place in the log or without.
    pub(super) fn has_stored(&self, request: &str) -> bool {
        let mut events = self.batches.iter().flat_map(|it| it.events.iter());
        events.any(|it| *it.request_id == *request)
    }

    /// Whether a process has the lease, and has not given it back.
    pub(super) fn is_led_by(&self, holder: &str) -> bool {
        !self.is_free && self.holder.as_deref() == Some(holder)
    }

    /// Whether nobody has taken the lease since.
    fn is_held_by(&self, fence: &Fence) -> bool {
        self.fence == fence.number && self.holder.as_deref() == Some(&*fence.holder)
    }

    fn register(&mut self, holder: &str) -> i64 {
        let known = self.writers.iter().position(|(it, _)| it == holder);
        let writer = known.unwrap_or_else(|| {
            self.writers.push((holder.to_owned(), 0));
            self.writers.len() - 1
        });
        writer as i64
    }
}

/// The way of one process to a database.
#[derive(Default)]
pub(super) struct MemoryStore(pub(super) Arc<Mutex<Database>>, pub(super) Link);

impl MemoryStore {
    /// The way of another process to the same database.
    pub(super) fn another(&self) -> Arc<Self> {
        Arc::new(Self(self.0.clone(), Link::default()))
    }

    /// A write arrives whose process has given it up; it may arrive once more.
    pub(super) fn arrive(&self, is_doubled: bool) -> bool {
        let Some(late) = self.1.take(is_doubled) else {
            return false;
        };
        let mut db = self.0.lock();
        if db.is_away || db.is_full {
            return false;
        }
        let failures = std::mem::take(&mut db.failures);
        // Nobody hears what comes of it.
        match late {
            Late::Commit(fence, commit) => drop(db.commit(&fence, &commit)),
            Late::Append(holder, writer, after, batch) => {
                drop(db.append(&holder, writer, after, &batch));
            }
        }
        db.failures = failures;
        true
    }

    /// What the next commits do.
    pub(super) fn fail(&self, failures: impl IntoIterator<Item = Option<Failure>>) {
        self.0.lock().failures.extend(failures);
    }

    /// The database, where it answers.
    pub(super) fn there(&self) -> anyhow::Result<parking_lot::MutexGuard<'_, Database>> {
        anyhow::ensure!(!self.1.is_cut(), "there is no way to the database");
        let db = self.0.lock();
        anyhow::ensure!(!db.is_away, "the database does not answer");
        Ok(db)
    }

    /// One that several processes add to.
    pub(super) fn shared() -> Arc<Self> {
        let store = Self::default();
        store.0.lock().is_shared = true;
        Arc::new(store)
    }

    /// Counts the processes that start on it.
    pub(super) fn starts(&self) -> usize {
        let mut db = self.0.lock();
        db.starts += 1;
        db.starts
    }

    /// As after the death of the process that held it.
    pub(super) fn forget_holder(&self) {
        self.0.lock().is_free = true;
    }
}

#[async_trait]
impl RolloutStore for MemoryStore {
    fn is_shared(&self) -> bool {
        self.0.lock().is_shared
    }

    async fn acquire(&self, holder: &str, _now: DateTime<Utc>) -> anyhow::Result<Option<Fence>> {
        let mut db = self.there()?;
        let is_others = db.holder.as_deref().is_some_and(|it| it != holder);
        if is_others && !db.is_free {
            return Ok(None);
        }
        db.is_free = false;
        db.holder = Some(holder.to_owned());
        db.fence += 1;
        let writer = db.register(holder);
        db.note();
        Ok(Some(Fence {
            number: db.fence,
            holder: holder.into(),
            writer,
        }))
    }

    async fn mark(&self) -> anyhow::Result<RolloutsMark> {
        let db = self.there()?;
        let versions = db.rollouts.iter().map(|it| it.version);
        Ok((db.rollouts.len() as i64, versions.sum()))
    }

    async fn renew(&self, fence: &Fence) -> anyhow::Result<bool> {
        let mut db = self.there()?;
        let is_held = db.is_held_by(fence);
        db.is_free &= !is_held;
        Ok(is_held)
    }

    async fn release(&self, fence: &Fence, _now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut db = self.there()?;
        db.is_free |= db.is_held_by(fence);
        Ok(())
    }

    async fn statuses(&self) -> anyhow::Result<Vec<StoredStatus>> {
        let mut db = self.there()?;
        db.lists += 1;
        let newest = db.rollouts.iter().rev().map(|it| StoredStatus {
            id: it.id.clone(),
            status: it.status.to_string(),
            version: it.version,
            is_live: it.is_live,
        });
        Ok(newest.collect())
    }

    async fn rollouts(&self, ids: &[String]) -> anyhow::Result<Vec<StoredRollout>> {
        let mut db = self.there()?;
        db.reads += 1;
        let rollouts = db.rollouts.iter().filter(|it| ids.contains(&it.id));
        Ok(rollouts.cloned().collect())
    }

    async fn commit(&self, fence: &Fence, commit: &Commit) -> Result<(), CommitError> {
        while self.0.lock().is_hanging {
            sleep(GAP).await;
        }
        self.1
            .pass(|| Late::Commit(fence.clone(), commit.clone()))
            .map_err(CommitError::Store)?;
        self.there()
            .map_err(CommitError::Store)?
            .commit(fence, commit)
    }

    async fn audit(&self, rollout_id: &str) -> anyhow::Result<Vec<AuditRow>> {
        let db = self.there()?;
        let rows = db.audit.iter().filter(|it| it.rollout_id == rollout_id);
        Ok(rows.cloned().collect())
    }

    async fn audit_after(&self, place: i64, limit: usize) -> anyhow::Result<Vec<(i64, AuditRow)>> {
        let db = self.there()?;
        let rows = (1..).zip(&db.audit).skip_while(|(at, _)| *at <= place);
        Ok(rows
            .take(limit)
            .map(|(at, row)| (at, row.clone()))
            .collect())
    }

    async fn last_place(&self) -> anyhow::Result<i64> {
        Ok(self.0.lock().audit.len() as i64)
    }

    async fn place_of(&self, id: &str, version: i64, _at_ms: i64) -> anyhow::Result<i64> {
        let db = self.there()?;
        let is_it = |it: &AuditRow| it.rollout_id == id && it.version == version;
        Ok(db
            .audit
            .iter()
            .position(is_it)
            .map_or(0, |at| at as i64 + 1))
    }

    async fn events_of(
        &self,
        rollout_id: &str,
        after: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>> {
        let db = self.there()?;
        let events = db.events.iter();
        let events =
            events.filter(|it| it.seq > after && it.rollout.as_deref() == Some(rollout_id));
        Ok(events.take(limit).cloned().collect())
    }

    async fn history_by_subject(
        &self,
        from_ms: i64,
        to_ms: i64,
        _: &[String],
    ) -> anyhow::Result<Vec<UserHistory>> {
        self.there()?.histories.push((from_ms, to_ms));
        while self.0.lock().is_reading {
            sleep(GAP).await;
        }
        let users = (1..50).map(|subject| UserHistory {
            subject,
            requests: 9,
            errors: (subject % 9) as u32,
            ..UserHistory::default()
        });
        Ok(users.collect())
    }

    async fn head(&self) -> anyhow::Result<i64> {
        Ok(self.there()?.head)
    }

    async fn newest_trial(
        &self,
        task: &str,
        control: &str,
        candidate: &str,
    ) -> anyhow::Result<Option<Trial>> {
        let db = self.there()?;
        let is_of =
            |it: &&Trial| (&*it.task, &*it.control, &*it.candidate) == (task, control, candidate);
        Ok(db.trials.iter().rev().find(is_of).cloned())
    }

    async fn newest_placebo(&self, _: &str) -> anyhow::Result<Option<KeptPlacebo>> {
        Ok(None)
    }

    async fn last_batch(&self, writer: i64) -> anyhow::Result<i64> {
        let db = self.there()?;
        let row = db.writers.get(writer as usize);
        row.map(|(_, last)| *last).context("no such writer")
    }

    async fn enter(&self, holder: &str, _now: DateTime<Utc>) -> anyhow::Result<Option<i64>> {
        let mut db = self.there()?;
        let writer = db.register(holder);
        db.note();
        Ok(db.is_shared.then_some(writer))
    }

    async fn append(
        &self,
        holder: &str,
        writer: i64,
        after: i64,
        batch: &Batch,
    ) -> anyhow::Result<i64> {
        let takes = self.1.takes();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        self.1
            .pass(|| Late::Append(holder.to_owned(), writer, after, batch.clone()))?;
        self.there()?.append(holder, writer, after, batch)
    }

    fn refuses(&self, error: &anyhow::Error) -> bool {
        error.to_string().contains(REFUSED)
    }

    async fn refused(&self, events: &[Event]) -> anyhow::Result<Vec<usize>> {
        let db = self.there()?;
        let refused = (0..).zip(events).filter(|(_, event)| db.refuses(event));
        Ok(refused.map(|(place, _)| place).collect())
    }

    async fn positions(&self) -> anyhow::Result<(i64, Vec<Position>)> {
        let db = self.there()?;
        let position = |(writer, (_, stored)): (usize, &(String, i64))| Position {
            writer: writer as i64,
            stored: *stored,
            ordered: db.ordered.get(&(writer as i64)).copied().unwrap_or(0),
        };
        let positions = db.writers.iter().enumerate().map(position);
        Ok((db.head, positions.collect()))
    }

    async fn batches(&self, writer: i64, after: i64) -> anyhow::Result<Vec<Batch>> {
        let db = self.there()?;
        let of = |it: &&Batch| it.writer == Some(writer) && it.number > after;
        Ok(db.batches.iter().filter(of).take(3).cloned().collect())
    }
}
