//! The writers of the log: processes that store batches of events, and how far they are.
//!
//! A batch is stored by its writer, one after the other: the writer's row counts them, so a batch whose
//! answer was lost is stored once, and whoever reads on from the last one misses none. Its place in the log it
//! gets from the process that leads.

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use super::{
    Storage,
    db::{Db, Write},
    events::{self, StoredEventRow},
    name,
};
use crate::{
    recording::{Batch, MOST_IN_BATCH},
    rollout::store::Position,
};

/// Events that are read at once.
const PAGE: usize = 20 * MOST_IN_BATCH;

/// Writers that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Those that may still add to the log.
    Going,
    /// Also those that have ended.
    All,
}

#[derive(sqlx::FromRow)]
struct PositionRow {
    head_seq: i64,
    writer: Option<i64>,
    stored: Option<i64>,
    ordered: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    batch: i64,
    #[sqlx(flatten)]
    event: StoredEventRow,
}

impl Storage {
    pub(super) async fn enter_log(
        &self,
        holder: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<i64>> {
        if let Db::Sqlite(_) = &self.db {
            return Ok(None);
        }
        let mut transaction = self.db.begin().await?;
        let writer = self.register(&mut transaction, holder, now).await?;
        transaction.commit().await?;
        Ok(Some(writer))
    }

    pub(super) async fn append_batch(
        &self,
        holder: &str,
        writer: i64,
        after: i64,
        batch: &Batch,
    ) -> anyhow::Result<i64> {
        let mut transaction = self.db.begin().await?;
        let moved = changed!(&mut transaction, transaction => sqlx::query(
                "UPDATE writers SET last_batch = $1, ended_ms = NULL \
                 WHERE writer = $2 AND last_batch = $3 AND holder = $4",
            )
            .bind(batch.number)
            .bind(writer)
            .bind(after)
            .bind(holder)
            .execute(&mut **transaction))?;
        if moved == 0 {
            return last_batch(&mut transaction, holder, writer)
                .await?
                .context("the database does not know this process any more");
        }
        let mut rows = Vec::with_capacity(MOST_IN_BATCH);
        for (place, event) in (0_i64..).zip(&*batch.events) {
            rows.push((batch.number, place, event, name(event.variant)?));
        }
        events::insert_rows(&mut transaction, writer, rows.into_iter()).await?;
        transaction.commit().await?;
        Ok(batch.number)
    }

    /// Where the log ends, and how far these writers are; in one statement, and so at one moment.
    pub(crate) async fn positions_of(
        &self,
        which: Writers,
    ) -> anyhow::Result<(i64, Vec<Position>)> {
        let rows: Vec<PositionRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT l.head_seq, w.writer, w.last_batch AS stored, \
                 (SELECT MAX(o.batch) FROM event_order o WHERE o.writer = w.writer) AS ordered \
                 FROM leases l LEFT JOIN writers w ON $1 OR w.ended_ms IS NULL WHERE l.name = 'rollouts'",
            )
            .bind(which == Writers::All)
            .fetch_all(pool)
            .await)?;
        let head = rows.first().map_or(0, |row| row.head_seq);
        let positions = rows.into_iter().filter_map(|row| {
            Some(Position {
                writer: row.writer?,
                stored: row.stored?,
                ordered: row.ordered.unwrap_or(0),
            })
        });
        Ok((head, positions.collect()))
    }

    pub(super) async fn batches_of(&self, writer: i64, after: i64) -> anyhow::Result<Vec<Batch>> {
        let rows: Vec<StoredRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT e.batch, CAST(0 AS BIGINT) AS seq, e.at_ms, e.request_id, e.user_id, e.subject, e.rollout, \
                 e.counted, e.was_open, e.model, e.task, e.variant, e.position, e.latency_ms, \
                 e.first_token_ms, e.words_ms, e.prompt_tokens, e.completion_tokens, e.cost_microdollars, e.outcome, \
                 e.quality, e.answer_chars, e.status, e.cause, e.finish FROM events e \
                 WHERE e.writer = $1 AND e.batch > $2 ORDER BY e.batch, e.place LIMIT $3",
            )
            .bind(writer)
            .bind(after)
            .bind(PAGE as i64)
            .fetch_all(pool)
            .await)?;
        let is_cut = rows.len() == PAGE;
        let mut batches: Vec<(i64, Vec<StoredEventRow>)> = Vec::new();
        for row in rows {
            match batches.last_mut() {
                Some((number, rows)) if *number == row.batch => rows.push(row.event),
                _ => batches.push((row.batch, vec![row.event])),
            }
        }
        if is_cut {
            // Its end may be missing; several batches are smaller than a page.
            batches.pop();
        }
        batches
            .into_iter()
            .map(|(number, rows)| {
                Ok(Batch {
                    writer: Some(writer),
                    number,
                    events: StoredEventRow::events(rows)?.into(),
                })
            })
            .collect()
    }
}

async fn last_batch(
    transaction: &mut Write,
    holder: &str,
    writer: i64,
) -> sqlx::Result<Option<i64>> {
    on!(transaction, transaction => sqlx::query_scalar(
            "SELECT last_batch FROM writers WHERE writer = $1 AND holder = $2",
        )
        .bind(writer)
        .bind(holder)
        .fetch_optional(&mut **transaction)
        .await)
}
