//! `models.*`: what there is, and why a user gets the model that they get.

mod status;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        assignment::{Subject, Variant},
        caller::{Role, not_permitted},
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        feature_flags::{DecidedBy, DecidingRollout, Reason},
        registry::Registry,
        units::Percent,
    },
    model_router::{
        ModelRouter,
        breaker::BreakerState,
        catalog::{CostLevel, Model, Prices, Task, Tier},
        watch::Watched,
    },
    procedures,
};

pub use self::status::ModelStates;
pub(super) use self::status::ModelStatus;

/// Registers the procedures.
pub fn register(registry: &mut Registry, watched: impl Into<Option<ModelStates>>) {
    let watched = watched.into();
    let models = watched.as_ref().map(|it| it.models.clone());
    procedures!(registry.outline("models", watched);
        /// How each model of the catalog is now: its breaker, the quotas of the accounts that pay for it, and
        /// what it did last since this process began.
        query Viewer status = status::status;
    );
    procedures!(registry.outline("models", models);
        /// All models and tasks of the catalog, with prices and routes.
        query SignedIn list = list;
        /// Which model a user would get for a task now, and why. Without `userId`, the caller;
        /// viewers and admins may ask about anybody.
        query SignedIn explain = explain, errors [
            Declared::new(ErrorCode::Forbidden, "A user who is neither a viewer nor an admin asks about somebody else."),
        ];
    );
}

/// The catalog, as far as it concerns callers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ModelList {
    /// In the catalog's order.
    pub models: Vec<ModelInfo>,
    /// In the catalog's order.
    pub tasks: Vec<TaskInfo>,
}

/// One model.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// Its name in the catalog.
    pub name: String,
    /// Its name at the provider.
    pub id: String,
    /// Who is called for it.
    pub provider: String,
    /// Its name for people.
    pub display_name: String,
    /// Who made it.
    pub vendor: String,
    /// What it is good at.
    pub specialization: String,
    /// How well it did, where it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<String>,
    /// Tokens that fit in, question and answer together.
    pub context_window: u32,
    /// Whether it costs anything.
    pub cost_tier: Tier,
    /// US dollars per million tokens.
    pub prices: Prices,
    /// The languages that it answers well in, by their English names; empty where the catalog does not say.
    pub languages: Vec<String>,
    /// What its breaker lets through now: everything (`closed`), nothing while another model can answer
    /// (`open`), one attempt at a time (`probing`), or a share that grows (`returning`). Left out where
    /// `BREAKER` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
    /// What its provider lists of it, where that was asked: whether it has the model at all, and what differs
    /// from the catalog. Left out where `CATALOGUE_WATCH` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watched>,
}

/// One task.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskInfo {
    /// Its name in the catalog.
    pub name: String,
    /// Models for users in the rollout; the first is the primary.
    pub candidate: Vec<String>,
    /// Models for everybody else; the first is the primary.
    pub control: Vec<String>,
    /// Why these models.
    pub reasoning: String,
    /// What it costs, where the catalog says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_level: Option<CostLevel>,
    /// What its models must be able to do.
    pub capabilities: Vec<String>,
}

/// Whom and what to explain.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explain {
    /// A user's id; the caller's own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub user_id: Option<i64>,
    /// A task of the catalog.
    pub task: String,
}

/// Which model a user gets, and why.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Explanation")]
#[serde(rename_all = "camelCase")]
pub struct ModelExplanation {
    /// The user.
    pub user_id: i64,
    /// The task.
    pub task: String,
    /// The variant the user gets.
    pub variant: Variant,
    /// Where the user falls between nobody and everybody.
    pub bucket: Option<u32>,
    /// The share in force for the task, in percent; 0 while the kill switch is on.
    pub share: Percent,
    /// Why the user gets it.
    pub reason: Reason,
    /// Who decides about the task.
    pub decided_by: DecidedBy,
    /// The rollout that covers the task, also while the kill switch stands above it.
    pub rollout: Option<DecidingRollout>,
    /// The model that is asked first.
    pub model: String,
    /// The models that take over, in order.
    pub fallbacks: Vec<String>,
    /// All of that in words.
    pub why: String,
}

async fn list(models: Arc<ModelRouter>, _: Context) -> Result<ModelList, RpcError> {
    let catalog = models.catalog();
    let info = |model: &Arc<Model>| ModelInfo {
        breaker: models.breaker(&model.name),
        watch: models.watch().of(&model.name),
        ..info(model)
    };
    Ok(ModelList {
        models: catalog.models.iter().map(info).collect(),
        tasks: catalog.tasks.iter().map(task_info).collect(),
    })
}

async fn explain(
    models: Arc<ModelRouter>,
    context: Context,
    input: Explain,
) -> Result<ModelExplanation, RpcError> {
    let caller = context.user()?;
    let user_id = input.user_id.unwrap_or(caller.id);
    if user_id != caller.id && caller.role < Role::Viewer {
        return Err(not_permitted());
    }
    if user_id < 1 {
        return Err(RpcError::bad_request(format!(
            "`userId` = {user_id} is not a user's id; expected a whole number of at least 1"
        )));
    }
    let route = models.select(&input.task, Some(&Subject::User(user_id)), None)?;
    let mut names = names(&route.models).into_iter();
    let in_force = route.in_force();
    Ok(ModelExplanation {
        user_id,
        task: route.task.to_string(),
        variant: route.variant,
        bucket: route.decision.bucket,
        share: in_force.share,
        reason: route.decision.reason,
        decided_by: in_force.decided_by,
        rollout: in_force.rollout,
        model: names.next().unwrap_or_default(),
        fallbacks: names.collect(),
        why: route.why(),
    })
}

fn info(model: &Model) -> ModelInfo {
    ModelInfo {
        name: model.name.to_string(),
        id: model.id.clone(),
        provider: model.provider.clone(),
        display_name: model.display_name.clone(),
        vendor: model.vendor.clone(),
        specialization: model.specialization.clone(),
        accuracy: model.accuracy.clone(),
        context_window: model.context,
        cost_tier: model.tier,
        prices: model.prices,
        languages: model.languages.clone(),
        breaker: None,
        watch: None,
    }
}

fn task_info(task: &Task) -> TaskInfo {
    TaskInfo {
        name: task.name.to_string(),
        candidate: names(&task.candidate),
        control: names(&task.control),
        reasoning: task.reasoning.clone(),
        cost_level: task.cost_level,
        capabilities: task.capabilities.clone(),
    }
}

fn names(route: &[Arc<Model>]) -> Vec<String> {
    route.iter().map(|model| model.name.to_string()).collect()
}
