//! `modelramp flags …`: the kill switch and the live share of a running server.
//!
//! A change is sent as it is asked for: a kill must not wait for a look at the state first. Where
//! `--version` is given, the server refuses what is based on another one.

mod show;

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{client::Client, rollout::percent};
use crate::{
    _core::units::Percent,
    config::{ClientConfig, Sources},
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
        change: Change,
    },
    /// Turns the kill switch on, so that everybody gets the control models, or off.
    Kill {
        /// Whether it is on.
        #[arg(value_enum)]
        switch: Switch,
        #[command(flatten)]
        change: Change,
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
struct Change {
    /// Why, for those who look later.
    #[arg(long, short)]
    reason: String,
    /// The version that this is based on; refused where somebody was first.
    #[arg(long)]
    version: Option<i64>,
}

impl Change {
    fn input(self, name: &str, value: Value) -> Value {
        let mut input = json!({"reason": self.reason});
        input[name] = value;
        if let Some(version) = self.version {
            input["version"] = json!(version);
        }
        input
    }
}

/// Runs one command.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let Arguments { url, json, command } = arguments;
    let client = Client::new(&ClientConfig::load(sources, url)?)?;
    let (method, input, show): (_, _, fn(&Value) -> String) = match command {
        Command::Get => ("get", json!({}), show::state),
        Command::SetShare { percent, change } => (
            "setShare",
            change.input("percent", json!(percent)),
            show::state,
        ),
        Command::Kill { switch, change } => (
            "kill",
            change.input("on", json!(switch == Switch::On)),
            show::state,
        ),
        Command::History { limit } => ("history", json!({"limit": limit}), show::history),
    };
    let answer = client
        .call(&format!("featureFlags.{method}"), input)
        .await?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", show(&answer))?;
    }
    Ok(())
}
