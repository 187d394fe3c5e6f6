//! What people are told, in words: with each change that concerns them, and once for each condition
//! for as long as it lasts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{
    audit::{capital, minute, what_follows},
    decision::{decide, is_silent},
    evidence::{Level, Verdict},
    finding::{Alarm, Finding},
    plan::{Plan, is_rehearsal},
    rollout::Rollout,
    status::{Hold, Moment, State, Status, passed},
    world::World,
};
use crate::{
    _core::units::counted,
    alerting::{Alert, AlertKind, Severity},
};

/// Between two digests of a rollout under way.
const DIGEST: Duration = Duration::from_secs(6 * 3600);
/// What was told is over when it has been for so long: what comes and goes is told once.
const OVER: TimeDelta = TimeDelta::hours(1);
/// From this evidence on, people are told how often chance alone brings as much.
const SPEAKS: f64 = 5.0;
/// Above this evidence they are told no number.
const BEYOND_DOUBT: f64 = 1e6;

pub(super) fn alert(
    kind: AlertKind,
    severity: Severity,
    status: &Status,
    finding: Option<&Finding>,
    (title, text): (&str, String),
    now: Moment,
    world: &World,
) -> Alert {
    let Status { plan, id, .. } = status;
    let (severity, text) = if is_rehearsal(&status.tasks) {
        let text = format!("A rehearsal, which concerns nobody. {text}");
        (Severity::Info, text)
    } else {
        let models = status.models_in_words();
        let on_call = status.on_call.as_ref();
        let on_call = on_call.map_or_else(String::new, |it| format!(" On call: {it}."));
        (severity, format!("{text} Models: {models}.{on_call}"))
    };
    Alert {
        id: world.id(now.wall),
        kind,
        severity,
        rollout_id: Some(id.clone()),
        title: format!("{title}: {plan}"),
        text,
        details: json!({
            "plan": plan,
            "state": status.state,
            "stage": status.stage,
            "share": status.share,
            "version": status.version,
            "onCall": status.on_call,
            "models": status.models,
            "finding": finding,
        }),
        at: now.wall,
    }
}

/// The alert that belongs to a change, where one does.
pub(super) fn of_change(
    before: &Rollout,
    after: &Rollout,
    finding: &Finding,
    now: Moment,
    world: &World,
) -> Option<Alert> {
    let final_until = after.ledger.outage_final_until();
    let (before, after) = (&before.status, &after.status);
    let figures = figures(finding);
    let (share, reason) = (after.share, &after.reason);
    let tell = |kind, severity, title, text| {
        let words = (title, text);
        Some(alert(
            kind,
            severity,
            after,
            Some(finding),
            words,
            now,
            world,
        ))
    };
    match after.state {
        _ if after.outages > before.outages => tell(
            AlertKind::Hold,
            Severity::Critical,
            "Outage of the candidate",
            format!(
                "The candidate stopped answering, so everybody is on control; the share was {} %. \
                 Nothing needs to be done: the server asks the candidate small questions of its own, and \
                 it comes back by itself once it has answered them for a while. Ten minutes without an \
                 answer, or {}, take it back for good. {figures}",
                before.share,
                match final_until.filter(|until| *until > now.wall) {
                    Some(until) => format!("another outage before {}", minute(until)),
                    None => "a third outage soon after this one".to_owned(),
                }
            ),
        ),
        State::Running if before.outage.is_some() && after.outage.is_none() => tell(
            AlertKind::Hold,
            Severity::Info,
            "Back after an outage",
            format!("The share is {share} % again. Why: {reason}. {figures}"),
        ),
        State::RolledBack => tell(
            AlertKind::RolledBack,
            Severity::Critical,
            "Rolled back",
            format!(
                "Everybody is back on control; the share was {} %. Why: {reason}. {figures} It stays \
                 so until a person starts anew.",
                before.share
            ),
        ),
        State::Completed => tell(
            AlertKind::Promoted,
            Severity::Info,
            "Complete",
            format!("The last stage is over; {share} % of the users get the candidate. {figures}"),
        ),
        State::WaitingAtGate { recommended } => {
            let stage = format!("Stage {} at {share} %", after.stage + 1);
            // There are several causes to ask without a recommendation, and proof may be there all the same.
            let advice = if recommended {
                format!(
                    "{stage} is over. Evidence recommends the next stage: approve it, or pause."
                )
            } else {
                format!("{stage} needs a person: {reason}. Approve, wait, or take it back.")
            };
            tell(
                AlertKind::PromotionDue,
                Severity::Warning,
                "Waiting for approval",
                format!("{advice} {figures}"),
            )
        }
        State::Holding {
            because: Hold::Deadline,
        } => tell(
            AlertKind::Hold,
            Severity::Warning,
            "Deadline over",
            format!(
                "The plan's deadline is over, so it holds at {share} %: advance it, or take it back. \
                 {figures}"
            ),
        ),
        State::Running if after.stage > before.stage => tell(
            AlertKind::Promoted,
            Severity::Info,
            "Promoted",
            format!(
                "Stage {} of {} has begun at {share} %; the share was {} %. Why: {reason}. {figures}",
                after.stage + 1,
                after.stages,
                before.share
            ),
        ),
        _ => None,
    }
}

/// The alerts of conditions that have begun; notes them as told, and those that are over as not.
pub(super) fn of_conditions(
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
    let mut alerts = Vec::new();
    let mut tell = |kind, severity, title, text: String| {
        let words = (title, format!("{text} {}", figures(finding)));
        alerts.push(alert(
            kind,
            severity,
            &before,
            Some(finding),
            words,
            now,
            world,
        ));
    };

    let sample_ratio = finding.has(&Alarm::SampleRatio);
    let both_failing = finding.has(&Alarm::BothSidesFailing);
    let by_limit = verdict.absolute.broken && !both_failing && finding.e < plan.evidence.hold;
    let told = status.told.level.unwrap_or(Level::Clear);
    if finding.level == Level::Clear {
        status.told.level = status.told.level.filter(|_| !is_over);
    } else if finding.level > told {
        status.told.level = Some(finding.level);
        match finding.level {
            Level::Watch => tell(
                AlertKind::Watch,
                Severity::Warning,
                "Watch",
                "Evidence speaks against the candidate, so the ramp is frozen. It goes on by itself once the \
                 evidence is weaker, and takes the candidate back if it grows."
                    .into(),
            ),
            // It is by no evidence of a difference that it is held.
            Level::Hold if by_limit => tell(
                AlertKind::Hold,
                Severity::Warning,
                "Hold",
                format!(
                    "More of the candidate's requests fail than the plan ever allows (`max_error_rate`, {} %), and \
                     whether control fails as often is not clear yet, so nothing is promoted meanwhile. Where both \
                     always fail as often, the limit is too low for these models: start anew with a higher one.",
                    percent(plan.evidence.max_error_rate)
                ),
            ),
            Level::Hold if !sample_ratio && !both_failing => tell(
                AlertKind::Hold,
                Severity::Warning,
                "Hold",
                "Strong evidence speaks against the candidate, so nothing is promoted until the evidence has \
                 been weak for an hour. Compare what fails on both sides; if you know the cause, take it \
                 back now."
                    .into(),
            ),
            // A rollback tells of itself, the two others of themselves below.
            Level::Clear | Level::Hold | Level::Rollback => {}
        }
    }
    if begins(&mut status.told.both_failing, both_failing, is_over) {
        tell(
            AlertKind::BothSidesFailing,
            Severity::Critical,
            "Both sides are failing",
            format!(
                "Control fails as well, so this is no reason to take the candidate back: look at the provider. Where \
                 both always fail as often, the plan's limit (`max_error_rate`, {} %) is too low for these models.",
                percent(plan.evidence.max_error_rate)
            ),
        );
    }
    if begins(&mut status.told.sample_ratio, sample_ratio, true) {
        tell(
            AlertKind::Hold,
            Severity::Warning,
            "Sample ratio mismatch",
            "The arms' users are not in the ratio of the share, so the comparison cannot be trusted and \
             nothing is promoted: look for a cache, a proxy or a client that drops one side's requests."
                .into(),
        );
    }
    let silent = is_silent(plan, &before, finding, now.wall);
    if begins(&mut status.told.no_traffic, silent, true) {
        let after = humantime::format_duration(plan.no_traffic.alert_after);
        let text = format!(
            "No counted request has come for {after}, so nothing can be learned: see whether its tasks are \
             asked for at all, and whether routing is on."
        );
        tell(AlertKind::NoTraffic, Severity::Warning, "No traffic", text);
    }
    let is_refused = finding.has(&Alarm::Account);
    if begins(&mut status.told.provider_refusing, is_refused, is_over) {
        tell(
            AlertKind::ProviderRefusing,
            Severity::Critical,
            "The provider refuses our account",
            "Check the key, the credits and the account's limits; the log names the refusal. Both arms may \
             share the account, so these requests blame neither: the rollout holds until five minutes \
             have passed without one. If only the candidate's account is refused, its users get no \
             answer: take it back by hand."
                .into(),
        );
    }
    let differs = finding.excluded_differ();
    if begins(&mut status.told.excluded_differ, differs.is_some(), true)
        && let Some(figures) = differs
    {
        tell(
            AlertKind::Hold,
            Severity::Warning,
            "Outcomes that are no errors differ",
            format!(
                "The candidate loses requests that control answers: {figures}. The rollout holds until \
                 the share changes; a person may take it back, or advance where this is meant to be so."
            ),
        );
    }
    let stopped = finding.judge_stopped();
    if begins(&mut status.told.judge_stopped, stopped.is_some(), true)
        && let Some(why) = stopped
    {
        tell(
            AlertKind::Watch,
            Severity::Warning,
            "The judge model stopped counting",
            format!("The rollout goes on without it: {why}."),
        );
    }
    if let Some(text) = digest(status, plan, finding, now.wall) {
        tell(AlertKind::Digest, Severity::Info, "How it does", text);
    }
    alerts
}

/// How the rollout does, where people were told long enough ago; notes that they are told.
fn digest(
    status: &mut Status,
    plan: &Plan,
    finding: &Finding,
    now: DateTime<Utc>,
) -> Option<String> {
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
    Some(format!(
        "It is {state} at {share} %, in stage {stage} of {stages}; {left}. What follows now: {next}."
    ))
}

/// A part of 1 in percent, as a plan has it.
fn percent(part: f64) -> f64 {
    (1e4 * part).round() / 1e2
}

/// Whether a condition begins; notes it. One that is not `over` yet has not ended when it pauses.
pub(super) fn begins(told: &mut bool, is: bool, is_over: bool) -> bool {
    let was = std::mem::replace(told, is || *told && !is_over);
    is && !was
}

/// The figures in sentences.
pub(super) fn figures(finding: &Finding) -> String {
    let Finding {
        candidate,
        control,
        e,
        users,
        why,
        ..
    } = finding;
    let (users, why) = (counted(*users, "user"), capital(why));
    let chance = match *e {
        // By Ville's inequality, at every moment (docs/statistics.md).
        e if e >= BEYOND_DOUBT => {
            " E is above a million; chance alone brings a good candidate there in less than one \
             rollout of a million."
                .to_owned()
        }
        e if e >= SPEAKS => format!(
            " Chance alone brings a good candidate to E ≥ {e:.0} in at most one rollout of {e:.0}."
        ),
        _ => String::new(),
    };
    format!(
        "In this stage the candidate had {candidate}, of {users}; control had {control}. {why}.{chance}"
    )
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
