//! The history of a rollout, and its words.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    decision::{Decision, Stay},
    evidence::{AbsoluteLimit, ArmCounts, Signal},
    finding::Finding,
    record::{Action, Record},
    status::Hold,
    store::AuditRow,
};
use crate::_core::actor::Actor;

/// One decision with its evidence in words and figures.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// `user:7`, `controller`.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// The version that this made.
    pub version: i64,
    /// From where to where, and what was known: a line for each thing.
    pub text: String,
    /// The figures it was decided on; null where what is stored of them cannot be read, which the text
    /// says.
    pub figures: Option<Record>,
}

/// A line of the history in words and figures.
pub fn explain(row: &AuditRow) -> Explanation {
    let (action, actor, version, reason) = (row.action, &row.actor, row.version, &row.reason);
    let from = row
        .before
        .map_or_else(String::new, |it| format!("from {it} "));
    let (what, to) = (capital(action.name()), after(row));
    let mut text = format!("{what} by {actor} {from}to {to} (version {version}): {reason}.");
    match &row.record {
        Ok(record) => known(&mut text, record),
        Err(damaged) => text.push_str(&format!("\n{}.", capital(&damaged.to_string()))),
    }
    Explanation {
        at: row.at,
        actor: actor.clone(),
        action,
        reason: reason.clone(),
        version,
        text,
        figures: row.record.clone().ok(),
    }
}

/// A line for each thing that was known.
fn known(text: &mut String, record: &Record) {
    let mut line = |words: &str| {
        text.push('\n');
        text.push_str(words);
    };
    for words in &record.moves {
        line(&format!("{words}."));
    }
    if let Some(finding) = &record.finding {
        let Finding {
            candidate, control, ..
        } = finding;
        line(&format!("E was {}: {}.", figure(finding.e), finding.why));
        line(&format!(
            "Since the stage began the candidate had {candidate}; control had {control}."
        ));
    }
    if let Some(verdict) = &record.verdict {
        for metric in verdict.metrics.iter().filter(|it| it.weight > 0.0) {
            let (e, weight) = (figure(metric.e), figure(metric.weight));
            let effect = verdict.effects.iter().find(|it| it.metric == metric.metric);
            let effect = effect.map_or_else(String::new, |it| format!("; {}", it.in_words()));
            let by = match metric.metric.is_of_time() {
                true => format!(", by {}", verdict.timed),
                false => String::new(),
            };
            line(&format!(
                "{}: E {e}, weight {weight}{by}{effect}.",
                capital(&metric.metric.to_string())
            ));
        }
        // What decided may have an E of its own, while that of the metrics is small.
        if verdict.cause == Some(Signal::Crash) {
            line(&format!(
                "What decided is the crash detector, which looks at errors alone: its E is {}, and it takes back at ten \
                 times what all metrics together need.",
                figure(verdict.crash)
            ));
        }
        if verdict.cause == Some(Signal::AbsoluteLimit) {
            let AbsoluteLimit { limit, e, .. } = verdict.absolute;
            line(&format!(
                "What decided is the absolute limit of {} %: its E is {}, and it is broken at ten times what all \
                 metrics together need.",
                figure(100.0 * limit),
                figure(e)
            ));
        }
        if let Some(judge) = &verdict.judge {
            line(&format!("{}.", capital(&judge.in_words())));
        }
        let [control, candidate] = [&verdict.control, &verdict.candidate].map(ArmCounts::flaws);
        if !candidate.is_empty() {
            line(&format!(
                "Flawed of the candidate: {candidate}; of control: {control}."
            ));
        }
    }
    // A line for the tasks of each pair of models.
    for models in record.models.iter().flat_map(|models| models.split(". ")) {
        line(&format!("Models: {models}."));
    }
    line(&format!("The log up to event {} was known.", record.cursor));
}

/// What would follow now, in words.
pub fn what_follows(decision: &Decision) -> String {
    match decision {
        Decision::RollBack(reason) => format!("rollback: {reason}"),
        Decision::Stay(stay) => format!("nothing: {}", why_it_stays(*stay)),
        Decision::Withdraw => format!("hold: {}", Hold::Outage),
        Decision::Return => "resume: the outage is over".to_owned(),
        Decision::Hold(because) => format!("hold: {because}"),
        Decision::Resume => "resume: the cause of the hold is gone".to_owned(),
        Decision::Ask { .. } => "ask a person".to_owned(),
        Decision::Advance(stage) => format!("advance to stage {}", stage + 1),
        Decision::Complete => "complete".to_owned(),
    }
}

fn why_it_stays(stay: Stay) -> Cow<'static, str> {
    match stay {
        Stay::Ended => "it has ended".into(),
        Stay::Paused => "it is paused".into(),
        Stay::AtGate => "a person is asked".into(),
        Stay::Held => "the cause of the hold is still there".into(),
        Stay::Clearing(until) => format!(
            "the cause of the hold is gone; this hold ends at {} if nothing speaks against the candidate until then",
            minute(until)
        )
        .into(),
        Stay::TooLittleEvidence => "there is too little evidence".into(),
        Stay::Guarded => "a figure of the candidate is above the stage's guard".into(),
        Stay::Soaking => "the stage is not over".into(),
        Stay::OutsideWindow(opens) => format!("it waits for its window until {}", minute(opens)).into(),
    }
}

/// A time to the minute.
pub fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Where a rollout was after a change.
pub(super) fn after(row: &AuditRow) -> String {
    // Its end stays what it was.
    let released = match row.action {
        Action::Released => ", let go",
        _ => "",
    };
    format!("{}{released}", row.after)
}

fn figure(number: f64) -> String {
    if number != 0.0 && !(0.001..1e6).contains(&number.abs()) {
        format!("{number:.3e}")
    } else {
        let text = format!("{number:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// With its first letter large.
pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
