//! The report, as Markdown.

use std::fmt::Write as _;

use super::{
    super::{
        client::{CallError, Client},
        findings::{CheckOutcome, Findings},
        table::{clean, moment},
    },
    Seen,
    verdict::AlertTold,
};
use crate::routers::{
    methods::ROLLOUT_HISTORY,
    rollout_router::{WhichPast, history::HistoryEntry},
};

/// What was done to the rollout.
pub(super) async fn history(client: &Client, id: &str) -> Result<Vec<HistoryEntry>, CallError> {
    client
        .call(&ROLLOUT_HISTORY, &WhichPast::of(id.to_owned()))
        .await
}

/// In a cell of a table.
fn cell(text: &str) -> String {
    clean(text).replace('|', "\\|")
}

/// The whole page.
pub(super) fn page(
    seen: &Seen,
    findings: &Findings,
    told: &[AlertTold],
    history: &[HistoryEntry],
    url: &str,
) -> String {
    let state = &seen.details.state;
    let failed = findings.count(CheckOutcome::Fail);
    let verdict = if failed == 0 { "go" } else { "no-go" };
    let (plan, id) = (&state.plan, &state.id);
    let hours = (seen.until - state.started_at).num_minutes() as f64 / 60.0;
    let (from, to) = (moment(state.started_at), moment(seen.until));
    let mut page = format!(
        "# Staging of `{plan}`: {verdict}\n\n\
         Rollout `{id}` at {url}, watched from {from} to {to} UTC ({hours:.1} h).\n\n"
    );
    for models in &state.models {
        let list = |models: &[String]| cell(&models.join(", then "));
        let (control, candidate) = (list(&models.control), list(&models.candidate));
        let tasks = cell(&models.tasks.join(", "));
        // A text takes whatever is written.
        let _ = writeln!(page, "- {tasks}: control {control}; candidate {candidate}");
    }
    let (passed, warned) = (
        findings.count(CheckOutcome::Pass),
        findings.count(CheckOutcome::Warn),
    );
    let _ = write!(
        page,
        "\n{passed} checks passed, {failed} failed, {warned} are to be looked at.\n\n\
         | check | outcome | found | what to do |\n|---|---|---|---|\n"
    );
    for finding in &findings.0 {
        let todo = finding.todo.as_deref().unwrap_or_default();
        let (check, outcome) = (finding.check, finding.outcome.word());
        let (found, todo) = (cell(&finding.found), cell(todo));
        let _ = writeln!(page, "| {check} | {outcome} | {found} | {todo} |");
    }
    page.push_str("\n## What was known at the end\n\n");
    for sentence in &seen.details.words {
        let _ = writeln!(page, "- {}", clean(sentence));
    }
    page.push_str("\n## What was done\n\n| at (UTC) | who | what | why |\n|---|---|---|---|\n");
    for entry in history {
        let (at, who, what) = (moment(entry.at), &entry.actor, &entry.action);
        let _ = writeln!(page, "| {at} | {who} | {what} | {} |", cell(&entry.reason));
    }
    page.push_str("\n## What people were told\n\n");
    for alert in told.iter().rev() {
        let (at, severity, title) = (moment(alert.at), alert.severity.name(), clean(&alert.title));
        let _ = writeln!(page, "- {at}, {severity}: {title}");
    }
    if told.is_empty() {
        page.push_str("Nothing.\n");
    }
    page.push_str(PEOPLE);
    if failed == 0 {
        page.push_str("\n## Next\n\n`modelramp rollout start standard --reason …` on the server of the users.\n");
    } else {
        let _ = write!(
            page,
            "\n## Next\n\nDo what stands beside each check that failed, end the rollout where it goes on \
             (`modelramp rollout rollback {id} --reason …`), and run this again.\n"
        );
    }
    page
}

/// No-go as well, where one of these is not so.
const PEOPLE: &str = "
## What only people know

- [ ] The team has its message (`modelramp message team`), and support its brief (`modelramp message support`).
- [ ] Somebody is on call for the next two days, and knows `modelramp rollout rollback` and `modelramp flags kill on`.
- [ ] No other incident is under way.
- [ ] Testers are content with the answers.
- [ ] A copy of the database was restored somewhere (`modelramp restore`).
";
