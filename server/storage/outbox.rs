//! Alerts, and which channel has had which.

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::{Storage, db::Write, from_name, name, storable, time};
use crate::alerting::{Alert, LONGEST_PAUSE, Outbox, PendingAlert};

/// Alerts older than this are history: a channel that comes up is not sent them any more.
pub(super) const DELIVERABLE: TimeDelta = TimeDelta::days(7);

/// What an [`AlertRow`] has; of this table, as a later release may add a column of the same name to one beside it.
macro_rules! alert {
    () => {
        "alerts.id, alerts.at_ms, alerts.kind, alerts.severity, alerts.rollout_id, alerts.title, alerts.body, alerts.details"
    };
}
pub(super) use alert;

/// An alert as it is stored.
#[derive(sqlx::FromRow)]
pub(super) struct AlertRow {
    pub(super) id: String,
    at_ms: i64,
    kind: String,
    severity: String,
    rollout_id: Option<String>,
    title: String,
    body: String,
    details: String,
}

impl AlertRow {
    pub(super) fn alert(self) -> anyhow::Result<Alert> {
        Ok(Alert {
            kind: from_name(&self.kind)?,
            severity: from_name(&self.severity)?,
            details: serde_json::from_str(&self.details)?,
            at: time(self.at_ms),
            id: self.id,
            rollout_id: self.rollout_id,
            title: self.title,
            text: self.body,
        })
    }
}

#[derive(sqlx::FromRow)]
struct PendingRow {
    #[sqlx(flatten)]
    alert: AlertRow,
    attempts: i64,
}

impl PendingRow {
    fn pending(self, channel: &str) -> anyhow::Result<PendingAlert> {
        Ok(PendingAlert {
            channel: channel.to_owned(),
            attempts: self.attempts.try_into()?,
            alert: self.alert.alert()?,
        })
    }
}

#[async_trait]
impl Outbox for Storage {
    async fn enqueue(&self, alert: &Alert) -> anyhow::Result<()> {
        let add = async {
            let mut transaction = self.db.begin().await?;
            insert(&mut transaction, alert).await?;
            anyhow::Ok(transaction.commit().await?)
        };
        add.await
            .with_context(|| format!("cannot store alert `{}`", alert.id))
    }

    async fn due(
        &self,
        channels: &[String],
        now: DateTime<Utc>,
        limit: usize,
    ) -> anyhow::Result<Vec<PendingAlert>> {
        let mut due = Vec::new();
        for channel in channels {
            let rows: Vec<PendingRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
                    "SELECT ", alert!(), ", COALESCE(deliveries.attempts, 0) AS attempts FROM alerts \
                     LEFT JOIN alert_deliveries AS deliveries \
                     ON deliveries.alert_id = alerts.id AND deliveries.channel = $1 \
                     WHERE alerts.at_ms >= $2 AND deliveries.delivered_ms IS NULL \
                     AND (COALESCE(deliveries.next_ms, $3) <= $3 OR deliveries.next_ms > $5) \
                     ORDER BY alerts.at_ms, alerts.id LIMIT $4",
                ))
                .bind(channel)
                .bind((now - DELIVERABLE).timestamp_millis())
                .bind(now.timestamp_millis())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                // The clock was set back since.
                .bind((now + LONGEST_PAUSE).timestamp_millis())
                .fetch_all(pool)
                .await)
            .with_context(|| format!("cannot read what is due for channel `{channel}`"))?;
            for row in rows {
                due.push(row.pending(channel).context("cannot read a stored alert")?);
            }
        }
        due.sort_by(|a, b| (a.alert.at, &a.alert.id).cmp(&(b.alert.at, &b.alert.id)));
        due.truncate(limit);
        Ok(due)
    }

    async fn delivered(
        &self,
        alert_id: &str,
        channel: &str,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO alert_deliveries (alert_id, channel, attempts, next_ms, delivered_ms) \
                 VALUES ($1, $2, 1, $3, $3) \
                 ON CONFLICT (alert_id, channel) DO UPDATE SET \
                 attempts = alert_deliveries.attempts + 1, delivered_ms = excluded.delivered_ms, \
                 last_error = NULL \
                 WHERE alert_deliveries.delivered_ms IS NULL",
            )
            .bind(alert_id)
            .bind(channel)
            .bind(at.timestamp_millis())
            .execute(pool))
        .map(|_| ())
        .with_context(|| format!("cannot note that `{channel}` has alert `{alert_id}`"))
    }

    async fn failed(
        &self,
        alert_id: &str,
        channel: &str,
        error: &str,
        retry_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO alert_deliveries (alert_id, channel, attempts, next_ms, last_error) \
                 VALUES ($1, $2, 1, $3, $4) \
                 ON CONFLICT (alert_id, channel) DO UPDATE SET \
                 attempts = alert_deliveries.attempts + 1, next_ms = excluded.next_ms, \
                 last_error = excluded.last_error \
                 WHERE alert_deliveries.delivered_ms IS NULL",
            )
            .bind(alert_id)
            .bind(channel)
            .bind(retry_at.timestamp_millis())
            .bind(storable(error))
            .execute(pool))
        .map(|_| ())
        .with_context(|| format!("cannot note that `{channel}` did not take alert `{alert_id}`"))
    }
}

/// Adds an alert; one that is there stays as it is.
pub(super) async fn insert(transaction: &mut Write, alert: &Alert) -> anyhow::Result<()> {
    let kind = name(alert.kind)?;
    let severity = name(alert.severity)?;
    let details = alert.details.to_string();
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO alerts (id, at_ms, kind, severity, rollout_id, title, body, details) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&alert.id)
        .bind(alert.at.timestamp_millis())
        .bind(kind)
        .bind(severity)
        .bind(&alert.rollout_id)
        .bind(storable(&alert.title))
        .bind(storable(&alert.text))
        .bind(details)
        .execute(&mut **transaction))?;
    Ok(())
}
