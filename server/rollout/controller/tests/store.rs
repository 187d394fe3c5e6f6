//! A store in memory that fails when it is told to.

use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::{
    alerting::Alert,
    recording::{Batch, Event},
    rollout::{
        evidence::UserHistory,
        store::{Commit, CommitError, Mark, Position, StoredStatus},
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

#[derive(Default)]
pub(super) struct Database {
    pub(super) rollouts: Vec<StoredRollout>,
    pub(super) audit: Vec<AuditRow>,
    pub(super) alerts: Vec<Alert>,
    pub(super) events: Vec<Event>,
    pub(super) trials: Vec<Trial>,
    holder: Option<String>,
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
    /// Commits since the beginning.
    pub(super) commits: usize,
    failures: VecDeque<Option<Failure>>,
    pub(super) is_full: bool,
    /// Commits wait.
    pub(super) is_hanging: bool,
    /// From when to when what users did was asked for, in milliseconds since 1970.
    pub(super) histories: Vec<(i64, i64)>,
}

impl Database {
    /// The next commits succeed.
    pub(super) fn clear_failures(&mut self) {
        self.failures.clear();
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

#[derive(Default)]
pub(super) struct MemoryStore(pub(super) Mutex<Database>);

impl MemoryStore {
    /// What the next commits do.
    pub(super) fn fail(&self, failures: impl IntoIterator<Item = Option<Failure>>) {
        self.0.lock().failures.extend(failures);
    }

    /// Counts the processes that start on it.
    pub(super) fn starts(&self) -> usize {
        let mut db = self.0.lock();
        db.starts += 1;
        db.starts
    }

    /// As after the death of the process that held it.
    pub(super) fn forget_holder(&self) {
        self.0.lock().holder = None;
    }
}

#[async_trait]
impl RolloutStore for MemoryStore {
    fn is_shared(&self) -> bool {
        self.0.lock().is_shared
    }

    async fn acquire(&self, holder: &str, _now: DateTime<Utc>) -> anyhow::Result<Option<Fence>> {
        let mut db = self.0.lock();
        if db.holder.as_deref().is_some_and(|it| it != holder) {
            return Ok(None);
        }
        db.holder = Some(holder.to_owned());
        db.fence += 1;
        let writer = db.register(holder);
        Ok(Some(Fence {
            number: db.fence,
            holder: holder.into(),
            writer,
        }))
    }

    async fn mark(&self) -> anyhow::Result<Mark> {
        let db = self.0.lock();
        let versions = db.rollouts.iter().map(|it| it.version);
        Ok((db.rollouts.len() as i64, versions.sum()))
    }

    async fn renew(&self, fence: &Fence) -> anyhow::Result<bool> {
        Ok(self.0.lock().fence == fence.number)
    }

    async fn release(&self, _fence: &Fence, _now: DateTime<Utc>) -> anyhow::Result<()> {
        self.0.lock().holder = None;
        Ok(())
    }

    async fn statuses(&self) -> anyhow::Result<Vec<StoredStatus>> {
        let db = self.0.lock();
        let newest = db.rollouts.iter().rev().map(|it| StoredStatus {
            id: it.id.clone(),
            status: it.status.clone(),
            version: it.version,
            is_live: it.is_live,
        });
        Ok(newest.collect())
    }

    async fn rollout(&self, id: &str) -> anyhow::Result<Option<StoredRollout>> {
        Ok(self
            .0
            .lock()
            .rollouts
            .iter()
            .find(|it| it.id == id)
            .cloned())
    }

    async fn commit(&self, fence: &Fence, commit: &Commit) -> Result<(), CommitError> {
        while self.0.lock().is_hanging {
            sleep(GAP).await;
        }
        let mut db = self.0.lock();
        db.commits += 1;
        let failure = db.failures.pop_front().flatten();
        let lost = || CommitError::Store(anyhow::anyhow!("the disk is full"));
        if failure == Some(Failure::Before) || db.is_full {
            return Err(lost());
        }
        if fence.number != db.fence || commit.head != db.head {
            return Err(CommitError::Fenced);
        }
        let mut rollouts = db.rollouts.clone();
        for change in &commit.rollouts {
            let new = &change.rollout;
            let old = rollouts.iter_mut().find(|it| it.id == new.id);
            match (old, change.based_on) {
                (Some(old), Some(based_on)) if old.version == based_on => *old = new.clone(),
                (None, None) => rollouts.push(new.clone()),
                (old, based_on) => {
                    return Err(CommitError::Stale {
                        rollout_id: new.id.clone(),
                        based_on: based_on.unwrap_or(0),
                        current: old.map_or(0, |it| it.version),
                    });
                }
            }
        }
        db.rollouts = rollouts;
        for batch in &commit.batches {
            if batch.writer().is_none() {
                let (_, last_batch) = &mut db.writers[fence.writer as usize];
                assert!(batch.number() > *last_batch, "of a writer's batches");
                *last_batch = batch.number();
                db.batches.push(Batch {
                    writer: Some(fence.writer),
                    ..batch.clone().into_batch()
                });
            }
            let writer = batch.writer().unwrap_or(fence.writer);
            let before = db.ordered.insert(writer, batch.number());
            assert!(before < Some(batch.number()), "each in its writer's order");
            assert_eq!(batch.first_seq(), db.head + 1, "of the log");
            db.head = batch.last_seq();
            db.events.extend_from_slice(batch.events());
        }
        for change in &commit.rollouts {
            db.audit.extend(change.audit.clone());
            for alert in &change.alerts {
                let is_new = db.alerts.iter().all(|it| it.id != alert.id);
                assert!(is_new, "alert `{}` is stored twice", alert.title);
                db.alerts.push(alert.clone());
            }
        }
        match failure {
            Some(_) => Err(lost()),
            None => Ok(()),
        }
    }

    async fn audit(&self, rollout_id: &str) -> anyhow::Result<Vec<AuditRow>> {
        let db = self.0.lock();
        let rows = db.audit.iter().filter(|it| it.rollout_id == rollout_id);
        Ok(rows.cloned().collect())
    }

    async fn events_of(
        &self,
        rollout_id: &str,
        after: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>> {
        let db = self.0.lock();
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
        self.0.lock().histories.push((from_ms, to_ms));
        let users = (1..50).map(|subject| UserHistory {
            subject,
            requests: 9,
            errors: (subject % 9) as u32,
            ..UserHistory::default()
        });
        Ok(users.collect())
    }

    async fn head(&self) -> anyhow::Result<i64> {
        Ok(self.0.lock().head)
    }

    async fn newest_trial(
        &self,
        task: &str,
        control: &str,
        candidate: &str,
    ) -> anyhow::Result<Option<Trial>> {
        let db = self.0.lock();
        let is_of =
            |it: &&Trial| (&*it.task, &*it.control, &*it.candidate) == (task, control, candidate);
        Ok(db.trials.iter().rev().find(is_of).cloned())
    }

    async fn last_batch(&self, writer: i64) -> anyhow::Result<i64> {
        Ok(self.0.lock().writers[writer as usize].1)
    }

    async fn enter(&self, holder: &str, _now: DateTime<Utc>) -> anyhow::Result<Option<i64>> {
        let mut db = self.0.lock();
        let writer = db.register(holder);
        Ok(db.is_shared.then_some(writer))
    }

    async fn append(&self, writer: i64, batch: &Batch) -> anyhow::Result<bool> {
        let mut db = self.0.lock();
        anyhow::ensure!(!db.is_full, "the disk is full");
        let failure = db.failures.pop_front().flatten();
        anyhow::ensure!(failure != Some(Failure::Before), "the disk is full");
        let last_batch = &mut db.writers[writer as usize].1;
        if *last_batch >= batch.number {
            return Ok(false);
        }
        *last_batch = batch.number;
        db.batches.push(Batch {
            writer: Some(writer),
            ..batch.clone()
        });
        anyhow::ensure!(failure.is_none(), "the answer is lost");
        Ok(true)
    }

    async fn positions(&self) -> anyhow::Result<(i64, Vec<Position>)> {
        let db = self.0.lock();
        let position = |(writer, (_, stored)): (usize, &(String, i64))| Position {
            writer: writer as i64,
            stored: *stored,
            ordered: db.ordered.get(&(writer as i64)).copied().unwrap_or(0),
        };
        let positions = db.writers.iter().enumerate().map(position);
        Ok((db.head, positions.collect()))
    }

    async fn batches(&self, writer: i64, after: i64) -> anyhow::Result<Vec<Batch>> {
        let db = self.0.lock();
        let of = |it: &&Batch| it.writer == Some(writer) && it.number > after;
        Ok(db.batches.iter().filter(of).take(3).cloned().collect())
    }
}
