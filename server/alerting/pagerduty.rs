//! PagerDuty's Events API v2: an alert is an incident, under the alert's id as `dedup_key`.

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Channel, ChannelError, DeliveryError, Notice,
    http::Receiver,
    words::{cut, one_line},
};
use crate::config::{ChannelName, PagerDutyConfig};

/// The longest summary that PagerDuty takes, in characters.
const SUMMARY: usize = 1024;

/// A PagerDuty service.
pub struct PagerDuty {
    receiver: Receiver,
    routing_key: SecretString,
}

impl PagerDuty {
    /// Events go to the service of the routing key.
    pub fn new(config: &PagerDutyConfig) -> Result<Self, ChannelError> {
        let receiver = Receiver::new(&format!("{}/v2/enqueue", config.url));
        let receiver = receiver.map_err(|cause| ChannelError {
            channel: ChannelName::PagerDuty,
            cause,
        })?;
        Ok(Self {
            receiver,
            routing_key: config.routing_key.clone(),
        })
    }

    fn trigger(&self, notice: &Notice<'_>) -> Value {
        let alert = notice.alert;
        let mut event = json!({
            "routing_key": self.routing_key.expose_secret(),
            "event_action": "trigger",
            "dedup_key": alert.id,
            "client": "modelramp",
            "payload": {
                "summary": cut(&one_line(&alert.title), SUMMARY),
                "source": alert.rollout_id.as_deref().unwrap_or("modelramp"),
                "severity": notice.severity.name(),
                "timestamp": alert.at.to_rfc3339_opts(SecondsFormat::Millis, true),
                "component": "modelramp",
                "class": alert.kind.name(),
                "custom_details": {
                    "text": alert.text,
                    "escalated": notice.is_escalated(),
                    "figures": alert.details,
                },
            },
        });
        if let Some(href) = notice.link {
            event["links"] = json!([{"href": href, "text": "Open it in the dashboard"}]);
        }
        event
    }

    async fn post(&self, event: Value) -> Result<(), DeliveryError> {
        self.receiver
            .post(HeaderMap::new(), event.to_string())
            .await
    }
}

#[async_trait]
impl Channel for PagerDuty {
    fn name(&self) -> ChannelName {
        ChannelName::PagerDuty
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<(), DeliveryError> {
        self.post(self.trigger(notice)).await
    }

    async fn resolve(&self, alert_ids: &[String]) -> Result<(), DeliveryError> {
        for id in alert_ids {
            self.post(json!({
                "routing_key": self.routing_key.expose_secret(),
                "event_action": "resolve",
                "dedup_key": id,
            }))
            .await?;
        }
        Ok(())
    }
}
