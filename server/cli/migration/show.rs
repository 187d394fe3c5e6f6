//! What the server answers, as a person reads it.

use crate::{
    cli::table::{TextTable, clean},
    migration::Mode,
    routers::migration_router::{CallFigures, Migration, MovingProcedure},
};

const NO_OLD_SERVER: &str = "There is no old server: LEGACY_TRPC_URL is not set.\n";

pub(super) fn list(migration: &Migration) -> String {
    if !migration.has_old_server {
        return NO_OLD_SERVER.to_owned();
    }
    let mut table = TextTable::new(&[
        "PROCEDURE",
        "KIND",
        "ANSWERED BY",
        "DECIDED BY",
        "COMPARED",
        "DIFFERED",
        "OURS",
        "THEIRS",
    ]);
    let mut is_owed = false;
    for procedure in &migration.procedures {
        let decided = procedure.decided.as_ref();
        is_owed |= decided.is_some_and(|it| !it.stored);
        table.row([
            procedure.procedure.clone(),
            procedure.kind.clone(),
            answered_by(procedure),
            decided.map_or_else(|| "the settings".to_owned(), |it| it.by.to_string()),
            procedure.compared.to_string(),
            procedure.differed.to_string(),
            calls(&procedure.ours),
            calls(&procedure.theirs),
        ]);
    }
    let owed = "NOT STORED YET: some is in force, and a restart would forget it\n";
    table.to_string() + if is_owed { owed } else { "" }
}

pub(super) fn report(migration: &Migration) -> String {
    if !migration.has_old_server {
        return NO_OLD_SERVER.to_owned();
    }
    let mut shown = list(migration);
    for procedure in &migration.procedures {
        let MovingProcedure {
            incomparable,
            dropped,
            examples,
            decided,
            ..
        } = procedure;
        shown.push_str(&format!("\n{}\n", procedure.procedure));
        if let Some(decided) = decided {
            shown.push_str(&format!("  why: {}\n", clean(&decided.reason)));
        }
        shown.push_str(&format!(
            "  not compared: {incomparable} without an answer of the old server, {dropped} because too many were\n"
        ));
        for example in examples {
            let path = match example.path.as_str() {
                "" => "(all of it)",
                path => path,
            };
            shown.push_str(&format!(
                "  {}: the old server {}, this one {}\n",
                clean(path),
                clean(&example.theirs),
                clean(&example.ours)
            ));
        }
    }
    shown
}

fn answered_by(procedure: &MovingProcedure) -> String {
    match procedure.mode {
        Mode::Legacy => "the old server".to_owned(),
        Mode::Shadow => "the old server, compared".to_owned(),
        Mode::Share => format!("this one for {} %", procedure.percent),
        Mode::Native => "this one".to_owned(),
    }
}

/// `20 (3 refused, 1 failed), 3.1 ms`: what failed is not counted again as refused.
fn calls(calls: &CallFigures) -> String {
    let Some(mean) = calls.mean_ms else {
        return "-".to_owned();
    };
    let told = [
        (calls.refused - calls.failed, "refused"),
        (calls.failed, "failed"),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<_> = told
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let told = match told.is_empty() {
        true => String::new(),
        false => format!(" ({})", told.join(", ")),
    };
    format!("{}{told}, {mean:.1} ms", calls.calls)
}
