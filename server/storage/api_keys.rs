//! Keys of applications, by the hashes of their secrets.

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::{Storage, time};
use crate::_core::auth::api_key::{ApiKey, ApiKeyStore, Secret};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    hash: String,
    models: Option<String>,
    created_ms: i64,
    expires_ms: Option<i64>,
    revoked_ms: Option<i64>,
    previous_hash: Option<String>,
}

const COLUMNS: &str = "SELECT id, name, hash, models, created_ms, expires_ms, revoked_ms, previous_hash FROM api_keys";

impl Row {
    fn key(&self) -> anyhow::Result<ApiKey> {
        let models = self.models.as_deref().map(serde_json::from_str).transpose();
        Ok(ApiKey {
            id: self.id.clone(),
            name: self.name.clone(),
            models: models.with_context(|| format!("key `{}` has damaged models", self.name))?,
            created_at: time(self.created_ms),
            expires_at: self.expires_ms.map(time),
            revoked_at: self.revoked_ms.map(time),
        })
    }
}

#[async_trait]
impl ApiKeyStore for Storage {
    async fn add_key(&self, key: &ApiKey, hash: &str) -> anyhow::Result<bool> {
        let models = key.models.as_ref().map(serde_json::to_string).transpose()?;
        let added = changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO api_keys (id, name, hash, models, created_ms, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&key.id)
        .bind(&key.name)
        .bind(hash)
        .bind(models)
        .bind(key.created_at.timestamp_millis())
        .bind(key.expires_at.map(|end| end.timestamp_millis()))
        .execute(pool))
        .context("cannot add a key")?;
        Ok(added > 0)
    }

    async fn find_key(
        &self,
        id: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<(ApiKey, String)>> {
        let sql =
            format!("{COLUMNS} WHERE id = $1 OR (previous_id = $1 AND previous_until_ms > $2)");
        let row: Option<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(now.timestamp_millis())
            .fetch_optional(pool)
            .await)
        .context("cannot read a key")?;
        let Some(row) = row else {
            return Ok(None);
        };
        let key = row.key()?;
        let hash = if row.id == id {
            Some(row.hash)
        } else {
            row.previous_hash
        };
        Ok(hash.map(|hash| (key, hash)))
    }

    async fn keys(&self) -> anyhow::Result<Vec<ApiKey>> {
        let sql = format!("{COLUMNS} ORDER BY created_ms, name");
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_all(pool)
            .await)
        .context("cannot read the keys")?;
        rows.iter().map(Row::key).collect()
    }

    async fn revoke_key(&self, name: &str, now: DateTime<Utc>) -> anyhow::Result<bool> {
        let revoked = changed!(self.db.write(), pool => sqlx::query(
            "UPDATE api_keys SET revoked_ms = $2 WHERE name = $1 AND revoked_ms IS NULL",
        )
        .bind(name)
        .bind(now.timestamp_millis())
        .execute(pool))
        .context("cannot revoke a key")?;
        Ok(revoked > 0)
    }

    async fn replace_key(
        &self,
        name: &str,
        secret: &Secret,
        now: DateTime<Utc>,
        overlap: TimeDelta,
    ) -> anyhow::Result<bool> {
        let replaced = changed!(self.db.write(), pool => sqlx::query(
            "UPDATE api_keys SET previous_id = id, previous_hash = hash, previous_until_ms = $4, \
             id = $2, hash = $3, created_ms = $5 WHERE name = $1 AND revoked_ms IS NULL \
             AND (expires_ms IS NULL OR expires_ms > $5)",
        )
        .bind(name)
        .bind(&secret.id)
        .bind(&secret.hash)
        .bind((now + overlap).timestamp_millis())
        .bind(now.timestamp_millis())
        .execute(pool))
        .context("cannot replace a key")?;
        Ok(replaced > 0)
    }
}
