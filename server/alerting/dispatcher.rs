//! Takes alerts out of the outbox and hands them over, each channel in a lane of its own.
//!
//! A lane offers its alerts one after the other, the oldest first. One that is refused is tried again
//! later, and the lane waits a second before it offers the next: an alert that nobody takes holds up
//! no other, and a receiver that is down is not flooded. One that asks to be left alone is, with all
//! its alerts.

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::timeout};

use super::{
    Alert, Channel, ChannelError, DELIVERY_TIMEOUT, DeliveryError, Email, Notice, Outbox,
    PagerDuty, PendingAlert, Severity, Slack, Webhook, escalation::Streaks, retry,
};
use crate::{
    _core::{clock, errors::in_full, failure_edge::FailureEdge, tasks::Tasks},
    config::{AlertsConfig, ChannelName},
};

/// Between two looks at the outbox.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the outbox has to recover when it fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// All channels that are set up, and the outbox that they drain.
pub struct Dispatcher {
    outbox: Arc<dyn Outbox>,
    channels: Vec<Arc<dyn Channel>>,
    info_channels: Vec<ChannelName>,
    escalate_after: Duration,
    site: Option<Arc<str>>,
    wake: Arc<Notify>,
}

/// What one channel made of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// The channel that was tried.
    pub channel: ChannelName,
    /// Why it did not arrive; `None` if it did.
    pub error: Option<String>,
}

impl Dispatcher {
    /// The channels of the settings.
    pub fn new(outbox: Arc<dyn Outbox>, config: &AlertsConfig) -> Result<Self, ChannelError> {
        // Taken apart, so that a channel cannot be set up and never told.
        let AlertsConfig {
            slack,
            email,
            webhook,
            pagerduty,
            info_channels,
            escalate_after,
        } = config;
        let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
        if let Some(url) = slack {
            channels.push(Arc::new(Slack::new(url)?));
        }
        if let Some(email) = email {
            channels.push(Arc::new(Email::new(email)?));
        }
        if let Some(webhook) = webhook {
            channels.push(Arc::new(Webhook::new(webhook)?));
        }
        if let Some(pagerduty) = pagerduty {
            channels.push(Arc::new(PagerDuty::new(pagerduty)?));
        }
        Ok(Self {
            outbox,
            channels,
            info_channels: info_channels.clone(),
            escalate_after: *escalate_after,
            site: None,
            wake: Arc::default(),
        })
    }

    /// Knows where browsers reach the server, so that an alert leads whoever is woken to what it is about.
    #[must_use]
    pub fn reached_at(mut self, public_url: Option<&str>) -> Self {
        self.site = public_url.map(|url| url.trim_end_matches('/').into());
        self
    }

    /// The channels that are set up.
    pub fn channels(&self) -> Vec<ChannelName> {
        self.channels.iter().map(|channel| channel.name()).collect()
    }

    /// Whether any channel takes what is for the record alone.
    pub fn takes_info(&self) -> bool {
        let mut names = self.channels.iter().map(|channel| channel.name());
        names.any(|name| self.info_channels.contains(&name))
    }

    /// Delivers until the server stops, while this process is the one that `delivers`. What is under way
    /// then is finished; the rest waits in the outbox for the next start.
    pub fn start(
        &self,
        tasks: &Tasks,
        delivers: impl Fn() -> bool + Clone + Send + Sync + 'static,
    ) {
        for lane in self.lanes() {
            tasks.spawn(lane.run(tasks.clone(), delivers.clone()));
        }
    }

    /// There is something new in the outbox. Not needed: lanes look every second.
    pub fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// One for each channel, with nothing delivered yet.
    pub fn lanes(&self) -> Vec<Lane> {
        let lane = |channel: &Arc<dyn Channel>| Lane {
            outbox: self.outbox.clone(),
            name: channel.name().name().to_owned(),
            takes_info: self.info_channels.contains(&channel.name()),
            channel: channel.clone(),
            streaks: Streaks::new(self.escalate_after),
            site: self.site.clone(),
            unmarked: HashSet::new(),
            rests_until: DateTime::UNIX_EPOCH,
            outage: FailureEdge::default(),
            wake: self.wake.clone(),
        };
        self.channels.iter().map(lane).collect()
    }

    /// Sends one alert to each of these channels at once, past the outbox, whatever its severity.
    pub async fn send_test(&self, channels: &[ChannelName], now: DateTime<Utc>) -> Vec<TestResult> {
        let alert = Alert::test(now);
        let test = async |name: &ChannelName| {
            let channel = self.channels.iter().find(|channel| channel.name() == *name);
            let error = match channel {
                Some(channel) => test(channel.as_ref(), &alert).await.err(),
                None => Some("it is not set up".to_owned()),
            };
            TestResult {
                channel: *name,
                error,
            }
        };
        join_all(channels.iter().map(test)).await
    }
}

/// A test leaves no incident behind.
async fn test(channel: &dyn Channel, alert: &Alert) -> Result<(), String> {
    let notice = Notice {
        alert,
        severity: alert.severity,
        now: alert.at,
        link: None,
    };
    let sent = async {
        channel.send(&notice).await?;
        channel.resolve(std::slice::from_ref(&alert.id)).await
    };
    in_time(sent).await.map_err(|error| error.in_full())
}

async fn in_time(
    delivery: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), DeliveryError> {
    let late = |_| DeliveryError::Late(DELIVERY_TIMEOUT);
    timeout(DELIVERY_TIMEOUT, delivery).await.map_err(late)?
}

/// One channel's way through the outbox.
pub struct Lane {
    outbox: Arc<dyn Outbox>,
    channel: Arc<dyn Channel>,
    name: String,
    takes_info: bool,
    streaks: Streaks,
    site: Option<Arc<str>>,
    /// Sent, but the outbox does not know it yet; to be marked, and not to be sent again.
    unmarked: HashSet<String>,
    /// Nothing happens before.
    rests_until: DateTime<Utc>,
    /// Of the outbox.
    outage: FailureEdge,
    wake: Arc<Notify>,
}

impl Lane {
    #[expect(clippy::disallowed_methods, reason = "the loop is where time comes in")]
    async fn run(mut self, tasks: Tasks, delivers: impl Fn() -> bool + Send) {
        let mut random = StdRng::from_os_rng();
        let wake = self.wake.clone();
        while !tasks.is_stopping() {
            if delivers() && self.turn(clock::now, &mut random).await {
                continue;
            }
            tokio::select! {
                () = tasks.stopping() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Offers the oldest alert that is due. `true` if it was taken, so that there may be more.
    pub async fn turn(&mut self, clock: impl Fn() -> DateTime<Utc>, random: &mut impl Rng) -> bool {
        let now = clock();
        if (now + retry::PATIENCE) < self.rests_until {
            // The clock was set back.
            self.rests_until = now;
        }
        if now < self.rests_until {
            return false;
        }
        let told = match self.next(now).await {
            Ok(None) => {
                self.outage.ends();
                return false;
            }
            Ok(Some(pending)) => match self.deliver(&pending.alert, now).await {
                Ok(()) => self.mark(&pending.alert, clock()).await.map(|()| true),
                Err(error) => {
                    let put_off = self.put_off(&pending, &error, clock(), random).await;
                    put_off.map(|()| false)
                }
            },
            Err(error) => Err(error),
        };
        told.unwrap_or_else(|error| {
            if self.outage.begins() {
                tracing::error!(
                    channel = self.name,
                    error = in_full(error.as_ref()),
                    "alerts cannot be read from the database, or their delivery noted there; it is tried again"
                );
            }
            self.rest(clock(), STORE_PAUSE);
            false
        })
    }

    async fn next(&self, now: DateTime<Utc>) -> anyhow::Result<Option<PendingAlert>> {
        let channel = std::slice::from_ref(&self.name);
        Ok(self.outbox.due(channel, now, 1).await?.into_iter().next())
    }

    async fn deliver(&mut self, alert: &Alert, now: DateTime<Utc>) -> Result<(), DeliveryError> {
        if self.unmarked.contains(&alert.id) {
            return Ok(());
        }
        let severity = self.streaks.severity(alert, now);
        let link = self.link(alert);
        let notice = Notice {
            alert,
            severity,
            now,
            link: link.as_deref(),
        };
        let mut over = alert.resolves();
        over.extend(self.streaks.ended_by(alert));
        let is_wanted = severity > Severity::Info || self.takes_info;
        // What is new goes first: a receiver that fails at the old must not keep it from people.
        in_time(async {
            if is_wanted {
                self.channel.send(&notice).await?;
            }
            self.channel.resolve(&over).await
        })
        .await
    }

    fn link(&self, alert: &Alert) -> Option<String> {
        let (site, page) = (self.site.as_ref()?, alert.page()?);
        Some(format!("{site}/dashboard/{page}"))
    }

    async fn mark(&mut self, alert: &Alert, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.streaks.delivered(alert);
        self.unmarked.insert(alert.id.clone());
        self.outbox.delivered(&alert.id, &self.name, now).await?;
        self.unmarked.remove(&alert.id);
        tracing::info!(
            channel = self.name,
            alert = alert.id,
            kind = alert.kind.name(),
            "alert delivered"
        );
        Ok(())
    }

    async fn put_off(
        &mut self,
        pending: &PendingAlert,
        error: &DeliveryError,
        now: DateTime<Utc>,
        random: &mut impl Rng,
    ) -> anyhow::Result<()> {
        let attempts = pending.attempts.saturating_add(1);
        let pause = retry::pause(attempts, error.retry_after(), random);
        let id = &pending.alert.id;
        let text = error.in_full();
        tracing::warn!(
            channel = self.name,
            alert = id,
            attempts,
            ?pause,
            error = text,
            "alert not delivered"
        );
        self.rest(now, retry::asked_for(error.retry_after()));
        let retry_at = later(now, pause);
        self.outbox.failed(id, &self.name, &text, retry_at).await
    }

    fn rest(&mut self, now: DateTime<Utc>, pause: Duration) {
        self.rests_until = self.rests_until.max(later(now, pause));
    }
}

fn later(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(pause)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
