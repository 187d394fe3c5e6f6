//! `aiMetrics`: what people and the front end ask about the attempts at models.

mod series;
mod spending;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    _core::{
        assignment::{Subject, Variant},
        caller::Caller,
        context::Context,
        errors::RpcError,
        feature_flags::{Assigned, DecidedBy, DecidingRollout, FeatureFlags, InForce},
        procedure::{Accepts, Input, ProcedureInput, Untracked},
        registry::Registry,
        shape::Shape,
        units::Percent,
    },
    ai_metrics::{
        AiMetrics,
        feed::SummaryFeed,
        health::HealthStatus,
        recommendation::Recommendation,
        summary::{ModelFigures, Summary, VariantFigures},
        window::{Minutes, PerVariant},
    },
    procedures,
};

pub use self::series::Past;

/// The task that is spoken of where none is named: the front end's.
const DEFAULT_TASK: &str = "chat";

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    metrics: Arc<AiMetrics>,
    flags: Arc<FeatureFlags>,
    feed: Arc<SummaryFeed>,
}

impl State {
    /// State whose subscriptions send a summary every `summary_interval`.
    pub fn new(
        metrics: Arc<AiMetrics>,
        flags: Arc<FeatureFlags>,
        summary_interval: Duration,
    ) -> Self {
        let feed = SummaryFeed::new(metrics.clone(), summary_interval);
        Self {
            metrics,
            flags,
            feed,
        }
    }

    fn last_hour(&self, context: &Context) -> Summary {
        self.metrics.summary(Minutes::HOUR, context.received_at)
    }

    /// Who decides about a task for the caller.
    fn assigned(&self, context: &Context, input: &TaskInput) -> Assigned {
        let subject = match &context.caller {
            Caller::User(user) => Some(Subject::User(user.id)),
            Caller::Anonymous | Caller::Unknown { .. } => None,
        };
        let task = input.0.task.as_deref().unwrap_or(DEFAULT_TASK);
        self.flags.assign(task, subject.as_ref())
    }
}

/// Registers the procedures.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>, past: Option<Past>) {
    series::register(registry, past.clone());
    spending::register(registry, past);
    procedures!(registry.outline("aiMetrics", state.into());
        /// Requests, failures and latency over the last minutes, in all, by model and by variant.
        query SignedIn getSummary = get_summary;
        /// The share that is in force for a task and who decides about it, whether the caller is in,
        /// and what the last hour advises.
        query SignedIn getRolloutStatus = get_rollout_status;
        /// The last hour by model and by variant.
        query SignedIn getModelBreakdown = get_model_breakdown;
        /// Whether the last hour allows to raise the share.
        query SignedIn checkRolloutHealth = check_rollout_health;
        /// Writes the last hour's summary to the server's log.
        mutation Admin logSummary = log_summary;
        /// A summary at once, then one every second or as `SUMMARY_INTERVAL` says.
        subscription SignedIn onSummary = on_summary;
    );
}

/// Which window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WindowInput {
    /// Minutes to look back, fractions allowed.
    pub last_minutes: Minutes,
}

/// [`TaskFields`], or null as nothing: these procedures had no input, and some clients send null then.
pub struct TaskInput(TaskFields);

impl ProcedureInput for TaskInput {
    const ACCEPTS: Accepts = Accepts::Json;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        TaskFields::schema(generator)
    }

    fn parse(input: Input, shape: &Shape) -> Result<Self, RpcError> {
        let input = match input {
            Input::Json(Value::Null) => Input::Absent,
            input => input,
        };
        TaskFields::parse(input, shape).map(Self)
    }
}

/// Which task.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskFields {
    /// A task of the catalog; `chat` where it is left out.
    #[schemars(length(min = 1, max = 100))]
    pub task: Option<String>,
}

/// How far the rollout is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The share in force for the task, the same for every caller; 0 while the kill switch is on.
    pub current_percentage: Percent,
    /// Whether the caller gets the candidate models.
    pub enabled: bool,
    /// Who decides about the task.
    pub decided_by: DecidedBy,
    /// The rollout that covers the task, also while the kill switch stands above it.
    pub rollout: Option<DecidingRollout>,
    /// Attempts of the last hour that were not cancelled.
    pub total_requests: u64,
    /// Failures in percent, not rounded.
    pub error_rate: f64,
    /// Mean latency in milliseconds, rounded.
    pub avg_response_time: u64,
    /// What to do next.
    pub recommendation: Recommendation,
    /// By variant.
    pub variants: PerVariant<VariantFigures>,
}

impl RolloutStatus {
    /// The status for a caller, of whom it was decided so.
    pub fn new(summary: &Summary, assigned: &Assigned) -> Self {
        let in_force = assigned.in_force();
        Self {
            current_percentage: in_force.share,
            enabled: assigned.decision.variant == Variant::Candidate,
            total_requests: summary.total_requests,
            error_rate: summary.error_rate,
            avg_response_time: summary.avg_response_time,
            recommendation: advice(summary, &in_force),
            variants: summary.variants,
            decided_by: in_force.decided_by,
            rollout: in_force.rollout,
        }
    }
}

/// What the last hour advises at the share in force.
fn advice(summary: &Summary, in_force: &InForce) -> Recommendation {
    match in_force.decided_by {
        DecidedBy::KillSwitch => Recommendation::killed(),
        DecidedBy::Rollout | DecidedBy::LiveShare => Recommendation::of(summary, in_force.share),
    }
}

/// The last hour by model and by variant.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelBreakdown {
    /// By the catalog's name of the model.
    pub models: BTreeMap<Arc<str>, ModelFigures>,
    /// By variant.
    pub variants: PerVariant<VariantFigures>,
    /// When this was computed.
    pub timestamp: DateTime<Utc>,
}

/// Whether to go on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutHealth {
    /// Nothing is critical; also true without data, which `status` tells apart.
    pub healthy: bool,
    /// The verdict in one word.
    pub status: HealthStatus,
    /// Texts of exceeded warning thresholds: error rate, P95, average.
    pub warnings: Vec<String>,
    /// Texts of exceeded critical thresholds, in the same order.
    pub critical: Vec<String>,
    /// Whether to raise the share now.
    pub can_proceed: bool,
    /// Why, for people.
    pub recommendation: String,
    /// The figures that were judged.
    pub metrics: JudgedFigures,
}

/// The figures that health goes by.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgedFigures {
    /// Attempts of the last hour that were not cancelled.
    pub total_requests: u64,
    /// Failures in percent, not rounded.
    pub error_rate: f64,
    /// Mean latency in milliseconds, rounded.
    pub avg_response_time: u64,
    /// Latency in milliseconds that 95 % do not exceed, rounded up.
    pub p95_response_time: u64,
}

impl RolloutHealth {
    /// The verdict and the advice at the share in force.
    pub fn new(summary: &Summary, in_force: &InForce) -> Self {
        let advice = advice(summary, in_force);
        let health = summary.health.clone();
        Self {
            healthy: health.healthy,
            status: health.status,
            warnings: health.warnings,
            critical: health.critical,
            can_proceed: advice.should_proceed,
            recommendation: advice.reason,
            metrics: JudgedFigures {
                total_requests: summary.total_requests,
                error_rate: summary.error_rate,
                avg_response_time: summary.avg_response_time,
                p95_response_time: summary.p95_response_time,
            },
        }
    }
}

/// That it was done.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Always true.
    pub success: bool,
}

async fn get_summary(
    state: State,
    context: Context,
    input: WindowInput,
) -> Result<Summary, RpcError> {
    let now = context.received_at;
    Ok(state.metrics.read_summary(input.last_minutes, now).await)
}

async fn get_rollout_status(
    state: State,
    context: Context,
    input: TaskInput,
) -> Result<RolloutStatus, RpcError> {
    let assigned = state.assigned(&context, &input);
    Ok(RolloutStatus::new(&state.last_hour(&context), &assigned))
}

async fn get_model_breakdown(state: State, context: Context) -> Result<ModelBreakdown, RpcError> {
    let summary = state.last_hour(&context);
    Ok(ModelBreakdown {
        models: summary.model_breakdown,
        variants: summary.variants,
        timestamp: context.received_at,
    })
}

async fn check_rollout_health(
    state: State,
    context: Context,
    input: TaskInput,
) -> Result<RolloutHealth, RpcError> {
    let in_force = state.assigned(&context, &input).in_force();
    Ok(RolloutHealth::new(&state.last_hour(&context), &in_force))
}

async fn log_summary(state: State, context: Context) -> Result<Done, RpcError> {
    for line in state.last_hour(&context).lines() {
        tracing::info!(target: "ai_metrics", "{line}");
    }
    Ok(Done { success: true })
}

async fn on_summary(
    state: State,
    context: Context,
    input: WindowInput,
) -> Result<impl Stream<Item = Result<Untracked<Arc<Summary>>, RpcError>>, RpcError> {
    let summaries = state
        .feed
        .subscribe(input.last_minutes, context.received_at);
    Ok(summaries.map(|summary| Ok(Untracked(summary))))
}
