//! `modelramp user`: what users may do, and what is kept of them.

use std::io::Write;

use chrono::Utc;
use clap::{Args, Subcommand};

use super::RoleArgument;
use crate::{
    _core::{actor::Actor, caller::Role},
    app,
    config::Config,
    storage::{Forgotten, Storage},
};

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
    /// Prints what is kept of a user (docs/privacy.md), a JSON object a line; texts of conversations are in it.
    Export {
        /// The user's id, from 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        user: i64,
    },
    /// Deletes a user for good: conversations, name and address; sessions end, and events no longer say
    /// whose they were.
    ///
    /// It works on the database, so no server needs to run; one that does knows it within a second.
    /// Copies of the database keep the user until they are deleted.
    Delete {
        /// The user's id, from 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        user: i64,
        /// Says that it is meant; nothing brings the user back.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    match &arguments.command {
        Command::SetRole { user, role } => set_role(config, *user, Role::from(*role)).await,
        Command::Export { user } => {
            let storage = Storage::open_read_only(&config.database.url).await?;
            let found = storage.export_user(*user, &mut std::io::stdout()).await;
            storage.close().await;
            anyhow::ensure!(found?, "there is no user `{user}`");
            Ok(())
        }
        Command::Delete { user, yes } => {
            anyhow::ensure!(
                *yes,
                "nothing was deleted: `--yes` says that it is meant, for good"
            );
            // A database that is made here would be another server's.
            let storage = Storage::open_existing(&config.database.url).await?;
            let forgotten = delete(&storage, *user).await;
            storage.close().await;
            let Some(forgotten) = forgotten? else {
                anyhow::bail!("there is no user `{user}`");
            };
            writeln!(
                std::io::stdout(),
                "user {user} was deleted: {} conversations are gone, and {} events no longer say whose they \
                 were; copies of the database keep the user until they are deleted",
                forgotten.conversations,
                forgotten.events
            )?;
            Ok(())
        }
    }
}

/// Refuses to delete the last admin, after whom nobody could stop a rollout.
#[expect(clippy::disallowed_methods, reason = "a command starts now")]
async fn delete(storage: &Storage, user: i64) -> anyhow::Result<Option<Forgotten>> {
    let found = storage.find_user(user).await?;
    let is_admin = found.is_some_and(|it| it.role == Role::Admin);
    if is_admin && storage.condition().await?.admins == 1 {
        anyhow::bail!(
            "user {user} is the last admin, and nobody could stop a rollout: make another one first \
             (`modelramp user set-role`)"
        );
    }
    storage
        .forget_user(user, &Actor::CommandLine, Utc::now())
        .await
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
async fn set_role(config: &Config, user: i64, role: Role) -> anyhow::Result<()> {
    let (name, before) = app::set_role(config, user, role, Utc::now()).await?;
    let name = name.map_or_else(String::new, |name| format!(" ({name})"));
    let text = if before == role {
        format!("user {user}{name} is {role} already")
    } else {
        format!("user {user}{name} is {role} now, and was {before}")
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
