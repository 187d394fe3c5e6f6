//! What the server answers, as a person reads it.

use crate::{
    _core::feature_flags::DecidedBy,
    cli::table::{TextTable, clean, moment, or_dash, word},
    routers::feature_flags_router::answers::{FlagsChange, FlagsState, Place, TaskInForce},
};

pub(super) fn state(state: &FlagsState) -> String {
    let kill = if state.killed {
        "ON: everybody gets the control models"
    } else {
        "off"
    };
    let mut shown = String::new();
    for (name, value) in [
        ("kill", kill.to_owned()),
        ("share", format!("{} %", state.share)),
        ("version", state.version.to_string()),
        ("changed", or_dash(state.at.map(moment))),
        ("by", or_dash(state.actor.as_ref())),
        ("why", or_dash(state.reason.as_ref())),
    ] {
        shown.push_str(&format!("{name:<8} {}\n", clean(&value)));
    }
    if !state.stored {
        shown.push_str(
            "NOT STORED YET: it is in force, and a restart would forget it; /readyz says what is wrong\n",
        );
    }
    let mut table = TextTable::new(&["TASK", "SHARE", "DECIDED BY"]);
    for task in &state.tasks {
        table.row([
            task.task.clone(),
            format!("{} %", task.share),
            decided_by(task),
        ]);
    }
    shown + &table.to_string()
}

/// `rollout r1 (standard, rolled-back)`.
fn decided_by(task: &TaskInForce) -> String {
    match (task.decided_by, &task.rollout) {
        (DecidedBy::Rollout, Some(rollout)) => {
            let (id, plan) = (&rollout.id, &rollout.plan);
            match rollout.ended {
                Some(ended) => format!("rollout {id} ({plan}, {})", word(&ended)),
                None => format!("rollout {id} ({plan})"),
            }
        }
        (other, _) => word(&other).replace('-', " "),
    }
}

pub(super) fn history(changes: &[FlagsChange]) -> String {
    if changes.is_empty() {
        return "Nothing was changed yet.\n".to_owned();
    }
    let mut table = TextTable::new(&["AT (UTC)", "VERSION", "WHO", "FROM", "TO", "STORED", "WHY"]);
    let place = |Place { share, killed }| {
        let switch = if killed { "on" } else { "off" };
        format!("{share} %, kill {switch}")
    };
    for change in changes {
        table.row([
            moment(change.at),
            change.version.to_string(),
            change.actor.to_string(),
            place(change.before),
            place(change.after),
            if change.stored { "yes" } else { "NO" }.to_owned(),
            change.reason.clone(),
        ]);
    }
    table.to_string()
}
