//! `modelramp import`: users and conversations of the TypeScript server.

use std::{fmt::Write as _, io::Write};

use chrono::Utc;
use clap::Args;

use crate::{
    config::Config,
    storage::{ImportPlan, ImportReport, Imported, Storage},
};

/// Arguments of `modelramp import`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The database of the TypeScript server: `postgres://user@host/database`. Nothing of it is changed.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The schema of its tables.
    #[arg(long, value_name = "NAME", default_value = "friday_ai")]
    schema: String,
    /// Makes admins there admins here, who may steer rollouts; without it all are users.
    #[arg(long)]
    keep_roles: bool,
    /// Writes nothing, and says what would be taken over.
    #[arg(long)]
    dry_run: bool,
}

/// Takes over what is not here yet.
#[expect(clippy::disallowed_methods, reason = "a command starts now")]
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<()> {
    let Arguments {
        from,
        schema,
        keep_roles,
        dry_run,
    } = arguments;
    let plan = ImportPlan {
        from,
        schema,
        keeps_roles: keep_roles,
        is_dry: dry_run,
    };
    let storage = Storage::open(&config.database.url).await?;
    let mut progress = std::io::stderr();
    let tell = |table: &'static str, done: &Imported| {
        let known = done.known + done.updated + done.left;
        let rows = done.new + done.joined + known + refused(done);
        // Whoever does not read it does not stop the import.
        let _ = writeln!(progress, "{table}: {rows} rows read");
    };
    let imported = storage.import(&plan, Utc::now(), tell).await;
    storage.close().await;
    write!(std::io::stdout(), "{}", shown(&imported?, dry_run))?;
    Ok(())
}

fn refused(done: &Imported) -> u64 {
    done.refused.values().map(|(count, _)| count).sum()
}

fn shown(report: &ImportReport, is_dry: bool) -> String {
    let mut text = String::new();
    let taken = if is_dry { "to take over" } else { "taken over" };
    for (table, done) in &report.tables {
        let Imported {
            new,
            joined,
            known,
            updated,
            left,
            refused: _,
        } = done;
        let mut line = format!("{table}: {new} {taken}, {known} taken over before");
        if *updated > 0 {
            let _ = write!(line, ", {updated} brought up to date");
        }
        if *left > 0 {
            let _ = write!(
                line,
                ", {left} changed there and here, and left as they are here"
            );
        }
        if *joined > 0 {
            let _ = write!(line, ", {joined} here already by their open id");
        }
        text.push_str(&line);
        text.push('\n');
        for (reason, (count, examples)) in &done.refused {
            let examples = examples.iter().map(i64::to_string);
            let examples = examples.collect::<Vec<_>>().join(", ");
            let more = if *count > 5 { ", …" } else { "" };
            let _ = writeln!(text, "  {count} left out: {reason} ({examples}{more})");
        }
    }
    if is_dry {
        text.push_str("Nothing was written.\n");
    }
    text
}
