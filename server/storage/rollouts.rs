//! Rollouts, their history, and the transaction that one decision is.

use std::future::Future;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Storage,
    db::{Db, Write},
    events, lease, outbox, postgres, storable, time,
    writers::Writers,
};
use crate::{
    _core::actor::Actor,
    recording::{Batch, Event},
    rollout::{
        evidence::UserHistory,
        placebos::KeptPlacebo,
        record::{Action, Damaged, Record},
        store::{
            AuditRow, Commit, CommitError, Fence, Mark, Position, RolloutChange, RolloutStore,
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

impl TryFrom<StatusRow> for StoredStatus {
    type Error = anyhow::Error;

    fn try_from(row: StatusRow) -> anyhow::Result<Self> {
        Ok(Self {
            status: json(&row.id, "status", &row.status)?,
            id: row.id,
            version: row.version,
            is_live: row.is_live,
        })
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

#[derive(sqlx::FromRow)]
struct AuditTableRow {
    id: String,
    rollout_id: String,
    version: i64,
    at_ms: i64,
    actor: String,
    action: String,
    reason: String,
    state_before: String,
    state_after: String,
    evidence: String,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    pos: i64,
    #[sqlx(flatten)]
    row: AuditTableRow,
}

impl TryFrom<AuditTableRow> for AuditRow {
    type Error = anyhow::Error;

    fn try_from(row: AuditTableRow) -> anyhow::Result<Self> {
        fn read<T: DeserializeOwned>(id: &str, text: &str) -> anyhow::Result<T> {
            serde_json::from_str(text).with_context(|| {
                format!(
                    "line `{id}` of a rollout's history is damaged, and where the rollout stood then is not known. A \
                     copy of the database may have it whole (`modelramp restore`)"
                )
            })
        }
        let known = Action::parse(&row.action);
        let action = known.unwrap_or(Action::Unknown);
        let record = match known {
            Some(action) => Record::read(&row.evidence, action),
            // Told with its line, so that one line hides none of the others.
            None => Err(Damaged(format!(
                "its action is `{}`, which this release does not know",
                row.action
            ))),
        };
        Ok(Self {
            before: read(&row.id, &row.state_before)?,
            after: read(&row.id, &row.state_after)?,
            record,
            id: row.id,
            rollout_id: row.rollout_id,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
            action,
            reason: row.reason,
            version: row.version,
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

    async fn mark(&self) -> anyhow::Result<Mark> {
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
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn rollout(&self, id: &str) -> anyhow::Result<Option<StoredRollout>> {
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(
                "SELECT * FROM rollouts WHERE id = $1",
            )
            .bind(storable(id))
            .fetch_optional(pool)
            .await)?)
        };
        let row: Option<Row> = self
            .in_time(read)
            .await
            .with_context(|| format!("cannot look up rollout `{id}`"))?;
        row.map(TryInto::try_into).transpose()
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
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(
                "SELECT * FROM rollout_audit WHERE rollout_id = $1 ORDER BY version",
            )
            .bind(storable(rollout_id))
            .fetch_all(pool)
            .await)?)
        };
        let rows: Vec<AuditTableRow> = self
            .in_time(read)
            .await
            .with_context(|| format!("cannot read the history of rollout `{rollout_id}`"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn audit_after(&self, place: i64, limit: usize) -> anyhow::Result<Vec<(i64, AuditRow)>> {
        // Lines are only added to the table, so SQLite's own numbers count them.
        let sql = match &self.db {
            Db::Sqlite(_) => {
                "SELECT rowid AS pos, * FROM rollout_audit WHERE rowid > $1 ORDER BY rowid LIMIT $2"
            }
            Db::Postgres(_) => {
                "SELECT p.pos, a.id, a.rollout_id, a.version, a.at_ms, a.actor, a.action, a.reason, \
                 a.state_before, a.state_after, a.evidence FROM rollout_places p \
                 JOIN rollout_audit a ON a.id = p.audit_id WHERE p.pos > $1 ORDER BY p.pos LIMIT $2"
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(sql)
                .bind(place)
                .bind(limit)
                .fetch_all(pool)
                .await)?)
        };
        let rows: Vec<PlacedRow> = self
            .in_time(read)
            .await
            .context("cannot read the history of rollouts")?;
        rows.into_iter()
            .map(|placed| Ok((placed.pos, placed.row.try_into()?)))
            .collect()
    }

    async fn last_place(&self) -> anyhow::Result<i64> {
        let sql = match &self.db {
            Db::Sqlite(_) => "SELECT COALESCE(MAX(rowid), 0) FROM rollout_audit",
            Db::Postgres(_) => "SELECT COALESCE(MAX(pos), 0) FROM rollout_places",
        };
        on!(self.db.read(), pool => sqlx::query_scalar(sql).fetch_one(pool).await)
            .context("cannot read the end of the history of rollouts")
    }

    async fn place_of(&self, id: &str, version: i64, at_ms: i64) -> anyhow::Result<i64> {
        let sql = match &self.db {
            Db::Sqlite(_) => {
                "SELECT COALESCE((SELECT rowid FROM rollout_audit WHERE rollout_id = $1 AND version = $2), \
                 (SELECT MAX(rowid) FROM rollout_audit WHERE at_ms < $3), 0)"
            }
            Db::Postgres(_) => {
                "SELECT COALESCE((SELECT p.pos FROM rollout_places p JOIN rollout_audit a ON a.id = p.audit_id \
                 WHERE a.rollout_id = $1 AND a.version = $2), \
                 (SELECT MAX(p.pos) FROM rollout_places p JOIN rollout_audit a ON a.id = p.audit_id \
                 WHERE a.at_ms < $3), 0)"
            }
        };
        on!(self.db.read(), pool => sqlx::query_scalar(sql)
                .bind(storable(id))
                .bind(version)
                .bind(at_ms)
                .fetch_one(pool)
                .await)
        .context("cannot look up a place in the history of rollouts")
    }

    async fn events_of(
        &self,
        rollout_id: &str,
        after: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Event>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rollout_events(rollout_id, after, limit)
            .await
            .with_context(|| format!("cannot read the events of rollout `{rollout_id}`"))
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

    async fn write_all(&self, fence: &Fence, commit: &Commit) -> Result<(), CommitError> {
        let mut transaction = self.db.begin().await.map_err(store)?;
        let head = (commit.head, commit.new_head());
        if lease::advance(&mut transaction, fence, head)
            .await
            .map_err(store)?
        {
            let follows = events::insert(&mut transaction, fence, &commit.batches).await;
            if !follows.map_err(CommitError::Store)? {
                return Err(CommitError::Fenced);
            }
        } else if !is_ordered(&mut transaction, fence, commit)
            .await
            .map_err(store)?
        {
            return Err(CommitError::Fenced);
        }
        for change in &commit.rollouts {
            apply(&mut transaction, change).await?;
        }
        transaction.commit().await.map_err(store)
    }
}

/// Whether the batches of a commit are at the end of the log already: it was written, and the answer lost.
async fn is_ordered(transaction: &mut Write, fence: &Fence, commit: &Commit) -> sqlx::Result<bool> {
    let (Some(last), head) = (commit.batches.last(), commit.new_head()) else {
        return Ok(false);
    };
    if !lease::advance(transaction, fence, (head, head)).await? {
        return Ok(false);
    }
    let found: Option<i64> = on!(transaction, transaction => sqlx::query_scalar(
            "SELECT fence FROM event_order WHERE first_seq = $1 AND writer = $2 AND batch = $3",
        )
        .bind(last.first_seq())
        .bind(last.writer().unwrap_or(fence.writer))
        .bind(last.number())
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(found.is_some())
}

fn store(error: sqlx::Error) -> CommitError {
    CommitError::Store(error.into())
}

async fn apply(transaction: &mut Write, change: &RolloutChange) -> Result<(), CommitError> {
    if !write(transaction, change).await.map_err(store)? {
        let current = current_version(transaction, &change.rollout.id)
            .await
            .map_err(store)?;
        let is_ours = current == Some(change.rollout.version)
            && is_audited(transaction, change).await.map_err(store)?;
        return if is_ours {
            Ok(())
        } else {
            Err(CommitError::Stale {
                rollout_id: change.rollout.id.clone(),
                based_on: change.based_on.unwrap_or(0),
                current: current.unwrap_or(0),
            })
        };
    }
    if let Some(row) = &change.audit {
        insert_audit(transaction, row).await.map_err(store)?;
    }
    for alert in &change.alerts {
        outbox::insert(transaction, alert)
            .await
            .map_err(CommitError::Store)?;
    }
    Ok(())
}

/// Whether the rollout was at the version that the change is based on, and now is at the next.
async fn write(transaction: &mut Write, change: &RolloutChange) -> sqlx::Result<bool> {
    let rollout = &change.rollout;
    // What ends it says when; the upkeep helps out where nothing does.
    let ended_ms = change
        .audit
        .as_ref()
        .filter(|_| !rollout.is_live)
        .map(|row| row.at.timestamp_millis());
    let sql = if change.based_on.is_some() {
        "UPDATE rollouts SET plan = $2, status = $3, version = $4, evidence = $5, \
         event_cursor = $6, is_live = $7, ended_ms = COALESCE(ended_ms, $8) \
         WHERE id = $1 AND version = $9"
    } else {
        "INSERT INTO rollouts (id, plan, status, version, evidence, event_cursor, is_live, ended_ms, \
         events_released) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9 > 0) ON CONFLICT (id) DO NOTHING"
    };
    let written = changed!(transaction, transaction => sqlx::query(sql)
        .bind(&rollout.id)
        .bind(rollout.plan.to_string())
        .bind(rollout.status.to_string())
        .bind(rollout.version)
        .bind(rollout.evidence.to_string())
        .bind(rollout.cursor)
        .bind(rollout.is_live)
        .bind(ended_ms)
        .bind(change.based_on.unwrap_or(0))
        .execute(&mut **transaction))?;
    Ok(written > 0)
}

async fn current_version(transaction: &mut Write, id: &str) -> sqlx::Result<Option<i64>> {
    on!(transaction, transaction => sqlx::query_scalar("SELECT version FROM rollouts WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await)
}

/// Whether the change's line of the history is stored, so that the change is.
async fn is_audited(transaction: &mut Write, change: &RolloutChange) -> sqlx::Result<bool> {
    let Some(row) = &change.audit else {
        return Ok(false);
    };
    let found: Option<i64> = on!(transaction, transaction => sqlx::query_scalar(
            "SELECT version FROM rollout_audit WHERE id = $1",
        )
        .bind(&row.id)
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(found.is_some())
}

async fn insert_audit(transaction: &mut Write, row: &AuditRow) -> sqlx::Result<()> {
    // Types of ours, all of which JSON can say.
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
    let record = row.record.as_ref().map(serde_json::to_string);
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO rollout_audit (id, rollout_id, version, at_ms, actor, action, reason, \
             state_before, state_after, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&row.id)
        .bind(&row.rollout_id)
        .bind(row.version)
        .bind(row.at.timestamp_millis())
        .bind(storable(&row.actor.to_string()))
        .bind(row.action.name())
        .bind(storable(&row.reason))
        .bind(json(serde_json::to_string(&row.before)))
        .bind(json(serde_json::to_string(&row.after)))
        .bind(record.map_or_else(|_| "null".to_owned(), json))
        .execute(&mut **transaction))
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::{
        _core::units::Percent,
        rollout::{
            record::{Damaged, Standing},
            status::State,
        },
        storage::db::Db,
    };

    fn commit(version: i64) -> Commit {
        Commit {
            head: 0,
            batches: Vec::new(),
            rollouts: vec![RolloutChange {
                rollout: StoredRollout {
                    id: "r".into(),
                    plan: Value::Null,
                    status: Value::Null,
                    version,
                    // Some hundred pages.
                    evidence: vec![version; 50_000].into(),
                    cursor: 0,
                    is_live: true,
                },
                based_on: (version > 1).then(|| version - 1),
                audit: Some(AuditRow {
                    id: version.to_string(),
                    rollout_id: "r".into(),
                    at: DateTime::UNIX_EPOCH,
                    actor: Actor::Controller,
                    action: Action::Advanced,
                    // So that the second row, too, needs more room.
                    reason: version.to_string().repeat(100_000),
                    before: None,
                    after: Standing {
                        state: State::Running,
                        stage: 0,
                        share: Percent::ZERO,
                        soaked_ms: 0,
                    },
                    record: Err(Damaged("none".into())),
                    version,
                }),
                alerts: Vec::new(),
            }],
        }
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_commit_whole_until_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db", folder.path().display());
        let storage = Storage::open(&url).await.unwrap();
        let fence = storage.acquire("a", DateTime::UNIX_EPOCH).await.unwrap();
        let fence = &fence.unwrap();
        let Db::Sqlite(sqlite) = &storage.db else {
            unreachable!("the URL says so")
        };
        let limit = async |pages: i64| {
            let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(sql).execute(&sqlite.write).await.unwrap();
        };
        storage.commit(fence, &commit(1)).await.unwrap();
        // No smaller than it is.
        limit(1).await;
        let refused = storage.commit(fence, &commit(2)).await.unwrap_err();
        assert!(
            format!("{:#}", anyhow::Error::from(refused)).contains("is full"),
            "of all errors, the one of a full disk"
        );
        let stored = storage.rollout("r").await.unwrap().unwrap();
        assert_eq!(stored, commit(1).rollouts[0].rollout);
        assert_eq!(storage.audit("r").await.unwrap().len(), 1);

        limit(i64::from(u32::MAX) - 1).await;
        storage.commit(fence, &commit(2)).await.unwrap();
        let stored = storage.rollout("r").await.unwrap().unwrap();
        assert_eq!(stored, commit(2).rollouts[0].rollout);
        assert_eq!(storage.audit("r").await.unwrap().len(), 2);
    }
}
