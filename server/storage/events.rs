//! The events of the log, added in batches and read back in pages.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::Context;
use futures::stream::{BoxStream, StreamExt};
use sqlx::QueryBuilder;

use super::{
    Storage,
    db::{Db, Write},
    failure, from_name, name, storable,
};
use crate::{
    _core::units::Microdollars,
    providers::{
        fault::{Cause, FaultKind},
        finish::Finish,
        quality::Quality,
    },
    recording::{Event, Judgement, MOST_IN_BATCH, Ordered, Outcome},
    rollout::store::Fence,
};

/// Events that are read at once.
const PAGE: i64 = 5_000;
/// Events, of 26 values each, that one statement adds at most.
const ROWS_OF_EVENTS: usize = 256;
/// Places of batches, of five values each, that one statement adds at most.
const ROWS_OF_ORDER: usize = 1_024;

/// How many rows each statement adds: powers of two. A statement is kept as the database has prepared it, for each number of
/// rows another, and SQLite keeps some 4 kB for each row of an event: a hundred statements of any number are 50 MB and more.
fn portions(mut rows: usize, most: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let portion = 1 << rows.min(most).checked_ilog2()?;
        rows -= portion;
        Some(portion)
    })
}

/// What [`StoredEventRow`] reads of events and the places of their batches. SQLite keeps to the order of the tables.
macro_rules! select {
    (FROM $tables:literal, WHERE $rest:literal) => {
        concat!(
            "SELECT o.first_seq + e.place AS seq, e.at_ms, e.request_id, e.user_id, e.subject, e.rollout, \
             e.counted, e.was_open, e.model, e.task, e.variant, e.position, e.latency_ms, \
             e.first_token_ms, e.words_ms, e.prompt_tokens, e.completion_tokens, e.cost_microdollars, e.outcome, e.quality, e.answer_chars, \
             e.status, e.cause, e.finish FROM ",
            $tables,
            " WHERE e.writer = o.writer AND e.batch = o.batch AND ",
            $rest
        )
    };
}

/// Up to the list of requests whose events are read.
pub(super) const OF_REQUESTS: &str = select!(
    FROM "events e CROSS JOIN event_order o",
    WHERE "e.request_id IN ("
);

#[derive(sqlx::FromRow)]
pub(super) struct StoredEventRow {
    seq: i64,
    at_ms: i64,
    request_id: String,
    user_id: Option<i64>,
    subject: Option<i64>,
    rollout: Option<String>,
    counted: bool,
    was_open: bool,
    model: String,
    task: String,
    variant: String,
    position: i64,
    latency_ms: f64,
    first_token_ms: Option<f64>,
    words_ms: Option<i32>,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost_microdollars: i64,
    outcome: String,
    quality: Option<String>,
    answer_chars: Option<i64>,
    status: Option<i16>,
    cause: Option<String>,
    finish: Option<i16>,
}

impl StoredEventRow {
    fn event(self, names: &mut Names) -> anyhow::Result<Event> {
        Ok(Event {
            at_ms: self.at_ms,
            request_id: self.request_id.into(),
            user_id: self.user_id,
            seq: self.seq,
            subject: self.subject.map(i64::cast_unsigned),
            rollout: self.rollout.map(|id| names.shared(&id)),
            counted: self.counted,
            was_open: self.was_open,
            model: names.shared(&self.model),
            task: names.shared(&self.task),
            variant: from_name(&self.variant)?,
            position: self.position.try_into()?,
            latency_ms: self.latency_ms,
            first_token_ms: self.first_token_ms,
            words_ms: self.words_ms.map(i32::cast_unsigned),
            prompt_tokens: self.prompt_tokens.try_into()?,
            completion_tokens: self.completion_tokens.try_into()?,
            cost: Microdollars(self.cost_microdollars),
            outcome: outcome(&self.outcome),
            // One that this release does not know was stored by a later one.
            quality: self.quality.and_then(|name| from_name(&name).ok()),
            answer_chars: self.answer_chars.map(u32::try_from).transpose()?,
            status: self.status.map(i16::cast_unsigned),
            cause: self.cause.and_then(|name| Cause::named(&name)),
            finish: self.finish.map(Finish::of_code),
        })
    }

    pub(super) fn events(rows: Vec<Self>) -> anyhow::Result<Vec<Event>> {
        let mut names = Names::default();
        rows.into_iter()
            .map(|row| row.event(&mut names))
            .collect::<anyhow::Result<_>>()
            .context("cannot read a stored event")
    }
}

impl Storage {
    /// Events from the first of these times to before the second (milliseconds since 1970), oldest
    /// first, in pages, so that neither memory nor the writer has to bear them all at once.
    pub fn events_between(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> BoxStream<'_, anyhow::Result<Vec<Event>>> {
        let pages = futures::stream::try_unfold(Some((from_ms, 0)), move |start| async move {
            let Some((at_ms, seq)) = start else {
                return Ok(None);
            };
            let page = self
                .page(at_ms, seq, to_ms)
                .await
                .context("cannot read events")?;
            let next = page
                .last()
                .filter(|_| page.len() as i64 == PAGE)
                .map(|last| (last.at_ms, last.seq + 1));
            anyhow::Ok((!page.is_empty()).then_some((page, next)))
        });
        pages.boxed()
    }

    /// Events in the order of time and number, from this time and number on.
    async fn page(&self, at_ms: i64, seq: i64, to_ms: i64) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<StoredEventRow> = on!(self.db.read(), pool => sqlx::query_as(select!(
                FROM "events e CROSS JOIN event_order o",
                WHERE "e.at_ms >= $1 AND e.at_ms < $3 \
                 AND (e.at_ms > $1 OR o.first_seq + e.place >= $2) ORDER BY e.at_ms, seq LIMIT $4"
            ))
            .bind(at_ms)
            .bind(seq)
            .bind(to_ms)
            .bind(PAGE)
            .fetch_all(pool)
            .await)?;
        StoredEventRow::events(rows)
    }

    /// In the order of the log.
    pub(super) async fn events_after(&self, seq: i64, limit: i64) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<StoredEventRow> = on!(self.db.read(), pool => sqlx::query_as(select!(
                FROM "event_order o CROSS JOIN events e",
                WHERE "o.first_seq > $1 - $2 AND o.first_seq + e.place > $1 \
                 ORDER BY o.first_seq, e.place LIMIT $3"
            ))
            .bind(seq)
            .bind(MOST_IN_BATCH as i64)
            .bind(limit)
            .fetch_all(pool)
            .await)?;
        StoredEventRow::events(rows)
    }

    pub(super) async fn rollout_events(
        &self,
        rollout: &str,
        after: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<StoredEventRow> = on!(self.db.read(), pool => sqlx::query_as(select!(
                FROM "event_order o CROSS JOIN events e",
                WHERE "o.first_seq > $1 - $2 AND o.first_seq + e.place > $1 AND e.rollout = $3 \
                 ORDER BY o.first_seq, e.place LIMIT $4"
            ))
            .bind(after)
            .bind(MOST_IN_BATCH as i64)
            .bind(storable(rollout))
            .bind(limit)
            .fetch_all(pool)
            .await)?;
        StoredEventRow::events(rows)
    }
}

/// Adds batches of a writer in their places; `false` where one of them, or a later one, is stored already, or one
/// of another process is not.
///
/// A number may be left out: a database that went back, as a standby does that lost its last seconds, lacks
/// batches that their writer has forgotten.
pub(super) async fn insert(
    transaction: &mut Write,
    fence: &Fence,
    batches: &[Ordered],
) -> anyhow::Result<bool> {
    // Those of other processes are stored already.
    let own = || batches.iter().filter(|batch| batch.writer().is_none());
    if let (Some(first), Some(last)) = (own().next(), own().next_back()) {
        let moved = changed!(transaction, transaction => sqlx::query(
                "UPDATE writers SET last_batch = $1 WHERE writer = $2 AND last_batch < $3 AND holder = $4",
            )
            .bind(last.number())
            .bind(fence.writer)
            .bind(first.number())
            .bind(&*fence.holder)
            .execute(&mut **transaction))?;
        if moved == 0 {
            return Ok(false);
        }
    }
    if !are_stored(transaction, batches).await? {
        return Ok(false);
    }
    // After an outage there are thousands of batches, and a statement binds some 32,000 values at most.
    let mut left = batches;
    for portion in portions(batches.len(), ROWS_OF_ORDER) {
        let (batches, others) = left.split_at(portion);
        left = others;
        on!(transaction, transaction => {
            let mut query = QueryBuilder::new(
                "INSERT INTO event_order (first_seq, writer, batch, events, fence) ",
            );
            query.push_values(batches, |mut row, batch| {
                row.push_bind(batch.first_seq())
                    .push_bind(batch.writer().unwrap_or(fence.writer))
                    .push_bind(batch.number())
                    .push_bind(batch.events().len() as i64)
                    .push_bind(fence.number);
            });
            query.build().execute(&mut **transaction).await?;
        });
    }
    let mut rows = Vec::with_capacity(ROWS_OF_EVENTS);
    for batch in own() {
        for (place, event) in (0_i64..).zip(batch.events()) {
            rows.push((batch.number(), place, event, name(event.variant)?));
            if rows.len() == ROWS_OF_EVENTS {
                insert_rows(transaction, fence.writer, rows.drain(..)).await?;
            }
        }
    }
    if !rows.is_empty() {
        insert_rows(transaction, fence.writer, rows.drain(..)).await?;
    }
    Ok(true)
}

/// Whether the batches of other processes are stored, still: a database that went back may lack what was read.
async fn are_stored(transaction: &mut Write, batches: &[Ordered]) -> sqlx::Result<bool> {
    let Write::Postgres(transaction) = transaction else {
        return Ok(true);
    };
    let mut last = BTreeMap::new();
    for batch in batches {
        if let Some(writer) = batch.writer() {
            last.insert(writer, batch.number());
        }
    }
    if last.is_empty() {
        return Ok(true);
    }
    let (writers, numbers): (Vec<i64>, Vec<i64>) = last.into_iter().unzip();
    let lacking: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM unnest($1::BIGINT[], $2::BIGINT[]) AS last (writer, batch) \
         WHERE NOT EXISTS (SELECT 1 FROM writers w WHERE w.writer = last.writer AND w.last_batch >= last.batch)",
    )
    .bind(writers)
    .bind(numbers)
    .fetch_one(&mut **transaction)
    .await?;
    Ok(lacking == 0)
}

/// Events as rows: the number of the batch, the place in it, the event, and its variant's name.
pub(super) async fn insert_rows<'e>(
    transaction: &mut Write,
    writer: i64,
    mut rows: impl ExactSizeIterator<Item = (i64, i64, &'e Event, String)>,
) -> anyhow::Result<()> {
    for portion in portions(rows.len(), ROWS_OF_EVENTS) {
        let rows = rows.by_ref().take(portion);
        insert_portion(transaction, writer, rows).await?;
    }
    Ok(())
}

async fn insert_portion<'e>(
    transaction: &mut Write,
    writer: i64,
    rows: impl Iterator<Item = (i64, i64, &'e Event, String)>,
) -> anyhow::Result<()> {
    on!(transaction, transaction => {
        let mut query = QueryBuilder::new(
            "INSERT INTO events (writer, batch, place, at_ms, request_id, user_id, subject, rollout, \
             counted, was_open, model, task, variant, position, latency_ms, first_token_ms, words_ms, \
             prompt_tokens, completion_tokens, cost_microdollars, outcome, quality, answer_chars, \
             status, cause, finish) ",
        );
        query.push_values(rows, |mut row, (batch, place, event, variant)| {
            row.push_bind(writer)
                .push_bind(batch)
                .push_bind(place)
                .push_bind(event.at_ms)
                .push_bind(event.request_id.to_string())
                .push_bind(event.user_id)
                .push_bind(event.subject.map(u64::cast_signed))
                .push_bind(event.rollout.as_deref().map(str::to_owned))
                .push_bind(event.counted)
                .push_bind(event.was_open)
                .push_bind(event.model.to_string())
                .push_bind(event.task.to_string())
                .push_bind(variant)
                .push_bind(i64::from(event.position))
                .push_bind(event.latency_ms)
                .push_bind(event.first_token_ms)
                .push_bind(event.words_ms.map(u32::cast_signed))
                .push_bind(i64::from(event.prompt_tokens))
                .push_bind(i64::from(event.completion_tokens))
                .push_bind(event.cost.0)
                .push_bind(event.outcome.name())
                .push_bind(event.quality.map(Quality::name))
                .push_bind(event.answer_chars.map(i64::from))
                .push_bind(event.status.map(u16::cast_signed))
                .push_bind(event.cause.map(Cause::name))
                .push_bind(event.finish.map(Finish::code));
        });
        query.build().execute(&mut **transaction).await?;
    });
    Ok(())
}

/// A writer that there is not.
const NOBODY: i64 = -1;

/// Which of these events the database refuses, by their place: all are tried in a transaction that is undone, halves of what
/// is refused again.
pub(super) async fn refused(db: &Db, events: &[Event]) -> anyhow::Result<Vec<usize>> {
    let mut transaction = db.begin().await?;
    let mut refused = Vec::new();
    let mut parts: Vec<_> = (0..events.len())
        .step_by(ROWS_OF_EVENTS)
        .map(|from| from..events.len().min(from + ROWS_OF_EVENTS))
        .collect();
    while let Some(part) = parts.pop() {
        on!(&mut transaction, transaction => {
            sqlx::query("SAVEPOINT part").execute(&mut **transaction).await?;
        });
        let mut rows = Vec::with_capacity(part.len());
        for (place, event) in (0_i64..).zip(events.get(part.clone()).unwrap_or_default()) {
            // Two rows have two places.
            let batch = part.start as i64;
            rows.push((batch, place, event, name(event.variant)?));
        }
        let Err(error) = insert_rows(&mut transaction, NOBODY, rows.into_iter()).await else {
            continue;
        };
        if !failure::refuses(&error) {
            return Err(error);
        }
        on!(&mut transaction, transaction => {
            sqlx::query("ROLLBACK TO SAVEPOINT part").execute(&mut **transaction).await?;
        });
        let middle = part.start + part.len() / 2;
        if part.len() == 1 {
            refused.push(part.start);
        } else {
            parts.extend([part.start..middle, middle..part.end]);
        }
    }
    refused.sort_unstable();
    Ok(refused)
}

/// Names of models and tasks repeat in every row; they are kept once.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}

/// How names of what a model found begin.
const JUDGED: &str = "judged-";

/// What a name in the table means. One that this release does not know was stored by a later one, and
/// must not keep this one from starting.
pub(super) fn outcome(name: &str) -> Outcome {
    match name {
        "success" => Outcome::Success,
        "refused-answer" => Outcome::Refused,
        "cancelled" => Outcome::Cancelled,
        "open" => Outcome::Open,
        "rated-good" => Outcome::Rated { good: true },
        "rated-bad" => Outcome::Rated { good: false },
        name if name.starts_with(JUDGED) => {
            let all = Judgement::ALL.map(Outcome::Judged);
            let known = all.into_iter().find(|it| it.name() == name);
            known.unwrap_or(Outcome::Unknown)
        }
        kind => from_name::<FaultKind>(kind).map_or(Outcome::Unknown, Outcome::Fault),
    }
}

/// The names in the table are part of the file's format.
#[cfg(test)]
mod tests;
