//! Attempts over time.

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::QueryBuilder;

use super::{Storage, requests::push_filter};
use crate::dashboard::{
    requests::RequestFilter,
    series::{By, Hour, Point, SeriesStore},
    spending::{Spender, Spent},
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

impl From<PointRow> for Point {
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

#[async_trait]
impl SeriesStore for Storage {
    async fn points(
        &self,
        filter: &RequestFilter,
        by: By,
        limit: u32,
    ) -> anyhow::Result<Vec<Point>> {
        let rows: Vec<PointRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT at_ms, ");
            query.push(column(by)).push(
                " AS line, outcome, latency_ms, first_token_ms, prompt_tokens + completion_tokens AS tokens, \
                 cost_microdollars FROM events WHERE outcome <> 'cancelled' AND ",
            );
            push_filter!(query, filter);
            query.push(" ORDER BY at_ms DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot read attempts over time")?;
        Ok(rows.into_iter().map(Point::from).collect())
    }

    async fn spending(
        &self,
        by: Spender,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Spent>> {
        self.spent_by(by, from_ms, to_ms, limit).await
    }

    async fn hours(&self, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<Hour>> {
        let rollups = self.rollups(from_ms, to_ms).await?;
        let hour = |it: super::Rollup| Hour {
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
        };
        let hours = rollups.into_iter().map(hour);
        Ok(hours.filter(|it| it.outcome != "cancelled").collect())
    }
}
