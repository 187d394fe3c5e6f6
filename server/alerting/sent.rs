//! What became of alerts: which channel has taken which, for those who ask.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Alert, Severity};

/// An alert, and what channels made of it.
#[derive(Clone, Debug)]
pub struct SentAlert {
    /// As it was written.
    pub alert: Alert,
    /// One for each channel that tried; none before the first try.
    pub deliveries: Vec<AlertDelivery>,
}

/// What one channel made of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertDelivery {
    /// The channel's name.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, where it was not taken.
    pub next_at: DateTime<Utc>,
    /// When it was taken.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Why not, at the last try; no keys are in it, but perhaps addresses, which [`without_addresses`] removes.
    pub error: Option<String>,
}

/// Alerts that are not yet where they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    /// Warnings and critical alerts that a channel which is set up has not taken.
    pub waiting: u64,
    /// The critical ones of them.
    pub critical: u64,
}

/// How a channel does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelState {
    /// When it last took an alert.
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Warnings and critical alerts that it has not taken.
    pub waiting: u64,
    /// Why it did not take the newest of them that was tried.
    pub last_error: Option<String>,
}

/// A place in the list of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertPlace {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// The alert's id.
    pub id: String,
}

/// Where alerts and their deliveries are looked up.
#[async_trait]
pub trait AlertLog: Send + Sync {
    /// The newest alerts before a place, of one severity or of all.
    async fn newest(
        &self,
        severity: Option<Severity>,
        before: Option<&AlertPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<SentAlert>>;

    /// What these channels have not taken, as far as it is still sent.
    async fn waiting(&self, channels: &[String], now: DateTime<Utc>) -> anyhow::Result<Waiting>;

    /// How a channel does.
    async fn channel(&self, channel: &str, now: DateTime<Utc>) -> anyhow::Result<ChannelState>;
}

/// A text without the addresses of people and servers in it: whatever holds an `@`, is a URL, or names a
/// host with a dot or a port, is an ellipsis. Words and numbers stay.
pub fn without_addresses(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end();
        let space = &word[bare.len()..];
        let kernel = bare.trim_matches(|c: char| !c.is_alphanumeric() && c != '[' && c != ']');
        match is_address(kernel) {
            true => format!("{}{space}", bare.replace(kernel, "…")),
            false => word.to_owned(),
        }
    });
    words.collect()
}

fn is_address(word: &str) -> bool {
    let is_host = |host: &str| {
        let mut labels = host.split('.');
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        };
        labels.clone().count() > 1
            && labels.clone().all(is_label)
            // A number with decimals, such as `1.5`, is none; four numbers are.
            && (labels.clone().count() == 4 || labels.any(|label| label.contains(char::is_alphabetic)))
    };
    let has_port = |(host, port): (&str, &str)| {
        !host.is_empty() && !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
    };
    word.contains('@')
        || word.contains("://")
        || is_host(word)
        || word.rsplit_once(':').is_some_and(has_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_viewers_are_told_names_no_address() {
        for (said, told) in [
            ("it answered 404 Not Found", "it answered 404 Not Found"),
            (
                "550 5.1.1 <bo@example.com>: no such user",
                "550 5.1.1 <…>: no such user",
            ),
            (
                "cannot reach https://hooks.example/services/T1/B2: timed out after 1.5 s",
                "cannot reach …: timed out after 1.5 s",
            ),
            ("mail.example.com:587 refused", "… refused"),
            (
                "localhost:2525, 10.0.0.7 and [::1]:25 refused",
                "…, … and … refused",
            ),
            ("`smtp.example` does not resolve", "`…` does not resolve"),
        ] {
            assert_eq!(without_addresses(said), told);
        }
    }
}
