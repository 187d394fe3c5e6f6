//! The events of `ai_metrics`, appended in batches and read back at start.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value::Error as ValueError};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::Storage;
use crate::{
    _core::units::Microdollars,
    ai_metrics::{Event, EventStore, Outcome},
    providers::fault::FaultKind,
};

/// Rows of one `INSERT`: many enough to be fast, few enough for the limit on bound values (32,766).
const ROWS_PER_INSERT: usize = 500;

#[derive(sqlx::FromRow)]
struct Row {
    at_ms: i64,
    request_id: String,
    user_id: Option<i64>,
    model: String,
    task: String,
    variant: String,
    position: i64,
    latency_ms: f64,
    first_token_ms: Option<f64>,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost_microdollars: i64,
    outcome: String,
}

impl Row {
    fn event(self, names: &mut Names) -> anyhow::Result<Event> {
        Ok(Event {
            at_ms: self.at_ms,
            request_id: self.request_id.into(),
            user_id: self.user_id,
            seq: 0,
            subject: None,
            rollout: None,
            counted: false,
            model: names.shared(&self.model),
            task: names.shared(&self.task),
            variant: from_name(&self.variant)?,
            position: self.position.try_into()?,
            latency_ms: self.latency_ms,
            first_token_ms: self.first_token_ms,
            prompt_tokens: self.prompt_tokens.try_into()?,
            completion_tokens: self.completion_tokens.try_into()?,
            cost: Microdollars(self.cost_microdollars),
            outcome: outcome(&self.outcome)?,
        })
    }
}

#[async_trait]
impl EventStore for Storage {
    async fn append(&self, events: &[Event]) -> anyhow::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let write = async {
            let mut transaction = self.db.write.begin().await?;
            for chunk in events.chunks(ROWS_PER_INSERT) {
                insert(chunk)?.build().execute(&mut *transaction).await?;
            }
            anyhow::Ok(transaction.commit().await?)
        };
        write
            .await
            .with_context(|| format!("cannot store {} events", events.len()))
    }

    async fn since(&self, at_ms: i64) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT * FROM ai_events WHERE at_ms >= $1 ORDER BY at_ms, id")
                .bind(at_ms)
                .fetch_all(&self.db.read)
                .await
                .context("cannot read events")?;
        let mut names = Names::default();
        rows.into_iter()
            .map(|row| row.event(&mut names))
            .collect::<anyhow::Result<_>>()
            .context("cannot read a stored event")
    }
}

fn insert(events: &[Event]) -> anyhow::Result<QueryBuilder<sqlx::Sqlite>> {
    let rows = events
        .iter()
        .map(|event| Ok((event, name(event.variant)?, outcome_name(event.outcome)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut query = QueryBuilder::new(
        "INSERT INTO ai_events (id, at_ms, request_id, user_id, model, task, variant, position, \
         latency_ms, first_token_ms, prompt_tokens, completion_tokens, cost_microdollars, outcome) ",
    );
    query.push_values(rows, |mut row, (event, variant, outcome)| {
        // Ids of version 7 grow, so events of one millisecond keep their order.
        row.push_bind(Uuid::now_v7().simple().to_string())
            .push_bind(event.at_ms)
            .push_bind(event.request_id.to_string())
            .push_bind(event.user_id)
            .push_bind(event.model.to_string())
            .push_bind(event.task.to_string())
            .push_bind(variant)
            .push_bind(i64::from(event.position))
            .push_bind(event.latency_ms)
            .push_bind(event.first_token_ms)
            .push_bind(i64::from(event.prompt_tokens))
            .push_bind(i64::from(event.completion_tokens))
            .push_bind(event.cost.0)
            .push_bind(outcome);
    });
    Ok(query)
}

/// Names of models and tasks repeat in every row; they are kept once.
#[derive(Default)]
struct Names(std::collections::HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}

const SUCCESS: &str = "success";
const CANCELLED: &str = "cancelled";

fn outcome_name(outcome: Outcome) -> anyhow::Result<String> {
    match outcome {
        Outcome::Success => Ok(SUCCESS.into()),
        Outcome::Cancelled => Ok(CANCELLED.into()),
        Outcome::Fault(kind) => name(kind),
    }
}

fn outcome(name: &str) -> anyhow::Result<Outcome> {
    match name {
        SUCCESS => Ok(Outcome::Success),
        CANCELLED => Ok(Outcome::Cancelled),
        kind => from_name::<FaultKind>(kind).map(Outcome::Fault),
    }
}

/// A plain enum's name as serde has it, which is also its name on the wire.
fn name(value: impl Serialize) -> anyhow::Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(name) => Ok(name),
        other => anyhow::bail!("`{other}` is not a name"),
    }
}

fn from_name<'de, T: Deserialize<'de>>(name: &'de str) -> anyhow::Result<T> {
    T::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).map_err(Into::into)
}

/// The names in the table are part of the file's format.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::_core::assignment::Variant;

    #[test]
    fn outcomes_and_variants_have_stable_names() {
        for (value, text) in [
            (Outcome::Success, "success"),
            (Outcome::Cancelled, "cancelled"),
            (Outcome::Fault(FaultKind::ContextLength), "context-length"),
            (
                Outcome::Fault(FaultKind::ProviderRateLimited),
                "provider-rate-limited",
            ),
        ] {
            assert_eq!(outcome_name(value).unwrap(), text);
            assert_eq!(outcome(text).unwrap(), value);
        }
        assert_eq!(name(Variant::Candidate).unwrap(), "candidate");
        assert_eq!(from_name::<Variant>("control").unwrap(), Variant::Control);
        assert!(outcome("on fire").is_err());
    }
}
