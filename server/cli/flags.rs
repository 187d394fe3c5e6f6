//! `modelramp flags …`: the kill switch and the live share of a running server.
//!
//! A change is sent as it is asked for: a kill must not wait for a look at the state first. Where
//! `--version` is given, the server refuses what is based on another one.

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
    routers::{
        feature_flags_router::{History, Kill, SetShare},
        methods::{FLAGS_GET, FLAGS_HISTORY, FLAGS_KILL, FLAGS_SET_SHARE},
    },
};

/// Arguments of `modelramp flags`.
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
    /// Shows the kill switch, the live share, and who decides about each task.
    Get,
    /// Moves the live share, which decides the tasks that no rollout covers.
    SetShare {
        /// 0 to 100.
        #[arg(value_parser = percent)]
        percent: Percent,
        #[command(flatten)]
        change: FlagArguments,
    },
    /// Turns the kill switch on, so that everybody gets the control models, or off.
    Kill {
        /// Whether it is on.
        #[arg(value_enum)]
        switch: Switch,
        #[command(flatten)]
        change: FlagArguments,
    },
    /// Lists the changes, by whom and why.
    History {
        /// The newest so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
struct FlagArguments {
    /// Why, for those who look later.
    #[arg(long, short)]
    reason: String,
    /// The version that this is based on; refused where somebody was first.
    #[arg(long)]
    version: Option<i64>,
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
        Command::Get => ask.show(&FLAGS_GET, &NoInput {}, show::state).await,
        Command::SetShare { percent, change } => {
            let input = SetShare {
                percent,
                reason: change.reason,
                version: change.version,
            };
            ask.show(&FLAGS_SET_SHARE, &input, show::state).await
        }
        Command::Kill { switch, change } => {
            let input = Kill {
                on: switch == Switch::On,
                reason: change.reason,
                version: change.version,
            };
            ask.show(&FLAGS_KILL, &input, show::state).await
        }
        Command::History { limit } => {
            let input = History {
                limit: Some(limit),
                ..History::default()
            };
            ask.show(&FLAGS_HISTORY, &input, |changes| show::history(changes))
                .await
        }
    };
    Ok(write!(std::io::stdout(), "{}", answer?)?)
}
