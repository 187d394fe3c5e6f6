//! The command line, one file per group of commands.
//!
//! What a command answers goes to standard output, everything else to standard error. The exit code
//! is 64 where the settings are at fault (`EX_USAGE`), 1 for any other failure.

mod alert;
mod arguments;
mod backup;
mod bundle;
mod check;
mod client;
pub mod demo;
pub mod drive;
mod findings;
mod flags;
mod fleet;
mod health;
mod import;
mod key;
mod message;
mod migration;
mod offline;
mod placebo;
mod reference;
mod rollout;
pub mod sandbox;
mod sessions;
mod simulate;
mod smoke;
mod staging;
mod table;
mod trial;
mod types;
mod user;
mod which;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use chrono::Utc;
use clap::{Parser, Subcommand, ValueEnum};
use secrecy::ExposeSecret;

use crate::{
    _core::{caller::Role, errors::in_full, logging, toml_reader::FileError, turns},
    app,
    config::{Config, ConfigFaults, Sources, templates},
    schema,
    storage::{Storage, StorageError},
};

/// Of which release, commit and day the program is.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("MODELRAMP_COMMIT"),
    ")"
);

/// Answers AI requests over tRPC and JSON-RPC, and moves users to new models a few percent at a time.
#[derive(Debug, Parser)]
#[command(name = "modelramp", version = VERSION)]
struct Arguments {
    /// A TOML file of settings; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server (the default).
    Serve,
    /// Makes a local user, or takes the one that there is, and prints a session token for it.
    Token {
        /// The user's id, from 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        user: i64,
        /// What the user may do from now on; without it a user keeps the role, and a new one is `user`.
        #[arg(long, value_enum)]
        role: Option<RoleArgument>,
        /// How long the token holds, such as `1h` or `30d`; SESSION_TTL where it is not given.
        #[arg(long, value_parser = key::ttl)]
        ttl: Option<Duration>,
        /// Makes the database where there is none; without it that is refused, because a server
        /// elsewhere would not accept the token.
        #[arg(long)]
        create: bool,
        /// Prints a link instead, by which a browser signs in, once and within five minutes.
        #[arg(long, conflicts_with = "ttl")]
        login_link: bool,
    },
    /// Makes, lists, replaces and ends the keys of programs that call the gateway.
    Key(key::Arguments),
    /// Says what users may do; gives out and deletes what is kept of one.
    User(user::Arguments),
    /// Ends sessions.
    Sessions(sessions::Arguments),
    /// The kill switch and the live share of a running server.
    Flags(flags::Arguments),
    /// Which servers share the database, on which release, who leads, and whether they agree.
    Fleet(fleet::Arguments),
    /// Who answers procedures that an old server has as well, on a running server.
    Migration(migration::Arguments),
    /// Takes over users and conversations of the TypeScript server, once; may be run again for what is new.
    Import(import::Arguments),
    /// What a front end needs while two servers answer it: the type of both, and who answers what it calls.
    Types(types::Arguments),
    /// Starts, changes and shows the rollouts of a running server.
    Rollout(rollout::Arguments),
    /// Sends bounded traffic of many users through a running server.
    Drive(drive::DriveArgs),
    /// Shows a rollout that completes and two that are taken back; takes less than three minutes.
    Demo(demo::DemoArgs),
    /// Runs the simulated provider alone, until it is stopped.
    Sandbox(sandbox::SandboxArgs),
    /// Sends a test to the channels of alerts.
    Alert(alert::Arguments),
    /// Looks at everything that has to be right before users depend on a server; changes nothing.
    Check(check::Arguments),
    /// Moves testers to the candidate, watches, and says whether to go on with users.
    Staging(staging::Arguments),
    /// Writes to the team, to support and to users, from a rollout or from a user's request.
    Message(message::Arguments),
    /// Asks a running server for what users need of it, and rehearses a rollback that touches nobody.
    Smoke(smoke::Arguments),
    /// Copies the database into one file, beside a server that runs or without one.
    Backup(backup::BackupArguments),
    /// Makes the database of a file that `backup` wrote.
    Restore(backup::RestoreArguments),
    /// Fails where a server does not answer; for containers, which have no `curl`.
    Health(health::Arguments),
    /// Lists the bundles of the catalog, models with prompts of their own, and how two of them differ.
    Bundle(bundle::Arguments),
    /// Puts prompts to both models of a task, before any user gets the new one, and says what that proves.
    Trial(trial::Arguments),
    /// Computes what a plan would see, before real users are at stake.
    Simulate(simulate::Arguments),
    /// Writes the contract into schema/ and the templates of the settings beside it, or checks both.
    Schema {
        /// Changes nothing; fails where a file differs.
        #[arg(long)]
        check: bool,
        /// The folder.
        #[arg(long, default_value = "schema")]
        dir: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArgument {
    User,
    Viewer,
    Admin,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::User => Self::User,
            RoleArgument::Viewer => Self::Viewer,
            RoleArgument::Admin => Self::Admin,
        }
    }
}

/// How long an end waits for what the system does for nobody any more, such as looking up the name of a host.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        // One is left to read and to answer health checks when all turns are taken.
        .worker_threads(turns::threads())
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(arguments));
            runtime.shutdown_timeout(LEFT_BEHIND);
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error is no reason to panic.
            let faults = error.downcast_ref::<ConfigFaults>();
            let _ = match faults {
                Some(faults) => writeln!(std::io::stderr(), "{faults}"),
                None => writeln!(std::io::stderr(), "modelramp: {}", in_full(error.as_ref())),
            };
            // Some settings are files, whose readers have errors of their own.
            let is_setting = faults.is_some()
                || error.is::<FileError>()
                || matches!(
                    error.downcast_ref(),
                    Some(StorageError::NotAFile { .. } | StorageError::UnsupportedUrl { .. })
                );
            ExitCode::from(if is_setting { 64 } else { 1 })
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let sources = || Sources::from_process(arguments.config.clone());
    let load = || -> anyhow::Result<Config> { Ok(Config::load(&sources()?)?) };
    let load_and_note = || -> anyhow::Result<Config> {
        let config = load()?;
        for warning in &config.warnings {
            writeln!(std::io::stderr(), "note: {warning}")?;
        }
        Ok(config)
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let config = load()?;
            // Lines still in its buffer are written when it goes.
            let _log = logging::init(&config.log)?;
            app::serve(config).await
        }
        Command::Token {
            user,
            role,
            ttl,
            create,
            login_link,
        } => {
            let config = load_and_note()?;
            if !create {
                let refused = "no token was made (`--create` makes a new database for it)";
                app::require_database(&config).await.context(refused)?;
            }
            token(&config, user, role.map(Role::from), ttl, login_link).await
        }
        Command::Key(arguments) => key::run(arguments, &load_and_note()?).await,
        Command::User(arguments) => user::run(&arguments, &load_and_note()?).await,
        Command::Sessions(arguments) => sessions::run(&arguments, &load_and_note()?).await,
        Command::Flags(arguments) => flags::run(arguments, &sources()?).await,
        Command::Fleet(arguments) => fleet::run(arguments, &sources()?).await,
        Command::Migration(arguments) => migration::run(arguments, &sources()?).await,
        Command::Import(arguments) => import::run(arguments, &load_and_note()?).await,
        Command::Types(arguments) => types::run(arguments, &load()?),
        Command::Rollout(arguments) => rollout::run(arguments, &sources()?).await,
        Command::Drive(arguments) => drive::run(arguments, &sources()?).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Sandbox(arguments) => sandbox::run(arguments).await,
        Command::Alert(arguments) => alert::run(arguments, &load_and_note()?).await,
        Command::Check(arguments) => check::run(arguments, &sources()?).await,
        Command::Staging(arguments) => staging::run(arguments, &sources()?).await,
        Command::Message(arguments) => message::run(arguments, &sources()?).await,
        Command::Smoke(arguments) => smoke::run(arguments, &sources()?).await,
        Command::Backup(arguments) => backup::backup(&arguments, &load_and_note()?).await,
        Command::Restore(arguments) => backup::restore(&arguments, &load_and_note()?).await,
        Command::Health(arguments) => health::run(arguments, &sources()?).await,
        Command::Bundle(arguments) => bundle::run(&load_and_note()?, arguments),
        Command::Trial(arguments) => trial::run(arguments, &sources()?).await,
        Command::Simulate(arguments) => simulate::run(arguments).await,
        Command::Schema { check, dir } => {
            let mut files = schema::files(&app::contract());
            files.push(reference::page());
            write_or_check(&dir, &files, check)
        }
    }
}

/// Whether these words after `modelramp` are a command line; nothing is run. For tests of the docs.
pub fn check<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<(), clap::Error> {
    let words = std::iter::once("modelramp").chain(words);
    Arguments::try_parse_from(words).map(|_| ())
}

/// Writes the contract into its folder, and the templates of the settings beside it, where people look
/// for them; or compares both.
fn write_or_check(
    folder: &Path,
    files: &[(&'static str, String)],
    check: bool,
) -> anyhow::Result<()> {
    let beside = folder.join("..");
    let shown = folder.display();
    if !check {
        let written = schema::write(folder, files);
        return written
            .and_then(|()| schema::write(&beside, &templates()))
            .with_context(|| format!("cannot write into `{shown}` or beside it"));
    }
    let mut differences = schema::check(folder, files);
    differences.extend(schema::check(&beside, &templates()));
    if differences.is_empty() {
        return Ok(());
    }
    let lines = differences
        .iter()
        .map(|difference| format!("\n  {difference}"));
    let lines: String = lines.collect();
    anyhow::bail!(
        "`{shown}`, or what lies beside it, is out of date; run `modelramp schema`:{lines}"
    )
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
async fn token(
    config: &Config,
    user: i64,
    role: Option<Role>,
    ttl: Option<Duration>,
    login_link: bool,
) -> anyhow::Result<()> {
    let now = Utc::now();
    let grant = if login_link {
        app::SessionGrant::LoginLink
    } else {
        app::SessionGrant::Token { ttl }
    };
    let issued = app::issue(config, user, role, grant, now).await?;
    let holds_for = match grant {
        app::SessionGrant::LoginLink => "the link works once, within five minutes".to_owned(),
        app::SessionGrant::Token { ttl } => {
            let until = now + ttl.unwrap_or(config.auth.session_ttl);
            let until = until.format("%Y-%m-%d %H:%M:%S UTC");
            format!("the token holds until {until}")
        }
    };
    let is_kept = issued.role_before == Some(issued.role);
    writeln!(
        std::io::stderr(),
        "user {user} is {} {} in {}; {holds_for}",
        if is_kept { "still" } else { "now" },
        issued.role.name(),
        Storage::place(&config.database.url)?,
    )?;
    writeln!(std::io::stdout(), "{}", issued.secret.expose_secret())?;
    Ok(())
}
