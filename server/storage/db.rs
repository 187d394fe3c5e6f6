//! Either database, so that a query is written once.
//!
//! sqlx ties a query to its database by type. `on!` names the pool or transaction of whichever is
//! open and compiles the same expression for both; only what differs is written twice.

use std::cmp::Ordering;

use sqlx::{PgPool, Postgres as PostgresDriver, Sqlite as SqliteDriver, SqlitePool, Transaction};

use super::{
    StorageError, newest,
    postgres::{self, Postgres},
    sqlite::{self, Sqlite},
};

/// `on!(self.db.read(), pool => sqlx::query("SELECT 1").execute(pool).await)`
macro_rules! on {
    ($either:expr, $name:ident => $body:expr) => {
        match $either {
            $crate::storage::db::Either::Sqlite($name) => $body,
            $crate::storage::db::Either::Postgres($name) => $body,
        }
    };
}

/// The same for a statement that gives no rows: how many it changed.
macro_rules! changed {
    ($either:expr, $name:ident => $statement:expr) => {
        on!($either, $name => $statement.await.map(|done| done.rows_affected()))
    };
}

/// The same for a statement that changes something and returns rows: the first of them.
///
/// sqlx's own ways to one row leave the statement there. SQLite commits a statement at its end, so
/// an error of that would be nobody's, and what is not stored would seem to be.
macro_rules! returned {
    ($either:expr, $name:ident => $statement:expr) => {
        on!($either, $name => $statement.await.map(|rows| rows.into_iter().next()))
    };
}

/// A value for SQLite, or the same kind of value for PostgreSQL.
#[derive(Clone)]
pub(super) enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

/// The open database.
pub(super) type Db = Either<Sqlite, Postgres>;
/// Where queries go.
pub(super) type Pool<'a> = Either<&'a SqlitePool, &'a PgPool>;
/// A transaction that will write; dropping it undoes it.
pub(super) type Write =
    Either<Transaction<'static, SqliteDriver>, Transaction<'static, PostgresDriver>>;

impl Db {
    pub(super) async fn open(url: &str) -> Result<Self, StorageError> {
        if postgres::is_url(url) {
            postgres::open(url).await.map(Self::Postgres)
        } else {
            Sqlite::open(url).await.map(Self::Sqlite)
        }
    }

    /// Opens it for reading only; refuses tables of another release, which it may not change.
    pub(super) async fn open_read_only(url: &str) -> Result<Self, StorageError> {
        let (db, database, known) = if postgres::is_url(url) {
            let (postgres, database) = postgres::open_read_only(url).await?;
            (Self::Postgres(postgres), database, &*postgres::MIGRATIONS)
        } else {
            let (sqlite, database) = Sqlite::open_read_only(url).await?;
            (Self::Sqlite(sqlite), database, &sqlite::MIGRATIONS)
        };
        let version = match db.version().await {
            Ok(version) => version,
            Err(source) if sqlite::has_no_room(&source) => {
                return Err(StorageError::NoRoom { database, source });
            }
            Err(source) => return Err(StorageError::open(database, &source)),
        };
        let known = newest(known);
        match version.cmp(&known) {
            Ordering::Less => Err(StorageError::Older {
                database,
                version,
                known,
            }),
            Ordering::Equal => Ok(db),
            Ordering::Greater => Err(StorageError::Newer {
                database,
                version,
                known,
            }),
        }
    }

    /// That of the newest migration; 0 where there was none.
    async fn version(&self) -> sqlx::Result<i64> {
        // Not `_sqlx_migrations` itself, which an empty database does not have.
        let has_migrations = match self {
            Self::Sqlite(_) => "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = $1)",
            Self::Postgres(_) => "SELECT to_regclass($1) IS NOT NULL",
        };
        on!(self.read(), pool => {
            let has_migrations: bool = sqlx::query_scalar(has_migrations)
                .bind("_sqlx_migrations")
                .fetch_one(pool)
                .await?;
            if !has_migrations {
                return Ok(0);
            }
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
                .fetch_one(pool)
                .await
        })
    }

    /// For single `SELECT`s.
    pub(super) fn read(&self) -> Pool<'_> {
        match self {
            Self::Sqlite(sqlite) => Either::Sqlite(&sqlite.read),
            Self::Postgres(postgres) => Either::Postgres(&postgres.pool),
        }
    }

    /// For single `SELECT`s that may take minutes.
    pub(super) fn read_long(&self) -> Pool<'_> {
        match self {
            Self::Sqlite(sqlite) => Either::Sqlite(&sqlite.read),
            Self::Postgres(postgres) => Either::Postgres(&postgres.long),
        }
    }

    /// For single statements that change something.
    pub(super) fn write(&self) -> Pool<'_> {
        match self {
            Self::Sqlite(sqlite) => Either::Sqlite(&sqlite.write),
            Self::Postgres(postgres) => Either::Postgres(&postgres.pool),
        }
    }

    /// For single statements that change something and may take minutes.
    pub(super) fn write_long(&self) -> Pool<'_> {
        match self {
            Self::Sqlite(sqlite) => Either::Sqlite(&sqlite.write),
            Self::Postgres(postgres) => Either::Postgres(&postgres.long),
        }
    }

    /// For several of them. On SQLite it holds the write lock from here on, so that reading first
    /// and then writing is safe; on PostgreSQL only what is locked is safe.
    pub(super) async fn begin(&self) -> sqlx::Result<Write> {
        Ok(match self {
            Self::Sqlite(sqlite) => {
                Either::Sqlite(sqlite.write.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Postgres(postgres) => Either::Postgres(postgres.pool.begin().await?),
        })
    }

    /// The same where it may take minutes.
    pub(super) async fn begin_long(&self) -> sqlx::Result<Write> {
        match self {
            Self::Sqlite(_) => self.begin().await,
            Self::Postgres(postgres) => Ok(Either::Postgres(postgres.long.begin().await?)),
        }
    }

    /// What a transaction begins with that reads several times and must not see changes between; SQLite's
    /// read one state anyway.
    pub(super) const fn one_state(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    /// What stands behind a text that is ordered, so that it is ordered byte by byte, as Rust does it.
    pub(super) const fn bytewise(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " COLLATE \"C\"",
        }
    }

    pub(super) async fn ping(&self) -> sqlx::Result<()> {
        on!(self.read(), pool => sqlx::query("SELECT 1").execute(pool).await.map(|_| ()))
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}

impl Write {
    pub(super) async fn commit(self) -> sqlx::Result<()> {
        on!(self, transaction => transaction.commit().await)
    }
}
