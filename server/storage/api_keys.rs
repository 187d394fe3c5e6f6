//! Keys of applications, by the hashes of their secrets, and who changed them.

use std::collections::HashMap;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use serde_json::{Value, json};

use super::{
    Storage,
    changes::{self, ChangeLine},
    db::Write,
    storable, time,
};
use crate::{
    _core::{actor::Actor, amount::Amount, units::Microdollars},
    dashboard::audit::AuditSubject,
    keys::{ApiKey, ApiKeyStore, KeyLimits, Secret},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    hash: String,
    models: Option<String>,
    limits: Option<String>,
    created_ms: i64,
    expires_ms: Option<i64>,
    revoked_ms: Option<i64>,
    previous_hash: Option<String>,
}

const COLUMNS: &str = "SELECT id, name, hash, models, limits, created_ms, expires_ms, revoked_ms, previous_hash FROM api_keys";

impl Row {
    fn key(&self) -> anyhow::Result<ApiKey> {
        let models = self.models.as_deref().map(serde_json::from_str).transpose();
        let limits = self.limits.as_deref().map(serde_json::from_str).transpose();
        let limits: Option<KeyLimits> =
            limits.with_context(|| format!("key `{}` has damaged limits", self.name))?;
        Ok(ApiKey {
            id: self.id.clone(),
            name: self.name.clone(),
            models: models.with_context(|| format!("key `{}` has damaged models", self.name))?,
            limits: limits.unwrap_or_default(),
            created_at: time(self.created_ms),
            expires_at: self.expires_ms.map(time),
            revoked_at: self.revoked_ms.map(time),
        })
    }
}

fn of_key<'a>(
    name: &'a str,
    actor: &'a Actor,
    action: &'a str,
    after: Option<Value>,
) -> ChangeLine<'a> {
    ChangeLine {
        subject: AuditSubject::Keys,
        subject_id: name,
        actor,
        action,
        before: None,
        after,
    }
}

/// Writes who changed a key, if one was changed; whether it was.
async fn noted(
    mut transaction: Write,
    changed: u64,
    change: ChangeLine<'_>,
    now: DateTime<Utc>,
) -> anyhow::Result<bool> {
    if changed > 0 {
        changes::note(&mut transaction, change, now).await?;
    }
    transaction.commit().await?;
    Ok(changed > 0)
}

#[async_trait]
impl ApiKeyStore for Storage {
    async fn add_key(&self, key: &ApiKey, hash: &str, actor: &Actor) -> anyhow::Result<bool> {
        let models = key.models.as_ref().map(serde_json::to_string).transpose()?;
        let limits = serde_json::to_string(&key.limits)?;
        let added = async {
            let mut transaction = self.db.begin().await?;
            let added = changed!(&mut transaction, transaction => sqlx::query(
                "INSERT INTO api_keys (id, name, hash, models, created_ms, expires_ms, limits) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
            )
            .bind(&key.id)
            .bind(&key.name)
            .bind(hash)
            .bind(models)
            .bind(key.created_at.timestamp_millis())
            .bind(key.expires_at.map(|end| end.timestamp_millis()))
            .bind(limits)
            .execute(&mut **transaction))?;
            let after =
                json!({"models": key.models, "limits": key.limits, "expiresAt": key.expires_at});
            let change = of_key(&key.name, actor, "created", Some(after));
            noted(transaction, added, change, key.created_at).await
        };
        added.await.context("cannot add a key")
    }

    async fn find_key(
        &self,
        id: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<(ApiKey, String)>> {
        let sql =
            format!("{COLUMNS} WHERE id = $1 OR (previous_id = $1 AND previous_until_ms > $2)");
        let row: Option<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(storable(id))
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

    async fn revoke_key(
        &self,
        name: &str,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let revoked = async {
            let mut transaction = self.db.begin().await?;
            let revoked = changed!(&mut transaction, transaction => sqlx::query(
                "UPDATE api_keys SET revoked_ms = $2 WHERE name = $1 AND revoked_ms IS NULL",
            )
            .bind(storable(name))
            .bind(now.timestamp_millis())
            .execute(&mut **transaction))?;
            let change = of_key(name, actor, "revoked", None);
            noted(transaction, revoked, change, now).await
        };
        revoked.await.context("cannot revoke a key")
    }

    async fn replace_key(
        &self,
        name: &str,
        secret: &Secret,
        overlap: TimeDelta,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let replaced = async {
            let mut transaction = self.db.begin().await?;
            let replaced = changed!(&mut transaction, transaction => sqlx::query(
                "UPDATE api_keys SET previous_id = id, previous_hash = hash, previous_until_ms = $4, \
                 id = $2, hash = $3, created_ms = $5 WHERE name = $1 AND revoked_ms IS NULL \
                 AND (expires_ms IS NULL OR expires_ms > $5)",
            )
            .bind(storable(name))
            .bind(&secret.id)
            .bind(&secret.hash)
            .bind((now + overlap).timestamp_millis())
            .bind(now.timestamp_millis())
            .execute(&mut **transaction))?;
            let after = json!({"previousUntil": now + overlap});
            let change = of_key(name, actor, "rotated", Some(after));
            noted(transaction, replaced, change, now).await
        };
        replaced.await.context("cannot replace a key")
    }

    async fn limit_key(
        &self,
        name: &str,
        limits: &KeyLimits,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let text = serde_json::to_string(limits)?;
        let limited = async {
            let mut transaction = self.db.begin().await?;
            // Of two changes at once the second waits, and notes what the first made of it.
            let sql = match &transaction {
                Write::Sqlite(_) => {
                    "SELECT limits FROM api_keys WHERE name = $1 AND revoked_ms IS NULL"
                }
                Write::Postgres(_) => {
                    "SELECT limits FROM api_keys WHERE name = $1 AND revoked_ms IS NULL FOR UPDATE"
                }
            };
            let before: Option<Option<String>> = on!(&mut transaction, transaction => sqlx::query_scalar(sql)
                .bind(storable(name))
                .fetch_optional(&mut **transaction)
                .await)?;
            let limited = changed!(&mut transaction, transaction => sqlx::query(
                "UPDATE api_keys SET limits = $2 WHERE name = $1 AND revoked_ms IS NULL",
            )
            .bind(storable(name))
            .bind(text)
            .execute(&mut **transaction))?;
            let before = before
                .flatten()
                .and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let change = ChangeLine {
                before: before.map(|limits| json!({"limits": limits})),
                ..of_key(name, actor, "limited", Some(json!({"limits": limits})))
            };
            noted(transaction, limited, change, now).await
        };
        limited.await.context("cannot limit a key")
    }

    async fn grant(
        &self,
        name: &str,
        day: NaiveDate,
        amount: Amount,
        budget: Amount,
    ) -> anyhow::Result<bool> {
        // The condition below is not asked of the first row of a day.
        if amount.tokens > budget.tokens || amount.cost > budget.cost {
            return Ok(false);
        }
        let granted = changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO key_spending (key, day, tokens, cost_microdollars) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (day, key) DO UPDATE SET \
             tokens = key_spending.tokens + excluded.tokens, \
             cost_microdollars = key_spending.cost_microdollars + excluded.cost_microdollars \
             WHERE key_spending.tokens + excluded.tokens <= $5 \
             AND key_spending.cost_microdollars + excluded.cost_microdollars <= $6",
        )
        .bind(storable(name))
        .bind(day.to_string())
        .bind(amount.tokens)
        .bind(amount.cost.0)
        .bind(budget.tokens)
        .bind(budget.cost.0)
        .execute(pool))
        .context("cannot reserve what a key may spend")?;
        Ok(granted > 0)
    }

    async fn spent(&self, name: &str, day: NaiveDate) -> anyhow::Result<Amount> {
        let row: Option<(i64, i64)> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT tokens, cost_microdollars FROM key_spending WHERE day = $1 AND key = $2",
        )
        .bind(day.to_string())
        .bind(storable(name))
        .fetch_optional(pool)
        .await)
        .context("cannot read what a key has spent")?;
        let (tokens, cost) = row.unwrap_or_default();
        Ok(Amount {
            tokens,
            cost: Microdollars(cost),
        })
    }

    async fn spent_by_all(&self, day: NaiveDate) -> anyhow::Result<HashMap<String, Amount>> {
        let rows: Vec<(String, i64, i64)> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT key, tokens, cost_microdollars FROM key_spending WHERE day = $1",
        )
        .bind(day.to_string())
        .fetch_all(pool)
        .await)
        .context("cannot read what keys have spent")?;
        let amount = |(key, tokens, cost)| {
            (
                key,
                Amount {
                    tokens,
                    cost: Microdollars(cost),
                },
            )
        };
        Ok(rows.into_iter().map(amount).collect())
    }
}
