//! What our accounts at providers have used of their quotas.

use anyhow::Context;
use async_trait::async_trait;

use super::Storage;
use crate::model_router::quota::store::{QuotaStore, Used};

#[async_trait]
impl QuotaStore for Storage {
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>> {
        let rows: Vec<(String, String)> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT provider, used FROM quotas",
        )
        .fetch_all(pool)
        .await)
        .context("cannot read what our accounts have used")?;
        let read = |(provider, used): (String, String)| {
            let used = serde_json::from_str(&used)
                .with_context(|| format!("what was used at `{provider}` is damaged"))?;
            Ok((provider, used))
        };
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
}
