//! What follows from what is known now, for programs.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    decision::{Decision, Stay},
    plan::Plan,
    status::Status,
};

/// What would be done now, or why nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// What is done.
    pub action: NextAction,
    /// Why nothing is done; null where something is.
    pub why: Option<Waits>,
    /// The stage that comes then, counted from 1; null after the last, and where none comes.
    pub stage: Option<usize>,
    /// When the soak is over at the earliest, where that is waited for and its clock goes on; when the next
    /// window opens, where that is; when a hold ends whose cause is gone, if nothing comes in between.
    pub at: Option<DateTime<Utc>>,
}

/// What is done with a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NextAction {
    /// Nothing.
    Wait,
    /// Everybody goes back to control, for good.
    RollBack,
    /// The candidate is taken from everybody until its outage is over.
    Withdraw,
    /// It is given to them again.
    Return,
    /// The ramp is frozen.
    Hold,
    /// It goes on.
    Resume,
    /// A person is asked.
    Ask,
    /// The next stage begins.
    Advance,
    /// The rollout is complete.
    Complete,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// It has ended.
    Ended,
    /// A person paused it.
    Paused,
    /// A person is asked.
    AtGate,
    /// It is held. Where the cause is gone, `at` says when this hold ends.
    Held,
    /// There is too little evidence.
    TooLittleEvidence,
    /// A figure of the candidate is above the stage's guard.
    Guarded,
    /// The stage is not over.
    Soaking,
    /// It is over, and the plan's windows are closed.
    OutsideWindow,
}

impl Next {
    /// What a decision comes to.
    pub(super) fn of(
        decision: &Decision,
        status: &Status,
        plan: &Plan,
        now: DateTime<Utc>,
    ) -> Self {
        let (action, why) = match decision {
            Decision::Stay(stay) => (NextAction::Wait, Some(Waits::from(*stay))),
            Decision::RollBack(_) => (NextAction::RollBack, None),
            Decision::Withdraw => (NextAction::Withdraw, None),
            Decision::Return => (NextAction::Return, None),
            Decision::Hold(_) => (NextAction::Hold, None),
            Decision::Resume => (NextAction::Resume, None),
            Decision::Ask { .. } => (NextAction::Ask, None),
            Decision::Advance(_) => (NextAction::Advance, None),
            Decision::Complete => (NextAction::Complete, None),
        };
        let has_next = !status.state.is_final() && !plan.is_last(status.stage);
        let is_soaking = matches!(why, Some(Waits::Soaking | Waits::TooLittleEvidence));
        let left = Some(status.left(plan)).filter(|left| is_soaking && !left.is_zero());
        Self {
            action,
            why,
            // Stages are counted from 1, and the next one is one on.
            stage: has_next.then_some(status.stage + 2),
            at: match decision {
                Decision::Stay(Stay::OutsideWindow(at) | Stay::Clearing(at)) => Some(*at),
                // Older releases took plans with stages of millions of years.
                _ => left
                    .and_then(|left| TimeDelta::from_std(left).ok())
                    .and_then(|left| now.checked_add_signed(left))
                    .map(|at| at.trunc_subsecs(3)),
            },
        }
    }
}

impl From<Stay> for Waits {
    fn from(stay: Stay) -> Self {
        match stay {
            Stay::Ended => Self::Ended,
            Stay::Paused => Self::Paused,
            Stay::AtGate => Self::AtGate,
            Stay::Held | Stay::Clearing(_) => Self::Held,
            Stay::TooLittleEvidence => Self::TooLittleEvidence,
            Stay::Guarded => Self::Guarded,
            Stay::Soaking => Self::Soaking,
            Stay::OutsideWindow(_) => Self::OutsideWindow,
        }
    }
}
