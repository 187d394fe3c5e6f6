//! What became of alerts.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;

use super::{
    Storage, name,
    outbox::{AlertRow, DELIVERABLE, alert},
    storable, time,
};
use crate::alerting::{
    Severity,
    sent::{AlertDelivery, AlertLog, AlertPlace, ChannelState, SentAlert, Waiting},
};

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    alert_id: String,
    channel: String,
    attempts: i64,
    next_ms: i64,
    delivered_ms: Option<i64>,
    last_error: Option<String>,
}

impl DeliveryRow {
    fn delivery(&self) -> AlertDelivery {
        AlertDelivery {
            channel: self.channel.clone(),
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            next_at: time(self.next_ms),
            delivered_at: self.delivered_ms.map(time),
            error: self.last_error.clone(),
        }
    }
}

/// Alerts that are still sent and that a channel has not taken; `$1` is the channel, `$2` the time from
/// which they are sent.
macro_rules! waiting {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM alerts LEFT JOIN alert_deliveries AS deliveries \
             ON deliveries.alert_id = alerts.id AND deliveries.channel = $1 \
             WHERE alerts.at_ms >= $2 AND alerts.severity <> 'info' \
             AND deliveries.delivered_ms IS NULL",
            $rest
        )
    };
}

#[async_trait]
impl AlertLog for Storage {
    async fn newest(
        &self,
        severity: Option<Severity>,
        before: Option<&AlertPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<SentAlert>> {
        let severity = severity.map(name).transpose()?;
        let alerts: Vec<AlertRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(concat!("SELECT ", alert!(), " FROM alerts WHERE at_ms <= "));
            query.push_bind(before.map_or(i64::MAX, |place| place.at_ms));
            if let Some(AlertPlace { at_ms, id }) = before {
                query.push(" AND (at_ms < ").push_bind(*at_ms);
                query.push(" OR id < ").push_bind(storable(id).into_owned()).push(")");
            }
            if let Some(severity) = severity {
                query.push(" AND severity = ").push_bind(severity);
            }
            query.push(" ORDER BY at_ms DESC, id DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot read the alerts")?;
        let deliveries: Vec<DeliveryRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(
                "SELECT alert_id, channel, attempts, next_ms, delivered_ms, last_error FROM alert_deliveries \
                 WHERE alert_id IN (''",
            );
            for alert in &alerts {
                query.push(", ").push_bind(alert.id.clone());
            }
            query.push(") ORDER BY channel");
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot read the deliveries of alerts")?;
        let told = alerts.into_iter().map(|row| {
            let own = deliveries.iter().filter(|it| it.alert_id == row.id);
            let deliveries = own.map(DeliveryRow::delivery).collect();
            let id = row.id.clone();
            let alert = row.alert();
            let alert = alert.with_context(|| format!("the alert `{id}` is damaged"))?;
            Ok(SentAlert { alert, deliveries })
        });
        told.collect()
    }

    async fn waiting(&self, channels: &[String], now: DateTime<Utc>) -> anyhow::Result<Waiting> {
        let mut all = Waiting::default();
        for channel in channels {
            let (waiting, critical): (i64, i64) = on!(self.db.read(), pool => sqlx::query_as(
                    waiting!("COUNT(*), COUNT(CASE WHEN severity = 'critical' THEN 1 END)", ""),
                )
                .bind(channel)
                .bind((now - DELIVERABLE).timestamp_millis())
                .fetch_one(pool)
                .await)
            .context("cannot count the alerts that wait")?;
            all.waiting += u64::try_from(waiting).unwrap_or_default();
            all.critical += u64::try_from(critical).unwrap_or_default();
        }
        Ok(all)
    }

    async fn channel(&self, channel: &str, now: DateTime<Utc>) -> anyhow::Result<ChannelState> {
        let waiting = self.waiting(&[channel.to_owned()], now).await?.waiting;
        let read = async {
            let last: Option<i64> = on!(self.db.read(), pool => sqlx::query_scalar(
                    "SELECT MAX(delivered_ms) FROM alert_deliveries WHERE channel = $1",
                )
                .bind(channel)
                .fetch_one(pool)
                .await)?;
            let error: Option<Option<String>> = on!(self.db.read(), pool => sqlx::query_scalar(
                    waiting!("deliveries.last_error", " AND deliveries.last_error IS NOT NULL ORDER BY deliveries.next_ms DESC LIMIT 1"),
                )
                .bind(channel)
                .bind((now - DELIVERABLE).timestamp_millis())
                .fetch_optional(pool)
                .await)?;
            anyhow::Ok((last, error.flatten()))
        };
        let (last, last_error) = read
            .await
            .with_context(|| format!("cannot read how channel `{channel}` does"))?;
        Ok(ChannelState {
            last_delivered_at: last.map(time),
            waiting,
            last_error,
        })
    }
}
