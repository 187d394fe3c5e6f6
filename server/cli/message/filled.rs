//! What a rollout puts into the messages.

use super::{
    super::{
        client::{CallError, Client},
        table::{clean, moment},
    },
    Values,
};
use crate::{
    _core::units::Percent,
    rollout::status::Models,
    routers::{
        methods::{ROLLOUT_GET, ROLLOUT_HISTORY},
        rollout_router::{WhichPast, WhichRollout, answers::RolloutDetails, history::HistoryEntry},
    },
};

/// The most lines of the history that a message has, the newest.
const TOLD: usize = 30;

/// The values of a rollout.
pub(super) async fn of_rollout(
    client: &Client,
    id: String,
    url: &str,
) -> Result<Values, CallError> {
    let which = WhichRollout { id };
    let details = client.call(&ROLLOUT_GET, &which).await?;
    let past = WhichPast::of(details.state.id.clone());
    let history = client.call(&ROLLOUT_HISTORY, &past).await?;
    Ok(values(&details, &history, url))
}

fn values(details: &RolloutDetails, history: &[HistoryEntry], url: &str) -> Values {
    let (state, plan) = (&details.state, &details.wanted);
    let primary = |of: fn(&Models) -> &Vec<String>, arm: &str| {
        // A task whose model stays is no news, and tasks often share one.
        let moved = state.models.iter();
        let moved = moved.filter(|it| it.control.first() != it.candidate.first());
        let mut names: Vec<String> = Vec::new();
        for name in moved.filter_map(|it| of(it).first()) {
            let name = format!("`{name}`");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match names.split_last() {
            None => arm.to_owned(),
            Some((name, [])) => name.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    };
    let tasks = match state.tasks.as_slice() {
        [] => "all tasks".to_owned(),
        tasks => tasks.join(", "),
    };
    let stages = plan.stages.iter().enumerate().map(|(number, stage)| {
        let (share, soak) = (
            plan.share_of(number),
            humantime::format_duration(stage.soak),
        );
        format!(
            "- stage {}: {share} % of the users, for {soak} at least",
            number + 1
        )
    });
    let windows: Vec<_> = plan.windows.iter().map(ToString::to_string).collect();
    let windows = match windows.as_slice() {
        [] => "The next stage opens at any hour, once it is proven or a person says so.".to_owned(),
        windows => format!("Stages open only on {}.", windows.join("; ")),
    };
    let newest = history.len().saturating_sub(TOLD);
    let timeline = history.iter().skip(newest).map(|entry| {
        let (at, action, actor) = (moment(entry.at), &entry.action, &entry.actor);
        let (share, reason) = (entry.after.share, clean(&entry.reason));
        format!("- {at} UTC: {action} by {actor}, {share} %: {reason}")
    });
    let lines = |lines: &mut dyn Iterator<Item = String>| lines.collect::<Vec<_>>().join("\n");
    let changed = history.last().map_or(state.started_at, |entry| entry.at);
    let place = match state.share {
        Percent::ZERO => format!("{}: nobody gets the candidate", state.state.name()),
        share => format!(
            "{} at {share} %, in stage {} of {}",
            state.state.name(),
            state.stage,
            state.stages
        ),
    };
    Values::from([
        ("id", state.id.clone()),
        ("plan", format!("`{}`", state.plan)),
        ("description", plan.description.clone()),
        ("tasks", tasks),
        ("control", primary(|it| &it.control, "control")),
        ("candidate", primary(|it| &it.candidate, "the candidate")),
        ("control_figures", details.finding.control.to_string()),
        ("candidate_figures", details.finding.candidate.to_string()),
        ("state", state.state.name().to_owned()),
        ("place", place),
        ("share", state.share.to_string()),
        ("stages", lines(&mut stages.into_iter())),
        ("windows", windows),
        ("next", details.next.clone()),
        ("started", moment(state.started_at)),
        (
            "ended",
            state
                .ended_at
                .map_or_else(|| "no time yet".to_owned(), moment),
        ),
        ("changed", moment(changed)),
        ("changed_by", state.changed_by.to_string()),
        ("reason", clean(&state.reason)),
        (
            "on_call",
            plan.on_call
                .clone()
                .unwrap_or_else(|| "nobody is named (`on_call` of the plan)".to_owned()),
        ),
        ("timeline", lines(&mut timeline.into_iter())),
        (
            "words",
            lines(&mut details.words.iter().map(|it| format!("- {}", clean(it)))),
        ),
        ("url", url.trim_end_matches('/').to_owned()),
    ])
}
