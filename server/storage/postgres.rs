//! Opens a PostgreSQL database.

use std::{future::Future, io, str::FromStr, sync::LazyLock, time::Duration};

use futures::future;
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

use super::{StorageError, failure::Ailment, newest};
use crate::_core::errors::in_full;

/// Those of a newer release are passed over: [`OLDEST`] says who may open what they made.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("server/storage/migrations/postgres");
    migrator.set_ignore_missing(true);
    migrator
});

/// The least version that a program has to know to use the tables. A migration that programs of before
/// cannot live with sets it to its own.
const OLDEST: &str = "oldest-migration";

/// Connections of one process for what users wait for.
const CONNECTIONS: u32 = 6;
/// And for what may take minutes: upkeep, and what every user did in a week.
const LONG_CONNECTIONS: u32 = 2;
/// How long a query waits for a connection, and so a start for the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries at a server that is not there.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a connection has to answer, before it is used and after; one that does not is closed.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// For so long after an answer a connection is not asked whether it lives.
const FRESH: Duration = Duration::from_secs(1);
/// How long a call has whose caller must go on without an answer. More than a statement has, so that
/// the server speaks first where it can.
const CALL_PATIENCE: Duration = Duration::from_secs(6);
/// And for each event that it stores: after an outage there are many.
const EVENT_PATIENCE: Duration = Duration::from_millis(1);
/// How long the connections have to end at a stop: those whose server is silent never do.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// What the server itself ends. A process that freezes in a transaction would keep others from what it
/// has locked for as long as it is frozen; a connection whose other end is gone is let go.
const LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "1s"),
    ("idle_in_transaction_session_timeout", "3s"),
    ("tcp_user_timeout", "5s"),
];
const STATEMENT: (&str, &str) = ("statement_timeout", "5s");
const LONG_STATEMENT: (&str, &str) = ("statement_timeout", "10min");

/// The connections of one process.
#[derive(Clone)]
pub(super) struct Postgres {
    pub(super) pool: PgPool,
    pub(super) long: PgPool,
}

impl Postgres {
    pub(super) async fn close(&self) {
        let closed = future::join(self.long.close(), self.pool.close());
        if timeout(CLOSE_PATIENCE, closed).await.is_err() {
            tracing::warn!("PostgreSQL does not answer: connections are dropped as they are");
        }
    }
}

pub(super) fn is_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Brings its tables up to date.
pub(super) async fn open(url: &str) -> Result<Postgres, StorageError> {
    let options = options(url)?;
    let database = name(&options);
    let limited = options.clone().options(LIMITS);
    let for_calls = limited.clone().options([STATEMENT]);
    // First: nothing is changed by way of a pooler.
    check_limits(&for_calls).await?;
    // Without any limit: a migration may take long, and programs that start at once wait for each
    // other here.
    let mut connection = wait_for(&options)
        .await
        .map_err(|cause| ServerError::new(&options, cause))?;
    let oldest = oldest(&mut connection)
        .await
        .map_err(|error| ServerError::new(&options, Unanswered::Said(error)))?;
    let known = newest(&MIGRATIONS);
    if let Some(version) = oldest.filter(|oldest| *oldest > known) {
        return Err(StorageError::Newer {
            database,
            version,
            known,
        });
    }
    MIGRATIONS
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|source| StorageError::migrate(database, &MIGRATIONS, source))?;
    // What is not said to the server it finds out.
    let _ = connection.close().await;
    Ok(Postgres {
        pool: pool(for_calls, CONNECTIONS),
        long: pool(limited.options([LONG_STATEMENT]), LONG_CONNECTIONS),
    })
}

/// The server refuses what would change something. With the database's name.
pub(super) async fn open_read_only(url: &str) -> Result<(Postgres, String), StorageError> {
    let options = options(url)?.options([("default_transaction_read_only", "on")]);
    let connection = wait_for(&options)
        .await
        .map_err(|cause| ServerError::new(&options, cause))?;
    let _ = connection.close().await;
    let database = name(&options);
    // Who reads is a person's command, which waits for as long as that person does.
    let pool = pool(options.options([LONG_STATEMENT]), LONG_CONNECTIONS);
    let long = pool.clone();
    Ok((Postgres { pool, long }, database))
}

/// A connection to somebody else's database, which the server lets read only.
pub(super) async fn connect_to_read(url: &str) -> Result<PgConnection, StorageError> {
    let options = options(url)?.options([("default_transaction_read_only", "on")]);
    let connection = wait_for(&options).await;
    Ok(connection.map_err(|cause| ServerError::new(&options, cause))?)
}

/// Sees whether a connection has the limits that it asks for. A pooler in between that gives connections to several
/// clients in turn cannot have them, and a process that froze in a transaction would then stop all others.
async fn check_limits(options: &PgConnectOptions) -> Result<(), StorageError> {
    let mut connection = wait_for(options)
        .await
        .map_err(|cause| ServerError::new(options, cause))?;
    let asked = async {
        let mut limits = Vec::new();
        for name in ["lock_timeout", "statement_timeout"] {
            let sql = sqlx::AssertSqlSafe(format!("SHOW {name}"));
            limits.push(
                sqlx::query_scalar::<_, String>(sql)
                    .fetch_one(&mut connection)
                    .await?,
            );
        }
        let _ = connection.close().await;
        sqlx::Result::Ok(limits)
    };
    let cause = match timeout(PATIENCE, asked).await {
        Ok(Ok(limits)) if limits == [LIMITS[0].1, STATEMENT.1] => return Ok(()),
        Ok(Ok(limits)) => Unanswered::Without(limits),
        Ok(Err(error)) => Unanswered::Said(error),
        Err(_) => Unanswered::Silence,
    };
    Err(ServerError::new(options, cause).into())
}

/// The least version that a program has to know, where the tables say so.
async fn oldest(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('upkeep') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT value FROM upkeep WHERE name = $1")
        .bind(OLDEST)
        .fetch_optional(connection)
        .await
}

/// Waits for a call of somebody who must go on without an answer, longer the more events it stores.
pub(super) async fn in_time<T>(
    events: usize,
    call: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    // Never more than wait in memory.
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    let patience = CALL_PATIENCE.saturating_add(EVENT_PATIENCE.saturating_mul(events));
    timeout(patience, call).await.unwrap_or_else(|_| {
        let patience = patience.as_secs();
        let silence = format!("PostgreSQL did not answer within {patience} s");
        let silence = io::Error::new(io::ErrorKind::TimedOut, silence);
        Err(sqlx::Error::Io(silence).into())
    })
}

fn options(url: &str) -> Result<PgConnectOptions, StorageError> {
    // The driver takes any scheme, and asks a server of another kind for what PostgreSQL says.
    if !is_url(url) {
        return Err(StorageError::InvalidPostgresUrl);
    }
    // Its own words could repeat the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| StorageError::InvalidPostgresUrl)?;
    Ok(options.application_name("modelramp"))
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // Both in place of sqlx's own, which wait without end for a server that is cut off.
        .test_before_acquire(false)
        .before_acquire(|connection, of| match of.idle_for < FRESH {
            // It has just answered.
            true => Box::pin(async { Ok(true) }),
            false => Box::pin(is_alive(connection)),
        })
        .after_release(|connection, _| Box::pin(is_alive(connection)))
        .connect_lazy_with(options)
}

/// Whether the server answers; an error closes the connection.
async fn is_alive(connection: &mut PgConnection) -> sqlx::Result<bool> {
    match timeout(PING_PATIENCE, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Waits for a server that is starting; a pool would only say that it timed out.
async fn wait_for(options: &PgConnectOptions) -> Result<PgConnection, Unanswered> {
    let mut last = None;
    let tried = timeout(PATIENCE, async {
        loop {
            match PgConnection::connect_with(options).await {
                Ok(connection) => return Ok(connection),
                Err(error) if may_pass(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
    });
    match tried.await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Unanswered::Said(error)),
        Err(_) => Err(last.map_or(Unanswered::Silence, Unanswered::Said)),
    }
}

/// Server and database of a URL, without user and password.
pub(super) fn place(url: &str) -> Result<String, StorageError> {
    Ok(name(&options(url)?))
}

/// Whether a server may take a connection in a moment that it does not take now.
fn may_pass(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.as_deref().unwrap_or_default();
    // A login, a database or words that are wrong at a start are mistakes in its settings.
    let is_mistake = code.starts_with("28") || ["3D000", "08P01"].contains(&code);
    Ailment::of(error).passes() && !is_mistake
}

/// What to do about an error that only a pooler makes.
pub(super) fn about_pooler(error: &sqlx::Error) -> Option<&'static str> {
    let code = error.as_database_error()?.code()?;
    // `protocol_violation`: pgbouncer does not know what was asked for. `duplicate_prepared_statement`,
    // `invalid_sql_statement_name`: another client of it has made one on the same connection, or on another one.
    ["08P01", "42P05", "26000"]
        .contains(&&*code)
        .then_some(POOLER)
}

enum Unanswered {
    /// `lock_timeout` and `statement_timeout` of a connection that asked for others.
    Without(Vec<String>),
    Said(sqlx::Error),
    Silence,
}

const POOLER: &str = "a pooler such as pgbouncer seems to be in between, which cannot keep the limits of a connection: \
                      name PostgreSQL itself in `DATABASE_URL`";

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
            Unanswered::Without(limits) => (
                format!(
                    "its `lock_timeout` and `statement_timeout` are {limits:?} although {} and {} were asked for",
                    LIMITS[0].1, STATEMENT.1
                ),
                POOLER,
            ),
            Unanswered::Said(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                let advice = match code.as_deref() {
                    _ if about_pooler(&error).is_some() => POOLER,
                    Some("28P01" | "28000") => {
                        "see user and password in its address (`DATABASE_URL`, or `--from` of an import), and the server's pg_hba.conf"
                    }
                    Some("3D000") => "make the database with `createdb`, or name another",
                    Some("53300") => "the server has no connection left: see its max_connections",
                    Some("57P03") => "the server is starting or stopping; try again",
                    _ => {
                        "see whether the server runs there, and whether its address (`DATABASE_URL`, or `--from` of an import) is meant"
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_kind_of_database_is_none_of_postgresql() {
        assert!(options("postgres://me@db.example/app").is_ok());
        for url in ["mysql://me:hunter2@db.example/app", "db.example/app", ""] {
            let error = options(url).expect_err(url).to_string();
            assert!(
                error.contains("postgres://") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
