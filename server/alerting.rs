//! Tells people: alerts from an outbox, delivered at least once, each always under the same id.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// Evidence reached the level watch.
    Watch,
    /// Evidence reached the level hold, or the sample ratio does not fit.
    Hold,
    /// A stage waits for a person.
    PromotionDue,
    /// The next stage has begun, or the rollout is complete.
    Promoted,
    /// Everybody is back on control.
    RolledBack,
    /// A rollout gets no requests.
    NoTraffic,
    /// Control fails as well.
    BothSidesFailing,
    /// The provider refuses our account.
    ProviderRefusing,
    /// What is served does not match what was decided.
    NotConverged,
    /// `modelramp alert test`.
    Test,
}

/// How much it hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Look when you can; becomes critical when it lasts.
    Warning,
    /// Look now.
    Critical,
}

/// One alert, as it is written in the transaction of its cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// UUIDv7 text; the same at every delivery.
    pub id: String,
    /// What about.
    pub kind: AlertKind,
    /// How much it hurts.
    pub severity: Severity,
    /// The rollout, where there is one.
    pub rollout_id: Option<String>,
    /// One line.
    pub title: String,
    /// What happened, with the figures, and what to do.
    pub text: String,
    /// Figures for programs.
    pub details: Value,
    /// When its cause happened.
    pub at: DateTime<Utc>,
}

/// An alert that one channel has not had yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// What to send.
    pub alert: Alert,
    /// The channel's name.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// The outbox. Alerts get in by [`crate::rollout`]'s commits, or by `enqueue`.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Adds an alert outside any rollout.
    async fn enqueue(&self, alert: &Alert) -> anyhow::Result<()>;
    /// What is due for these channels, oldest first; each (alert, channel) pair is tracked alone.
    async fn due(
        &self,
        channels: &[String],
        now: DateTime<Utc>,
        limit: usize,
    ) -> anyhow::Result<Vec<Pending>>;
    /// A channel has it.
    async fn delivered(
        &self,
        alert_id: &str,
        channel: &str,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()>;
    /// A channel did not take it; try again then.
    async fn failed(
        &self,
        alert_id: &str,
        channel: &str,
        error: &str,
        retry_at: DateTime<Utc>,
    ) -> anyhow::Result<()>;
}
