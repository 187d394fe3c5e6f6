//! Who used how many tokens, and how much money.

use anyhow::Context as _;
use chrono::DateTime;
use sqlx::QueryBuilder;

use super::Storage;
use crate::dashboard::spending::{Consumption, Spender};

#[derive(sqlx::FromRow)]
struct SpentRow {
    name: Option<String>,
    attempts: i64,
    tokens: i64,
    written: i64,
    cost: i64,
}

/// What an attempt is summed up under.
const fn column(by: Spender) -> &'static str {
    match by {
        Spender::Model => "model",
        Spender::Variant => "variant",
        Spender::Task => "task",
        Spender::User | Spender::Key => "CAST(user_id AS TEXT)",
    }
}

impl Storage {
    /// The sums of the attempts of a time, the dearest first.
    pub(super) async fn spent_by(
        &self,
        by: Spender,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Consumption>> {
        if by == Spender::Key {
            return self.spent_by_keys(from_ms, to_ms, limit).await;
        }
        let rows: Vec<SpentRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT ");
            query.push(column(by)).push(
                " AS name, COUNT(*) AS attempts, CAST(SUM(prompt_tokens + completion_tokens) AS BIGINT) AS tokens, \
                 CAST(SUM(completion_tokens) AS BIGINT) AS written, CAST(SUM(cost_microdollars) AS BIGINT) AS cost \
                 FROM events WHERE at_ms >= ",
            );
            query.push_bind(from_ms).push(" AND at_ms < ").push_bind(to_ms);
            query.push(" GROUP BY 1 ORDER BY cost DESC, tokens DESC, name LIMIT ");
            query.push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot read what was used")?;
        let spent = |row: SpentRow| Consumption {
            name: row.name,
            attempts: Some(row.attempts),
            tokens: row.tokens,
            written: Some(row.written),
            cost: row.cost,
        };
        Ok(rows.into_iter().map(spent).collect())
    }

    async fn spent_by_keys(
        &self,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Consumption>> {
        let day = |ms| {
            let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
            time.date_naive().to_string()
        };
        let rows: Vec<(String, i64, i64)> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT key, CAST(SUM(tokens) AS BIGINT) AS tokens, CAST(SUM(cost_microdollars) AS BIGINT) AS cost \
             FROM key_spending WHERE day >= $1 AND day <= $2 GROUP BY key ORDER BY cost DESC, tokens DESC, key LIMIT $3",
        )
        .bind(day(from_ms))
        .bind(day(to_ms - 1))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)
        .context("cannot read what keys have spent")?;
        let spent = |(name, tokens, cost)| Consumption {
            name: Some(name),
            attempts: None,
            tokens,
            written: None,
            cost,
        };
        Ok(rows.into_iter().map(spent).collect())
    }
}
