//! `trials.*`: puts prompts to two models before any user gets the new one, and keeps what came of it.
//!
//! A trial asks under the task `direct`, which no rollout covers: it is in the log and in the metrics, and outside
//! any evidence. It goes by the same accounts as everything else, behind whoever waits for an answer.

pub(crate) mod asking;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::asking::ask;
use super::{
    feature_flags_router::actor,
    rollout_router::{MAX_PLAN, known_plan},
};
use crate::{
    _core::{
        assignment::Variant,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    model_router::{
        ModelRouter, RouteError,
        catalog::{Catalog, ProviderAccess, Task},
    },
    procedures,
    providers::quality::Language,
    rollout::{
        controller::Controller,
        trials::{Trial, TrialResult, TrialStore},
    },
};

/// The task where nothing else is said.
const USUAL_TASK: &str = "chat";
const MAX_NAME: u32 = 200;
/// Trials that are listed.
const LISTED: u32 = 50;

const UNKNOWN: Declared =
    Declared::new(ErrorCode::NotFound, "There is no such task, model or plan.");

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    /// The catalog, and who asks its models.
    pub models: Arc<ModelRouter>,
    /// The plans.
    pub controller: Arc<Controller>,
    /// Where trials are kept.
    pub trials: Arc<dyn TrialStore>,
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("trials", state.into());
        /// The newest trials, the newest first, 50 at most.
        query Viewer list = list;
        /// The two models that a trial of a task, or of a plan, compares.
        query Viewer arms = arms, errors [UNKNOWN];
        /// Puts a prompt to one model, behind whoever waits for an answer, and says what came of it; not the text.
        mutation Admin ask = ask, errors [UNKNOWN];
        /// Keeps what a trial found.
        mutation Admin record = record;
    );
}

/// Of which task or plan.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WhichArms {
    /// A task of the catalog; `chat`, or the plan's only one, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) task: Option<String>,
    /// The name of a plan that is known here, or a plan in TOML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PLAN))]
    pub(crate) plan: Option<String>,
}

/// What a trial compares.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrialArms {
    /// The task.
    pub(crate) task: String,
    /// Control's primary.
    pub(crate) control: TrialArm,
    /// The candidate's.
    pub(crate) candidate: TrialArm,
    /// Whether answers to the task have to be of a schema.
    pub(crate) schema: bool,
    /// Whether they have to be in the language of the question.
    pub(crate) language: bool,
    /// A digest of both, schema and all: what was asked under another one is another trial.
    pub(crate) checks: String,
}

/// One of the two models.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TrialArm {
    /// The catalog's name of it.
    pub(crate) model: String,
    /// Whether the sandbox answers in its place, as its provider has no key.
    pub(crate) simulated: bool,
}

async fn arms(state: State, _: Context, input: WhichArms) -> Result<TrialArms, RpcError> {
    let catalog = state.models.catalog();
    let (name, control, candidate) = match &input.plan {
        None => {
            let task = task_of(&catalog, input.task.as_deref().unwrap_or(USUAL_TASK))?;
            let primary = |arm| task.route(arm).first().map(|it| it.name.to_string());
            let (control, candidate) = (primary(Variant::Control), primary(Variant::Candidate));
            (task.name.to_string(), control, candidate)
        }
        Some(plan) => of_plan(&state.controller, plan, input.task)?,
    };
    let task = task_of(&catalog, &name)?;
    let (control, candidate) = (control.unwrap_or_default(), candidate.unwrap_or_default());
    if control == candidate {
        return Err(RpcError::bad_request(format!(
            "Both routes of task `{name}` begin with `{control}`: there is nothing to compare"
        )));
    }
    Ok(TrialArms {
        control: arm(&catalog, control)?,
        candidate: arm(&catalog, candidate)?,
        schema: task.checks.schema.is_some(),
        language: task.checks.language != Language::Any,
        checks: task.checks.digest(),
        task: name,
    })
}

/// The task of a plan, and the primaries of its arms.
fn of_plan(
    controller: &Controller,
    plan: &str,
    task: Option<String>,
) -> Result<(String, Option<String>, Option<String>), RpcError> {
    let plan = known_plan(controller, plan)?;
    let groups = controller.plans().known.models_of(&plan);
    let tasks: Vec<_> = groups.iter().flat_map(|it| &it.tasks).cloned().collect();
    let task = match (task, &*tasks) {
        (Some(task), _) => task,
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(RpcError::bad_request(format!(
                "Plan `{}` covers several tasks: {}; say which with `task` (`--task`)",
                plan.name,
                tasks.join(", ")
            )));
        }
    };
    let group = groups.into_iter().find(|it| it.tasks.contains(&task));
    let group = group.ok_or_else(|| {
        RpcError::bad_request(format!(
            "Plan `{}` does not cover task `{task}`; it covers {}",
            plan.name,
            tasks.join(", ")
        ))
    })?;
    let first = |models: Vec<String>| models.into_iter().next();
    Ok((task, first(group.control), first(group.candidate)))
}

fn task_of<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Task, RpcError> {
    catalog.task(name).ok_or_else(|| {
        let known: Vec<_> = catalog.tasks.iter().map(|it| &*it.name).collect();
        unknown(&RouteError::UnknownTask {
            task: name.to_owned(),
            known: known.join(", "),
        })
    })
}

fn arm(catalog: &Catalog, model: String) -> Result<TrialArm, RpcError> {
    let Some(found) = catalog.model(&model) else {
        let known: Vec<_> = catalog.models.iter().map(|it| &*it.name).collect();
        let known = known.join(", ");
        return Err(unknown(&RouteError::UnknownModel { model, known }));
    };
    let provider = catalog.provider(&found.provider);
    Ok(TrialArm {
        simulated: provider.is_some_and(|it| matches!(it.access, ProviderAccess::Sandbox)),
        model,
    })
}

/// A task or a model that is not there, or may not be asked.
fn unknown(error: &RouteError) -> RpcError {
    let text = error.to_string();
    match error {
        RouteError::UnknownTask { .. } | RouteError::UnknownModel { .. } => {
            RpcError::not_found(text)
        }
        _ => RpcError::bad_request(text),
    }
}

/// What a trial found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecordTrial {
    /// The task.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) task: String,
    /// Control's primary.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) control: String,
    /// The candidate's.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) candidate: String,
    /// What was found.
    pub(crate) result: TrialResult,
    /// When the first answer came; now where it is not given, or not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<DateTime<Utc>>,
}

/// A trial that was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TrialInfo {
    /// Its id.
    pub(crate) id: String,
    /// When its first answer came.
    pub(crate) at: DateTime<Utc>,
    /// By whom.
    pub(crate) actor: String,
    /// The task.
    pub(crate) task: String,
    /// Control's primary.
    pub(crate) control: String,
    /// The candidate's.
    pub(crate) candidate: String,
    /// What was found.
    pub(crate) result: TrialResult,
}

impl From<Trial> for TrialInfo {
    fn from(trial: Trial) -> Self {
        Self {
            id: trial.id,
            at: trial.at,
            actor: trial.actor.to_string(),
            task: trial.task,
            control: trial.control,
            candidate: trial.candidate,
            result: trial.result,
        }
    }
}

async fn record(state: State, context: Context, input: RecordTrial) -> Result<TrialInfo, RpcError> {
    let trial = Trial {
        id: uuid::Uuid::now_v7().to_string(),
        at: input
            .began
            .map_or(context.received_at, |it| it.min(context.received_at)),
        actor: actor(&context)?,
        task: input.task,
        control: input.control,
        candidate: input.candidate,
        result: input.result,
    };
    state
        .trials
        .add_trial(&trial)
        .await
        .map_err(RpcError::internal)?;
    Ok(trial.into())
}

async fn list(state: State, _: Context) -> Result<Vec<TrialInfo>, RpcError> {
    let trials = state
        .trials
        .trials(LISTED)
        .await
        .map_err(RpcError::internal)?;
    Ok(trials.into_iter().map(TrialInfo::from).collect())
}
