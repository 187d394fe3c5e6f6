//! The alerts of conditions: each is sent when its condition begins, once for as long as that lasts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    super::{
        audit::what_follows,
        decision::{decide, is_silent},
        evidence::{Level, Verdict},
        finding::{Alarm, Finding},
        plan::{Plan, is_rehearsal},
        status::{Moment, Status, passed},
        world::World,
    },
    alert, figures,
};
use crate::alerting::{Alert, AlertKind, Severity};

/// Between two digests of a rollout under way.
const DIGEST: Duration = Duration::from_secs(6 * 3600);
/// A condition is over when it has been for so long: of one that comes and goes one alert is sent.
const OVER: TimeDelta = TimeDelta::hours(1);

/// What an alert says; the figures follow it.
struct Saying {
    kind: AlertKind,
    severity: Severity,
    title: &'static str,
    text: String,
}

/// The alerts of conditions that have begun; notes these as sent, and those that are over as not.
pub(in crate::rollout) fn of_conditions(
    status: &mut Status,
    plan: &Plan,
    (finding, verdict): (&Finding, &Verdict),
    now: Moment,
    world: &World,
) -> Vec<Alert> {
    let before = status.clone();
    // The last hour of what is always above the limit comes and goes.
    let is_above = verdict.absolute.e >= 10.0 * plan.evidence.rollback;
    let is_calm = status
        .clear_since
        .is_some_and(|since| now.wall - since >= OVER);
    let is_over = is_calm && !is_above;
    let mut sayings = Vec::new();
    if let Some(level) = level_that_begins(&mut status.told.level, finding.level, is_over) {
        sayings.extend(of_level(level, plan, finding, verdict));
    }
    let told = &mut status.told;
    let both_failing = finding.has(&Alarm::BothSidesFailing);
    if begins(&mut told.both_failing, both_failing, is_over) {
        sayings.push(both_sides_fail(plan));
    }
    if begins(
        &mut told.sample_ratio,
        finding.has(&Alarm::SampleRatio),
        true,
    ) {
        sayings.push(sample_ratio());
    }
    let silent = is_silent(plan, &before, finding, now.wall);
    if begins(&mut told.no_traffic, silent, true) {
        sayings.push(no_traffic(plan));
    }
    if begins(
        &mut told.provider_refusing,
        finding.has(&Alarm::Account),
        is_over,
    ) {
        sayings.push(account_refused());
    }
    let differs = finding.excluded_differ();
    if begins(&mut told.excluded_differ, differs.is_some(), true) {
        sayings.extend(differs.map(outcomes_differ));
    }
    let stopped = finding.judge_stopped();
    if begins(&mut told.judge_stopped, stopped.is_some(), true) {
        sayings.extend(stopped.map(judge_stopped));
    }
    sayings.extend(digest(status, plan, finding, now.wall));
    let alerts = sayings.into_iter().map(|saying| {
        let words = (
            saying.title,
            format!("{} {}", saying.text, figures(finding)),
        );
        let Saying { kind, severity, .. } = saying;
        alert(kind, severity, &before, Some(finding), words, now, world)
    });
    alerts.collect()
}

/// Whether a condition begins; notes it. One that is not `over` yet has not ended when it pauses.
pub(in crate::rollout) fn begins(told: &mut bool, is: bool, is_over: bool) -> bool {
    let was = std::mem::replace(told, is || *told && !is_over);
    is && !was
}

/// A level above the highest that had an alert; notes it. Once it is over, each has one anew.
fn level_that_begins(told: &mut Option<Level>, level: Level, is_over: bool) -> Option<Level> {
    if level == Level::Clear {
        *told = told.filter(|_| !is_over);
        return None;
    }
    if level <= told.unwrap_or(Level::Clear) {
        return None;
    }
    *told = Some(level);
    Some(level)
}

/// A rollback has an alert of its own, and so has what holds for another cause than a difference.
fn of_level(level: Level, plan: &Plan, finding: &Finding, verdict: &Verdict) -> Option<Saying> {
    let both_failing = finding.has(&Alarm::BothSidesFailing);
    // It is by no evidence of a difference that it is held.
    let by_limit = verdict.absolute.broken && !both_failing && finding.e < plan.evidence.hold;
    let (kind, title, text) = match level {
        Level::Watch => (
            AlertKind::Watch,
            "Watch",
            "Evidence speaks against the candidate, so the ramp is frozen. It goes on by itself once the \
             evidence is weaker, and takes the candidate back if it grows."
                .into(),
        ),
        Level::Hold if by_limit => (
            AlertKind::Hold,
            "Hold",
            format!(
                "More of the candidate's requests fail than the plan ever allows (`max_error_rate`, {} %), and \
                 whether control fails as often is not clear yet, so nothing is promoted meanwhile. Where both \
                 always fail as often, the limit is too low for these models: start anew with a higher one.",
                percent(plan.evidence.max_error_rate)
            ),
        ),
        Level::Hold if !finding.has(&Alarm::SampleRatio) && !both_failing => (
            AlertKind::Hold,
            "Hold",
            "Strong evidence speaks against the candidate, so nothing is promoted until the evidence has \
             been weak for an hour. Compare what fails on both sides; if you know the cause, take it \
             back now."
                .into(),
        ),
        Level::Clear | Level::Hold | Level::Rollback => return None,
    };
    Some(Saying {
        kind,
        severity: Severity::Warning,
        title,
        text,
    })
}

fn both_sides_fail(plan: &Plan) -> Saying {
    Saying {
        kind: AlertKind::BothSidesFailing,
        severity: Severity::Critical,
        title: "Both sides are failing",
        text: format!(
            "Control fails as well, so this is no reason to take the candidate back: look at the provider. Where \
             both always fail as often, the plan's limit (`max_error_rate`, {} %) is too low for these models.",
            percent(plan.evidence.max_error_rate)
        ),
    }
}

fn sample_ratio() -> Saying {
    Saying {
        kind: AlertKind::Hold,
        severity: Severity::Warning,
        title: "Sample ratio mismatch",
        text: "The arms' users are not in the ratio of the share, so the comparison cannot be trusted and \
               nothing is promoted: look for a cache, a proxy or a client that drops one side's requests."
            .into(),
    }
}

fn no_traffic(plan: &Plan) -> Saying {
    let after = humantime::format_duration(plan.no_traffic.alert_after);
    Saying {
        kind: AlertKind::NoTraffic,
        severity: Severity::Warning,
        title: "No traffic",
        text: format!(
            "No counted request has come for {after}, so nothing can be learned: see whether its tasks are \
             asked for at all, and whether routing is on."
        ),
    }
}

fn account_refused() -> Saying {
    Saying {
        kind: AlertKind::ProviderRefusing,
        severity: Severity::Critical,
        title: "The provider refuses our account",
        text: "Check the key, the credits and the account's limits; the log names the refusal. Both arms may \
               share the account, so these requests blame neither: the rollout holds until five minutes \
               have passed without one. If only the candidate's account is refused, its users get no \
               answer: take it back by hand."
            .into(),
    }
}

fn outcomes_differ(figures: &str) -> Saying {
    Saying {
        kind: AlertKind::Hold,
        severity: Severity::Warning,
        title: "Outcomes that are no errors differ",
        text: format!(
            "The candidate loses requests that control answers: {figures}. The rollout holds until \
             the share changes; a person may take it back, or advance where this is meant to be so."
        ),
    }
}

fn judge_stopped(why: &str) -> Saying {
    Saying {
        kind: AlertKind::Watch,
        severity: Severity::Warning,
        title: "The judge model stopped counting",
        text: format!("The rollout goes on without it: {why}."),
    }
}

/// The digest of how the rollout does, where the last one was sent long enough ago; notes that it is sent.
fn digest(
    status: &mut Status,
    plan: &Plan,
    finding: &Finding,
    now: DateTime<Utc>,
) -> Option<Saying> {
    // A clock that was set back must not silence it for good.
    let last = status.told.digest_at.filter(|last| *last <= now);
    if passed(last.unwrap_or(status.started_at), now) < DIGEST || is_rehearsal(&status.tasks) {
        return None;
    }
    status.told.digest_at = Some(now);
    let (stage, stages) = (status.stage + 1, status.stages);
    let (state, share) = (status.state.name(), status.share);
    let left = Duration::from_secs(status.left(plan).as_secs());
    let left = match left {
        Duration::ZERO => "its soak is over".to_owned(),
        left => format!("{} of its soak are left", humantime::format_duration(left)),
    };
    let next = what_follows(&decide(plan, status, finding, now));
    Some(Saying {
        kind: AlertKind::Digest,
        severity: Severity::Info,
        title: "How it does",
        text: format!(
            "It is {state} at {share} %, in stage {stage} of {stages}; {left}. What follows now: {next}."
        ),
    })
}

/// A part of 1 in percent, as a plan has it.
fn percent(part: f64) -> f64 {
    (1e4 * part).round() / 1e2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_once_until_it_is_over() {
        let mut told = false;
        let seen = [
            (true, false),
            (false, false),
            (true, false),
            (false, true),
            (true, false),
        ];
        let tells = seen.map(|(is, is_over)| begins(&mut told, is, is_over));
        assert_eq!(tells, [true, false, false, false, true]);
        assert_eq!([0.05, 0.07, 0.125].map(percent), [5.0, 7.0, 12.5]);
    }
}
