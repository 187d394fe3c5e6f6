//! What follows from plan, status and evidence; pure.
//!
//! The first that matches wins, and what takes a candidate back comes before anything that could
//! stand in its way: outage · absolute limit broken · candidate worse · paused · waiting at a gate · holding · too
//! little evidence · guarded · soaking · outside a window · advance · complete. No data is neither failure nor success: without it
//! nothing is taken back and nothing is promoted.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    evidence::Level,
    finding::{Alarm, Arm, Finding, Proof},
    plan::{Gate, Plan, Stage},
    status::{Hold, Outage, RunState, Status, passed},
};
use crate::_core::units::Percent;

/// How long evidence has to be clear before a hold by it is left, or by the absolute limit, whose last hour comes and goes
/// with each failure. (The level hold is left by the evidence itself, after an hour.)
const CALM: TimeDelta = TimeDelta::minutes(5);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Take the candidate back.
    RollBack(RollbackReason),
    /// Nothing.
    Stay(Stay),
    /// Take the candidate from everybody until its outage is over.
    Withdraw,
    /// Give it to them again.
    Return,
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
pub enum RollbackReason {
    /// It breaks the absolute limit, and control does not.
    LimitBroken,
    /// It is worse than control.
    Worse,
    /// It does not answer, or refuses what control does not, in ways that are no errors.
    NotCounted,
    /// Its outage does not end.
    OutageLasts,
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
    /// It is gone, and this hold ends at this time if nothing speaks against the candidate until then. Another may
    /// follow it at once: where the deadline has passed meanwhile, or no traffic has come.
    Clearing(DateTime<Utc>),
    /// Nothing is known yet, or not enough.
    TooLittleEvidence,
    /// A figure of the candidate is above the stage's guard.
    Guarded,
    /// The stage is not over.
    Soaking,
    /// It is, and the plan lets nothing open before this time.
    OutsideWindow(DateTime<Utc>),
}

/// What follows; the first that matches.
pub fn decide(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> Decision {
    if status.state.is_final() {
        return Decision::Stay(Stay::Ended);
    }
    if let Some(outage) = &status.outage {
        return of_outage(plan, status.state, outage);
    }
    if finding.has(&Alarm::Outage) {
        return Decision::Withdraw;
    }
    if finding.has(&Alarm::LimitBroken) {
        return Decision::RollBack(RollbackReason::LimitBroken);
    }
    if finding.level == Level::Rollback {
        return Decision::RollBack(match finding.not_counted() {
            Some(_) => RollbackReason::NotCounted,
            None => RollbackReason::Worse,
        });
    }
    let cause = hold(plan, status, finding, now);
    match (status.state, cause) {
        (RunState::Paused, _) => return Decision::Stay(Stay::Paused),
        // A gate that opens by itself does so if proof comes while a person is asked.
        (RunState::WaitingAtGate { .. }, None) if opens_late(plan, status, finding) => {}
        (RunState::WaitingAtGate { .. }, _) => return Decision::Stay(Stay::AtGate),
        (RunState::Holding { because }, Some(cause)) if because == cause => {
            return Decision::Stay(held(because, finding, status));
        }
        (_, Some(cause)) => return Decision::Hold(cause),
        (RunState::Holding { .. }, None) => return Decision::Resume,
        (RunState::Running | RunState::Completed | RunState::RolledBack, None) => {}
    }
    let Some(stage) = plan.stages.get(status.stage) else {
        return Decision::Complete;
    };
    // A stage may be shorter than the time for which its requests have to come.
    let is_late = status.soaked_ms as u128 >= 2 * stage.soak.as_millis()
        && passed(status.stage_began_at, now) >= stage.min_time;
    if let Some(stay) = lacks(stage, status, finding, now) {
        // Of its users so few may be the candidate's that it never ends, and a figure may stay as it is.
        let is_asked_for = finding.candidate.requests + finding.control.requests > 0;
        return match status.state {
            RunState::WaitingAtGate { .. } => Decision::Stay(Stay::AtGate),
            _ if is_late && is_asked_for => Decision::Ask { recommended: false },
            _ => Decision::Stay(stay),
        };
    }
    let is_soaking = !status.left(plan).is_zero();
    let recommended = finding.proof >= Proof::Recommended;
    match stage.gate {
        _ if is_soaking => Decision::Stay(Stay::Soaking),
        _ if loses(plan, finding) => match status.state {
            RunState::WaitingAtGate { .. } => Decision::Stay(Stay::AtGate),
            _ => Decision::Ask { recommended: false },
        },
        _ if plan.is_last(status.stage) => in_window(plan, Decision::Complete, now),
        Gate::Automatic if finding.proof == Proof::Proven => {
            in_window(plan, Decision::Advance(status.stage + 1), now)
        }
        Gate::Manual => Decision::Ask { recommended },
        // Unproven: the stage lasts up to once more as long, then a person is asked.
        Gate::Automatic if is_late => Decision::Ask { recommended },
        Gate::Automatic => Decision::Stay(Stay::TooLittleEvidence),
    }
}

/// What a stage that is judged has to have, and this one has not yet.
pub(super) fn lacks(
    stage: &Stage,
    status: &Status,
    finding: &Finding,
    now: DateTime<Utc>,
) -> Option<Stay> {
    if !is_enough(stage, status, finding, now) {
        Some(Stay::TooLittleEvidence)
    } else {
        is_guarded(stage, finding).then_some(Stay::Guarded)
    }
}

/// Whether more of the candidate's first attempts than the plan allows errors ended in ways that are none, as where our
/// account is refused, and more than twice as many as of control's. Nothing is proven of those. Control may have had few
/// attempts, or at the full share none: as if its next one were lost as well.
pub(super) fn loses(plan: &Plan, finding: &Finding) -> bool {
    let candidate = finding.candidate.lost();
    let mut control = finding.control;
    control.not_counted += 1;
    candidate > plan.evidence.max_error_rate && candidate > 2.0 * control.lost()
}

/// Gives users the candidate only when the plan lets it.
fn in_window(plan: &Plan, raise: Decision, now: DateTime<Utc>) -> Decision {
    let opens = plan.opens_at(now);
    if opens <= now {
        raise
    } else {
        Decision::Stay(Stay::OutsideWindow(opens))
    }
}

/// Nobody has the candidate, so that only probes show how it is.
fn of_outage(plan: &Plan, state: RunState, outage: &Outage) -> Decision {
    if state == RunState::Paused {
        Decision::Stay(Stay::Paused)
    } else if outage.failing_ms >= plan.evidence.outage_failing_ms() {
        Decision::RollBack(RollbackReason::OutageLasts)
    } else if outage.calm_ms >= plan.evidence.outage_calm_ms {
        Decision::Return
    } else {
        Decision::Stay(Stay::Held)
    }
}

/// Why a person may not raise the share now, if so: nothing is promoted while evidence holds.
pub fn forbids_raising(finding: &Finding) -> Option<&'static str> {
    if finding.has(&Alarm::BothSidesFailing) || finding.has(&Alarm::LimitBroken) {
        Some("the candidate breaks the absolute limit")
    } else if finding.level >= Level::Hold {
        Some("evidence is at the level hold")
    } else if finding.has(&Alarm::SampleRatio) {
        Some("the arms' users are not in the ratio of the share")
    } else if finding.has(&Alarm::Account) {
        Some("the provider refuses our account")
    } else {
        // A person may go on although outcomes differ that are no errors: it may be intended.
        None
    }
}

/// What freezes the ramp, the gravest first.
fn hold(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> Option<Hold> {
    let was = match status.state {
        RunState::Holding {
            because: because @ (Hold::Watch | Hold::Evidence | Hold::BothSidesFailing),
        } => Some(because),
        _ => None,
    };
    let is_calm = status.clear_since.is_some_and(|since| now - since >= CALM);
    if finding.has(&Alarm::BothSidesFailing) {
        Some(Hold::BothSidesFailing)
    } else if finding.has(&Alarm::SampleRatio) {
        Some(Hold::SampleRatio)
    } else if finding.level >= Level::Hold {
        Some(Hold::Evidence)
    } else if finding.has(&Alarm::Account) {
        Some(Hold::Account)
    } else if finding.excluded_differ().is_some() {
        Some(Hold::ExcludedDiffer)
    } else if finding.level >= Level::Watch {
        Some(Hold::Watch)
    } else if was.is_some() && !is_calm {
        was
    } else if is_overdue(plan, status, now) {
        Some(Hold::Deadline)
    } else if plan.no_traffic.hold && is_silent(plan, status, finding, now) {
        Some(Hold::NoTraffic)
    } else {
        None
    }
}

/// Whether a hold has its cause, or only waits until it has been clear for long enough.
fn held(because: Hold, finding: &Finding, status: &Status) -> Stay {
    // Other alarms hold for causes of their own, or for none, as that of a judge model which does not count any more.
    let is_there = finding.level >= Level::Watch || finding.has(&Alarm::BothSidesFailing);
    match (because, status.clear_since) {
        (Hold::Watch | Hold::Evidence | Hold::BothSidesFailing, Some(since)) if !is_there => {
            Stay::Clearing(since + CALM)
        }
        _ => Stay::Held,
    }
}

fn is_overdue(plan: &Plan, status: &Status, now: DateTime<Utc>) -> bool {
    let age = passed(status.started_at, now);
    plan.deadline.is_some_and(|deadline| age >= deadline)
}

/// Whether no counted request has come for as long as the plan tolerates.
pub fn is_silent(plan: &Plan, status: &Status, finding: &Finding, now: DateTime<Utc>) -> bool {
    let last = finding.last_request_at.unwrap_or(status.started_at);
    let silence = passed(last.max(status.stage_began_at), now);
    status.share > Percent::ZERO && silence >= plan.no_traffic.alert_after
}

fn is_enough(stage: &Stage, status: &Status, finding: &Finding, now: DateTime<Utc>) -> bool {
    let age = passed(status.stage_began_at, now);
    finding.candidate.requests >= stage.min_requests.max(1)
        && finding.users >= stage.min_users
        && age >= stage.min_time
}

fn is_guarded(stage: &Stage, finding: &Finding) -> bool {
    let Finding {
        candidate, control, ..
    } = finding;
    let guards = &stage.guards;
    let is_above = |figure: f64, most: Option<f64>| most.is_some_and(|most| figure > most);
    let most_ms = guards.max_average.map(|it| it.as_secs_f64() * 1e3);
    is_above(candidate.error_rate(), guards.max_error_rate)
        || is_above(candidate.average_ms, most_ms)
        || is_above(
            candidate.average_cost,
            guards.max_cost.map(|it| it.0 as f64),
        )
        || is_above(cost_ratio(candidate, control), guards.max_cost_ratio)
        || is_above(
            ratio(candidate.average_chars, control.average_chars),
            guards.max_length_ratio,
        )
}

/// Whatever costs something is more than any multiple of nothing, so a model that costs does not advance in the
/// place of a free one unless a person says so.
fn cost_ratio(candidate: &Arm, control: &Arm) -> f64 {
    let is_free = control.requests > 0 && control.average_cost == 0.0;
    if is_free && candidate.average_cost > 0.0 {
        f64::INFINITY
    } else {
        ratio(candidate.average_cost, control.average_cost)
    }
}

/// 0, which no guard is below, where control has nothing to compare with.
fn ratio(candidate: f64, control: f64) -> f64 {
    if control > 0.0 {
        candidate / control
    } else {
        0.0
    }
}

fn opens_late(plan: &Plan, status: &Status, finding: &Finding) -> bool {
    let stage = plan.stages.get(status.stage);
    finding.proof == Proof::Proven && stage.is_some_and(|stage| stage.gate == Gate::Automatic)
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LimitBroken => "the candidate breaks the absolute limit, and control does not",
            Self::Worse => "the candidate is worse than control",
            Self::NotCounted => "the candidate does not answer what control does",
            Self::OutageLasts => {
                "the candidate had an outage, and too many probes were not answered either"
            }
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
            Self::Outage => {
                "the candidate has an outage: nobody gets it until it has answered probes for a while"
            }
            Self::NoTraffic => "no requests come",
            Self::Deadline => "the plan's deadline is over",
        })
    }
}

#[cfg(test)]
mod tests;
