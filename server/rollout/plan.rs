//! What is wanted of a rollout: stages, whom they concern, and what judges them.
//!
//! A plan is read from TOML by [`Plan::parse`], which reports every fault with its line, and is kept
//! as JSON with the rollout that it began, so that a later edit of the file changes nothing in flight.

mod judging;
mod library;
mod parse;
mod window;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    judging::Judging,
    library::{Library, SHIPPED},
    window::{Day, Minute, Window, Zone},
};
use super::{
    arms::PerArm, evidence::EvidencePlan, placebos::PlaceboDemand, span, trials::TrialDemand,
};
use crate::_core::{
    assignment::{Algorithm, Subject},
    feature_flags::REHEARSAL,
    toml_reader::TomlFaults,
    units::{Microdollars, Percent},
};

/// A plan that has been checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// The tasks it covers; none covers all.
    pub tasks: Vec<String>,
    /// Models in place of the catalog's control route.
    pub control: Option<Vec<String>>,
    /// Models in place of the catalog's candidate route.
    pub candidate: Option<Vec<String>>,
    /// At least one; shares never sink.
    pub stages: Vec<Stage>,
    /// Ids that get the candidate, whatever the share.
    pub forced_on: Vec<String>,
    /// Ids that get control, whatever the share.
    pub forced_off: Vec<String>,
    /// How long after its start a rollout that is not complete stops advancing.
    #[serde(with = "span::optional")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Duration>,
    /// What to do when no requests come.
    pub no_traffic: NoTraffic,
    /// The share that stays on control until the rollout is complete, 0 to 5.
    pub holdout: Percent,
    /// What judges.
    pub judge: Judge,
    /// How subjects become buckets.
    pub algorithm: Algorithm,
    /// What evidence is held against.
    pub evidence: EvidencePlan,
    /// The trial without which it does not begin, where it demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialDemand>,
    /// The placebo rollouts without which it does not begin, where it demands some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placebo: Option<PlaceboDemand>,
    /// The model that judges answers, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judging: Option<Judging>,
    /// Before this nothing opens but by a person's `advance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// When stages may open; none is always. Lowering ignores them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Whom to call about it, shown in alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Who gets the candidate. Until the rollout is complete the hold-out is taken off at the end of the scale.
    pub share: Percent,
    /// How long it lasts at least; pauses and holds do not count.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub soak: Duration,
    /// Who opens the next stage.
    pub gate: Gate,
    /// Counted requests of the candidate that the stage needs before it can be judged.
    pub min_requests: u64,
    /// Users of the candidate that it needs.
    pub min_users: u64,
    /// How long its requests must have come.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub min_time: Duration,
    /// A candidate this many times worse must not pass.
    pub rho_bad: f64,
    /// What else stands in the way of the next stage.
    pub guards: Guards,
}

/// Who opens the next stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Proof does; without it a person is asked.
    Automatic,
    /// A person does.
    Manual,
}

/// Figures of the candidate since its stage began above which it does not advance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// Failed requests, 0 to 1.
    pub max_error_rate: Option<f64>,
    /// Mean cost of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Microdollars>,
    /// Mean latency.
    #[serde(with = "span::optional")]
    #[schemars(with = "Option<String>")]
    pub max_average: Option<Duration>,
    /// Mean cost of a request, in multiples of control's.
    #[serde(default)]
    pub max_cost_ratio: Option<f64>,
    /// Mean length of an answer in characters, in multiples of control's.
    #[serde(default)]
    pub max_length_ratio: Option<f64>,
}

/// What to do when no requests come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoTraffic {
    /// Tell people after this long.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub alert_after: Duration,
    /// And hold the rollout until requests come again.
    pub hold: bool,
}

/// What judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// Tests that stay valid however often one looks.
    Evidence,
    /// The original's fixed thresholds over the last hour; docs/statistics.md says why not to.
    Thresholds,
}

/// Names that a plan may use; `None` where they are not known and anything goes.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// Tasks of the catalog.
    pub tasks: Option<Vec<String>>,
    /// Models of the catalog.
    pub models: Option<Vec<String>>,
    /// By task, the models that the catalog gives either arm.
    pub routes: BTreeMap<String, PerArm<Vec<String>>>,
    /// By a bundle's name, the same with its version.
    pub bundles: BTreeMap<String, String>,
    /// By task, the models that may not get its texts, and why.
    pub kept_out: BTreeMap<String, BTreeMap<String, String>>,
}

/// Whether these are the tasks of a rehearsal, which concerns nobody.
pub fn is_rehearsal(tasks: &[String]) -> bool {
    matches!(tasks, [task] if task == REHEARSAL)
}

impl Plan {
    /// Reads a plan; `origin` names the text in faults.
    pub fn parse(text: &str, origin: &str, known: &KnownNames) -> Result<Self, TomlFaults> {
        parse::plan(text, origin, known)
    }

    /// Whether this is the text of a plan rather than the name of one.
    pub fn is_text(name_or_text: &str) -> bool {
        name_or_text.trim().contains(['\n', '='])
    }

    /// The share of a stage with the hold-out taken off: it never falls below what is left out. 0 beyond
    /// the last stage.
    pub fn share_of(&self, stage: usize) -> Percent {
        let most = 100.0 - self.holdout.get();
        let share = self
            .stages
            .get(stage)
            .map_or(0.0, |stage| stage.share.get());
        // Both are percentages, and so is the smaller.
        Percent::new(share.min(most)).unwrap_or_default()
    }

    /// The first moment from `at` on at which a stage may open.
    pub fn opens_at(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        window::opens_at(&self.windows, self.not_before, at)
    }

    /// Whether this is the last stage, or beyond it.
    pub fn is_last(&self, stage: usize) -> bool {
        stage + 1 >= self.stages.len()
    }

    /// Whether two plans would decide about the same requests.
    pub fn overlaps(&self, other: &Self) -> bool {
        if is_rehearsal(&self.tasks) != is_rehearsal(&other.tasks) {
            return false;
        }
        self.tasks.is_empty()
            || other.tasks.is_empty()
            || self.tasks.iter().any(|task| other.tasks.contains(task))
    }

    /// A list of ids as subjects.
    pub(super) fn subjects(ids: &[String]) -> HashSet<Subject> {
        ids.iter().filter_map(|id| Subject::parse(id)).collect()
    }
}

#[cfg(test)]
mod tests;
