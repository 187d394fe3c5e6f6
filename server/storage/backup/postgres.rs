//! PostgreSQL: its own programs copy it, as one moment saw it.

use std::{path::Path, process::Stdio};

use sqlx::{Connection, PgConnection};
use tokio::process::Command;
use url::Url;

use super::{BackupError, Restored};
use crate::storage::{StorageError, postgres};

/// Of what a program says, this much is shown.
const SAID_BYTES: usize = 1_000;

/// Writes a dump in PostgreSQL's own compressed format.
pub(super) async fn copy(url: &str, target: &Path) -> Result<(), BackupError> {
    // Says what is wrong with the address or the server better than the program does.
    let (pool, database) = postgres::open_read_only(url).await?;
    pool.close().await;
    let mut command = program("pg_dump", url)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges"]);
    command.arg("--file").arg(target);
    run("pg_dump", command, &database).await
}

/// Fills an empty database from a dump, whole or not at all.
pub(super) async fn restore(
    url: &str,
    file: &Path,
    replace: bool,
) -> Result<Restored, BackupError> {
    let mut listing = Command::new("pg_restore");
    listing.arg("--list").arg(file).stdout(Stdio::null());
    let listed = run("pg_restore", listing, "").await;
    listed.map_err(|error| match error {
        BackupError::Program { said, .. } => BackupError::NoBackup {
            file: file.into(),
            why: said,
        },
        other => other,
    })?;
    let (pool, database) = postgres::open_read_only(url).await?;
    let state = look(&mut *pool.pool.acquire().await.map_err(ping)?).await;
    pool.close().await;
    match state.map_err(ping)? {
        State::Empty => {}
        State::Used => return Err(BackupError::InUse { database }),
        State::Filled => {
            let advice = if replace {
                "`--replace` moves files of SQLite aside and cannot move this; make a new database with \
                 `createdb`, and let `DATABASE_URL` name it"
            } else {
                "make a new one with `createdb`, and let `DATABASE_URL` name it"
            };
            return Err(BackupError::DatabaseExists { database, advice });
        }
    }
    let mut command = program("pg_restore", url)?;
    command.args([
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
    ]);
    command.arg(file);
    run("pg_restore", command, &database).await?;
    Ok(Restored {
        database,
        moved_aside: None,
    })
}

fn ping(error: sqlx::Error) -> BackupError {
    StorageError::Ping(error).into()
}

enum State {
    Empty,
    Filled,
    /// A server holds the lease.
    Used,
}

async fn look(connection: &mut PgConnection) -> sqlx::Result<State> {
    let has_leases: bool = sqlx::query_scalar("SELECT to_regclass('leases') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if has_leases {
        let is_used: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM leases WHERE expires_ms > \
             (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT)",
        )
        .fetch_one(&mut *connection)
        .await?;
        if is_used {
            return Ok(State::Used);
        }
    }
    let has_tables: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema())",
    )
    .fetch_one(&mut *connection)
    .await?;
    connection.ping().await?;
    Ok(if has_tables {
        State::Filled
    } else {
        State::Empty
    })
}

/// A program that connects to the database. Its arguments everybody on the machine can read, so the
/// password is in its environment.
fn program(name: &'static str, url: &str) -> Result<Command, BackupError> {
    let invalid = || BackupError::Storage(StorageError::InvalidPostgresUrl);
    let mut address = Url::parse(url).map_err(|_| invalid())?;
    let in_query = address
        .query_pairs()
        .find_map(|(key, value)| (key == "password").then(|| value.into_owned()));
    let password = match address.password() {
        Some(password) => Some(
            percent_encoding::percent_decode_str(password)
                .decode_utf8()
                .map_err(|_| invalid())?
                .into_owned(),
        ),
        None => in_query,
    };
    if address.password().is_some() {
        address.set_password(None).map_err(|()| invalid())?;
    }
    let kept: Vec<(String, String)> = address
        .query_pairs()
        // What sqlx alone knows, libpq refuses.
        .filter(|(key, _)| key != "password" && key != "statement-cache-capacity")
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    address.set_query(None);
    if !kept.is_empty() {
        address.query_pairs_mut().extend_pairs(kept);
    }
    let mut command = Command::new(name);
    command
        .arg("--no-password")
        .arg("--dbname")
        .arg(address.as_str());
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    Ok(command)
}

async fn run(
    program: &'static str,
    mut command: Command,
    database: &str,
) -> Result<(), BackupError> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| BackupError::NoProgram { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let start = said.len().saturating_sub(SAID_BYTES);
    let start = (start..=said.len()).find(|at| said.is_char_boundary(*at));
    Err(BackupError::Program {
        program,
        database: database.into(),
        said: said[start.unwrap_or(0)..].replace('\n', "; "),
    })
}
