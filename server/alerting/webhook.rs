//! Signed HTTP requests: the receiver knows that an alert is ours, and when it was sent.
//!
//! The signature is `v1=` and the hexadecimal HMAC-SHA256, under `ALERT_WEBHOOK_SECRET`, of the time
//! (seconds since 1970, as in its header), a dot and the body. As the time is signed too, a request
//! that somebody recorded cannot be sent again later. docs/alerts.md shows how to check it.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, Mac};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use super::{AlertKind, Channel, ChannelError, DeliveryError, Notice, Severity, http::Receiver};
use crate::config::{ChannelName, WebhookConfig};

/// The alert's id, the same whenever it is sent.
const ALERT_ID: &str = "x-modelramp-alert-id";
/// When the request was sent, in seconds since 1970.
const TIMESTAMP: &str = "x-modelramp-timestamp";
/// `v1=` and the HMAC-SHA256 of `timestamp.body`.
const SIGNATURE: &str = "x-modelramp-signature";

/// A receiver of one's own.
pub struct Webhook {
    receiver: Receiver,
    secret: SecretString,
}

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    id: &'a str,
    kind: AlertKind,
    severity: Severity,
    escalated: bool,
    rollout_id: Option<&'a str>,
    title: &'a str,
    text: &'a str,
    details: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    at: String,
}

impl Webhook {
    /// Requests go to the URL, signed with the secret.
    pub fn new(config: &WebhookConfig) -> Result<Self, ChannelError> {
        let receiver = Receiver::new(config.url.expose_secret());
        let receiver = receiver.map_err(|cause| ChannelError {
            channel: ChannelName::Webhook,
            cause,
        })?;
        Ok(Self {
            receiver,
            secret: config.secret.clone(),
        })
    }
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> ChannelName {
        ChannelName::Webhook
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<(), DeliveryError> {
        let alert = notice.alert;
        let body = serde_json::to_string(&Body {
            id: &alert.id,
            kind: alert.kind,
            severity: notice.severity,
            escalated: notice.is_escalated(),
            rollout_id: alert.rollout_id.as_deref(),
            title: &alert.title,
            text: &alert.text,
            details: &alert.details,
            link: notice.link,
            at: alert.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        });
        let body = body.map_err(unwritable)?;
        let timestamp = notice.now.timestamp().to_string();
        let signature = signature(&self.secret, notice.now, &body).map_err(unwritable)?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ALERT_ID, &alert.id),
            (TIMESTAMP, &timestamp),
            (SIGNATURE, &signature),
        ] {
            headers.insert(name, HeaderValue::from_str(value).map_err(unwritable)?);
        }
        self.receiver.post(headers, body).await
    }
}

fn unwritable(error: impl Into<anyhow::Error>) -> DeliveryError {
    DeliveryError::Unwritable(error.into())
}

fn signature(
    secret: &SecretString,
    now: DateTime<Utc>,
    body: &str,
) -> Result<String, hmac::digest::InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())?;
    mac.update(now.timestamp().to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    Ok(format!("v1={:x}", mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1800000000.{}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn a_signature_is_what_openssl_makes() {
        let now = DateTime::from_timestamp(1_800_000_000, 999_000_000).expect("a time");
        assert_eq!(
            signature(&"secret".into(), now, "{}").expect("any key will do"),
            "v1=bb7079132825ac793cea8c013c1dd24d926b9b02132245b10588d9e5c0df70d7"
        );
    }
}
