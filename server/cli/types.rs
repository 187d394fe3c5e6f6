//! `modelramp types …`: what a front end needs while two servers answer it.

mod calls;
mod merge;
mod scan;

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::{app, config::Config, migration::covers};

/// Arguments of `modelramp types`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the type of a router that has modelramp's procedures and those of a team's own router.
    Merge {
        /// The module of the team's router, as the written file imports it.
        #[arg(long, value_name = "MODULE")]
        team: String,
        /// The type that this module exports.
        #[arg(long = "type", value_name = "NAME", default_value = "AppRouter", value_parser = merge::identifier)]
        name: String,
        /// The module with modelramp's types, as the written file imports it; `modelramp-schema`, or `modelramp-schema/v10`
        /// for version 10, where it is not given.
        #[arg(long, value_name = "MODULE")]
        schema: Option<String>,
        /// The version of tRPC that the front end has.
        #[arg(long, value_enum, default_value = "11")]
        trpc: merge::Version,
        #[command(flatten)]
        kept: Kept,
        /// The file; standard output where it is not given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Reads the sources of a front end and lists the procedures that it calls, with the side that answers each.
    Calls {
        /// The folder.
        folder: PathBuf,
        /// A variable that is a client, beside those that are made in the folder; again for more.
        #[arg(long = "client", value_name = "NAME")]
        clients: Vec<String>,
        #[command(flatten)]
        kept: Kept,
        /// Prints the list as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Kept {
    /// A procedure of modelramp's that the old server answers, `chat.*` or `*`; again for more. LEGACY_PROCEDURES where it
    /// is not given.
    #[arg(long = "legacy", value_name = "NAME")]
    legacy: Vec<String>,
}

impl Kept {
    /// Those of the settings, or those that are named, each of which has to be there.
    fn named(self, config: &Config, procedures: &[&str]) -> anyhow::Result<Vec<String>> {
        if self.legacy.is_empty() {
            let kept = config.legacy.as_ref().map(|it| it.procedures.clone());
            return Ok(kept.unwrap_or_default());
        }
        let is_unknown = |name: &&String| !procedures.iter().any(|it| covers(name, it));
        let unknown = self.legacy.iter().find(is_unknown);
        anyhow::ensure!(
            unknown.is_none(),
            "`--legacy` is `{}`; expected a procedure of modelramp's, a namespace such as `chat.*`, or `*`",
            unknown.map(String::as_str).unwrap_or_default()
        );
        Ok(self.legacy)
    }
}

/// Runs one command.
pub(super) fn run(arguments: Arguments, config: &Config) -> anyhow::Result<()> {
    let registry = app::contract();
    let procedures: Vec<&str> = registry.iter().map(|it| it.path).collect();
    let text = match arguments.command {
        Command::Merge {
            team,
            name,
            schema,
            trpc,
            kept,
            out,
        } => {
            let kept = kept.named(config, &procedures)?;
            let is_kept = |path: &&str| kept.iter().any(|kept| covers(kept, path));
            let kept: Vec<&str> = procedures.iter().copied().filter(is_kept).collect();
            let schema = schema.as_deref().unwrap_or(trpc.schema());
            let text = merge::file(trpc, &team, &name, schema, &kept);
            let Some(out) = out else {
                return Ok(write!(std::io::stdout(), "{text}")?);
            };
            let shown = out.display();
            fs::write(&out, text).with_context(|| format!("cannot write `{shown}`"))?;
            format!("wrote {shown}\n")
        }
        Command::Calls {
            folder,
            clients,
            kept,
            json,
        } => {
            let kept = kept.named(config, &procedures)?;
            let found = scan::folder(&folder, clients)?;
            let list = calls::CallList::new(found, &procedures, &kept);
            match json {
                true => serde_json::to_string_pretty(&list)? + "\n",
                false => list.to_string(),
            }
        }
    };
    Ok(write!(std::io::stdout(), "{text}")?)
}
