//! Opens a PostgreSQL database.

use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

use super::StorageError;
use crate::_core::errors::in_full;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("server/storage/migrations/postgres");

/// Connections of one process.
const CONNECTIONS: u32 = 8;
/// How long a query waits for a connection, and so a start for the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries at a server that is not there.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn is_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Brings its tables up to date.
pub(super) async fn open(url: &str) -> Result<PgPool, StorageError> {
    let (pool, database) = connect(options(url)?).await?;
    // Programs that start at once wait for each other here.
    MIGRATIONS
        .run(&pool)
        .await
        .map_err(|source| StorageError::migrate(database, &MIGRATIONS, source))?;
    Ok(pool)
}

/// The server refuses what would change something. With the database's name.
pub(super) async fn open_read_only(url: &str) -> Result<(PgPool, String), StorageError> {
    connect(options(url)?.options([("default_transaction_read_only", "on")])).await
}

fn options(url: &str) -> Result<PgConnectOptions, StorageError> {
    // Its own words could repeat the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| StorageError::InvalidPostgresUrl)?;
    Ok(options.application_name("modelramp"))
}

async fn connect(options: PgConnectOptions) -> Result<(PgPool, String), StorageError> {
    let database = name(&options);
    wait_for(&options)
        .await
        .map_err(|cause| ServerError::new(&options, cause))?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options);
    Ok((pool, database))
}

/// Waits for a server that is starting; a pool would only say that it timed out.
async fn wait_for(options: &PgConnectOptions) -> Result<(), Unanswered> {
    let mut last = None;
    let tried = timeout(PATIENCE, async {
        loop {
            match PgConnection::connect_with(options).await {
                Ok(connection) => return connection.close().await,
                Err(error) if may_pass(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
    });
    match tried.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Unanswered::Said(error)),
        Err(_) => Err(last.map_or(Unanswered::Silence, Unanswered::Said)),
    }
}

/// Server and database of a URL, without user and password.
pub(super) fn place(url: &str) -> Result<String, StorageError> {
    Ok(name(&options(url)?))
}

/// Whether a server that starts, or has no connection left, says so.
fn may_pass(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    match (error, code) {
        // `cannot_connect_now`, `too_many_connections`
        (_, Some(code)) => code == "57P03" || code == "53300",
        (sqlx::Error::Io(_), None) => true,
        _ => false,
    }
}

enum Unanswered {
    Said(sqlx::Error),
    Silence,
}

/// Why a PostgreSQL server cannot be used: which one, as whom, what it said, what to do. Never the
/// password.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {server}, user `{user}`, database `{database}`: {said}; {advice}")]
pub struct ServerError {
    server: String,
    user: String,
    database: String,
    said: String,
    advice: &'static str,
}

impl ServerError {
    fn new(options: &PgConnectOptions, cause: Unanswered) -> Self {
        let user = options.get_username().to_owned();
        let (said, advice) = match cause {
            Unanswered::Silence => (
                format!("no answer within {} s", PATIENCE.as_secs()),
                "see whether the server runs, and whether a firewall is in between",
            ),
            Unanswered::Said(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                let advice = match code.as_deref() {
                    Some("28P01" | "28000") => {
                        "see user and password in `DATABASE_URL`, and the server's pg_hba.conf"
                    }
                    Some("3D000") => "make the database with `createdb`, or name another",
                    Some("53300") => "the server has no connection left: see its max_connections",
                    Some("57P03") => "the server is starting or stopping; try again",
                    _ => "see whether the server runs there and what `DATABASE_URL` names",
                };
                (in_full(&error), advice)
            }
        };
        Self {
            server: server(options),
            // PostgreSQL's own rule.
            database: options.get_database().unwrap_or(&user).to_owned(),
            user,
            said,
            advice,
        }
    }
}

/// Host and port, or the socket's folder.
fn server(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    format!("{host}:{}", options.get_port())
}

/// Server and database, without user and password.
fn name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("postgres://{}/{database}", server(options))
}
