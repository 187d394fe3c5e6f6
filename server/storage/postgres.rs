//! Opens a PostgreSQL database.

use std::{str::FromStr, time::Duration};

use sqlx::{
    PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::StorageError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("server/storage/migrations/postgres");

/// Connections of one process.
const CONNECTIONS: u32 = 8;
/// How long a query waits for a connection, and so a start for the server.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let connected = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await;
    match connected {
        Ok(pool) => Ok((pool, database)),
        Err(source) => Err(StorageError::Open { database, source }),
    }
}

/// Server and database of a URL, without user and password.
pub(super) fn place(url: &str) -> Result<String, StorageError> {
    Ok(name(&options(url)?))
}

/// Server and database, without user and password.
fn name(options: &PgConnectOptions) -> String {
    let host = options
        .get_socket()
        .map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    let database = options.get_database().unwrap_or_default();
    format!("postgres://{host}:{}/{database}", options.get_port())
}
