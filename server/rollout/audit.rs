//! The history of a rollout, and its words.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    decision::{Arm, Decision, Stay},
    store::AuditRow,
};

/// The action of a person who let go of a rollout.
pub const RELEASED: &str = "released";

/// One decision with its evidence in words and figures.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When.
    pub at: DateTime<Utc>,
    /// `user:7`, `controller`.
    pub actor: String,
    /// What was done: `started`, `advanced`, `rolled-back`, …
    pub action: String,
    /// Why, in words.
    pub reason: String,
    /// The version that this made.
    pub version: i64,
    /// From where to where, and what was known, in sentences.
    pub text: String,
    /// The figures it was decided on.
    pub figures: Value,
}

/// A line of the history in words and figures.
pub fn explain(row: &AuditRow) -> Explanation {
    let from = place(&row.before).map_or_else(String::new, |place| format!("from {place} "));
    let to = place_after(row).map_or_else(String::new, |place| format!("to {place} "));
    let mut text = format!(
        "{} by {} {from}{to}(version {}): {}.",
        capital(&row.action),
        row.actor,
        row.version,
        row.reason
    );
    let moves = row.evidence["moves"].as_array().into_iter().flatten();
    for words in moves.filter_map(Value::as_str) {
        text.push_str(&format!(" {words}."));
    }
    let finding = &row.evidence["finding"];
    if let Some(why) = finding["why"].as_str() {
        text.push_str(&format!(
            " E was {} ({why}). Since the stage began the candidate had {}, control {}.",
            figure(&finding["e"]),
            arm(&finding["candidate"]),
            arm(&finding["control"]),
        ));
    }
    for metric in row.evidence["verdict"]["metrics"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let name = metric["metric"].as_str().unwrap_or_default();
        let (e, weight) = (figure(&metric["e"]), figure(&metric["weight"]));
        text.push_str(&format!(" E of {name}: {e}, weight {weight}."));
    }
    if let Some(cursor) = row.evidence["cursor"].as_i64() {
        text.push_str(&format!(" The log up to event {cursor} was known."));
    }
    if let Some(models) = row.evidence["models"].as_str() {
        // A line for the tasks of each pair of models.
        for models in models.split(". ") {
            text.push_str(&format!("\nModels: {models}."));
        }
    }
    Explanation {
        at: row.at,
        actor: row.actor.clone(),
        action: row.action.clone(),
        reason: row.reason.clone(),
        version: row.version,
        text,
        figures: row.evidence.clone(),
    }
}

/// What would follow now, in words.
pub fn what_follows(decision: &Decision) -> String {
    match decision {
        Decision::RollBack(cause) => format!("rollback: {cause}"),
        Decision::Stay(stay) => match stay {
            Stay::Ended => "nothing: it has ended",
            Stay::Paused => "nothing: it is paused",
            Stay::AtGate => "nothing: a person is asked",
            Stay::Held => "nothing: the cause of the hold is still there",
            Stay::TooLittleEvidence => "nothing: there is too little evidence",
            Stay::Guarded => "nothing: a figure of the candidate is above the stage's guard",
            Stay::Soaking => "nothing: the stage is not over",
        }
        .to_owned(),
        Decision::Hold(because) => format!("hold: {because}"),
        Decision::Resume => "resume: the cause of the hold is gone".to_owned(),
        Decision::Ask { .. } => "ask a person".to_owned(),
        Decision::Advance(stage) => format!("advance to stage {}", stage + 1),
        Decision::Complete => "complete".to_owned(),
    }
}

/// Where a rollout was after a change.
pub(super) fn place_after(row: &AuditRow) -> Option<String> {
    let place = place(&row.after)?;
    // Its end stays what it was.
    let released = if row.action == RELEASED {
        ", let go"
    } else {
        ""
    };
    Some(format!("{place}{released}"))
}

/// `running, stage 1, 10 %`.
pub(super) fn place(place: &Value) -> Option<String> {
    let state = place["state"]["name"].as_str()?;
    let stage = place["stage"].as_u64()? + 1;
    let share = figure(&place["share"]);
    Some(format!("{state}, stage {stage}, {share} %"))
}

fn arm(arm: &Value) -> Arm {
    // What is stored is what was written; an older row lacks nothing that cannot be left out.
    serde_json::from_value(arm.clone()).unwrap_or_default()
}

fn figure(value: &Value) -> String {
    let number = value.as_f64().unwrap_or(0.0);
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
