//! `featureFlags.*`: the live share and the kill switch. Viewers look, admins change.
//!
//! A change may name the version it is based on; if the flag has moved on, it is refused with CONFLICT,
//! and the error has the state it met in `data.details.current`. Without a version the last change
//! wins, as it did in the TypeScript server; the history has both.

pub(crate) mod answers;
mod updates;

use std::sync::Arc;

use futures::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;

pub(super) use self::answers::refused;
use self::{
    answers::{FlagsChange, FlagsMet, FlagsState},
    updates::FlagsUpdate,
};
use crate::{
    _core::{
        actor::Actor,
        blank::is_blank,
        context::Context,
        errors::{ErrorCode, RpcError},
        feature_flags::FeatureFlags,
        procedure::Tracked,
        registry::Registry,
        units::Percent,
    },
    live_flags::{FlagNotice, FlagSteering, LiveFlags},
    model_router::ModelRouter,
    procedures,
};

/// The longest reason, in UTF-16 code units.
pub(super) const MAX_REASON: u32 = 1000;
/// Lines of the history where nothing else is asked for, and at most.
const HISTORY: u32 = 100;
const MAX_HISTORY: u32 = 1000;

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    /// What is steered.
    live: Arc<LiveFlags>,
    /// What is in force.
    flags: Arc<FeatureFlags>,
    /// The catalog in use.
    models: Arc<ModelRouter>,
}

impl State {
    /// Changes from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<FlagNotice>> {
        self.live.subscribe()
    }

    /// State over the tasks of the catalog in use.
    pub fn new(live: Arc<LiveFlags>, flags: Arc<FeatureFlags>, models: Arc<ModelRouter>) -> Self {
        Self {
            live,
            flags,
            models,
        }
    }

    /// What is in force now.
    pub(super) fn now(&self) -> FlagsState {
        FlagsState::new(self, &self.live.state())
    }
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("featureFlags", state.into());
        /// The live share and the kill switch, who changed them last and why, and for each task who
        /// decides about it: the kill switch, a rollout, or the live share.
        query Viewer get = get;
        /// Moves the share of users that get the candidate models, in tasks that no rollout covers. A
        /// smaller share counts from the next request on and is stored after; a greater one is stored
        /// first. Refused with CONFLICT where rollouts cover every task, as nobody would be moved.
        mutation Admin setShare = set_share, errors answers::CHANGING;
        /// Turns the kill switch on or off. While it is on, everybody gets the control models. On
        /// counts from the next request, whatever the database does, and survives a restart once
        /// `stored` is true; off is stored first.
        mutation Admin kill = kill, errors answers::CHANGING;
        /// The changes of the live share and the kill switch, by whom and why, oldest first.
        query Viewer history = history;
        /// What is in force at once, then at each change what changed. An event's id is where to
        /// resume: changes that were missed are sent again from the history.
        subscription Viewer onChange = on_change;
    );
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SetShare {
    /// 0 to 100; decimals are allowed.
    pub(crate) percent: Percent,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
    /// The version that this is based on. If the flag has moved on, the change is refused; without a
    /// version, the last one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub(crate) version: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Kill {
    /// Whether the switch is on.
    pub(crate) on: bool,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
    /// The version that this is based on. If the flag has moved on, the change is refused; without a
    /// version, the last one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub(crate) version: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct History {
    /// Only changes before this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) before: Option<i64>,
    /// The newest so many; 100 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_HISTORY))]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Resume {
    /// The id of the last event that arrived, where the connection was lost.
    last_event_id: Option<String>,
}

async fn get(state: State, _: Context) -> Result<FlagsState, RpcError> {
    Ok(state.now())
}

async fn set_share(
    state: State,
    context: Context,
    input: SetShare,
) -> Result<FlagsState, RpcError> {
    let (reason, actor) = (checked(&input.reason)?, actor(&context)?);
    let now = state.now();
    if let Some(covered) = now.covered() {
        return Err(RpcError::new(
            ErrorCode::Conflict,
            format!(
                "The live share would move nobody: {covered}. Move the share of a rollout \
                 (`rollout.setShare`; `modelramp rollout set-share`), or let go of one that has ended \
                 (`rollout.release`; `modelramp rollout release`)"
            ),
        )
        .with_details(json!(FlagsMet::new(&state.live.state()))));
    }
    let ask = FlagSteering {
        based_on: input.version,
        reason,
        actor: &actor,
        at: context.received_at,
    };
    let changed = state.live.set_share(input.percent, ask).await;
    let changed = changed.map_err(refused)?;
    Ok(FlagsState::new(&state, &changed))
}

async fn kill(state: State, context: Context, input: Kill) -> Result<FlagsState, RpcError> {
    let (reason, actor) = (checked(&input.reason)?, actor(&context)?);
    let ask = FlagSteering {
        based_on: input.version,
        reason,
        actor: &actor,
        at: context.received_at,
    };
    let changed = state.live.kill(input.on, ask).await;
    let changed = changed.map_err(refused)?;
    Ok(FlagsState::new(&state, &changed))
}

async fn history(state: State, _: Context, input: History) -> Result<Vec<FlagsChange>, RpcError> {
    let limit = input.limit.unwrap_or(HISTORY).clamp(1, MAX_HISTORY);
    let (changes, owed) =
        (state.live.history(input.before, limit).await).map_err(RpcError::internal)?;
    let stored = changes.len().saturating_sub(owed);
    let changes = changes.iter().enumerate();
    Ok(changes
        .map(|(n, change)| FlagsChange::new(change, n < stored))
        .collect())
}

async fn on_change(
    state: State,
    _: Context,
    input: Resume,
) -> Result<impl Stream<Item = Result<Tracked<FlagsUpdate>, RpcError>>, RpcError> {
    let last = input.last_event_id.as_deref();
    Ok(updates::follow(state, last).await)
}

/// As the history names who did it.
pub(super) fn actor(context: &Context) -> Result<Actor, RpcError> {
    Ok(Actor::User(context.user()?.id))
}

/// The reason without blanks around it; one of blanks only is none.
pub(super) fn checked(reason: &str) -> Result<&str, RpcError> {
    let reason = reason.trim();
    if is_blank(reason) {
        return Err(RpcError::bad_request(format!(
            "`reason` is blank; expected why this is changed, in 1 to {MAX_REASON} characters"
        )));
    }
    Ok(reason)
}
