//! `modelramp sessions`: ends them.

use std::io::Write;

use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};

use crate::{app, config::Config};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ends all sessions that a user has by now, on all devices: cookies, tokens, open streams.
    ///
    /// It works on the database, so no server needs to run; one that does knows it within seconds.
    Revoke {
        /// The user's id, from 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        user: i64,
    },
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let Command::Revoke { user } = &arguments.command;
    let now = Utc::now();
    app::end_sessions(config, *user, now).await?;
    let now = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    writeln!(
        std::io::stdout(),
        "the sessions of user {user} that began before {now} have ended"
    )?;
    Ok(())
}
