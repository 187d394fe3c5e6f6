//! Who may control rollouts: one process at a time.
//!
//! The *fence* is a number in the table of leases that grows with each holder. Every commit holds
//! its own fence, its name and the end of the log that it goes on from against the stored ones in its
//! transaction, so a holder that was replaced while it slept, or that has not seen the end, is refused
//! whatever the clocks say. Who gets the lease is a writer, with a number that nobody else had or gets.
//! How a holder is known to be gone differs: on SQLite all writers run on the machine of the file, and a
//! lock of the operating system decides; on PostgreSQL a lease runs out, by the clock of the database, which
//! is the same for all.

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{
    Storage,
    db::{Db, Write},
};
use crate::rollout::store::Fence;

/// PostgreSQL's clock in milliseconds since 1970, which goes on within a transaction.
macro_rules! clock {
    () => {
        "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT"
    };
}
/// The same when a lease that is taken or renewed now runs out: in 10 s.
macro_rules! run_out {
    () => {
        concat!(clock!(), " + 10000")
    };
}

impl Storage {
    pub(super) async fn acquire_lease(
        &self,
        holder: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Fence>> {
        match &self.db {
            Db::Sqlite(sqlite) => {
                if !sqlite.writer_lock.take(holder)? {
                    return Ok(None);
                }
                // Who has the lock need not wait for a lease.
                let fence = self.next_fence(holder, now).await;
                if fence.is_err() {
                    sqlite.writer_lock.free();
                }
                fence
            }
            Db::Postgres(postgres) => {
                // All who follow ask several times a second, and must not lock what the leader writes.
                if is_taken(&postgres.pool, holder).await? {
                    return Ok(None);
                }
                self.next_fence(holder, now).await
            }
        }
    }

    /// The next fence, where the lease is free, ran out, or is the holder's own.
    async fn next_fence(&self, holder: &str, now: DateTime<Utc>) -> anyhow::Result<Option<Fence>> {
        let mut transaction = self.db.begin().await?;
        let number: Option<i64> = match &mut transaction {
            Write::Sqlite(transaction) => sqlx::query_scalar(
                "INSERT INTO leases (name, holder, fence, expires_ms) VALUES ('rollouts', $1, 1, $2) \
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                 fence = leases.fence + 1, expires_ms = excluded.expires_ms RETURNING fence",
            )
            .bind(holder)
            .bind(now.timestamp_millis())
            .fetch_all(&mut **transaction)
            .await?
            .pop(),
            Write::Postgres(transaction) => sqlx::query_scalar(concat!(
                "INSERT INTO leases (name, holder, fence, expires_ms) VALUES ('rollouts', $1, 1, ",
                run_out!(),
                ") ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                 fence = leases.fence + 1, expires_ms = excluded.expires_ms \
                 WHERE leases.expires_ms <= ",
                clock!(),
                " OR leases.holder = excluded.holder RETURNING fence",
            ))
            .bind(holder)
            .fetch_all(&mut **transaction)
            .await?
            .pop(),
        };
        let Some(number) = number else {
            return Ok(None);
        };
        let writer = self.register(&mut transaction, holder, now).await?;
        transaction.commit().await?;
        Ok(Some(Fence {
            number,
            holder: holder.into(),
            writer,
        }))
    }

    /// The process's number among all that ever wrote; it keeps the one that it has.
    pub(super) async fn register(
        &self,
        transaction: &mut Write,
        holder: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<i64> {
        let now_ms = now.timestamp_millis();
        if matches!(self.db, Db::Sqlite(_)) {
            // All others gave back the lock, or died.
            changed!(&mut *transaction, transaction => sqlx::query(
                    "UPDATE writers SET ended_ms = $1 WHERE ended_ms IS NULL AND holder <> $2",
                )
                .bind(now_ms)
                .bind(holder)
                .execute(&mut **transaction))?;
        }
        let writer: Option<i64> = returned!(transaction, transaction => sqlx::query_scalar(
                "INSERT INTO writers (holder, release, started_ms, last_batch) VALUES ($1, $2, $3, 0) \
                 ON CONFLICT (holder) DO UPDATE SET ended_ms = NULL RETURNING writer",
            )
            .bind(holder)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(now_ms)
            .fetch_all(&mut **transaction))?;
        writer.context("the database gave the process no number")
    }

    pub(super) async fn renew_lease(&self, fence: &Fence) -> anyhow::Result<bool> {
        let postgres = match &self.db {
            Db::Postgres(postgres) => postgres,
            Db::Sqlite(sqlite) => {
                // Nothing runs out, so nothing is written, which a full disk could refuse.
                let fences: Vec<(i64, String)> =
                    sqlx::query_as("SELECT fence, holder FROM leases WHERE name = 'rollouts'")
                        .fetch_all(&sqlite.read)
                        .await?;
                let is_ours = matches!(&*fences, [(number, holder)]
                    if *number == fence.number && **holder == *fence.holder);
                return Ok(sqlite.writer_lock.is_held() && is_ours);
            }
        };
        let renewed = sqlx::query(concat!(
            "UPDATE leases SET expires_ms = ",
            run_out!(),
            " WHERE name = 'rollouts' AND fence = $1 AND holder = $2",
        ))
        .bind(fence.number)
        .bind(&*fence.holder)
        .execute(&postgres.pool)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    pub(super) async fn release_lease(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let mut transaction = self.db.begin().await?;
        // The row stays, so that fences go on growing.
        let released = changed!(&mut transaction, transaction => sqlx::query(
                "UPDATE leases SET expires_ms = 0 WHERE name = 'rollouts' AND fence = $1 AND holder = $2",
            )
            .bind(fence.number)
            .bind(&*fence.holder)
            .execute(&mut **transaction))?;
        // On PostgreSQL others have yet to read its last batches; that it has ended the upkeep notes.
        if let Write::Sqlite(transaction) = &mut transaction {
            sqlx::query("UPDATE writers SET ended_ms = $1 WHERE writer = $2")
                .bind(now.timestamp_millis())
                .bind(fence.writer)
                .execute(&mut **transaction)
                .await?;
        }
        transaction.commit().await?;
        if let Db::Sqlite(sqlite) = &self.db
            && released > 0
        {
            sqlite.writer_lock.free();
        }
        Ok(())
    }
}

/// Whether another process has the lease.
async fn is_taken(pool: &PgPool, holder: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT 1 FROM leases WHERE name = 'rollouts' AND holder <> $1 \
         AND expires_ms > ",
        clock!(),
        ")",
    ))
    .bind(holder)
    .fetch_one(pool)
    .await
}

/// Moves the end of the log from the first to the second number. Returns whether the fence still holds and
/// the log ended there. On PostgreSQL nobody can take the lease until the transaction ends.
pub(super) async fn advance(
    transaction: &mut Write,
    fence: &Fence,
    (from, to): (i64, i64),
) -> sqlx::Result<bool> {
    let sql = match transaction {
        Write::Sqlite(_) => {
            "UPDATE leases SET head_seq = $1 \
             WHERE name = 'rollouts' AND fence = $2 AND holder = $3 AND head_seq = $4"
        }
        // Who writes lives, and a write may take longer than the lease lasts.
        Write::Postgres(_) => concat!(
            "UPDATE leases SET head_seq = $1, expires_ms = ",
            run_out!(),
            " WHERE name = 'rollouts' AND fence = $2 AND holder = $3 AND head_seq = $4"
        ),
    };
    let moved = changed!(transaction, transaction => sqlx::query(sql)
        .bind(to)
        .bind(fence.number)
        .bind(&*fence.holder)
        .bind(from)
        .execute(&mut **transaction))?;
    Ok(moved > 0)
}
