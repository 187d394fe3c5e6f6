//! What can be read of plans and of past rollouts: `rollout.plans`, `forecast`, `report`, `replay`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    MAX_PLAN, USUAL_BASELINE, WhichRollout, known_plan,
    refusals::{self, refusal},
};
use crate::{
    _core::{context::Context, errors::RpcError, registry::Registry, units::Percent},
    procedures,
    rollout::{
        controller::Controller,
        plan::Plan,
        replay::Replay,
        simulate::planner::{ExpectedTraffic, RATIOS, Sight, StageSight},
    },
};

/// Registers them.
pub(super) fn register(registry: &mut Registry, controller: Option<Arc<Controller>>) {
    procedures!(registry.outline("rollout", controller.clone());
        /// The plans that can be started by name.
        query Viewer plans = plans;
        /// What each stage of a plan can see in its time, and how long its proof would take.
        query Viewer forecast = forecast, errors refusals::STARTING_POINTS;
        /// The deployment log of a rollout, in Markdown.
        query Viewer report = report, errors refusals::ASKING;
    );
    let replays = controller.map(|controller| Replays {
        controller,
        place: Arc::new(Semaphore::new(1)),
    });
    procedures!(registry.outline("rollout", replays);
        /// Folds the log of a rollout again and compares each decision with the history, bit for bit. It
        /// reads all events of the rollout, so it may take seconds, and there is one at a time.
        query Viewer replay = replay, errors refusals::REPLAYING;
    );
}

/// Replays read all that a rollout had, so one runs at a time.
#[derive(Clone)]
struct Replays {
    controller: Arc<Controller>,
    place: Arc<Semaphore>,
}

/// A plan that can be started.
#[derive(Debug, Serialize, JsonSchema)]
struct PlanInfo {
    /// What it is started by.
    name: String,
    /// For people; may be empty.
    description: String,
    /// The tasks it covers; none covers all.
    tasks: Vec<String>,
    /// The share of each stage.
    shares: Vec<Percent>,
}

async fn plans(controller: Arc<Controller>, _: Context) -> Result<Vec<PlanInfo>, RpcError> {
    let info = |plan: &Plan| PlanInfo {
        name: plan.name.clone(),
        description: plan.description.clone(),
        tasks: plan.tasks.clone(),
        shares: (0..plan.stages.len()).map(|n| plan.share_of(n)).collect(),
    };
    Ok(controller.plans().library.plans().map(info).collect())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ForecastPlan {
    /// The name of a plan that is known here, or a plan in TOML.
    #[schemars(length(min = 1, max = MAX_PLAN))]
    plan: String,
    /// Requests a day that its tasks get.
    #[schemars(range(min = 1))]
    requests_per_day: f64,
    /// How many of control's requests fail, in percent; 2 where it is not given.
    #[serde(default)]
    baseline: Option<Percent>,
}

/// What a stage can see.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StageForecast {
    /// As people call it.
    name: String,
    /// The share of users with the candidate.
    share: f64,
    /// Its soak, in hours.
    hours: f64,
    /// How long candidates would stay unseen that fail so many times as often as control.
    needed: Vec<Needed>,
    /// Hours until a candidate as good as control is proven no worse; null where it cannot be, or needs
    /// no proof.
    proof_hours: Option<f64>,
}

/// How long a bad candidate stays unseen.
#[derive(Debug, Serialize, JsonSchema)]
struct Needed {
    /// How many times as often as control it fails.
    ratio: f64,
    /// The mean hours until it is taken back; null where the stage cannot see it.
    hours: Option<f64>,
}

impl From<&StageSight> for StageForecast {
    fn from(sight: &StageSight) -> Self {
        let finite = |hours: f64| hours.is_finite().then_some(hours);
        let needed = RATIOS.iter().zip(sight.needed_hours);
        Self {
            name: sight.stage.name.clone(),
            share: sight.stage.share,
            hours: sight.stage.hours,
            needed: needed
                .map(|(ratio, hours)| Needed {
                    ratio: *ratio,
                    hours: finite(hours),
                })
                .collect(),
            // After the last stage nothing opens.
            proof_hours: finite(sight.proof_hours).filter(|_| sight.stage.gate.is_some()),
        }
    }
}

async fn forecast(
    controller: Arc<Controller>,
    _: Context,
    input: ForecastPlan,
) -> Result<Vec<StageForecast>, RpcError> {
    let plan = known_plan(&controller, &input.plan)?;
    let baseline = input.baseline.map_or(USUAL_BASELINE, Percent::get) / 100.0;
    let traffic = ExpectedTraffic {
        requests_per_day: input.requests_per_day,
        baseline,
        users: None,
    };
    let sight = Sight::of(&plan, traffic);
    Ok(sight.stages.iter().map(StageForecast::from).collect())
}

/// A deployment log.
#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    /// The text.
    markdown: String,
}

async fn report(
    controller: Arc<Controller>,
    context: Context,
    input: WhichRollout,
) -> Result<Report, RpcError> {
    let markdown = controller.archive().report(&input.id, context.received_at);
    let markdown = markdown.await.map_err(refusal)?;
    Ok(Report { markdown })
}

async fn replay(
    replays: Replays,
    context: Context,
    input: WhichRollout,
) -> Result<Replay, RpcError> {
    let busy = |_| {
        let text = "another rollout is replayed just now; try again in some seconds";
        RpcError::unavailable(text, context.received_at)
    };
    let _place = replays.place.try_acquire().map_err(busy)?;
    replays
        .controller
        .archive()
        .replay(&input.id)
        .await
        .map_err(refusal)
}
