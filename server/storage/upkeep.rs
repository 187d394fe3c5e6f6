//! Keeps the database small: events are counted by the hour, and deleted when they are old.
//!
//! Rollups take up every event once, in the order of the numbers: how far they have come is written
//! in the transaction that counts. So they hold late events too, and only events that they hold are
//! deleted. What is deleted is looked for where no connection that writes has to wait, and goes in
//! small steps.
//!
//! Events of a rollout stay until long after its end, so that it can be replayed. A batch's place in the
//! log goes with its last event, and a writer that has ended with its last batch.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::QueryBuilder;

use super::{Storage, db::Write, from_name, name};
use crate::{
    _core::{assignment::Variant, units::Microdollars},
    ai_metrics::histogram::Histogram,
    email_intelligence::KEPT,
    providers::quality::Quality,
    recording::{Event, Outcome},
};

/// How long events of a rollout stay after its end.
pub const ROLLOUT_RETENTION: TimeDelta = TimeDelta::days(90);
/// Alerts stay as long.
const ALERT_RETENTION: TimeDelta = TimeDelta::days(90);
/// Events that are counted, or looked for to be deleted, at once.
const STEP: i64 = 5_000;
/// Batches whose events one transaction deletes.
const BATCHES: usize = 100;
const HOUR_MS: i64 = 3_600_000;
/// How far back to look once more for events that came late.
const LATE: TimeDelta = TimeDelta::days(1);

/// The number of the last event that the rollups hold.
pub(super) const ROLLED_UP: &str = "rolled-up";
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

/// All attempts of an hour that are alike.
#[derive(Clone, Debug)]
pub struct Rollup {
    /// The start of the hour, in milliseconds since 1970.
    pub hour_ms: i64,
    /// The catalog's name of the model.
    pub model: String,
    /// The task.
    pub task: String,
    /// The route.
    pub variant: Variant,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub attempts: u64,
    /// All latencies together, in nanoseconds.
    pub latency_ns: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What they cost.
    pub cost: Microdollars,
    /// Those of them whose answer was looked at.
    pub answers: u64,
    /// Those in which something was wrong.
    pub flawed: u64,
    /// Their latencies, to a thousandth.
    pub latency: Histogram,
    /// Their times to the first token, where they were streamed.
    pub first_token: Histogram,
}

/// A writer that has stored nothing for so long has ended.
const SILENT: TimeDelta = TimeDelta::hours(1);
/// For how long after a user was deleted an event of a call that was under way may come.
const DELETED_LATELY: TimeDelta = TimeDelta::days(1);

impl Storage {
    /// Counts new events by the hour; how many there were. Dropping it undoes a step of some thousand.
    pub async fn count_by_hour(&self) -> anyhow::Result<u64> {
        let mut all = 0;
        loop {
            let counted = self
                .roll_up()
                .await
                .context("cannot count events by the hour")?;
            all += counted;
            if counted < STEP as u64 {
                return Ok(all);
            }
        }
    }

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

    /// The rollups of the hours that begin at or after the first and before the second time.
    pub async fn rollups(&self, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<Rollup>> {
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT * FROM event_rollups WHERE hour_ms >= $1 AND hour_ms < $2 \
                 ORDER BY hour_ms, model, task, variant, outcome",
            )
            .bind(from_ms)
            .bind(to_ms)
            .fetch_all(pool)
            .await)
        .context("cannot read rollups")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Takes up the next events; how many there were.
    async fn roll_up(&self) -> anyhow::Result<u64> {
        let from = self.progress(ROLLED_UP).await?.unwrap_or(0);
        let events = self.events_after(from, STEP).await?;
        let Some(to) = events.last().map(|event| event.seq) else {
            return Ok(0);
        };
        let mut hours = BTreeMap::<Kind, Tally>::new();
        for event in events.iter().filter(|event| event.outcome.is_end()) {
            hours.entry(Kind::of(event)?).or_default().add(event);
        }
        let mut transaction = self.db.begin().await?;
        // Another process may have been here meanwhile.
        if !advance(&mut transaction, from, to).await? {
            return Ok(0);
        }
        for (key, tally) in hours {
            tally.merge_into(&mut transaction, &key).await?;
        }
        transaction.commit().await?;
        Ok(events.len() as u64)
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

/// Whether the rollups were there still, and so are now here.
async fn advance(transaction: &mut Write, from: i64, to: i64) -> sqlx::Result<bool> {
    let moved = changed!(transaction, transaction => sqlx::query(
            "INSERT INTO upkeep (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE upkeep.value = $3",
        )
        .bind(ROLLED_UP)
        .bind(to)
        .bind(from)
        .execute(&mut **transaction))?;
    Ok(moved > 0)
}

/// Where an event is stored.
#[derive(sqlx::FromRow)]
struct Key {
    at_ms: i64,
    writer: i64,
    batch: i64,
    place: i64,
}

/// What the attempts of one rollup have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    hour_ms: i64,
    model: String,
    task: String,
    variant: String,
    outcome: &'static str,
}

impl Kind {
    fn of(event: &Event) -> anyhow::Result<Self> {
        Ok(Self {
            hour_ms: event.at_ms - event.at_ms.rem_euclid(HOUR_MS),
            model: event.model.to_string(),
            task: event.task.to_string(),
            variant: name(event.variant)?,
            outcome: event.outcome.name(),
        })
    }
}

/// What is summed up.
#[derive(Default)]
struct Tally {
    attempts: i64,
    latency_ns: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost: i64,
    answers: i64,
    flawed: i64,
    latency: Histogram,
    first_token: Histogram,
}

impl Tally {
    fn add(&mut self, event: &Event) {
        self.attempts += 1;
        // A cast saturates; an hour of calls is far below.
        let ns = (event.latency_ms * 1e6).round() as i64;
        self.latency_ns = self.latency_ns.saturating_add(ns);
        self.prompt_tokens += i64::from(event.prompt_tokens);
        self.completion_tokens += i64::from(event.completion_tokens);
        self.cost = self.cost.saturating_add(event.cost.0);
        self.answers += i64::from(event.quality.is_some());
        self.flawed += i64::from(event.quality.is_some_and(Quality::is_flawed));
        self.latency.count(event.latency_ms);
        if let Some(ms) = event.first_token_ms {
            self.first_token.count(ms);
        }
    }

    /// Adds it to what is stored. Nobody else does meanwhile: who moves the progress holds its row.
    async fn merge_into(mut self, transaction: &mut Write, key: &Kind) -> anyhow::Result<()> {
        let stored: Option<(Vec<u8>, Vec<u8>)> = on!(transaction, transaction => sqlx::query_as(
                "SELECT latency, first_token FROM event_rollups WHERE hour_ms = $1 AND model = $2 \
                 AND task = $3 AND variant = $4 AND outcome = $5",
            )
            .bind(key.hour_ms)
            .bind(&key.model)
            .bind(&key.task)
            .bind(&key.variant)
            .bind(key.outcome)
            .fetch_optional(&mut **transaction)
            .await)?;
        if let Some((latency, first_token)) = stored {
            self.latency.merge(&Histogram::from_bytes(latency)?);
            self.first_token.merge(&Histogram::from_bytes(first_token)?);
        }
        changed!(transaction, transaction => sqlx::query(
                "INSERT INTO event_rollups (hour_ms, model, task, variant, outcome, attempts, \
                 latency_ns, prompt_tokens, completion_tokens, cost_microdollars, latency, \
                 first_token, answers, flawed) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
                 ON CONFLICT (hour_ms, model, task, variant, outcome) DO UPDATE SET \
                 attempts = event_rollups.attempts + excluded.attempts, \
                 latency_ns = event_rollups.latency_ns + excluded.latency_ns, \
                 prompt_tokens = event_rollups.prompt_tokens + excluded.prompt_tokens, \
                 completion_tokens = event_rollups.completion_tokens + excluded.completion_tokens, \
                 cost_microdollars = event_rollups.cost_microdollars + excluded.cost_microdollars, \
                 answers = event_rollups.answers + excluded.answers, \
                 flawed = event_rollups.flawed + excluded.flawed, \
                 latency = excluded.latency, first_token = excluded.first_token",
            )
            .bind(key.hour_ms)
            .bind(&key.model)
            .bind(&key.task)
            .bind(&key.variant)
            .bind(key.outcome)
            .bind(self.attempts)
            .bind(self.latency_ns)
            .bind(self.prompt_tokens)
            .bind(self.completion_tokens)
            .bind(self.cost)
            .bind(self.latency.to_bytes())
            .bind(self.first_token.to_bytes())
            .bind(self.answers)
            .bind(self.flawed)
            .execute(&mut **transaction))?;
        Ok(())
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    hour_ms: i64,
    model: String,
    task: String,
    variant: String,
    outcome: String,
    attempts: i64,
    latency_ns: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost_microdollars: i64,
    latency: Vec<u8>,
    first_token: Vec<u8>,
    answers: i64,
    flawed: i64,
}

impl TryFrom<Row> for Rollup {
    type Error = anyhow::Error;

    fn try_from(row: Row) -> anyhow::Result<Self> {
        Ok(Self {
            hour_ms: row.hour_ms,
            variant: from_name(&row.variant)?,
            outcome: super::events::outcome(&row.outcome),
            attempts: row.attempts.try_into()?,
            latency_ns: row.latency_ns.try_into()?,
            prompt_tokens: row.prompt_tokens.try_into()?,
            completion_tokens: row.completion_tokens.try_into()?,
            cost: Microdollars(row.cost_microdollars),
            answers: row.answers.try_into()?,
            flawed: row.flawed.try_into()?,
            latency: Histogram::from_bytes(row.latency)?,
            first_token: Histogram::from_bytes(row.first_token)?,
            model: row.model,
            task: row.task,
        })
    }
}
