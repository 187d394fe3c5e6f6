//! What the server answers, as a person reads it.

use crate::{
    cli::table::{TextTable, clean, moment, or_dash, word},
    rollout::{
        audit::Explanation,
        evidence::Level,
        status::{Models, RunState},
    },
    routers::rollout_router::{
        answers::{Checked, PlanFault, RolloutDetails, RolloutState, Started},
        history::{HistoryEntry, Place},
    },
};

/// `3 h 20 min`; the two greatest units of a duration.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// `holding (watch)`.
fn state(state: RunState, is_released: bool) -> String {
    let detail = match state {
        RunState::Holding { because } => Some(word(&because)),
        RunState::WaitingAtGate { recommended: true } => Some("recommended".to_owned()),
        RunState::WaitingAtGate { recommended: false } => Some("not recommended".to_owned()),
        _ => is_released.then(|| "let go".to_owned()),
    };
    match detail {
        Some(detail) => format!("{} ({detail})", state.name()),
        None => state.name().to_owned(),
    }
}

fn state_of(rollout: &RolloutState) -> String {
    state(rollout.state, rollout.released_at.is_some())
}

/// Evidence below the lowest level is called so: it may be none at all, or some.
fn level(rollout: &RolloutState) -> String {
    match rollout.level {
        Level::Clear => "below watch".to_owned(),
        level => word(&level),
    }
}

pub(super) fn rollouts(rollouts: &[RolloutState]) -> String {
    if rollouts.is_empty() {
        return "No rollout is under way.\n".to_owned();
    }
    let heading = [
        "ID", "PLAN", "STATE", "STAGE", "SHARE", "SOAKED", "EVIDENCE", "STARTED",
    ];
    let mut table = TextTable::new(&heading);
    for rollout in rollouts {
        table.row([
            rollout.id.clone(),
            rollout.plan.clone(),
            state_of(rollout),
            format!("{}/{}", rollout.stage, rollout.stages),
            format!("{} %", rollout.share),
            span(rollout.soaked_ms),
            level(rollout),
            moment(rollout.started_at),
        ]);
    }
    table.to_string()
}

pub(super) fn changed(rollout: &RolloutState) -> String {
    standing(rollout, span(rollout.soaked_ms), None)
}

pub(super) fn started(started: &Started) -> String {
    changed(&started.state) + &sentences(&started.moves)
}

pub(super) fn details(details: &RolloutDetails) -> String {
    let rollout = &details.state;
    let soaked = format!(
        "{}, {} left",
        span(rollout.soaked_ms),
        span(details.left_ms)
    );
    standing(rollout, soaked, Some(&details.next)) + &sentences(&details.words)
}

fn standing(rollout: &RolloutState, soaked: String, next: Option<&str>) -> String {
    let mut lines = vec![
        ("rollout", rollout.id.clone()),
        ("plan", rollout.plan.clone()),
        ("state", state_of(rollout)),
        ("stage", format!("{}/{}", rollout.stage, rollout.stages)),
        ("share", format!("{} %", rollout.share)),
        ("soaked", soaked),
        ("evidence", level(rollout)),
        ("version", rollout.version.to_string()),
        ("started", moment(rollout.started_at)),
    ];
    for Models {
        tasks,
        control,
        candidate,
    } in &rollout.models
    {
        if rollout.models.len() > 1 {
            lines.push(("tasks", tasks.join(", ")));
        }
        lines.push(("control", control.join(", then ")));
        lines.push(("candidate", candidate.join(", then ")));
    }
    lines.extend(next.map(|next| ("next", next.to_owned())));
    let line = |(name, value): (&str, String)| format!("{name:<9} {}\n", clean(&value));
    lines.into_iter().map(line).collect()
}

fn sentences(sentences: &[String]) -> String {
    let line = |sentence: &String| format!("  {}\n", clean(sentence));
    sentences.iter().map(line).collect()
}

pub(super) fn faults(faults: &[PlanFault]) -> String {
    let line = |fault: &PlanFault| format!("  line {}: {}", fault.line, clean(&fault.message));
    let lines: Vec<_> = faults.iter().map(line).collect();
    lines.join("\n")
}

pub(super) fn valid(checked: &Checked) -> String {
    let warning = |warning: &String| format!("warning: {}\n", clean(warning));
    let warnings: String = checked.warnings.iter().map(warning).collect();
    format!(
        "The plan can be used.\n{warnings}{}",
        sentences(&checked.notes)
    )
}

/// `soaking 10 %`.
fn place(place: &Place) -> String {
    let state = state(place.state, place.released_at.is_some());
    format!("{state} {} %", place.share)
}

pub(super) fn history(entries: &[HistoryEntry]) -> String {
    let heading = ["AT (UTC)", "VERSION", "WHO", "WHAT", "FROM", "TO", "WHY"];
    let mut table = TextTable::new(&heading);
    for entry in entries {
        table.row([
            moment(entry.at),
            entry.version.to_string(),
            entry.actor.to_string(),
            entry.action.to_string(),
            or_dash(entry.before.as_ref().map(place)),
            place(&entry.after),
            entry.reason.clone(),
        ]);
    }
    table.to_string()
}

pub(super) fn why(explanations: &[Explanation]) -> String {
    let mut shown = String::new();
    for entry in explanations {
        let mut lines = entry.text.lines();
        let first = lines.next().unwrap_or_default();
        shown.push_str(&format!("{}  {}\n", moment(entry.at), clean(first)));
        for line in lines {
            shown.push_str(&format!("  {}\n", clean(line)));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_greatest_units() {
        for (ms, text) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (12_000_000, "3 h 20 min"),
            (172_800_000, "2 d"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
