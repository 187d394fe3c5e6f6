//! Events counted by the hour.
//!
//! Rollups take up every event once, in the order of the numbers: how far they have come is written
//! in the transaction that counts. So they hold late events too.

use std::collections::BTreeMap;

use anyhow::Context;

use super::STEP;
use crate::{
    _core::{assignment::Variant, units::Microdollars},
    ai_metrics::histogram::Histogram,
    providers::quality::Quality,
    recording::{Event, Outcome},
    storage::{Storage, db::Write, events, from_name, name},
};

const HOUR_MS: i64 = 3_600_000;
/// The number of the last event that the rollups hold.
pub(in crate::storage) const ROLLED_UP: &str = "rolled-up";

/// All attempts of an hour that are alike.
#[derive(Clone, Debug)]
pub struct Rollup {
    /// The start of the hour, in milliseconds since 1970.
    pub hour_ms: i64,
    /// The catalog's name of the model.
    pub model: String,
    /// The task.
    pub task: String,
    /// Control or candidate.
    pub variant: Variant,
    /// How they ended.
    pub outcome: Outcome,
    /// How many attempts ended so.
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

/// What a [`RollupRow`] has.
macro_rules! rollup {
    () => {
        "hour_ms, model, task, variant, outcome, attempts, latency_ns, prompt_tokens, completion_tokens, \
         cost_microdollars, latency, first_token, answers, flawed"
    };
}
pub(in crate::storage) use rollup;

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

    /// The rollups of the hours that begin at or after the first and before the second time.
    pub async fn rollups(&self, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<Rollup>> {
        let rows: Vec<RollupRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
                "SELECT ", rollup!(), " FROM event_rollups WHERE hour_ms >= $1 AND hour_ms < $2 \
                 ORDER BY hour_ms, model, task, variant, outcome",
            ))
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
        let mut hours = BTreeMap::<RollupKey, RollupSums>::new();
        for event in events.iter().filter(|event| event.outcome.is_end()) {
            hours.entry(RollupKey::of(event)?).or_default().add(event);
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

/// What the attempts of one rollup have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RollupKey {
    hour_ms: i64,
    model: String,
    task: String,
    variant: String,
    outcome: &'static str,
}

impl RollupKey {
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
struct RollupSums {
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

impl RollupSums {
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
    async fn merge_into(mut self, transaction: &mut Write, key: &RollupKey) -> anyhow::Result<()> {
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
pub(in crate::storage) struct RollupRow {
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

impl TryFrom<RollupRow> for Rollup {
    type Error = anyhow::Error;

    fn try_from(row: RollupRow) -> anyhow::Result<Self> {
        Ok(Self {
            hour_ms: row.hour_ms,
            variant: from_name(&row.variant)?,
            outcome: events::outcome(&row.outcome),
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
