//! What our accounts at providers have used of their quotas.

use anyhow::Context;
use async_trait::async_trait;

use super::{Storage, db::Db, postgres::Postgres};
use crate::model_router::quota::{
    record::{AccountReport, ReportAnswer},
    store::{QuotaStore, Shared},
    used::Used,
};

#[async_trait]
impl QuotaStore for Storage {
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>> {
        let rows: Vec<(String, String)> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT provider, used FROM quotas",
        )
        .fetch_all(pool)
        .await)
        .context("cannot read what our accounts have used")?;
        rows.into_iter().map(read).collect()
    }

    async fn keep_quota(&self, provider: &str, used: &Used) -> anyhow::Result<()> {
        let used = serde_json::to_string(used)?;
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO quotas (provider, used) VALUES ($1, $2) \
             ON CONFLICT (provider) DO UPDATE SET used = $2",
        )
        .bind(provider)
        .bind(&used)
        .execute(pool))
        .context("cannot store what an account has used")?;
        Ok(())
    }

    fn gives_slots(&self) -> bool {
        matches!(self.db, Db::Postgres(_))
    }

    async fn say(&self, account: &str, report: &AccountReport) -> anyhow::Result<ReportAnswer> {
        let Db::Postgres(postgres) = &self.db else {
            anyhow::bail!("SQLite gives no slots");
        };
        postgres.take_report(account, report).await
    }

    async fn shared(&self) -> anyhow::Result<Shared> {
        let pool = self.shared()?;
        let (now_ms, live): (i64, i64) = sqlx::query_as(
            "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT, \
             (SELECT COUNT(*) FROM replicas WHERE ended_at IS NULL \
             AND seen_at > clock_timestamp() - INTERVAL '5 minutes')",
        )
        .fetch_one(pool)
        .await
        .context("cannot read who uses our accounts")?;
        let accounts = self.quotas().await?;
        Ok(Shared {
            now_ms,
            live: u32::try_from(live).unwrap_or(u32::MAX),
            accounts,
        })
    }
}

fn read((provider, used): (String, String)) -> anyhow::Result<(String, Used)> {
    let used = serde_json::from_str(&used)
        .with_context(|| format!("what was used at `{provider}` is damaged"))?;
    Ok((provider, used))
}

impl Postgres {
    /// Takes the reports on an account, one after the other.
    async fn take_report(
        &self,
        account: &str,
        report: &AccountReport,
    ) -> anyhow::Result<ReportAnswer> {
        let mut transaction = self.pool.begin().await?;
        // The time is asked once the row is ours.
        let locked = "SELECT used, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT FROM \
                      (SELECT used FROM quotas WHERE provider = $1 FOR UPDATE) AS locked";
        let lock = || sqlx::query_as(locked).bind(account);
        let mut row: Option<(String, i64)> = lock().fetch_optional(&mut *transaction).await?;
        if row.is_none() {
            // Whoever else does so at the same moment goes first, and we find what it wrote.
            sqlx::query(
                "INSERT INTO quotas (provider, used) VALUES ($1, '') ON CONFLICT DO NOTHING",
            )
            .bind(account)
            .execute(&mut *transaction)
            .await?;
            row = lock().fetch_optional(&mut *transaction).await?;
        }
        let (text, now_ms) = row.context("what an account has used is not there")?;
        let mut used = match text.as_str() {
            "" => Used::unknown(&report.most, now_ms),
            _ => read((account.to_owned(), text))?.1,
        };
        let slots = used.take_report(report, now_ms);
        sqlx::query("UPDATE quotas SET used = $2 WHERE provider = $1")
            .bind(account)
            .bind(serde_json::to_string(&used)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(ReportAnswer {
            slots,
            used,
            now_ms,
        })
    }
}
