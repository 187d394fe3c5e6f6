//! `modelramp user`: what users may do.

use std::io::Write;

use chrono::Utc;
use clap::{Args, Subcommand};

use super::RoleArgument;
use crate::{_core::caller::Role, app, config::Config};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gives a user a role: `user` uses the application, `viewer` also sees the rollouts and changes
    /// nothing, `admin` also changes them.
    ///
    /// It works on the database, so no server needs to run; one that does knows it within a second, and
    /// ends within five the streams that the user may no longer have.
    SetRole {
        /// The user's id, from 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        user: i64,
        /// What the user may do from now on.
        #[arg(long, value_enum)]
        role: RoleArgument,
    },
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let Command::SetRole { user, role } = &arguments.command;
    let role = Role::from(*role);
    let (name, before) = app::set_role(config, *user, role, Utc::now()).await?;
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    let text = if before == role {
        format!("user {user}{name} is {role} already")
    } else {
        format!("user {user}{name} is {role} now, and was {before}")
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
