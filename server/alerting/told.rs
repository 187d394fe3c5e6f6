//! What became of alerts: which channel has taken which, for those who ask.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Alert, Severity};

/// An alert, and what channels made of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// As it was written.
    pub alert: Alert,
    /// One for each channel that tried; none before the first try.
    pub deliveries: Vec<Delivery>,
}

/// What one channel made of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The channel's name.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, where it was not taken.
    pub next_at: DateTime<Utc>,
    /// When it was taken.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Why not, at the last try; neither addresses nor keys are in it.
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
    async fn told(
        &self,
        severity: Option<Severity>,
        before: Option<&AlertPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<Told>>;

    /// What these channels have not taken, as far as it is still sent.
    async fn waiting(&self, channels: &[String], now: DateTime<Utc>) -> anyhow::Result<Waiting>;

    /// How a channel does.
    async fn channel(&self, channel: &str, now: DateTime<Utc>) -> anyhow::Result<ChannelState>;
}
