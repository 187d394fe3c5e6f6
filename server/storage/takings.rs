//! What processes take of limits that hold for all of them, on PostgreSQL.

use anyhow::Context as _;
use async_trait::async_trait;

use super::{
    Storage,
    db::Db,
    postgres::{Postgres, in_time},
    storable,
};
use crate::{_core::takings::Taken, fleet::shared_limits::TakingsStore};

/// What was stored so shortly before the last look may not have been seen by it.
const OVERLAP_MS: i64 = 2_000;

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    holder: String,
    since_ms: i64,
    total: i64,
}

#[async_trait]
impl TakingsStore for Storage {
    async fn exchange(
        &self,
        holder: &str,
        taken: &[Taken],
        since_ms: Option<i64>,
    ) -> anyhow::Result<(Vec<Taken>, i64)> {
        let Db::Postgres(postgres) = &self.db else {
            return Ok((Vec::new(), 0));
        };
        in_time(taken.len(), postgres.exchange(holder, taken, since_ms)).await
    }
}

impl Postgres {
    async fn exchange(
        &self,
        holder: &str,
        taken: &[Taken],
        since_ms: Option<i64>,
    ) -> anyhow::Result<(Vec<Taken>, i64)> {
        let pool = &self.pool;
        if !taken.is_empty() {
            let names: Vec<_> = taken
                .iter()
                .map(|it| storable(&it.name).into_owned())
                .collect();
            let since: Vec<_> = taken.iter().map(|it| it.since_ms).collect();
            let totals: Vec<_> = taken.iter().map(|it| it.total).collect();
            sqlx::query(
                "INSERT INTO takings (name, holder, since_ms, total, at) \
                 SELECT name, $2, since_ms, total, clock_timestamp() \
                 FROM unnest($1::TEXT[], $3::BIGINT[], $4::BIGINT[]) AS taken (name, since_ms, total) \
                 ON CONFLICT (name, holder) DO UPDATE \
                 SET since_ms = excluded.since_ms, total = excluded.total, at = excluded.at",
            )
            .bind(names)
            .bind(holder)
            .bind(since)
            .bind(totals)
            .execute(pool)
            .await
            .context("cannot tell what was taken of limits")?;
        }
        // The time first: what is stored while it is read is read again.
        let now_ms: i64 =
            sqlx::query_scalar("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT")
                .fetch_one(pool)
                .await
                .context("cannot ask the time")?;
        let from_ms = since_ms.map_or(now_ms - 120_000, |since_ms| since_ms - OVERLAP_MS);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, holder, since_ms, total FROM takings \
             WHERE at >= to_timestamp($1::DOUBLE PRECISION / 1000) AND holder <> $2",
        )
        .bind(from_ms)
        .bind(holder)
        .fetch_all(pool)
        .await
        .context("cannot read what others took of limits")?;
        let others = rows.into_iter().map(|row| Taken {
            name: row.name,
            holder: row.holder,
            since_ms: row.since_ms,
            total: row.total,
        });
        Ok((others.collect(), now_ms))
    }
}

impl Storage {
    /// Deletes what nobody adds to any more.
    pub(super) async fn prune_takings(&self) -> anyhow::Result<()> {
        if let Db::Postgres(postgres) = &self.db {
            sqlx::query("DELETE FROM takings WHERE at < clock_timestamp() - INTERVAL '10 minutes'")
                .execute(&postgres.long)
                .await
                .context("cannot delete old takings")?;
        }
        Ok(())
    }
}
