//! Tells people: alerts from an outbox, delivered at least once, each always under the same id.
//!
//! An alert is a row that is written in the transaction of its cause, so it is never lost and never
//! about something that did not happen. The [`Dispatcher`] takes it from there, each [`Channel`] at
//! its own pace, and nobody waits for it: who decides about a rollout only writes.
//!
//! A process that dies between sending and noting that it did, sends again after its next start.
//! That is why an alert has one id wherever it appears, by which receivers recognise a repeat.

mod dispatcher;
mod email;
mod escalation;
mod http;
mod pagerduty;
mod retry;
pub mod sent;
mod slack;
mod webhook;
mod words;

use std::{error::Error as _, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub use self::{
    dispatcher::{Dispatcher, Lane, TestResult},
    email::Email,
    pagerduty::PagerDuty,
    retry::PATIENCE as LONGEST_PAUSE,
    slack::Slack,
    webhook::Webhook,
};
use crate::config::ChannelName;

/// How long a receiver has for one alert.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// The kill switch was turned on.
    Killed,
    /// The kill switch was turned off.
    KillEnded,
    /// Somebody moved the live share.
    ShareSet,
    /// Procedures went back to the old server.
    TakenBack,
    /// The catalog of models, or a model of it, is not as it should be.
    Catalog,
    /// How a rollout under way does, every six hours.
    Digest,
    /// What somebody wants to tell the owner (`system.notifyOwner`).
    Message,
    /// `modelramp alert test`.
    Test,
}

/// How much it hurts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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

impl Alert {
    /// An alert that is about nothing, to try the channels with.
    pub fn test(now: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            kind: AlertKind::Test,
            severity: Severity::Info,
            rollout_id: None,
            title: "A test of modelramp's alerts".into(),
            text: "Nothing happened. Alerts of rollouts will arrive here.".into(),
            details: Value::Null,
            at: now,
        }
    }

    /// An alert about the catalog of models.
    pub fn of_catalog(
        severity: Severity,
        title: String,
        text: String,
        details: Value,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            kind: AlertKind::Catalog,
            severity,
            rollout_id: None,
            title,
            text,
            details,
            at,
        }
    }

    /// The ids of earlier alerts that this one makes obsolete: `resolves` in its details.
    pub fn resolves(&self) -> Vec<String> {
        let ids = self.details.get(RESOLVES).and_then(Value::as_array);
        let ids = ids.into_iter().flatten().filter_map(Value::as_str);
        ids.map(str::to_owned).collect()
    }

    /// The page of the dashboard that shows what it is about, below `/dashboard/`; a rollout's at the decision that it is about.
    fn page(&self) -> Option<String> {
        if let Some(id) = &self.rollout_id {
            let version = self.details.get("version").and_then(Value::as_i64);
            let at = version.map_or_else(String::new, |version| format!("?at={version}"));
            return Some(format!("rollouts/{id}{at}"));
        }
        let page = match self.kind {
            AlertKind::Killed | AlertKind::KillEnded | AlertKind::ShareSet => "flags",
            AlertKind::TakenBack => "migration",
            AlertKind::Catalog => "models",
            _ => return None,
        };
        Some(page.to_owned())
    }

    /// Whether nothing that was said about the rollout before counts any more.
    fn ends_all_before(&self) -> bool {
        self.rollout_id.is_some()
            && matches!(self.kind, AlertKind::Promoted | AlertKind::RolledBack)
    }
}

/// The key of [`Alert::resolves`].
pub(crate) const RESOLVES: &str = "resolves";

/// An alert that one channel has not had yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingAlert {
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
    ) -> anyhow::Result<Vec<PendingAlert>>;
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

/// An alert on its way.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// As it was written.
    pub alert: &'a Alert,
    /// How much it hurts by now: a warning that lasts is critical.
    pub severity: Severity,
    /// When it is sent.
    pub now: DateTime<Utc>,
    /// Where a browser sees what it is about, and can stop it; `None` where the server does not know its own address.
    pub link: Option<&'a str>,
}

impl Notice<'_> {
    /// Whether a warning has become critical.
    pub fn is_escalated(&self) -> bool {
        self.severity > self.alert.severity
    }
}

/// A way to tell people. A receiver that has taken an alert once may be sent it again.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Which one.
    fn name(&self) -> ChannelName;
    /// Hands over one alert.
    async fn send(&self, notice: &Notice<'_>) -> Result<(), DeliveryError>;
    /// Says that earlier alerts are over, where the receiver knows such a thing.
    async fn resolve(&self, _alert_ids: &[String]) -> Result<(), DeliveryError> {
        Ok(())
    }
}

/// Why a receiver did not take an alert. Neither the text nor the sources hold addresses or keys.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// It answered, and not with a success.
    #[error("the receiver answered {status}{}", said.as_deref().map(|word| format!(" `{word}`")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, where it is one plain word, such as Slack's.
        said: Option<String>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No answer.
    #[error("the receiver cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The mail server did not take it; this error's text holds its source's.
    #[error("e-mail: {0}")]
    Mail(lettre::transport::smtp::Error),
    /// The alert cannot be put into the receiver's form.
    #[error("the alert cannot be written as a message")]
    Unwritable(#[source] anyhow::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

impl DeliveryError {
    /// The error with its causes, on one line.
    fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        words::one_line(&text)
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Why a channel cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up alerts by `{}`", channel.name())]
pub struct ChannelError {
    /// The channel that cannot be set up.
    pub channel: ChannelName,
    /// The reason; holds no secrets.
    #[source]
    pub cause: anyhow::Error,
}
