//! Who decides about a task now, and at which share; what every answer about it is made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Assigned, FeatureFlags, LiveRollout, Reason};
use crate::_core::units::Percent;

/// Who decides which users of a task get the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// The kill switch: nobody does.
    KillSwitch,
    /// A rollout, under way or ended.
    Rollout,
    /// The live share.
    LiveShare,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Its last share stays.
    Completed,
    /// Everybody is on control.
    RolledBack,
}

/// The rollout that covers a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecidingRollout {
    /// Its id.
    pub id: String,
    /// Its plan's name.
    pub plan: String,
    /// Its share, whatever the kill switch says.
    pub share: Percent,
    /// How it ended, null while it is under way. An ended one goes on deciding until a newer one
    /// covers its tasks, or `rollout.release` lets it go.
    pub ended: Option<Ended>,
}

/// What decides about a task now.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Users below this share get the candidate; 0 while the kill switch is on.
    pub share: Percent,
    /// Who decides.
    pub decided_by: DecidedBy,
    /// The rollout that covers the task, also where the kill switch stands above it.
    pub rollout: Option<DecidingRollout>,
}

impl FeatureFlags {
    /// What decides about a task now.
    pub fn in_force(&self, task: &str) -> InForce {
        self.assign(task, None).in_force()
    }

    /// The same for many tasks, at one moment.
    pub fn in_force_for<'a>(
        &self,
        tasks: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, InForce)> {
        let live = self.live();
        let each = tasks.into_iter();
        each.map(|task| (task, self.assign_by(&live, task, None).in_force()))
            .collect()
    }
}

impl Assigned {
    /// What decided.
    pub fn in_force(&self) -> InForce {
        let is_killed = self.decision.reason == Reason::KillSwitch;
        InForce {
            share: if is_killed {
                Percent::ZERO
            } else {
                self.decision.share
            },
            decided_by: match &self.rollout {
                _ if is_killed => DecidedBy::KillSwitch,
                Some(_) => DecidedBy::Rollout,
                None => DecidedBy::LiveShare,
            },
            rollout: self.rollout.as_deref().map(DecidingRollout::new),
        }
    }
}

impl DecidingRollout {
    /// As answers name it.
    pub fn new(rollout: &LiveRollout) -> Self {
        Self {
            id: rollout.id.to_string(),
            plan: rollout.plan.clone(),
            share: rollout.share,
            ended: rollout.ended,
        }
    }

    /// `rollout `0193…` of plan `standard`, which was rolled back`.
    pub fn named(&self) -> String {
        let Self { id, plan, .. } = self;
        let ended = match self.ended {
            None => "",
            Some(Ended::Completed) => ", which is complete and goes on deciding",
            Some(Ended::RolledBack) => ", which was rolled back and goes on deciding",
        };
        format!("rollout `{id}` of plan `{plan}`{ended}")
    }
}
