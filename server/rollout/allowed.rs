//! What a person may do to a rollout now, and why not where it is refused.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    finding::Finding,
    rollout::{CommandKind, Rollout},
};
use crate::_core::units::Percent;

/// A change, as buttons name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Stop the ramp.
    Pause,
    /// Let it go on.
    Resume,
    /// Begin the next stage, or complete the last one.
    Advance,
    /// Open the gate.
    Approve,
    /// Move the share up within the stage.
    RaiseShare,
    /// Move it down.
    LowerShare,
    /// Send everybody back to control.
    Rollback,
    /// Let go of a rollout that has ended.
    Release,
}

/// Whether a change would be taken now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allowed {
    /// The change.
    pub action: Verb,
    /// Whether it would be.
    pub allowed: bool,
    /// Why not, in words; null where it would be.
    pub why: Option<String>,
}

/// Every change by a person, with the answer that it would get.
pub fn allowed(rollout: &Rollout, finding: &Finding, at: DateTime<Utc>) -> Vec<Allowed> {
    let share = rollout.status.share.get();
    let ask = |(action, kind): (Verb, Option<CommandKind>)| {
        let answer = match kind {
            Some(kind) => rollout.answer(kind, at, || finding.clone()),
            None => Err(format!("the share is {share} % already")),
        };
        let why = answer.err();
        Allowed {
            action,
            allowed: why.is_none(),
            why,
        }
    };
    // Half the way to either end, where there is a way.
    let most = 100.0 - rollout.plan.holdout.get();
    let to = |to: f64, is_way: bool| {
        let to = Percent::new(to).filter(|_| is_way)?;
        Some(CommandKind::SetShare(to))
    };
    let all = [
        (Verb::Pause, Some(CommandKind::Pause)),
        (Verb::Resume, Some(CommandKind::Resume)),
        (Verb::Advance, Some(CommandKind::Advance)),
        (Verb::Approve, Some(CommandKind::Approve)),
        (Verb::RaiseShare, to((share + most) / 2.0, share < most)),
        (Verb::LowerShare, to(share / 2.0, share > 0.0)),
        (Verb::Rollback, Some(CommandKind::RollBack)),
        (Verb::Release, Some(CommandKind::Release)),
    ];
    all.into_iter().map(ask).collect()
}
