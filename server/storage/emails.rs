//! What was found out about users' e-mails.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::QueryBuilder;

use super::{Storage, db::Write, storable};
use crate::email_intelligence::{
    Categorized, Suggestion,
    store::{CATEGORY, EmailStore, Insight, StoredSuggestion, ThreadFindings},
};

#[derive(sqlx::FromRow)]
struct FoundRow {
    thread_id: String,
    insight: String,
}

#[derive(sqlx::FromRow)]
struct SuggestionRow {
    id: i64,
    suggestion: String,
}

fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).context("what was found out about an e-mail is damaged")
}

#[async_trait]
impl EmailStore for Storage {
    async fn keep(
        &self,
        user_id: i64,
        thread_id: &str,
        insight: &Insight,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let text = serde_json::to_string(insight)?;
        let kept = async {
            let mut transaction = self.db.begin().await?;
            hold_user(&mut transaction, user_id).await?;
            changed!(&mut transaction, transaction => sqlx::query(
                "INSERT INTO email_insights (user_id, thread_id, kind, insight, found_ms) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, thread_id, kind) DO UPDATE SET \
                 insight = excluded.insight, found_ms = excluded.found_ms",
            )
            .bind(user_id)
            .bind(storable(thread_id))
            .bind(insight.kind())
            .bind(storable(&text))
            .bind(now.timestamp_millis())
            .execute(&mut **transaction))?;
            transaction.commit().await
        };
        let kept: sqlx::Result<()> = kept.await;
        kept.context("cannot keep what was found out about an e-mail")
    }

    async fn found(&self, user_id: i64, threads: &[String]) -> anyhow::Result<Vec<ThreadFindings>> {
        if threads.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<FoundRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(
                "SELECT thread_id, insight FROM email_insights WHERE user_id = ",
            );
            query.push_bind(user_id).push(" AND thread_id IN (");
            let mut list = query.separated(", ");
            for thread in threads {
                list.push_bind(storable(thread));
            }
            query.push(")");
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot read what was found out about e-mails")?;
        let found = rows.into_iter().map(|row| {
            Ok(ThreadFindings {
                insight: read(&row.insight)?,
                thread_id: row.thread_id,
            })
        });
        found.collect()
    }

    async fn newest_categories(
        &self,
        user_id: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Categorized>> {
        let rows: Vec<String> = on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT insight FROM email_insights WHERE user_id = $1 AND kind = $2 \
                 ORDER BY found_ms DESC LIMIT $3",
            )
            .bind(user_id)
            .bind(CATEGORY)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .context("cannot read the categories of e-mails")?;
        let mut categories = Vec::new();
        for row in rows {
            if let Insight::Category(found) = read(&row)? {
                categories.push(found);
            }
        }
        Ok(categories)
    }

    async fn add_suggestions(
        &self,
        user_id: i64,
        thread_id: &str,
        suggestions: &[Suggestion],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<i64>> {
        let texts = suggestions.iter().map(serde_json::to_string);
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        let added = async {
            let mut transaction = self.db.begin().await?;
            hold_user(&mut transaction, user_id).await?;
            let mut ids = Vec::with_capacity(texts.len());
            for text in &texts {
                let id: Option<i64> = returned!(&mut transaction, transaction => sqlx::query_scalar(
                    "INSERT INTO email_suggestions (user_id, thread_id, suggestion, made_ms) \
                     VALUES ($1, $2, $3, $4) RETURNING id",
                )
                .bind(user_id)
                .bind(storable(thread_id))
                .bind(storable(text))
                .bind(now.timestamp_millis())
                .fetch_all(&mut **transaction))?;
                ids.extend(id);
            }
            transaction.commit().await?;
            Ok(ids)
        };
        let added: sqlx::Result<_> = added.await;
        added.context("cannot keep replies to an e-mail")
    }

    async fn suggestions(
        &self,
        user_id: i64,
        thread_id: &str,
        limit: u32,
    ) -> anyhow::Result<Vec<StoredSuggestion>> {
        let rows: Vec<SuggestionRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT id, suggestion FROM email_suggestions WHERE user_id = $1 AND thread_id = $2 \
                 ORDER BY id DESC LIMIT $3",
            )
            .bind(user_id)
            .bind(storable(thread_id))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .context("cannot read replies to an e-mail")?;
        let kept = rows.into_iter().map(|row| {
            Ok(StoredSuggestion {
                id: row.id,
                suggestion: read(&row.suggestion)?,
            })
        });
        kept.collect()
    }

    async fn mark_used(&self, user_id: i64, id: i64, now: DateTime<Utc>) -> anyhow::Result<bool> {
        let done = changed!(self.db.write(), pool => sqlx::query(
            "UPDATE email_suggestions SET used_ms = COALESCE(used_ms, $3) WHERE id = $2 AND user_id = $1",
        )
        .bind(user_id)
        .bind(id)
        .bind(now.timestamp_millis())
        .execute(pool))
        .context("cannot note that a reply was taken")?;
        Ok(done > 0)
    }
}

/// Fails where the user was deleted; else nobody deletes the user until the transaction is over. It writes, as a
/// transaction of SQLite has to begin with that.
async fn hold_user(transaction: &mut Write, user_id: i64) -> sqlx::Result<()> {
    let held = changed!(&mut *transaction, transaction => sqlx::query(
        "UPDATE users SET updated_at = updated_at WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(user_id)
    .execute(&mut **transaction))?;
    match held {
        0 => Err(sqlx::Error::RowNotFound),
        _ => Ok(()),
    }
}

impl Storage {
    /// Deletes what was found before this time.
    pub(super) async fn prune_emails(&self, before: DateTime<Utc>) -> anyhow::Result<()> {
        for sql in [
            "DELETE FROM email_insights WHERE found_ms < $1",
            "DELETE FROM email_suggestions WHERE made_ms < $1",
        ] {
            changed!(self.db.write(), pool => sqlx::query(sql)
                .bind(before.timestamp_millis())
                .execute(pool))
            .context("cannot delete what was found out about e-mails long ago")?;
        }
        Ok(())
    }
}
