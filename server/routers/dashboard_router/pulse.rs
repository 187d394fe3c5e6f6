//! How everything is at a moment, computed once for all who watch.
//!
//! All of it but three figures comes from memory, so it is sent also while the database is away. What the
//! database says (alerts that wait, the newest line of the audit) is `null` where it does not answer:
//! unknown is not 0.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{
    sync::{Mutex, broadcast::error::RecvError},
    time::{Instant, sleep_until, timeout},
};

use super::super::{
    feature_flags_router::{self, answers::FlagsState},
    models_router::{ModelStates, ModelStatus},
    rollout_router::answers::RolloutDetails,
};
use crate::{
    _core::{
        clock, context::Context, environment::Environment, errors::RpcError, procedure::Tracked,
    },
    ai_metrics::{
        summary::VariantFigures,
        window::{Minutes, PerVariant},
    },
    alerting::sent::{AlertLog, Waiting},
    dashboard::audit::AuditStore,
    recording::Log,
    rollout::{
        controller::{Controller, WhoLeads},
        view::View,
    },
};

/// Between two events where nothing changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two events at least, however much changes.
const GAP: Duration = Duration::from_millis(250);
/// How long the database has for what it is asked.
const PATIENCE: Duration = Duration::from_millis(500);
/// The window of the figures by variant, in minutes.
const WINDOW: f64 = 5.0;

/// When a beat was made, and what it shows.
type Made = (Instant, Arc<Beat>);

/// What a pulse is made of.
#[derive(Clone)]
pub struct State {
    /// Whose rollouts are shown, as they change.
    pub controller: Arc<Controller>,
    /// The kill switch and the live share.
    pub flags: feature_flags_router::State,
    /// The models and the windows.
    pub watched: ModelStates,
    /// What waits to be stored.
    pub log: Arc<Log>,
    /// Alerts and their deliveries.
    pub alerts: Arc<dyn AlertLog>,
    /// The channels of alerts that are set up.
    pub channels: Arc<[String]>,
    /// The lines of the audit.
    pub audit: Arc<dyn AuditStore>,
    /// The server's environment.
    pub environment: Environment,
    /// What was computed last, for all who watch.
    pub last: Arc<Mutex<Option<Made>>>,
}

/// How everything is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pulse {
    /// What is the same for everybody.
    #[serde(flatten)]
    beat: Arc<Beat>,
    /// When the session of this stream runs out; null for a call without one.
    session_ends_at: Option<DateTime<Utc>>,
}

/// The part of a pulse that is the same for everybody.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// The server's time; ages count from it, not from the browser's clock.
    server_time: DateTime<Utc>,
    /// The release that serves.
    version: &'static str,
    /// `development`, `test`, `staging` or `production`.
    environment: &'static str,
    /// Who moves the rollouts.
    controller: WhoLeads,
    /// What is not stored.
    storage: StorageState,
    /// The rollouts that are under way, the newest first.
    live: Vec<RolloutDetails>,
    /// The kill switch, the live share, and who decides about each task.
    flags: FlagsState,
    /// The last five minutes by variant, all tasks together.
    window: PerVariant<VariantFigures>,
    /// Every model of the catalog.
    models: Vec<ModelStatus>,
    /// Alerts that a channel has not taken yet; null where the database does not say.
    alerts: Option<Waiting>,
    /// Grows with each line of the audit; null where the database does not say.
    audit_version: Option<i64>,
}

/// What is in force, or has happened, and is not stored.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StorageState {
    /// Milliseconds since all was stored; below some seconds that is the usual wait.
    behind_ms: u64,
    /// Events that are not stored yet.
    unwritten: usize,
}

impl Pulse {
    pub(super) fn new(beat: &Arc<Beat>, context: &Context) -> Self {
        let session = context.session.as_ref();
        Self {
            beat: beat.clone(),
            session_ends_at: session.map(|session| session.expires_at()),
        }
    }
}

impl Beat {
    /// How everything is now.
    #[expect(
        clippy::disallowed_methods,
        reason = "a stream's edge: it tells the time it is"
    )]
    pub(super) async fn new(state: &State) -> Arc<Self> {
        let now = clock::now();
        let State {
            controller, flags, ..
        } = state;
        let window = Minutes::try_from(WINDOW).unwrap_or_default();
        let of_database = async {
            let waiting = state.alerts.waiting(&state.channels, now).await.ok();
            (waiting, state.audit.newest_ms().await.ok().flatten())
        };
        let (alerts, audit_version) = timeout(PATIENCE, of_database).await.unwrap_or_default();
        let flags = flags.now();
        let details = |view: View| RolloutDetails::new(view, flags.killed);
        Arc::new(Self {
            server_time: now.trunc_subsecs(3),
            version: env!("CARGO_PKG_VERSION"),
            environment: state.environment.name(),
            controller: controller.leader(),
            storage: StorageState {
                behind_ms: u64::try_from(controller.behind().as_millis()).unwrap_or(u64::MAX),
                unwritten: state.log.waiting(),
            },
            live: controller.views().into_iter().map(details).collect(),
            window: state.watched.metrics.summary(window, now).variants,
            models: state.watched.at(now),
            alerts,
            audit_version,
            flags,
        })
    }

    /// The last one, where it was made after `since`; else a new one, which all get who ask meanwhile.
    async fn after(state: &State, since: Instant) -> Arc<Self> {
        let mut last = state.last.lock().await;
        match &*last {
            Some((made_at, beat)) if *made_at >= since => beat.clone(),
            _ => {
                let made_at = Instant::now();
                let beat = Self::new(state).await;
                *last = Some((made_at, beat.clone()));
                beat
            }
        }
    }
}

/// The events of one stream.
pub(super) fn follow(
    state: State,
    context: Context,
) -> impl Stream<Item = Result<Tracked<Pulse>, RpcError>> + use<> {
    let mut rollouts = state.controller.subscribe();
    let mut flags = state.flags.subscribe();
    async_stream::stream! {
        let mut since = Instant::now().checked_sub(INTERVAL).unwrap_or_else(Instant::now);
        loop {
            let beat = Beat::after(&state, since).await;
            let told_at = Instant::now();
            let id = beat.server_time.timestamp_millis().to_string();
            yield Ok(Tracked { id, data: Pulse::new(&beat, &context) });
            let is_closed = tokio::select! {
                // What one pulse is made for, others of the same second get too.
                () = sleep_until(told_at + INTERVAL) => {
                    since = told_at + GAP;
                    false
                }
                change = rollouts.recv() => {
                    since = Instant::now();
                    matches!(change, Err(RecvError::Closed))
                }
                change = flags.recv() => {
                    since = Instant::now();
                    matches!(change, Err(RecvError::Closed))
                }
            };
            if is_closed {
                return;
            }
            sleep_until(told_at + GAP).await;
        }
    }
}
