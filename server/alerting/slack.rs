//! Slack, by an incoming webhook: a message of blocks, with a text for notifications.

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Channel, ChannelError, DeliveryError, Notice, Severity,
    http::Receiver,
    words::{cut, figures, one_line, severity},
};
use crate::config::ChannelName;

// Slack's limits, in characters; a message beyond them is refused.
const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELDS: usize = 10;
const FIELD: usize = 2000;

/// A Slack channel.
pub struct Slack {
    receiver: Receiver,
}

impl Slack {
    /// `url` is the incoming webhook's, which is a secret.
    pub fn new(url: &SecretString) -> Result<Self, ChannelError> {
        let receiver = Receiver::new(url.expose_secret());
        let receiver = receiver.map_err(|cause| ChannelError {
            channel: ChannelName::Slack,
            cause,
        })?;
        Ok(Self { receiver })
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> ChannelName {
        ChannelName::Slack
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<(), DeliveryError> {
        let message = message(notice).to_string();
        self.receiver.post(HeaderMap::new(), message).await
    }
}

fn message(notice: &Notice<'_>) -> Value {
    let alert = notice.alert;
    let sign = match notice.severity {
        Severity::Critical => "🚨",
        Severity::Warning => "⚠️",
        Severity::Info => "ℹ️",
    };
    let title = format!("{sign} {}", one_line(&alert.title));
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": cut(&title, HEADER)},
    })];
    if !alert.text.is_empty() {
        blocks.push(json!({
            "type": "section",
            // People's reasons are in it, so it is text and no markup.
            "text": {"type": "plain_text", "text": cut(&alert.text, SECTION), "emoji": false},
        }));
    }
    let fields: Vec<_> = figures(alert)
        .into_iter()
        .take(FIELDS)
        .map(|(name, value)| {
            let (name, value) = (escaped(name, FIELD / 4), escaped(&value, FIELD / 2));
            json!({"type": "mrkdwn", "text": format!("*{name}*\n{value}")})
        })
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    let mut context = vec![
        format!("*{}* {}", severity(notice), alert.kind.name()),
        alert.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    ];
    let rollout = alert.rollout_id.as_deref();
    context.extend(rollout.map(|id| format!("rollout `{}`", escaped(id, FIELD))));
    context.push(format!("alert `{}`", escaped(&alert.id, FIELD)));
    context.extend(
        notice
            .link
            .map(|link| format!("<{}|Open it>", escaped(link, FIELD))),
    );
    let context = context
        .iter()
        .map(|text| json!({"type": "mrkdwn", "text": text}));
    blocks.push(json!({"type": "context", "elements": context.collect::<Vec<_>>()}));
    json!({"text": escaped(&title, SECTION), "blocks": blocks})
}

/// As Slack wants it in its markup, which knows three escapes and no others, within a limit that holds for the
/// escaped text.
fn escaped(text: &str, limit: usize) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    if escaped.chars().count() <= limit {
        escaped
    } else {
        // Each character becomes five at most; whatever fits is not cut in the middle of one.
        let escaped = cut(text, limit / 5);
        escaped
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerting::Alert;

    #[test]
    fn messages_keep_to_slack_s_limits_and_escape_its_markup() {
        let details: serde_json::Map<_, _> = (0..20)
            .map(|n| {
                (
                    format!("f{n}{}", "x".repeat(3000)),
                    json!("<&>".repeat(3000)),
                )
            })
            .collect();
        let alert = Alert {
            title: "<!channel> ".repeat(100),
            text: "<!channel> & all\n".repeat(1000),
            details: details.into(),
            rollout_id: Some("r".into()),
            ..Alert::test(chrono::DateTime::UNIX_EPOCH)
        };
        let message = message(&Notice {
            alert: &alert,
            severity: Severity::Critical,
            now: alert.at,
            link: None,
        });
        let length = |value: &Value| value.as_str().expect("a text").chars().count();
        assert_eq!(length(&message["blocks"][0]["text"]["text"]), HEADER);
        assert!(length(&message["blocks"][1]["text"]["text"]) <= SECTION);
        let fields = message["blocks"][2]["fields"].as_array().expect("fields");
        assert_eq!(fields.len(), FIELDS);
        assert!(fields.iter().all(|field| length(&field["text"]) <= FIELD));
        let section = message["blocks"][1].to_string();
        assert!(section.contains("<!channel> & all"), "text as it is");
        assert_eq!(message["blocks"][1]["text"]["type"], "plain_text");
        assert!(!message["text"].to_string().contains("<!"));
    }
}
