//! An outbox in memory, which can be told to fail.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use modelramp::alerting::{Alert, Outbox, PendingAlert};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What one channel made of one alert so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) delivered_at: Option<DateTime<Utc>>,
    pub(crate) attempts: u32,
    pub(crate) error: Option<String>,
    pub(crate) retry_at: Option<DateTime<Utc>>,
}

/// What happens to the next marks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Marking {
    Works,
    Fails,
    /// Never ends, so that the test can kill the process there.
    Hangs,
}

pub(crate) struct MemoryOutbox {
    alerts: Mutex<Vec<Alert>>,
    deliveries: Mutex<BTreeMap<(String, String), Delivery>>,
    pub(crate) marking: Mutex<Marking>,
    pub(crate) at_mark: Notify,
}

impl MemoryOutbox {
    pub(crate) fn with(alerts: &[Alert]) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            alerts: Mutex::new(alerts.to_vec()),
            deliveries: Mutex::default(),
            marking: Mutex::new(Marking::Works),
            at_mark: Notify::new(),
        })
    }

    pub(crate) fn delivery(&self, alert_id: &str, channel: &str) -> Delivery {
        let key = (alert_id.to_owned(), channel.to_owned());
        self.deliveries
            .lock()
            .get(&key)
            .cloned()
            .unwrap_or_default()
    }

    async fn change(
        &self,
        alert_id: &str,
        channel: &str,
        change: impl FnOnce(&mut Delivery),
    ) -> anyhow::Result<()> {
        let marking = *self.marking.lock();
        self.at_mark.notify_one();
        match marking {
            Marking::Works => {}
            Marking::Fails => anyhow::bail!("the disk is full"),
            Marking::Hangs => std::future::pending().await,
        }
        let key = (alert_id.to_owned(), channel.to_owned());
        change(self.deliveries.lock().entry(key).or_default());
        Ok(())
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn enqueue(&self, alert: &Alert) -> anyhow::Result<()> {
        self.alerts.lock().push(alert.clone());
        Ok(())
    }

    async fn due(
        &self,
        channels: &[String],
        now: DateTime<Utc>,
        limit: usize,
    ) -> anyhow::Result<Vec<PendingAlert>> {
        let alerts = self.alerts.lock().clone();
        let pairs = alerts
            .iter()
            .flat_map(|alert| channels.iter().map(move |channel| (alert, channel)));
        let due = pairs.filter_map(|(alert, channel)| {
            let delivery = self.delivery(&alert.id, channel);
            let is_due = delivery.delivered_at.is_none()
                && delivery.retry_at.is_none_or(|retry_at| retry_at <= now);
            is_due.then(|| PendingAlert {
                alert: alert.clone(),
                channel: channel.clone(),
                attempts: delivery.attempts,
            })
        });
        Ok(due.take(limit).collect())
    }

    async fn delivered(
        &self,
        alert_id: &str,
        channel: &str,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        self.change(alert_id, channel, |delivery| {
            delivery.delivered_at = Some(at)
        })
        .await
    }

    async fn failed(
        &self,
        alert_id: &str,
        channel: &str,
        error: &str,
        retry_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        self.change(alert_id, channel, |delivery| {
            delivery.attempts += 1;
            delivery.error = Some(error.to_owned());
            delivery.retry_at = Some(retry_at);
        })
        .await
    }
}
