//! Who may control rollouts: one process at a time.
//!
//! The *fence* is a number in the table of leases that grows with each holder. Every commit holds
//! its own fence against the stored one in its transaction, so a holder that was replaced while it
//! slept is refused whatever the clocks say. How a holder is known to be gone differs: on SQLite all
//! writers run on the machine of the file, and a lock of the operating system tells; on PostgreSQL a
//! lease runs out.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Storage,
    db::{Db, Write},
};
use crate::rollout::store::Fence;

/// How long a lease lasts that is not renewed.
const LEASE: TimeDelta = TimeDelta::seconds(15);

impl Storage {
    pub(super) async fn acquire_lease(
        &self,
        holder: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Fence>> {
        let Db::Sqlite(sqlite) = &self.db else {
            return Ok(self.next_fence(holder, now, now).await?);
        };
        if !sqlite.writer_lock.take(holder)? {
            return Ok(None);
        }
        // Who has the lock need not wait for a lease.
        let fence = self.next_fence(holder, now, DateTime::<Utc>::MAX_UTC).await;
        if fence.is_err() {
            sqlite.writer_lock.free();
        }
        Ok(fence?)
    }

    /// The next fence, where the lease is free, ran out before this time, or is the holder's own.
    async fn next_fence(
        &self,
        holder: &str,
        now: DateTime<Utc>,
        ran_out: DateTime<Utc>,
    ) -> sqlx::Result<Option<Fence>> {
        let fence: Option<i64> = returned!(self.db.write(), pool => sqlx::query_scalar(
                "INSERT INTO leases (name, holder, fence, expires_ms) VALUES ('rollouts', $1, 1, $2) \
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                 fence = leases.fence + 1, expires_ms = excluded.expires_ms \
                 WHERE leases.expires_ms <= $3 OR leases.holder = excluded.holder \
                 RETURNING fence",
            )
            .bind(holder)
            .bind((now + LEASE).timestamp_millis())
            .bind(ran_out.timestamp_millis())
            .fetch_all(pool))?;
        Ok(fence.map(Fence))
    }

    pub(super) async fn renew_lease(
        &self,
        fence: Fence,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        if let Db::Sqlite(sqlite) = &self.db {
            // Nothing runs out, so nothing is written, which a full disk could refuse.
            let fences: Vec<i64> =
                sqlx::query_scalar("SELECT fence FROM leases WHERE name = 'rollouts'")
                    .fetch_all(&sqlite.read)
                    .await?;
            return Ok(sqlite.writer_lock.is_held() && fences == [fence.0]);
        }
        let renewed = changed!(self.db.write(), pool => sqlx::query(
                "UPDATE leases SET expires_ms = $2 WHERE name = 'rollouts' AND fence = $1",
            )
            .bind(fence.0)
            .bind((now + LEASE).timestamp_millis())
            .execute(pool))?;
        Ok(renewed > 0)
    }

    pub(super) async fn release_lease(&self, fence: Fence) -> anyhow::Result<()> {
        // The row stays, so that fences go on growing.
        let released = changed!(self.db.write(), pool => sqlx::query(
                "UPDATE leases SET expires_ms = 0 WHERE name = 'rollouts' AND fence = $1",
            )
            .bind(fence.0)
            .execute(pool))?;
        if let Db::Sqlite(sqlite) = &self.db
            && released > 0
        {
            sqlite.writer_lock.free();
        }
        Ok(())
    }
}

/// Whether the fence still holds. On PostgreSQL nobody can take the lease until the transaction
/// ends.
pub(super) async fn check(transaction: &mut Write, fence: Fence) -> sqlx::Result<bool> {
    let kept = changed!(transaction, transaction => sqlx::query(
            "UPDATE leases SET fence = fence WHERE name = 'rollouts' AND fence = $1",
        )
        .bind(fence.0)
        .execute(&mut **transaction))?;
    Ok(kept > 0)
}
