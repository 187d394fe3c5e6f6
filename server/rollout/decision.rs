//! What follows from plan, status and evidence; pure.
//!
//! The first that matches wins, and what takes a candidate back comes before anything that could
//! stand in its way: hard limit broken · candidate worse · paused · waiting at a gate · too little
//! evidence · soaking · advance · complete. No data is neither failure nor success: without it
//! nothing is taken back and nothing is promoted.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    evidence::{Kind, Level, read_finite},
    plan::{Gate, Plan, Stage},
    status::{Hold, State, Status},
};
use crate::_core::units::{Percent, counted};

/// How long evidence has to be clear before a hold at the level watch is left. (The level hold is left
/// by the evidence itself, after an hour.)
const CALM: TimeDelta = TimeDelta::minutes(5);

/// What the judge found, whichever judge the plan chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How alarming it is.
    pub level: Level,
    /// The candidate breaks the absolute limit, and control does not.
    pub limit_broken: bool,
    /// Both break it.
    pub both_failing: bool,
    /// The arms' users are not in the ratio of the share.
    pub sample_mismatch: bool,
    /// Evidence recommends the next stage.
    pub recommended: bool,
    /// Evidence is strong enough for the next stage without a person.
    pub proven: bool,
    /// What outcomes that are not counted have to say, where they say something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<NotCounted>,
    /// The provider refuses our account, which blames no arm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub account_refused: bool,
    /// The evidence over all metrics that the candidate is worse.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// Why, in words.
    pub why: String,
    /// The candidate's users since its stage began.
    pub users: u64,
    /// The candidate since its stage began.
    pub candidate: Arm,
    /// Control since the stage began.
    pub control: Arm,
    /// When the last counted request came.
    pub last_request_at: Option<DateTime<Utc>>,
}

/// What outcomes that are not counted as errors prove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum NotCounted {
    /// A kind meets more of the candidate's users than of control's.
    Differs {
        /// Which.
        kind: Kind,
        /// How often on either side, in words.
        figures: String,
    },
    /// The candidate was taken back for them.
    TakenBack {
        /// Why, in words.
        why: String,
    },
}

/// One arm's counted requests since the stage began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arm {
    /// Counted requests.
    pub requests: u64,
    /// Those that failed by the model's or its provider's fault.
    pub errors: u64,
    /// Mean latency in milliseconds; 0 without requests.
    pub average_ms: f64,
    /// Requests that were slow already when they had not ended; most of them are counted above by now.
    #[serde(default)]
    pub hung: u64,
    /// First attempts that ended in a way that is not counted: too long, refused, our account.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_counted: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, errors) = (self.requests, self.errors);
        let (requests, errors) = (counted(requests, "request"), counted(errors, "error"));
        let rate = 100.0 * self.error_rate();
        write!(f, "{requests}, {errors} ({rate:.2} %), ")?;
        if self.hung > 0 {
            write!(f, "{} slow before they ended, ", self.hung)?;
        }
        if self.not_counted > 0 {
            write!(f, "{} more not counted, ", self.not_counted)?;
        }
        write!(f, "{:.0} ms on average", self.average_ms)
    }
}

impl Arm {
    /// Failed requests, 0 to 1; 0 without requests.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.errors as f64 / self.requests as f64
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Take the candidate back.
    RollBack(Cause),
    /// Nothing.
    Stay(Stay),
    /// Freeze the ramp.
    Hold(Hold),
    /// The cause of a hold is gone.
    Resume,
    /// Ask a person.
    Ask {
        /// Whether evidence recommends the next stage.
        recommended: bool,
    },
    /// Begin this stage.
    Advance(usize),
    /// The last stage is over.
    Complete,
}

/// Why a candidate is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It breaks the absolute limit, and control does not.
    LimitBroken,
    /// It is worse than control.
    Worse,
    /// It does not answer, or refuses what control does not, in ways that are no errors.
    NotCounted,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// The state is final.
    Ended,
    /// A person paused it.
    Paused,
    /// A person is asked.
    AtGate,
    /// The cause of the hold is still there.
    Held,
    /// Nothing is known yet, or not enough.
    TooLittleEvidence,
    /// A figure of the candidate is above the stage's guard.
    Guarded,
    /// The stage is not over.
    Soaking,
}

/// What follows; the first that matches.
pub fn decide(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> Decision {
    if status.state.is_final() {
        return Decision::Stay(Stay::Ended);
    }
    if finding.limit_broken {
        return Decision::RollBack(Cause::LimitBroken);
    }
    if finding.level == Level::Rollback {
        return Decision::RollBack(match finding.not_counted {
            Some(NotCounted::TakenBack { .. }) => Cause::NotCounted,
            _ => Cause::Worse,
        });
    }
    let cause = hold(plan, status, finding, now);
    match (status.state, cause) {
        (State::Paused, _) => return Decision::Stay(Stay::Paused),
        // A gate that opens by itself does so if proof comes while a person is asked.
        (State::WaitingAtGate { .. }, None) if opens_late(plan, status, finding) => {}
        (State::WaitingAtGate { .. }, _) => return Decision::Stay(Stay::AtGate),
        (State::Holding { because }, Some(cause)) if because == cause => {
            return Decision::Stay(Stay::Held);
        }
        (_, Some(cause)) => return Decision::Hold(cause),
        (State::Holding { .. }, None) => return Decision::Resume,
        (State::Running | State::Completed | State::RolledBack, None) => {}
    }
    let Some(stage) = plan.stages.get(status.stage) else {
        return Decision::Complete;
    };
    if !is_enough(stage, status, finding, now) {
        return Decision::Stay(Stay::TooLittleEvidence);
    }
    if is_guarded(stage, &finding.candidate) {
        return Decision::Stay(Stay::Guarded);
    }
    let is_soaking = !status.left(plan).is_zero();
    if plan.is_last(status.stage) {
        return if is_soaking {
            Decision::Stay(Stay::Soaking)
        } else {
            Decision::Complete
        };
    }
    let recommended = finding.recommended || finding.proven;
    match stage.gate {
        _ if is_soaking => Decision::Stay(Stay::Soaking),
        Gate::Automatic if finding.proven => Decision::Advance(status.stage + 1),
        Gate::Manual => Decision::Ask { recommended },
        // Unproven: the stage lasts up to once more as long, then a person is asked.
        Gate::Automatic if status.soaked_ms as u128 >= 2 * stage.soak.as_millis() => {
            Decision::Ask { recommended }
        }
        Gate::Automatic => Decision::Stay(Stay::TooLittleEvidence),
    }
}

/// Why a person may not raise the share now, if so: nothing is promoted while evidence holds.
pub fn forbids_raising(finding: &Finding) -> Option<&'static str> {
    if finding.both_failing || finding.limit_broken {
        Some("the candidate breaks the absolute limit")
    } else if finding.level >= Level::Hold {
        Some("evidence is at the level hold")
    } else if finding.sample_mismatch {
        Some("the arms' users are not in the ratio of the share")
    } else if finding.account_refused {
        Some("the provider refuses our account")
    } else {
        // A person may go on although outcomes differ that are no errors: it may be intended.
        None
    }
}

/// What freezes the ramp, the gravest first.
fn hold(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> Option<Hold> {
    let was = match status.state {
        State::Holding { because } => Some(because),
        _ => None,
    };
    let is_calm = status.clear_since.is_some_and(|since| now - since >= CALM);
    if finding.both_failing {
        Some(Hold::BothSidesFailing)
    } else if finding.sample_mismatch {
        Some(Hold::SampleRatio)
    } else if finding.level >= Level::Hold {
        Some(Hold::Evidence)
    } else if finding.account_refused {
        Some(Hold::Account)
    } else if finding.not_counted.is_some() {
        Some(Hold::ExcludedDiffer)
    } else if finding.level >= Level::Watch || (was == Some(Hold::Watch) && !is_calm) {
        Some(Hold::Watch)
    } else if is_overdue(plan, status, now) {
        Some(Hold::Deadline)
    } else if plan.no_traffic.hold && is_silent(plan, status, finding, now) {
        Some(Hold::NoTraffic)
    } else {
        None
    }
}

fn is_overdue(plan: &Plan, status: &Status, now: DateTime<Utc>) -> bool {
    let age = (now - status.started_at).to_std().unwrap_or_default();
    plan.deadline.is_some_and(|deadline| age >= deadline)
}

/// Whether no counted request has come for as long as the plan tolerates.
pub fn is_silent(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> bool {
    let last = finding.last_request_at.unwrap_or(status.started_at);
    let silence = (now - last.max(status.stage_began_at)).to_std();
    status.share > Percent::ZERO && silence.unwrap_or_default() >= plan.no_traffic.alert_after
}

fn is_enough(stage: &Stage, status: &Status, finding: &Finding, now: DateTime<Utc>) -> bool {
    let age = (now - status.stage_began_at).to_std().unwrap_or_default();
    finding.candidate.requests >= stage.min_requests.max(1)
        && finding.users >= stage.min_users
        && age >= stage.min_time
}

fn is_guarded(stage: &Stage, candidate: &Arm) -> bool {
    let guards = &stage.guards;
    let is_above = |figure: f64, most: Option<f64>| most.is_some_and(|most| figure > most);
    let most_ms = guards.max_average.map(|it| it.as_secs_f64() * 1e3);
    is_above(candidate.error_rate(), guards.max_error_rate)
        || is_above(candidate.average_ms, most_ms)
}

fn opens_late(plan: &Plan, status: &Status, finding: &Finding) -> bool {
    let stage = plan.stages.get(status.stage);
    finding.proven && stage.is_some_and(|stage| stage.gate == Gate::Automatic)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LimitBroken => "the candidate breaks the absolute limit, and control does not",
            Self::Worse => "the candidate is worse than control",
            Self::NotCounted => "the candidate does not answer what control does",
        })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "evidence is at the level watch",
            Self::Evidence => "evidence is at the level hold, or was within the last hour",
            Self::SampleRatio => "the arms' users are not in the ratio of the share",
            Self::BothSidesFailing => "both sides break the absolute limit",
            Self::ExcludedDiffer => {
                "an outcome that is no error comes more often on the candidate than on control"
            }
            Self::Account => "the provider refuses our account",
            Self::NoTraffic => "no requests come",
            Self::Deadline => "the plan's deadline is over",
        })
    }
}

#[cfg(test)]
mod tests;
