//! `alerts.*`: whether alerts were delivered, and by which channel.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{caller::Role, context::Context, errors::RpcError, registry::Registry},
    alerting::{
        AlertKind, Dispatcher, Severity, TestResult,
        sent::{AlertLog, AlertPlace, SentAlert, without_addresses},
    },
    config::ChannelName,
    procedures,
};

/// Alerts on a page where nothing else is asked for, and at most.
const LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// What the procedures work with.
#[derive(Clone)]
pub struct State {
    /// Alerts and their deliveries.
    pub log: Arc<dyn AlertLog>,
    /// The channels that are set up.
    pub dispatcher: Arc<Dispatcher>,
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("alerts", state.into());
        /// Alerts, the newest first, each with what every channel made of it. A channel that has not tried
        /// yet, or that an alert is not for, is not named.
        query Viewer list = list;
        /// Every way to tell people: whether it is set up, and how it does.
        query Viewer channels = channels;
        /// Sends a test to one channel, or to all that are set up, past the outbox; the answer says which
        /// took it. Nothing is stored of it.
        mutation Admin test = test;
    );
}

/// Which alerts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ListAlerts {
    /// Of this severity; of all where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<Severity>,
    /// The page after the one that gave this as `nextCursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub(crate) cursor: Option<String>,
    /// The most alerts on the page; 50 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub(crate) limit: Option<u32>,
}

/// A page of alerts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertList {
    /// The newest first.
    rows: Vec<AlertRow>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// One alert.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AlertRow {
    /// The same wherever it arrives.
    id: String,
    /// When its cause happened.
    at: DateTime<Utc>,
    /// What it is about.
    kind: AlertKind,
    /// How soon somebody should look.
    severity: Severity,
    /// The rollout; null where it is about none.
    rollout_id: Option<String>,
    /// One line.
    title: String,
    /// What happened, with the figures, and what to do.
    text: String,
    /// What each channel that tried made of it.
    deliveries: Vec<DeliveryRow>,
}

/// What one channel made of an alert.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryRow {
    /// The channel.
    channel: String,
    /// Whether it took it.
    state: DeliveryState,
    /// How often it was tried.
    attempts: u32,
    /// When it is tried again; null where it was taken.
    next_at: Option<DateTime<Utc>>,
    /// When it was taken; null before.
    delivered_at: Option<DateTime<Utc>>,
    /// Why not, at the last try; null where it was taken. Viewers get it without addresses.
    error: Option<String>,
}

/// Whether a channel took an alert.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DeliveryState {
    /// It did.
    Delivered,
    /// It did not, and is tried again.
    Waiting,
}

impl AlertRow {
    fn new(told: SentAlert, role: Role) -> Self {
        let SentAlert { alert, deliveries } = told;
        let deliveries = deliveries.into_iter().map(|it| DeliveryRow {
            channel: it.channel,
            state: match it.delivered_at {
                Some(_) => DeliveryState::Delivered,
                None => DeliveryState::Waiting,
            },
            attempts: it.attempts,
            next_at: it.delivered_at.is_none().then_some(it.next_at),
            delivered_at: it.delivered_at,
            error: it.error.map(|error| for_role(error, role)),
        });
        Self {
            deliveries: deliveries.collect(),
            id: alert.id,
            at: alert.at.trunc_subsecs(3),
            kind: alert.kind,
            severity: alert.severity,
            rollout_id: alert.rollout_id,
            title: alert.title,
            text: alert.text,
        }
    }
}

async fn list(state: State, context: Context, input: ListAlerts) -> Result<AlertList, RpcError> {
    let role = context.user()?.role;
    let before = input.cursor.as_deref().map(place).transpose()?;
    let limit = input.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let told = state.log.newest(input.severity, before.as_ref(), limit + 1);
    let mut told = told.await.map_err(RpcError::internal)?;
    let has_more = told.len() > limit as usize;
    told.truncate(limit as usize);
    let last = told.last().map(|it| &it.alert).filter(|_| has_more);
    Ok(AlertList {
        next_cursor: last.map(|it| format!("{}.{}", it.at.timestamp_millis(), it.id)),
        rows: told.into_iter().map(|it| AlertRow::new(it, role)).collect(),
    })
}

fn place(cursor: &str) -> Result<AlertPlace, RpcError> {
    let read = || {
        let (at_ms, id) = cursor.split_once('.')?;
        Some(AlertPlace {
            at_ms: at_ms.parse().ok()?,
            id: id.to_owned(),
        })
    };
    read().ok_or_else(|| {
        RpcError::bad_request(format!(
            "`cursor` = `{cursor}` is no place; expected the `nextCursor` of a page"
        ))
    })
}

/// What a channel said, with the addresses that it names only for those who may change them.
fn for_role(error: String, role: Role) -> String {
    match role {
        Role::Admin => error,
        Role::User | Role::Viewer => without_addresses(&error),
    }
}

/// A way to tell people.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelRow {
    /// Which one.
    name: ChannelName,
    /// Whether the settings have what it needs.
    set_up: bool,
    /// When it last took an alert; null where it took none.
    last_delivered_at: Option<DateTime<Utc>>,
    /// Warnings and critical alerts that it has not taken; 0 where it is not set up.
    waiting: u64,
    /// Why it did not take the one that was tried last; null where none waits. Viewers are told without
    /// addresses.
    last_error: Option<String>,
}

async fn channels(state: State, context: Context) -> Result<Vec<ChannelRow>, RpcError> {
    let role = context.user()?.role;
    let set_up = state.dispatcher.channels();
    let mut rows = Vec::new();
    for name in ChannelName::ALL {
        let is_set_up = set_up.contains(&name);
        let found = state.log.channel(name.name(), context.received_at).await;
        let found = found.map_err(RpcError::internal)?;
        rows.push(ChannelRow {
            name,
            set_up: is_set_up,
            last_delivered_at: found.last_delivered_at,
            waiting: if is_set_up { found.waiting } else { 0 },
            last_error: (found.last_error.filter(|_| is_set_up)).map(|error| for_role(error, role)),
        });
    }
    Ok(rows)
}

/// Which channel is tried.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TestChannels {
    /// This one; all that are set up where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<ChannelName>,
}

async fn test(
    state: State,
    context: Context,
    input: TestChannels,
) -> Result<Vec<TestResult>, RpcError> {
    let channels = match input.channel {
        Some(channel) => vec![channel],
        None => state.dispatcher.channels(),
    };
    let results = state
        .dispatcher
        .send_test(&channels, context.received_at)
        .await;
    let user = context.user()?.id;
    tracing::info!(
        user,
        channels = channels.len(),
        "a test was sent to the channels of alerts"
    );
    Ok(results)
}
