//! Attempts over time.

use anyhow::Context as _;
use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::QueryBuilder;

use super::{
    Storage,
    requests::{push_filter, push_names},
    upkeep::{self, Rollup},
};
use crate::{
    dashboard::{
        requests::RequestFilter,
        series::{AttemptHour, By, ChartPart, ChartPoint, SeriesStore, Taker},
        spending::{Consumption, Spender},
    },
    recording::MOST_IN_BATCH,
};

#[derive(sqlx::FromRow)]
struct PointRow {
    at_ms: i64,
    line: String,
    outcome: String,
    latency_ms: f64,
    first_token_ms: Option<f64>,
    tokens: i64,
    cost_microdollars: i64,
}

impl From<PointRow> for ChartPoint {
    fn from(row: PointRow) -> Self {
        Self {
            at_ms: row.at_ms,
            key: row.line,
            outcome: row.outcome,
            latency_ms: row.latency_ms,
            first_token_ms: row.first_token_ms,
            tokens: row.tokens,
            cost: row.cost_microdollars,
        }
    }
}

/// The column that says to which line an attempt belongs.
const fn column(by: By) -> &'static str {
    match by {
        By::Variant => "variant",
        By::Model | By::Provider => "model",
        By::Task => "task",
        By::Outcome => "outcome",
    }
}

/// Attempts in the words of a chart, of tables whose rows the rest of the statement picks.
macro_rules! select {
    ($by:expr, $tables:literal) => {
        [
            "SELECT at_ms, ",
            column($by),
            " AS line, outcome, latency_ms, first_token_ms, prompt_tokens + completion_tokens AS tokens, \
             cost_microdollars FROM ",
            $tables,
            " outcome <> 'cancelled' AND ",
        ]
        .concat()
    };
}

/// Gives what a statement finds to `take`, at most so many; `false` where there are more.
macro_rules! take_all {
    ($query:ident, $connection:expr, $most:expr, $row:ident: $Row:ty => $part:expr, $take:ident) => {{
        $query.push(" LIMIT ").push_bind(i64::from($most) + 1);
        let mut rows = $query.build_query_as::<$Row>().fetch($connection);
        let mut left = $most;
        let mut is_all = true;
        while let Some($row) = rows.try_next().await? {
            if left == 0 {
                is_all = false;
                break;
            }
            left -= 1;
            $take($part);
        }
        is_all
    }};
}

#[async_trait]
impl SeriesStore for Storage {
    async fn has_more(&self, from_ms: i64, to_ms: i64, than: u32) -> anyhow::Result<bool> {
        let beyond: Option<i64> = on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT at_ms FROM events WHERE at_ms >= $1 AND at_ms < $2 ORDER BY at_ms \
                 LIMIT 1 OFFSET $3",
            )
            .bind(from_ms)
            .bind(to_ms)
            .bind(i64::from(than))
            .fetch_optional(pool)
            .await)
        .context("cannot count attempts over time")?;
        Ok(beyond.is_some())
    }

    async fn attempts_of(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool> {
        self.read_attempts(filter, by, most, take)
            .await
            .context("cannot read attempts over time")
    }

    async fn hours_of(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool> {
        self.read_hours(filter, by, most, take)
            .await
            .context("cannot read what was counted by the hour")
    }

    async fn spending(
        &self,
        by: Spender,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Consumption>> {
        self.spent_by(by, from_ms, to_ms, limit).await
    }
}

impl Storage {
    async fn read_attempts(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool> {
        Ok(on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(select!(by, "events WHERE"));
            push_filter!(query, filter);
            take_all!(query, pool, most, row: PointRow => ChartPart::Attempt(row.into()), take)
        }))
    }

    async fn read_hours(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool> {
        let one_state = self.db.one_state();
        Ok(on!(self.db.read(), pool => {
            let mut reading = pool.begin().await?;
            if let Some(one_state) = one_state {
                sqlx::query(one_state).execute(&mut *reading).await?;
            }
            let counted: Option<i64> = sqlx::query_scalar("SELECT value FROM upkeep WHERE name = $1")
                .bind(upkeep::ROLLED_UP)
                .fetch_optional(&mut *reading)
                .await?;
            let mut query = QueryBuilder::new(concat!(
                "SELECT ", upkeep::rollup!(), " FROM event_rollups WHERE outcome <> 'cancelled'"
            ));
            query.push(" AND hour_ms >= ").push_bind(filter.from_ms.unwrap_or(i64::MIN));
            query.push(" AND hour_ms < ").push_bind(filter.to_ms.unwrap_or(i64::MAX));
            push_names!(query, filter);
            let hours = take_all!(query, &mut *reading, most, row: upkeep::RollupRow => {
                ChartPart::Hour(Box::new(Rollup::try_from(row)?.into()))
            }, take);
            let mut query = QueryBuilder::new(select!(by, "event_order o CROSS JOIN events e \
                WHERE e.writer = o.writer AND e.batch = o.batch AND"));
            let counted = counted.unwrap_or(0);
            query.push("o.first_seq > ").push_bind(counted - MOST_IN_BATCH as i64);
            query.push(" AND o.first_seq + e.place > ").push_bind(counted).push(" AND ");
            push_filter!(query, filter);
            let rest = take_all!(query, &mut *reading, most, row: PointRow => ChartPart::Attempt(row.into()), take);
            hours && rest
        }))
    }
}

impl From<Rollup> for AttemptHour {
    fn from(it: Rollup) -> Self {
        Self {
            at_ms: it.hour_ms,
            model: it.model,
            task: it.task,
            variant: it.variant,
            outcome: it.outcome.name(),
            attempts: it.attempts,
            tokens: it.prompt_tokens + it.completion_tokens,
            cost: it.cost.0,
            latency: it.latency,
            first_token: it.first_token,
        }
    }
}
