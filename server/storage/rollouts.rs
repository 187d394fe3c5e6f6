//! Rollouts as the controller reads and writes them.

mod commit;
mod history;

use std::future::Future;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::QueryBuilder;

use super::{Storage, db::Db, events, failure, postgres, storable, writers::Writers};
use crate::{
    recording::{Batch, Event},
    rollout::{
        evidence::UserHistory,
        placebos::KeptPlacebo,
        store::{
            AuditRow, Commit, CommitError, Fence, Position, RolloutStore, RolloutsMark,
            StoredRollout, StoredStatus, damaged,
        },
        trials::Trial,
    },
};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    plan: String,
    status: String,
    version: i64,
    evidence: String,
    event_cursor: i64,
    is_live: bool,
}

#[derive(sqlx::FromRow)]
struct StatusRow {
    id: String,
    status: String,
    version: i64,
    is_live: bool,
}

/// JSON of a part of a rollout's row.
fn json(id: &str, part: &str, text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| damaged(id, part))
}

impl From<StatusRow> for StoredStatus {
    fn from(row: StatusRow) -> Self {
        Self {
            id: row.id,
            status: row.status,
            version: row.version,
            is_live: row.is_live,
        }
    }
}

impl TryFrom<Row> for StoredRollout {
    type Error = anyhow::Error;

    fn try_from(row: Row) -> anyhow::Result<Self> {
        let read = |part, text: &str| json(&row.id, part, text);
        Ok(Self {
            plan: read("plan", &row.plan)?,
            status: read("status", &row.status)?,
            evidence: read("evidence", &row.evidence)?,
            id: row.id,
            version: row.version,
            cursor: row.event_cursor,
            is_live: row.is_live,
        })
    }
}

#[async_trait]
impl RolloutStore for Storage {
    fn is_shared(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    async fn acquire(&self, holder: &str, now: DateTime<Utc>) -> anyhow::Result<Option<Fence>> {
        self.in_time(self.acquire_lease(holder, now))
            .await
            .context("cannot become the writer of rollouts")
    }

    async fn renew(&self, fence: &Fence) -> anyhow::Result<bool> {
        self.in_time(self.renew_lease(fence))
            .await
            .context("cannot prolong the lease on rollouts")
    }

    async fn release(&self, fence: &Fence, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.in_time(self.release_lease(fence, now))
            .await
            .context("cannot give back the lease on rollouts")
    }

    async fn mark(&self) -> anyhow::Result<RolloutsMark> {
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(
                    "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM rollouts",
                )
                .fetch_one(pool)
                .await)?)
        };
        self.in_time(read)
            .await
            .context("cannot see whether a rollout was changed")
    }

    async fn statuses(&self) -> anyhow::Result<Vec<StoredStatus>> {
        // Ids of version 7 grow with time.
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(
                "SELECT id, status, version, is_live FROM rollouts ORDER BY id DESC",
            )
            .fetch_all(pool)
            .await)?)
        };
        let rows: Vec<StatusRow> = self
            .in_time(read)
            .await
            .context("cannot list the rollouts")?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn rollouts(&self, ids: &[String]) -> anyhow::Result<Vec<StoredRollout>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let read = async {
            Ok(on!(self.db.read(), pool => {
                let mut query = QueryBuilder::new(
                    "SELECT id, plan, status, version, evidence, event_cursor, is_live FROM rollouts WHERE id IN (",
                );
                let mut list = query.separated(", ");
                for id in ids {
                    list.push_bind(storable(id).into_owned());
                }
                query.push(")");
                query.build_query_as().fetch_all(pool).await
            })?)
        };
        let rows: Vec<Row> = self
            .in_time(read)
            .await
            .with_context(|| format!("cannot look up rollouts {ids:?}"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// A commit whose answer was lost may be repeated: what is stored already is left as it is.
    async fn commit(&self, fence: &Fence, commit: &Commit) -> Result<(), CommitError> {
        let write = async { Ok(self.write_all(fence, commit).await) };
        let written = match &self.db {
            Db::Sqlite(_) => write.await,
            Db::Postgres(_) => {
                let events = commit.batches.iter().map(|batch| batch.events().len());
                postgres::in_time(events.sum(), write).await
            }
        };
        written.map_err(CommitError::Store)?
    }

    async fn audit(&self, rollout_id: &str) -> anyhow::Result<Vec<AuditRow>> {
        self.rollout_history(rollout_id)
            .await
            .with_context(|| format!("cannot read the history of rollout `{rollout_id}`"))
    }

    async fn audit_after(&self, place: i64, limit: usize) -> anyhow::Result<Vec<(i64, AuditRow)>> {
        self.history_after(place, limit)
            .await
            .context("cannot read the history of rollouts")
    }

    async fn last_place(&self) -> anyhow::Result<i64> {
        self.end_of_history()
            .await
            .context("cannot read the end of the history of rollouts")
    }

    async fn place_of(&self, id: &str, version: i64, at_ms: i64) -> anyhow::Result<i64> {
        self.place_in_history(id, version, at_ms)
            .await
            .context("cannot look up a place in the history of rollouts")
    }

    async fn events_of(
        &self,
        rollout_id: &str,
        after: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>> {
        let read = self.rollout_events(rollout_id, after, i64::try_from(limit).unwrap_or(i64::MAX));
        let read = match &self.db {
            Db::Sqlite(_) => read.await,
            Db::Postgres(_) => postgres::in_time(limit, read).await,
        };
        read.with_context(|| format!("cannot read the events of rollout `{rollout_id}`"))
    }

    async fn history_by_subject(
        &self,
        from_ms: i64,
        to_ms: i64,
        tasks: &[String],
    ) -> anyhow::Result<Vec<UserHistory>> {
        self.subjects_between(from_ms, to_ms, tasks)
            .await
            .context("cannot read what each subject did before")
    }

    async fn head(&self) -> anyhow::Result<i64> {
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT head_seq FROM leases WHERE name = 'rollouts'",
            )
            .fetch_one(pool)
            .await)?)
        };
        self.in_time(read)
            .await
            .context("cannot read the end of the log")
    }

    async fn newest_trial(
        &self,
        task: &str,
        control: &str,
        candidate: &str,
    ) -> anyhow::Result<Option<Trial>> {
        self.newest_trial_of(task, control, candidate).await
    }

    async fn newest_placebo(&self, plan: &str) -> anyhow::Result<Option<KeptPlacebo>> {
        self.newest_placebo_of(plan).await
    }

    async fn last_batch(&self, writer: i64) -> anyhow::Result<i64> {
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT last_batch FROM writers WHERE writer = $1",
            )
            .bind(writer)
            .fetch_one(pool)
            .await)?)
        };
        self.in_time(read)
            .await
            .context("cannot read the last batch of this process")
    }

    async fn enter(&self, holder: &str, now: DateTime<Utc>) -> anyhow::Result<Option<i64>> {
        self.in_time(self.enter_log(holder, now))
            .await
            .context("cannot become a writer of the log")
    }

    async fn append(
        &self,
        holder: &str,
        writer: i64,
        after: i64,
        batch: &Batch,
    ) -> anyhow::Result<i64> {
        self.in_time(self.append_batch(holder, writer, after, batch))
            .await
            .context("cannot store events")
    }

    fn refuses(&self, error: &anyhow::Error) -> bool {
        failure::refuses(error)
    }

    async fn refused(&self, events: &[Event]) -> anyhow::Result<Vec<usize>> {
        let tried = events::refused(&self.db, events);
        let tried = match &self.db {
            Db::Sqlite(_) => tried.await,
            Db::Postgres(_) => postgres::in_time(events.len(), tried).await,
        };
        tried.context("cannot see which events the database refuses")
    }

    async fn positions(&self) -> anyhow::Result<(i64, Vec<Position>)> {
        self.in_time(self.positions_of(Writers::Going))
            .await
            .context("cannot read how far the writers of the log are")
    }

    async fn batches(&self, writer: i64, after: i64) -> anyhow::Result<Vec<Batch>> {
        self.in_time(self.batches_of(writer, after))
            .await
            .context("cannot read events of another process")
    }
}

impl Storage {
    /// Waits for what a controller asks, which goes on judging without an answer.
    async fn in_time<T>(&self, call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        match &self.db {
            Db::Sqlite(_) => call.await,
            Db::Postgres(_) => postgres::in_time(0, call).await,
        }
    }
}
