//! What the server answers, as a person reads it.

use serde_json::Value;

use crate::cli::{
    rollout::{list, moment, text},
    table::{Table, clean},
};

fn is(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}

fn switch(value: &Value) -> &'static str {
    if is(value, "killed") { "on" } else { "off" }
}

pub(super) fn state(state: &Value) -> String {
    let kill = if is(state, "killed") {
        "ON: everybody gets the control models"
    } else {
        "off"
    };
    let mut shown = String::new();
    for (name, value) in [
        ("kill", kill.to_owned()),
        ("share", format!("{} %", text(state, "share"))),
        ("version", text(state, "version")),
        ("changed", moment(state, "at")),
        ("by", text(state, "actor")),
        ("why", text(state, "reason")),
    ] {
        shown.push_str(&format!("{name:<8} {}\n", clean(&value)));
    }
    if state.get("stored") == Some(&Value::Bool(false)) {
        shown.push_str(
            "NOT STORED YET: it is in force, and a restart would forget it; /readyz says what is wrong\n",
        );
    }
    let mut table = Table::new(&["TASK", "SHARE", "DECIDED BY"]);
    for task in list(state, "tasks") {
        table.row([
            text(task, "task"),
            format!("{} %", text(task, "share")),
            decided_by(task),
        ]);
    }
    shown + &table.to_string()
}

/// `rollout r1 (standard, rolled-back)`.
fn decided_by(task: &Value) -> String {
    match (text(task, "decidedBy").as_str(), task.get("rollout")) {
        ("rollout", Some(rollout)) => {
            let (id, plan) = (text(rollout, "id"), text(rollout, "plan"));
            match rollout.get("ended").and_then(Value::as_str) {
                Some(ended) => format!("rollout {id} ({plan}, {ended})"),
                None => format!("rollout {id} ({plan})"),
            }
        }
        (other, _) => other.replace('-', " "),
    }
}

pub(super) fn history(answer: &Value) -> String {
    let changes = answer.as_array().map_or(&[][..], Vec::as_slice);
    if changes.is_empty() {
        return "Nothing was changed yet.\n".to_owned();
    }
    let mut table = Table::new(&["AT (UTC)", "VERSION", "WHO", "FROM", "TO", "STORED", "WHY"]);
    let place = |change: &Value, key: &str| {
        let place = change.get(key).cloned().unwrap_or_default();
        format!("{} %, kill {}", text(&place, "share"), switch(&place))
    };
    for change in changes {
        table.row([
            moment(change, "at"),
            text(change, "version"),
            text(change, "actor"),
            place(change, "before"),
            place(change, "after"),
            if is(change, "stored") { "yes" } else { "NO" }.to_owned(),
            text(change, "reason"),
        ]);
    }
    table.to_string()
}
