//! `rollout.*`: what is rolled out, what it proves, and every change a person may make. Viewers look,
//! admins change.
//!
//! A change names the version of the state that it is based on. If the rollout has moved on, the
//! change is refused with CONFLICT, and the error has the state it met, in words and in
//! `data.details.current`, so that the caller can look again and decide anew.

pub(crate) mod answers;
mod arms;
pub(crate) mod history;
mod past;
pub(crate) mod placebo;
mod reading;
mod refusals;
pub(crate) mod release;
mod series;
mod updates;

use std::{sync::Arc, time::Duration};

use futures::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use self::{
    answers::{Checked, RolloutDetails, RolloutState, Started},
    history::HistoryEntry,
    updates::Update,
};
use super::feature_flags_router::{MAX_REASON, actor, checked};
use crate::{
    _core::{
        context::Context, errors::RpcError, procedure::Tracked, registry::Registry, suggest,
        toml_reader::TomlFaults, units::Percent,
    },
    dashboard::series::SeriesStore,
    live_flags::LiveFlags,
    procedures,
    rollout::{
        audit::Explanation,
        controller::{Controller, Wishes},
        errors::ControlError,
        plan::Plan,
        rollout::{Command, CommandKind},
        samples::SampleStore,
        simulate::placebo::PlaceboStore,
    },
};

/// How long the history has to say what lies behind a rollout.
const HISTORY_PATIENCE: Duration = Duration::from_secs(1);
/// The longest plan, in UTF-16 code units.
pub(super) const MAX_PLAN: u32 = 65_536;

/// What the procedures work with.
#[derive(Clone)]
pub struct State {
    /// The rollouts.
    pub controller: Arc<Controller>,
    /// The kill switch and the live share.
    pub live: Arc<LiveFlags>,
    /// How evidence went.
    pub samples: Arc<dyn SampleStore>,
    /// Single attempts.
    pub series: Arc<dyn SeriesStore>,
    /// What placebo rollouts found.
    pub placebos: Arc<dyn PlaceboStore>,
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    let state = state.into();
    let controller = state.as_ref().map(|state| state.controller.clone());
    release::register(registry, state.clone());
    let placebos = state
        .as_ref()
        .map(|it| (it.controller.clone(), it.placebos.clone()));
    placebo::register(registry, placebos);
    reading::register(registry, controller.clone());
    procedures!(registry.outline("rollout", state);
        /// One rollout: where it is, its plan, what its traffic proves, and what comes next.
        query Viewer get = get, errors refusals::ASKING;
        /// How the evidence of a rollout went, in columns for a chart, with the decisions as marks. Of two
        /// days there is a point a minute, of older ones a point an hour.
        query Viewer series = series::series, errors refusals::ASKING;
        /// How long the counted attempts of both arms took in this stage, and what they cost.
        query Viewer arms = arms::arms, errors refusals::ASKING;
    );
    procedures!(registry.outline("rollout", controller);
        /// Checks a plan: every fault with its line, or what it says and what is odd about it.
        query Viewer validate = validate, errors refusals::CHECKING;
        /// Rollouts that are under way, the newest first; all where asked.
        query Viewer list = list;
        /// Starts a rollout by a plan's name or by its TOML. It serves control only until the first
        /// tick has run, which takes about a second. One that would take users back from the model that
        /// they have is refused unless that is meant.
        mutation Admin start = start, errors refusals::STARTING;
        /// Stops the clock of the stage. The share stays what it is, and the candidate is still
        /// taken back on evidence.
        mutation Admin pause = pause, errors refusals::CHANGING;
        /// Ends a pause.
        mutation Admin resume = resume, errors refusals::CHANGING;
        /// Begins the next stage now, whatever its soak and its proof; one that is paused goes on.
        mutation Admin advance = advance, errors refusals::CHANGING;
        /// Moves the share within the stage.
        mutation Admin setShare = set_share, errors refusals::CHANGING;
        /// Takes everybody back to control, for good.
        mutation Admin rollback = rollback, errors refusals::CHANGING;
        /// Opens the gate that the rollout waits at.
        mutation Admin approve = approve, errors refusals::CHANGING;
        /// What was done to a rollout, by whom and why, oldest first.
        query Viewer history = history, errors refusals::ASKING;
        /// Each decision with its evidence in words and figures, oldest first.
        query Viewer why = why, errors refusals::ASKING;
        /// The live rollouts at once, then at each change what changed. An event's id is where to
        /// resume: changes that were missed are sent again from the history.
        subscription Viewer onChange = on_change;
    );
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValidatePlan {
    /// The name of a plan that is known here, or a plan in TOML.
    #[schemars(length(min = 1, max = MAX_PLAN))]
    pub(crate) plan: String,
    /// Requests a day that its tasks get. Where this is given, stages that are too short to see
    /// anything, or to be proven, are warned of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) requests_per_day: Option<f64>,
    /// How many of control's requests fail, in percent; 2 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) baseline: Option<Percent>,
}

/// The share of requests that fail where nothing better is known, in percent.
const USUAL_BASELINE: f64 = 2.0;

async fn validate(
    controller: Arc<Controller>,
    _: Context,
    input: ValidatePlan,
) -> Result<Checked, RpcError> {
    let baseline = input.baseline.map_or(USUAL_BASELINE, Percent::get) / 100.0;
    let traffic = input.requests_per_day.map(|requests| (requests, baseline));
    Ok(Checked::new(
        checked_plan(&controller, &input.plan)?,
        traffic,
    ))
}

/// The plan of a name, or of a text as far as that is one.
fn checked_plan(controller: &Controller, plan: &str) -> Result<Result<Plan, TomlFaults>, RpcError> {
    if Plan::is_text(plan) {
        return Ok(controller.validate(plan));
    }
    let plans = controller.plans();
    if let Some(plan) = plans.library.get(plan.trim()) {
        return Ok(Ok(plan.clone()));
    }
    let known = || plans.library.plans().map(|plan| plan.name.as_str());
    let hint = suggest::hint(plan, known());
    let known: Vec<_> = known().map(|name| format!("`{name}`")).collect();
    Err(RpcError::not_found(format!(
        "Unknown plan `{plan}`; known are {}{hint}",
        known.join(", ")
    )))
}

/// The same, where nothing but a plan is of use.
pub(super) fn known_plan(controller: &Controller, plan: &str) -> Result<Plan, RpcError> {
    let faults = match checked_plan(controller, plan)? {
        Ok(plan) => return Ok(plan),
        Err(faults) => faults,
    };
    Err(refusals::refusal(ControlError::Plan(faults)))
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ListRollouts {
    /// Those that have ended, too.
    pub(crate) all: bool,
}

async fn list(
    controller: Arc<Controller>,
    _: Context,
    input: ListRollouts,
) -> Result<Vec<RolloutState>, RpcError> {
    let mut rollouts = controller.list().await.map_err(refusals::refusal)?;
    if !input.all {
        rollouts.retain(|status| !status.state.is_final());
    }
    Ok(rollouts.iter().map(RolloutState::new).collect())
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WhichRollout {
    /// The rollout; the beginning of its id is enough where no other begins so.
    pub(crate) id: String,
}

/// Lines of a history where nothing else is asked for, and at most.
const MAX_PAST: u32 = 1_000;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WhichPast {
    /// The rollout; the beginning of its id is enough where no other begins so.
    pub(crate) id: String,
    /// Only what was done before this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) before: Option<i64>,
    /// The newest so many of these; 1,000 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_PAST))]
    pub(crate) limit: Option<u32>,
}

impl WhichPast {
    /// All that there is of a rollout, up to the most.
    pub(crate) fn of(id: String) -> Self {
        Self {
            id,
            before: None,
            limit: None,
        }
    }

    /// The lines that are asked for, of all, which come oldest first.
    fn page<T>(&self, mut rows: Vec<T>, version: impl Fn(&T) -> i64) -> Vec<T> {
        if let Some(before) = self.before {
            rows.retain(|row| version(row) < before);
        }
        let most = self.limit.unwrap_or(MAX_PAST).clamp(1, MAX_PAST) as usize;
        rows.split_off(rows.len().saturating_sub(most))
    }
}

async fn get(
    State {
        controller, live, ..
    }: State,
    _: Context,
    input: WhichRollout,
) -> Result<RolloutDetails, RpcError> {
    let view = controller.get(&input.id).await.map_err(refusals::refusal)?;
    // Where a rollout is can be said without the database. What lies behind it cannot.
    let history = controller.archive().history(&view.status.id);
    let history = timeout(HISTORY_PATIENCE, history).await;
    let details = RolloutDetails::new(view, live.state().flag.position.killed);
    Ok(match history {
        Ok(Ok(history)) => details.with_past(&history),
        _ => details,
    })
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartRollout {
    /// The name of a plan that is known here, or a plan in TOML.
    #[schemars(length(min = 1, max = MAX_PLAN))]
    pub(crate) plan: String,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
    /// Puts the same users in that the last rollout of this plan had.
    #[serde(default)]
    pub(crate) keep_users: bool,
    /// Users may lose the model that an earlier rollout or the live share gave them.
    #[serde(default)]
    pub(crate) take_back: bool,
}

async fn start(
    controller: Arc<Controller>,
    context: Context,
    input: StartRollout,
) -> Result<Started, RpcError> {
    let (reason, actor) = (checked(&input.reason)?, actor(&context)?);
    let wishes = Wishes {
        keep_users: input.keep_users,
        take_back: input.take_back,
    };
    let (status, moves) = controller
        .start(&input.plan, reason, &actor, wishes)
        .await
        .map_err(refusals::refusal)?;
    tracing::info!(%actor, rollout = status.id, reason, moves = ?moves.words, "rollout started");
    Ok(Started::new(&status, moves))
}

/// A change to a rollout.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ChangeRollout {
    /// The rollout; the beginning of its id is enough where no other begins so.
    pub(crate) id: String,
    /// The version that this is based on.
    #[schemars(range(min = 0))]
    pub(crate) version: i64,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MoveShare {
    /// The rollout; the beginning of its id is enough where no other begins so.
    pub(crate) id: String,
    /// The version that this is based on.
    #[schemars(range(min = 0))]
    pub(crate) version: i64,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
    /// 0 to 100; decimals are allowed.
    pub(crate) percent: Percent,
}

impl ChangeRollout {
    /// Does what the caller wants of the rollout.
    async fn apply(
        self,
        kind: CommandKind,
        controller: &Controller,
        context: &Context,
    ) -> Result<RolloutState, RpcError> {
        let command = Command {
            id: self.id,
            based_on: self.version,
            actor: actor(context)?,
            reason: checked(&self.reason)?.to_owned(),
            kind,
        };
        let changed = controller.apply(command).await.map_err(refusals::refusal)?;
        // If this process dies, nobody else knows of it, also where it has lost the lease and is to hand it over. Who
        // handed it over hears of it once it is stored.
        let is_lowering = matches!(kind, CommandKind::RollBack | CommandKind::SetShare(_));
        let is_unsure = controller.owes(&changed.id) || is_lowering && !controller.leads();
        if controller.is_shared() && !context.is_handed_over && is_unsure {
            return Err(refusals::not_stored());
        }
        Ok(answers::changed(kind, &changed))
    }
}

async fn pause(
    controller: Arc<Controller>,
    context: Context,
    input: ChangeRollout,
) -> Result<RolloutState, RpcError> {
    input.apply(CommandKind::Pause, &controller, &context).await
}

async fn resume(
    controller: Arc<Controller>,
    context: Context,
    input: ChangeRollout,
) -> Result<RolloutState, RpcError> {
    input
        .apply(CommandKind::Resume, &controller, &context)
        .await
}

async fn advance(
    controller: Arc<Controller>,
    context: Context,
    input: ChangeRollout,
) -> Result<RolloutState, RpcError> {
    input
        .apply(CommandKind::Advance, &controller, &context)
        .await
}

async fn rollback(
    controller: Arc<Controller>,
    context: Context,
    input: ChangeRollout,
) -> Result<RolloutState, RpcError> {
    input
        .apply(CommandKind::RollBack, &controller, &context)
        .await
}

async fn approve(
    controller: Arc<Controller>,
    context: Context,
    input: ChangeRollout,
) -> Result<RolloutState, RpcError> {
    input
        .apply(CommandKind::Approve, &controller, &context)
        .await
}

async fn set_share(
    controller: Arc<Controller>,
    context: Context,
    input: MoveShare,
) -> Result<RolloutState, RpcError> {
    let MoveShare {
        id,
        version,
        reason,
        percent,
    } = input;
    let change = ChangeRollout {
        id,
        version,
        reason,
    };
    let kind = CommandKind::SetShare(percent);
    change.apply(kind, &controller, &context).await
}

async fn history(
    controller: Arc<Controller>,
    _: Context,
    input: WhichPast,
) -> Result<Vec<HistoryEntry>, RpcError> {
    let rows = controller.archive().history(&input.id).await;
    let rows = input.page(rows.map_err(refusals::refusal)?, |row| row.version);
    Ok(rows.into_iter().map(HistoryEntry::new).collect())
}

async fn why(
    controller: Arc<Controller>,
    _: Context,
    input: WhichPast,
) -> Result<Vec<Explanation>, RpcError> {
    let why = controller.archive().why(&input.id).await;
    Ok(input.page(why.map_err(refusals::refusal)?, |it| it.version))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Resume {
    /// The id of the last event that arrived, where the connection was lost.
    last_event_id: Option<String>,
}

async fn on_change(
    controller: Arc<Controller>,
    _: Context,
    input: Resume,
) -> Result<impl Stream<Item = Result<Tracked<Update>, RpcError>>, RpcError> {
    let last = input.last_event_id.as_deref();
    updates::follow(controller, last).await
}
