//! What people are told, in words: with each change that concerns them, and once for each condition
//! for as long as it lasts.

mod conditions;

use std::time::Duration;

use serde_json::json;

pub(super) use self::conditions::{begins, of_conditions};
use super::{
    audit::{capital, minute},
    finding::Finding,
    observation::Ledger,
    plan::{Plan, is_rehearsal},
    status::{Hold, Moment, RunState, Status},
    world::World,
};
use crate::{
    _core::units::counted,
    alerting::{Alert, AlertKind, Severity},
};

/// From this evidence on, alerts say how often chance alone brings as much.
const SPEAKS: f64 = 5.0;
/// Above this evidence they say no number.
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

/// The alert that belongs to a change, where one does: of the status before and after it; the ledger is that of after.
pub(super) fn of_change(
    plan: &Plan,
    ledger: &Ledger,
    [before, after]: [&Status; 2],
    finding: &Finding,
    now: Moment,
    world: &World,
) -> Option<Alert> {
    let is_outage = after.outages > before.outages;
    let figures = figures(finding);
    let (kind, severity, title, text) = if is_outage {
        of_outage(plan, ledger, before, &figures, now)
    } else {
        of_state(before, after, &figures)?
    };
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
}

/// An alert of a change: its title, and what it says.
type ChangeWords = (AlertKind, Severity, &'static str, String);

fn of_outage(
    plan: &Plan,
    ledger: &Ledger,
    before: &Status,
    figures: &str,
    now: Moment,
) -> ChangeWords {
    let final_until = ledger.outage_final_until(now.wall.timestamp_millis());
    let most_failing = Duration::from_millis(plan.evidence.outage_failing_ms());
    let most_failing = humantime::format_duration(most_failing);
    (
        AlertKind::Hold,
        Severity::Critical,
        "Outage of the candidate",
        format!(
            "The candidate stopped answering, so everybody is on control; the share was {} %. \
                 Nothing needs to be done: the server asks the candidate small questions of its own, and \
                 it comes back by itself once it has answered them for a while. It is taken back for good when \
                 they fail for {most_failing} in all, and by {}. {figures}",
            before.share,
            match final_until.filter(|until| *until > now.wall) {
                Some(until) => format!("another outage before {}", minute(until)),
                None => "further outages within the plan's period".to_owned(),
            }
        ),
    )
}

fn of_state(before: &Status, after: &Status, figures: &str) -> Option<ChangeWords> {
    let (share, reason) = (after.share, &after.reason);
    let words = |kind, severity, title, text| Some((kind, severity, title, text));
    match after.state {
        RunState::Running if before.outage.is_some() && after.outage.is_none() => words(
            AlertKind::Hold,
            Severity::Info,
            "Back after an outage",
            format!("The share is {share} % again. Why: {reason}. {figures}"),
        ),
        RunState::RolledBack => words(
            AlertKind::RolledBack,
            Severity::Critical,
            "Rolled back",
            format!(
                "Everybody is back on control; the share was {} %. Why: {reason}. {figures} It stays \
                 so until a person starts anew.",
                before.share
            ),
        ),
        RunState::Completed => words(
            AlertKind::Promoted,
            Severity::Info,
            "Complete",
            format!("The last stage is over; {share} % of the users get the candidate. {figures}"),
        ),
        RunState::WaitingAtGate { recommended } => {
            let stage = format!("Stage {} at {share} %", after.stage + 1);
            // There are several causes to ask without a recommendation, and proof may be there all the same.
            let advice = if recommended {
                format!(
                    "{stage} is over. Evidence recommends the next stage: approve it, or pause."
                )
            } else {
                format!("{stage} needs a person: {reason}. Approve, wait, or take it back.")
            };
            words(
                AlertKind::PromotionDue,
                Severity::Warning,
                "Waiting for approval",
                format!("{advice} {figures}"),
            )
        }
        RunState::Holding {
            because: Hold::Deadline,
        } => words(
            AlertKind::Hold,
            Severity::Warning,
            "Deadline over",
            format!(
                "The plan's deadline is over, so it holds at {share} %: advance it, or take it back. \
                 {figures}"
            ),
        ),
        RunState::Running if after.stage > before.stage => words(
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
    // By Ville's inequality, at full hours; between them it may be as often as six metrics err together, and an outage that
    // was waited for begins the evidence anew (docs/statistics.md, "A gap").
    let chance = match *e {
        e if e >= BEYOND_DOUBT => " E is above a million. At full hours chance alone brings a good candidate there in less \
             than one rollout of a million."
            .to_owned(),
        e if e >= SPEAKS => format!(
            " At full hours chance alone brings a good candidate to E ≥ {e:.0} in at most one rollout of {e:.0}."
        ),
        _ => String::new(),
    };
    format!(
        "In this stage the candidate had {candidate}, of {users}; control had {control}. {why}.{chance}"
    )
}
