//! Processes on PostgreSQL, as they say of themselves.

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::PgConnection;

use super::{Storage, db::Db, storable, time};
use crate::fleet::{
    replica::{Introduced, MOST, Replica, ReplicaReport, Roll},
    replicas::ReplicaStore,
};

#[derive(sqlx::FromRow)]
struct Row {
    holder: String,
    name: String,
    release: String,
    started_ms: i64,
    seen_ms: i64,
    has_ended: bool,
    report: String,
}

impl From<Row> for Replica {
    fn from(row: Row) -> Self {
        Self {
            holder: row.holder,
            name: row.name,
            release: row.release,
            started_at: time(row.started_ms),
            seen_at: time(row.seen_ms),
            has_ended: row.has_ended,
            // What a later release says otherwise says nothing.
            report: serde_json::from_str(&row.report).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl ReplicaStore for Storage {
    async fn clock_ms(&self) -> anyhow::Result<Option<i64>> {
        let Db::Postgres(postgres) = &self.db else {
            return Ok(None);
        };
        let now_ms =
            sqlx::query_scalar("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT")
                .fetch_one(&postgres.pool)
                .await
                .context("cannot ask the database for the time")?;
        Ok(Some(now_ms))
    }

    async fn report(&self, who: &Introduced, report: &ReplicaReport) -> anyhow::Result<i64> {
        write_report(&mut *self.shared()?.acquire().await?, who, report).await
    }

    async fn join(
        &self,
        who: &Introduced,
        report: &ReplicaReport,
        may_join: &(dyn for<'a> Fn(&'a Roll) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<()> {
        let mut transaction = self.shared()?.begin().await?;
        // As long as several take, or one that froze here, which the database cuts off after three seconds.
        sqlx::query("SET LOCAL lock_timeout = '4s'")
            .execute(&mut *transaction)
            .await
            .context("cannot wait for others that join")?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('replicas'))")
            .execute(&mut *transaction)
            .await
            .context("cannot wait for others that join")?;
        may_join(&roll(&mut transaction).await?)?;
        write_report(&mut transaction, who, report).await?;
        Ok(transaction.commit().await?)
    }

    async fn bow_out(&self, holder: &str) -> anyhow::Result<()> {
        sqlx::query("UPDATE replicas SET ended_at = clock_timestamp() WHERE holder = $1")
            .bind(holder)
            .execute(self.shared()?)
            .await
            .context("cannot say that this process stops")?;
        Ok(())
    }

    async fn roll(&self) -> anyhow::Result<Roll> {
        roll(&mut *self.shared()?.acquire().await?).await
    }
}

async fn write_report(
    connection: &mut PgConnection,
    who: &Introduced,
    report: &ReplicaReport,
) -> anyhow::Result<i64> {
    let report = serde_json::to_string(report)?;
    sqlx::query_scalar(
        "INSERT INTO replicas (holder, name, release, report) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (holder) DO UPDATE SET seen_at = clock_timestamp(), name = excluded.name, report = excluded.report \
         RETURNING (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT",
    )
    .bind(&who.holder)
    .bind(storable(&who.name))
    .bind(who.release)
    .bind(storable(&report))
    .fetch_one(connection)
    .await
    .context("cannot say that this process lives")
}

async fn roll(connection: &mut PgConnection) -> anyhow::Result<Roll> {
    let (now_ms, leader): (i64, Option<String>) = sqlx::query_as(
        "SELECT now_ms, (SELECT holder FROM leases WHERE name = 'rollouts' AND expires_ms > now_ms) \
         FROM (SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT AS now_ms) AS clock",
    )
    .fetch_one(&mut *connection)
    .await
    .context("cannot read who leads")?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT holder, name, release, (EXTRACT(EPOCH FROM started_at) * 1000)::BIGINT AS started_ms, \
         (EXTRACT(EPOCH FROM seen_at) * 1000)::BIGINT AS seen_ms, ended_at IS NOT NULL AS has_ended, report \
         FROM replicas WHERE seen_at > clock_timestamp() - INTERVAL '1 day' \
         ORDER BY seen_at DESC LIMIT $1",
    )
    .bind(MOST as i64)
    .fetch_all(connection)
    .await
    .context("cannot read which processes there are")?;
    Ok(Roll {
        now: time(now_ms),
        leader,
        replicas: rows.into_iter().map(Replica::from).collect(),
    })
}

impl Storage {
    /// Deletes processes of which nobody speaks any more.
    pub(super) async fn prune_replicas(&self) -> anyhow::Result<()> {
        if let Db::Postgres(postgres) = &self.db {
            sqlx::query(
                "DELETE FROM replicas WHERE seen_at < clock_timestamp() - INTERVAL '1 day'",
            )
            .execute(&postgres.long)
            .await
            .context("cannot delete old processes")?;
        }
        Ok(())
    }
}
