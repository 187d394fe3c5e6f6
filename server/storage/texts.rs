//! Prompts and answers of requests, where they are kept.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;

use super::{
    Storage,
    changes::{self, ChangeLine},
    storable,
};
use crate::{
    _core::actor::Actor,
    dashboard::{audit::AuditSubject, texts::TextStore},
    recording::texts::{CallTexts, TextSink},
};

/// Calls of models that one request can show.
const MOST: i64 = 50;

#[derive(sqlx::FromRow)]
struct Row {
    request_id: String,
    at_ms: i64,
    user_id: Option<i64>,
    task: String,
    prompt: String,
    answer: Option<String>,
    is_cut: bool,
    masked: i64,
}

impl Row {
    fn texts(self) -> anyhow::Result<CallTexts> {
        Ok(CallTexts {
            request_id: self.request_id,
            at_ms: self.at_ms,
            user_id: self.user_id,
            task: self.task,
            prompt: serde_json::from_str(&self.prompt).context("a stored prompt is damaged")?,
            answer: self.answer,
            is_cut: self.is_cut,
            masked: self.masked.try_into()?,
        })
    }
}

#[async_trait]
impl TextSink for Storage {
    async fn keep_texts(&self, texts: &[CallTexts]) -> anyhow::Result<()> {
        let mut rows = Vec::with_capacity(texts.len());
        for it in texts {
            rows.push((it, serde_json::to_string(&it.prompt)?));
        }
        on!(self.db.write(), pool => {
            let mut query = QueryBuilder::new(
                "INSERT INTO request_texts (request_id, at_ms, user_id, task, prompt, answer, is_cut, masked) ",
            );
            query.push_values(&rows, |mut row, (it, prompt)| {
                row.push_bind(storable(&it.request_id).into_owned())
                    .push_bind(it.at_ms)
                    .push_bind(it.user_id)
                    .push_bind(storable(&it.task).into_owned())
                    .push_bind(storable(prompt).into_owned())
                    .push_bind(it.answer.as_deref().map(|text| storable(text).into_owned()))
                    .push_bind(it.is_cut)
                    .push_bind(i64::from(it.masked));
            });
            query.build().execute(pool).await.map(drop)
        })
        .context("cannot keep texts of requests")
    }
}

#[async_trait]
impl TextStore for Storage {
    async fn has_texts(&self, request_id: &str) -> anyhow::Result<bool> {
        let found: Option<i64> = on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT at_ms FROM request_texts WHERE request_id = $1 LIMIT 1",
            )
            .bind(storable(request_id))
            .fetch_optional(pool)
            .await)
        .context("cannot look for texts of a request")?;
        Ok(found.is_some())
    }

    async fn open_texts(
        &self,
        request_id: &str,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<CallTexts>> {
        let opened = async {
            let mut transaction = self.db.begin().await?;
            let rows: Vec<Row> = on!(&mut transaction, transaction => sqlx::query_as(
                    "SELECT request_id, at_ms, user_id, task, prompt, answer, is_cut, masked \
                     FROM request_texts WHERE request_id = $1 ORDER BY at_ms LIMIT $2",
                )
                .bind(storable(request_id))
                .bind(MOST)
                .fetch_all(&mut **transaction)
                .await)?;
            if !rows.is_empty() {
                let change = ChangeLine {
                    subject: AuditSubject::Texts,
                    subject_id: request_id,
                    actor,
                    action: "opened",
                    before: None,
                    after: None,
                };
                changes::note(&mut transaction, change, now).await?;
            }
            transaction.commit().await?;
            rows.into_iter().map(Row::texts).collect()
        };
        let opened: anyhow::Result<_> = opened.await;
        opened.context("cannot open texts of a request")
    }
}

impl Storage {
    /// Deletes texts of before this time.
    pub async fn prune_texts(&self, before: DateTime<Utc>) -> anyhow::Result<u64> {
        changed!(self.db.write_long(), pool => sqlx::query("DELETE FROM request_texts WHERE at_ms < $1")
            .bind(before.timestamp_millis())
            .execute(pool))
        .context("cannot delete old texts of requests")
    }
}
