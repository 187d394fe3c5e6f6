//! `modelramp migration …`: who answers procedures that an old server has as well.

mod show;

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    arguments::percent,
    client::{Client, ClientOptions},
};
use crate::{
    _core::{procedure::NoInput, units::Percent},
    config::{ClientConfig, Sources},
    migration::Mode,
    routers::{
        methods::{MIGRATION_LIST, MIGRATION_REPORT, MIGRATION_SET},
        migration_router::{SetMove, WhichProcedures},
    },
};

/// Arguments of `modelramp migration`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Prints the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows who answers which procedures, and what was seen since that was decided.
    List,
    /// Shows what was seen of a procedure or a namespace, with examples of differences.
    Report {
        /// A procedure, or a namespace such as `chat.*`.
        name: String,
    },
    /// Decides who answers a procedure or a namespace.
    Set {
        /// A procedure, or a namespace such as `chat.*`, which takes the place of what was said of its procedures.
        name: String,
        /// Who answers.
        #[arg(value_enum)]
        mode: ModeArgument,
        /// With `share`: the percentage of users that this server answers.
        #[arg(long, value_parser = percent, required_if_eq("mode", "share"))]
        percent: Option<Percent>,
        /// Why, for those who look later.
        #[arg(long, short)]
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArgument {
    /// The old server.
    Legacy,
    /// The old server; queries are run here as well and compared.
    Shadow,
    /// This server for a percentage of the users.
    Share,
    /// This server.
    Native,
}

impl From<ModeArgument> for Mode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Legacy => Self::Legacy,
            ModeArgument::Shadow => Self::Shadow,
            ModeArgument::Share => Self::Share,
            ModeArgument::Native => Self::Native,
        }
    }
}

/// Runs one command.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let Arguments { url, json, command } = arguments;
    let client = Client::new(&ClientConfig::load(sources, url)?)?;
    let ask = ClientOptions {
        client: &client,
        json,
    };
    let answer = match command {
        Command::List => ask.show(&MIGRATION_LIST, &NoInput {}, show::list).await,
        Command::Report { name } => {
            let input = WhichProcedures { name };
            ask.show(&MIGRATION_REPORT, &input, show::report).await
        }
        Command::Set {
            name,
            mode,
            percent,
            reason,
        } => {
            let input = SetMove {
                name,
                mode: mode.into(),
                percent,
                reason,
            };
            ask.show(&MIGRATION_SET, &input, show::list).await
        }
    };
    Ok(write!(std::io::stdout(), "{}", answer?)?)
}
