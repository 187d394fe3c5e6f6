//! Which models a call will try, and why; decided before anything is sent.

use std::{collections::HashSet, sync::Arc};

use super::{
    RouteError,
    catalog::{Catalog, Model, Task},
    catalog_in_use::CatalogInUse,
    privacy::Privacy,
};
use crate::_core::{
    assignment::{BUCKETS, Subject, Variant},
    feature_flags::{
        Assigned, Assignment, DecidingRollout, FeatureFlags, InForce, LiveRollout, Reason,
    },
    units::Percent,
};

/// The models for one request, and why these. Chosen once: whatever moves a share meanwhile, the request
/// goes its way to the end.
#[derive(Clone, Debug)]
pub struct Route {
    /// The task's name.
    pub task: Arc<str>,
    /// Which of the task's routes; the same as `decision.variant`.
    pub variant: Variant,
    /// How that was decided.
    pub decision: Assignment,
    /// The rollout that decided it, where one covers the task.
    pub rollout: Option<Arc<LiveRollout>>,
    /// Whether the other arm starts with another model, so that comparing the two says something.
    pub(super) arms_differ: bool,
    /// In the order in which they are tried; never empty, no model twice.
    pub models: Vec<Arc<Model>>,
    /// Why the first model is the first.
    pub first: First,
    /// Whose request it is.
    pub subject: Option<Subject>,
    /// What is demanded for its texts; all models of it give that.
    pub(super) privacy: Arc<Privacy>,
    /// What the task says that a model is told first, unless its bundle says something else.
    pub(super) prompt: Option<Arc<str>>,
    /// What serves it; what the router has when it is asked, where nobody said.
    pub(super) in_use: Option<Arc<CatalogInUse>>,
}

/// The task under which calls are recorded that name a model and no task.
pub const DIRECT: &str = "direct";

/// Why a route starts as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// It is the primary of the task's route.
    Primary,
    /// `MODEL_ROUTING` is off, so all tasks share one candidate.
    Unrouted,
    /// The caller insists on it.
    Forced,
    /// The primary of this name is gone, from the catalog or from its provider.
    InPlaceOf(String),
}

impl Route {
    /// Chooses the route of (variant, task), with at most `max_fallbacks` models after the first. `forced`
    /// is a model that the caller insists on; an empty name is none. Models that are `gone` are passed over.
    pub fn select(
        catalog: &Catalog,
        flags: &FeatureFlags,
        gone: &HashSet<Arc<str>>,
        task: &str,
        subject: Option<&Subject>,
        forced: Option<&str>,
        max_fallbacks: usize,
    ) -> Result<Self, RouteError> {
        let forced = forced
            .filter(|name| !name.is_empty())
            .map(|name| {
                catalog
                    .model(name)
                    .ok_or_else(|| unknown_model(catalog, name))
            })
            .transpose()?;
        let task = catalog
            .task(task)
            .ok_or_else(|| unknown_task(catalog, task))?;
        if let Some(model) = forced {
            may_get(catalog, &task.privacy, model, || {
                format!("task `{}`", task.name)
            })?;
        }
        let Assigned { decision, rollout } = flags.assign(&task.name, subject);
        let variant = decision.variant;
        let arm = |variant| ArmModels::of(catalog, task, rollout.as_deref(), variant, gone);
        let (control, candidate) = (arm(Variant::Control), arm(Variant::Candidate));
        let is_compared = control.lost.is_none() && candidate.lost.is_none();
        let arms_differ = is_compared && control.models.first() != candidate.models.first();
        // A rollout under way is about its candidate, and about no other model in its place.
        let is_live = rollout.as_ref().is_some_and(|it| it.ended.is_none());
        let ArmModels {
            models: route,
            lost,
        } = match variant {
            Variant::Candidate if is_live && candidate.lost.is_some() => ArmModels {
                lost: candidate.lost,
                ..control
            },
            Variant::Candidate => candidate,
            Variant::Control => control,
        };
        let unrouted = match variant {
            Variant::Candidate if !flags.model_routing() && rollout.is_none() => {
                catalog.unrouted.as_ref()
            }
            _ => None,
        };
        let (first, replaced) = match (forced, unrouted) {
            (Some(model), _) => (First::Forced, Some(model)),
            (None, Some(model)) => (First::Unrouted, Some(model)),
            (None, None) => (lost.map_or(First::Primary, First::InPlaceOf), None),
        };
        let mut models = Vec::with_capacity(route.len());
        models.extend(replaced.or(route.first()).cloned());
        for model in route.iter().skip(1) {
            if !models.contains(model) {
                models.push(model.clone());
            }
        }
        models.truncate(max_fallbacks.saturating_add(1));
        Ok(Self {
            task: task.name.clone(),
            variant,
            decision,
            rollout,
            arms_differ,
            models,
            first,
            subject: subject.cloned(),
            privacy: task.privacy.clone(),
            prompt: task.prompt.clone(),
            in_use: None,
        })
    }

    /// The same, served by what is in use now.
    pub(super) fn by(mut self, in_use: Arc<CatalogInUse>) -> Self {
        self.in_use = Some(in_use);
        self
    }

    /// The primary of a task's control route alone, as a model that is named.
    pub(super) fn of_control(
        catalog: &Catalog,
        task: &str,
        subject: Option<&Subject>,
    ) -> Result<Self, RouteError> {
        let task = catalog
            .task(task)
            .ok_or_else(|| unknown_task(catalog, task))?;
        let primary = task.control.first().map_or("", |model| &model.name);
        Self::of_model(catalog, primary, Some(&task.privacy), subject)
    }

    /// One model for texts of a task, as a model that is named.
    pub(super) fn alone(catalog: &Catalog, task: &str, model: &str) -> Result<Self, RouteError> {
        let prompt = catalog.task(task).and_then(|task| task.prompt.clone());
        Ok(Self {
            prompt,
            ..Self::reader(catalog, task, model)?
        })
    }

    /// The same without the task's prompt.
    pub(super) fn reader(catalog: &Catalog, task: &str, model: &str) -> Result<Self, RouteError> {
        let task = catalog
            .task(task)
            .ok_or_else(|| unknown_task(catalog, task))?;
        Self::of_model(catalog, model, Some(&task.privacy), None)
    }

    /// The route of a caller that names a model and no task. `privacy` is demanded for its texts; that of
    /// the catalog where it is `None`.
    pub(super) fn of_model(
        catalog: &Catalog,
        name: &str,
        privacy: Option<&Arc<Privacy>>,
        subject: Option<&Subject>,
    ) -> Result<Self, RouteError> {
        let model = catalog.model(name);
        let model = model.ok_or_else(|| unknown_model(catalog, name))?;
        let privacy = privacy.unwrap_or(&catalog.privacy);
        may_get(catalog, privacy, model, || "`[privacy]`".to_owned())?;
        let decision = Assignment {
            variant: Variant::Control,
            reason: Reason::NoSubject,
            bucket: None,
            share: Percent::ZERO,
        };
        Ok(Self {
            task: DIRECT.into(),
            variant: decision.variant,
            decision,
            rollout: None,
            arms_differ: false,
            models: vec![model.clone()],
            first: First::Forced,
            subject: subject.cloned(),
            privacy: privacy.clone(),
            prompt: None,
            in_use: None,
        })
    }

    /// Whether evidence may count an attempt at this position of the route: the first on the
    /// primary, for a subject that the share decided on and that names no model.
    pub(super) fn is_counted(&self, position: usize) -> bool {
        position == 0
            && self.first == First::Primary
            && self.arms_differ
            && self.rollout.as_ref().is_some_and(|it| it.is_open)
            && self.subject.is_some()
            && self.decision.reason == Reason::Share
    }

    /// What a model of it is told first: by its bundle, else by the task.
    pub(super) fn prompt_of<'a>(&'a self, model: &'a Model) -> Option<&'a Arc<str>> {
        let of_bundle = model.bundle.as_ref().and_then(|it| it.prompt.as_ref());
        of_bundle.or(self.prompt.as_ref())
    }

    /// What its models are told first, each where neither its bundle nor the task says something else.
    pub fn prompts<'a>(&'a self, instructions: &'a str) -> impl Iterator<Item = &'a str> {
        let models = self.models.iter();
        models.map(move |it| self.prompt_of(it).map_or(instructions, |it| it))
    }

    /// Whether its answers may be kept: its task neither keeps texts from being retained nor masks them.
    pub fn may_be_kept(&self) -> bool {
        !self.privacy.zdr && self.privacy.mask.is_empty()
    }

    /// Which catalog it is of: each that takes the place of another has the next number.
    pub fn generation(&self) -> u64 {
        self.in_use.as_ref().map_or(0, |in_use| in_use.generation)
    }

    /// Tokens that every model of it can read and write together.
    pub fn context_tokens(&self) -> u32 {
        let contexts = self.models.iter().map(|model| model.context);
        contexts.min().unwrap_or(u32::MAX)
    }

    /// The rollout whose evidence counts the first attempt.
    pub fn counted_by(&self) -> Option<Arc<str>> {
        self.judged_as().filter(|_| self.is_counted(0))
    }

    /// The rollout that decided about the call, where it is open.
    pub(super) fn judged_as(&self) -> Option<Arc<str>> {
        self.rollout.as_ref()?.judged_as()
    }

    /// Who decides about the task.
    pub fn in_force(&self) -> InForce {
        let assigned = Assigned {
            decision: self.decision,
            rollout: self.rollout.clone(),
        };
        assigned.in_force()
    }

    /// The reasons in words, for people who ask why a user got an answer from this model.
    pub fn why(&self) -> String {
        let Assignment { bucket, share, .. } = self.decision;
        let who = match &self.subject {
            Some(subject) => format!("subject {subject}"),
            None => "a caller without an id".to_owned(),
        };
        let (route, relation) = match self.variant {
            Variant::Candidate => ("candidate", "below"),
            Variant::Control => ("control", "not below"),
        };
        let share = match self.rollout.as_deref().map(DecidingRollout::new) {
            Some(rollout) => format!("the share of {share} % of {}", rollout.named()),
            None => format!("the live share of {share} %"),
        };
        let decided = match (self.decision.reason, bucket) {
            (Reason::KillSwitch, _) => "the kill switch is on".to_owned(),
            (Reason::ForcedOff, _) => format!("{who} is on the forced-off list"),
            (Reason::ForcedOn, _) => format!("{who} is on the forced-on list"),
            (Reason::ForcedForAll, _) => "FORCE_OPENROUTER puts everybody in".to_owned(),
            (Reason::NoSubject, _) => format!("{who} is in no bucket, and goes by {share}"),
            (Reason::Share, None) => format!("everybody goes by {share}"),
            (Reason::Share, Some(bucket)) => {
                format!("{who} is in bucket {bucket} of {BUCKETS}, {relation} {share}")
            }
        };
        let model = self.models.first().map_or("", |model| &*model.name);
        let task = &self.task;
        let first = match &self.first {
            First::InPlaceOf(lost) => format!("`{model}` answers, as its primary `{lost}` is gone"),
            First::Primary => format!("`{model}` is the primary of task `{task}` on that route"),
            First::Unrouted => {
                format!("MODEL_ROUTING is off, so every task starts with `{model}`")
            }
            First::Forced => format!("the caller insists on `{model}`"),
        };
        format!("{decided}, so the route is {route}; {first}")
    }
}

/// An error where the model may not get texts of which this is demanded.
fn may_get(
    catalog: &Catalog,
    privacy: &Privacy,
    model: &Model,
    whose: impl FnOnce() -> String,
) -> Result<(), RouteError> {
    catalog.keeps_from(privacy, model).map_or(Ok(()), |reason| {
        Err(RouteError::Private {
            whose: whose(),
            model: model.name.clone(),
            reason,
        })
    })
}

/// What an arm of a task can ask.
struct ArmModels {
    /// Its models that are there; never empty.
    models: Vec<Arc<Model>>,
    /// Its primary, where that is not among them.
    lost: Option<String>,
}

impl ArmModels {
    /// The models that a rollout began with, or names, else the catalog's. Names were checked when the rollout
    /// began; one that a later catalog lacks, that the task's privacy keeps out, or that is gone is passed
    /// over. Where nothing is left it is the catalog's whole route.
    fn of(
        catalog: &Catalog,
        task: &Task,
        rollout: Option<&LiveRollout>,
        variant: Variant,
        gone: &HashSet<Arc<str>>,
    ) -> Self {
        let own = task.route(variant);
        let named = rollout.and_then(|it| it.models_of(&task.name, variant));
        let primary = match named {
            Some(names) => names.first().map(String::as_str),
            None => own.first().map(|it| &*it.name),
        };
        let is_here = |model: &Arc<Model>| !gone.contains(&model.name);
        let mut models: Vec<_> = match named {
            Some(names) => names
                .iter()
                .filter_map(|name| catalog.model(name))
                .filter(|model| catalog.keeps_from(&task.privacy, model).is_none())
                .filter(|model| is_here(model))
                .cloned()
                .collect(),
            None => own.iter().filter(|it| is_here(it)).cloned().collect(),
        };
        if models.is_empty() {
            models = own.to_vec();
        }
        let is_first = |name: &&str| models.first().is_some_and(|it| &*it.name == *name);
        Self {
            lost: primary.filter(|name| !is_first(name)).map(str::to_owned),
            models,
        }
    }
}

fn unknown_task(catalog: &Catalog, task: &str) -> RouteError {
    RouteError::UnknownTask {
        task: short(task),
        known: join(catalog.tasks.iter().map(|task| &*task.name)),
    }
}

fn unknown_model(catalog: &Catalog, model: &str) -> RouteError {
    RouteError::UnknownModel {
        model: short(model),
        known: join(catalog.models.iter().map(|model| &*model.name)),
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Names come from clients and are sent back, so only their start is.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}
