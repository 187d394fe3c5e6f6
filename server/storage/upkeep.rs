//! Keeps the database small: events are counted by the hour ([`rollups`]), and deleted when they are old.
//!
//! Only events that the rollups hold are deleted. What is deleted is looked for where no connection that
//! writes has to wait, and goes in small steps.
//!
//! Events of a rollout stay until long after its end, so that it can be replayed. A batch's place in the
//! log goes with its last event, and a writer that has ended with its last batch.

mod rollups;

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::QueryBuilder;

pub use self::rollups::Rollup;
pub(super) use self::rollups::{ROLLED_UP, RollupRow, rollup};
use super::Storage;
use crate::email_intelligence::KEPT;

/// How long events of a rollout stay after its end.
pub const ROLLOUT_RETENTION: TimeDelta = TimeDelta::days(90);
/// Alerts stay as long.
const ALERT_RETENTION: TimeDelta = TimeDelta::days(90);
/// Events that are counted, or looked for to be deleted, at once.
const STEP: i64 = 5_000;
/// Batches whose events one transaction deletes.
const BATCHES: usize = 100;
/// How far back to look once more for events that came late.
const LATE: TimeDelta = TimeDelta::days(1);

/// The time before which old events were deleted.
const DELETED: &str = "deleted-before";

/// What an upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Events that were counted.
    pub counted: u64,
    /// Events that were deleted.
    pub deleted: u64,
}

impl Upkeep {
    /// So many were counted, and nothing else was done.
    pub fn counted(counted: u64) -> Self {
        Self {
            counted,
            ..Self::default()
        }
    }
}

/// A writer that has stored nothing for so long has ended.
const SILENT: TimeDelta = TimeDelta::hours(1);
/// For how long after a user was deleted an event of a call that was under way may come.
const DELETED_LATELY: TimeDelta = TimeDelta::days(1);

impl Storage {
    /// Counts new events by the hour and deletes those older than `retention`; to be called every
    /// hour or so. Dropping it leaves what is done and undoes a step.
    pub async fn prune(&self, retention: TimeDelta, now: DateTime<Utc>) -> anyhow::Result<Upkeep> {
        let mut upkeep = Upkeep {
            counted: self.count_by_hour().await?,
            ..Upkeep::default()
        };
        upkeep.deleted = self
            .delete_old(now - retention, now)
            .await
            .context("cannot delete old events")?;
        changed!(self.db.write_long(), pool => sqlx::query("DELETE FROM alerts WHERE at_ms < $1")
            .bind((now - ALERT_RETENTION).timestamp_millis())
            .execute(pool))
        .context("cannot delete old alerts")?;
        // One that was killed says no word. One that comes back says so with its next batch.
        let silent_since = (now - SILENT).timestamp_millis();
        changed!(self.db.write_long(), pool => sqlx::query(
                "UPDATE writers SET ended_ms = $1 WHERE ended_ms IS NULL AND started_ms < $2 \
                 AND holder NOT IN (SELECT holder FROM leases WHERE expires_ms > 0) \
                 AND NOT EXISTS (SELECT 1 FROM events e WHERE e.writer = writers.writer \
                     AND (e.at_ms >= $2 OR e.batch > (SELECT COALESCE(MAX(o.batch), 0) \
                         FROM event_order o WHERE o.writer = writers.writer)))",
            )
            .bind(now.timestamp_millis())
            .bind(silent_since)
            .execute(pool))
        .context("cannot note which writers have ended")?;
        changed!(self.db.write_long(), pool => sqlx::query(
                "DELETE FROM writers WHERE ended_ms IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM events WHERE events.writer = writers.writer)",
            )
            .execute(pool))
        .context("cannot delete old writers")?;
        self.prune_emails(now - KEPT).await?;
        self.forget_late_events(now).await?;
        self.prune_sign_in(now).await?;
        self.prune_commands().await?;
        self.prune_takings().await?;
        self.prune_replicas().await?;
        Ok(upkeep)
    }

    /// Takes users who were deleted lately out of events and texts that were stored since.
    async fn forget_late_events(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        for sql in [
            "UPDATE events SET user_id = NULL WHERE at_ms >= $1 AND user_id IN \
             (SELECT id FROM users WHERE deleted_at >= $1)",
            "DELETE FROM request_texts WHERE user_id IN \
             (SELECT id FROM users WHERE deleted_at >= $1)",
        ] {
            changed!(self.db.write_long(), pool => sqlx::query(sql)
                .bind((now - DELETED_LATELY).timestamp_millis())
                .execute(pool))
            .context("cannot take deleted users out of events and texts")?;
        }
        Ok(())
    }

    async fn delete_old(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> sqlx::Result<u64> {
        let before_ms = before.timestamp_millis();
        // Where its last commit did not say when it ended, now is the latest.
        changed!(self.db.write(), pool => sqlx::query(
                "UPDATE rollouts SET ended_ms = $1 WHERE NOT is_live AND ended_ms IS NULL",
            )
            .bind(now.timestamp_millis())
            .execute(pool))?;
        let released: Vec<String> = on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT id FROM rollouts WHERE NOT is_live AND NOT events_released AND ended_ms < $1",
            )
            .bind((now - ROLLOUT_RETENTION).timestamp_millis())
            .fetch_all(pool)
            .await)?;
        let mut deleted = 0;
        for id in released {
            deleted += self.delete_between(i64::MIN, before_ms, Some(&id)).await?;
            changed!(self.db.write(), pool => sqlx::query(
                    "UPDATE rollouts SET events_released = TRUE WHERE id = $1",
                )
                .bind(&id)
                .execute(pool))?;
        }
        let from_ms = self.progress(DELETED).await?;
        let from_ms = from_ms.map_or(i64::MIN, |ms| ms - LATE.num_milliseconds());
        deleted += self.delete_between(from_ms, before_ms, None).await?;
        changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO upkeep (name, value) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(DELETED)
            .bind(before_ms)
            .execute(pool))?;
        Ok(deleted)
    }

    /// Deletes what happened between these times of a rollout, or of none that needs it still.
    async fn delete_between(
        &self,
        mut from_ms: i64,
        before_ms: i64,
        rollout: Option<&str>,
    ) -> sqlx::Result<u64> {
        let mut deleted = 0;
        loop {
            let found: Vec<Key> = on!(self.db.read_long(), pool => sqlx::query_as(
                    "SELECT e.at_ms, e.writer, e.batch, e.place FROM events e CROSS JOIN event_order o \
                     WHERE e.writer = o.writer AND e.batch = o.batch AND e.at_ms >= $1 AND e.at_ms < $2 \
                     AND o.first_seq + e.place <= (SELECT value FROM upkeep WHERE name = $3) \
                     AND (e.rollout = $4 OR $4 IS NULL AND (e.rollout IS NULL OR e.rollout NOT IN \
                         (SELECT id FROM rollouts WHERE NOT events_released))) \
                     ORDER BY e.at_ms LIMIT $5",
                )
                .bind(from_ms)
                .bind(before_ms)
                .bind(ROLLED_UP)
                .bind(rollout)
                .bind(STEP)
                .fetch_all(pool)
                .await)?;
            let Some(last) = found.last() else {
                return Ok(deleted);
            };
            from_ms = last.at_ms;
            deleted += self.delete(&found).await?;
        }
    }

    async fn delete(&self, keys: &[Key]) -> sqlx::Result<u64> {
        let mut batches = BTreeMap::<_, Vec<i64>>::new();
        for key in keys {
            let places = batches.entry((key.writer, key.batch)).or_default();
            places.push(key.place);
        }
        let batches: Vec<_> = batches.into_iter().collect();
        let mut deleted = 0;
        // Batches may be as small as one event. Who writes meanwhile waits for one transaction at most.
        for batches in batches.chunks(BATCHES) {
            let mut transaction = self.db.begin().await?;
            for ((writer, batch), places) in batches {
                on!(&mut transaction, transaction => {
                    let mut query = QueryBuilder::new("DELETE FROM events WHERE writer = ");
                    query.push_bind(writer).push(" AND batch = ").push_bind(batch);
                    query.push(" AND place IN (");
                    let mut list = query.separated(", ");
                    for place in places {
                        list.push_bind(place);
                    }
                    query.push(")");
                    deleted += query.build().execute(&mut **transaction).await?.rows_affected();
                    sqlx::query(
                        "DELETE FROM event_order WHERE writer = $1 AND batch = $2 AND NOT EXISTS \
                         (SELECT 1 FROM events e WHERE e.writer = $1 AND e.batch = $2)",
                    )
                    .bind(writer)
                    .bind(batch)
                    .execute(&mut **transaction)
                    .await?;
                });
            }
            transaction.commit().await?;
        }
        Ok(deleted)
    }

    async fn progress(&self, name: &str) -> sqlx::Result<Option<i64>> {
        on!(self.db.read(), pool => sqlx::query_scalar("SELECT value FROM upkeep WHERE name = $1")
            .bind(name)
            .fetch_optional(pool)
            .await)
    }
}

/// Where an event is stored.
#[derive(sqlx::FromRow)]
struct Key {
    at_ms: i64,
    writer: i64,
    batch: i64,
    place: i64,
}
