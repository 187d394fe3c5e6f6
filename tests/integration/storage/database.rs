//! A database of either kind for one test.

use modelramp::storage::Storage;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::support::postgres;

/// Makes two tests of each function, one with each kind of database.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::storage::database::Database::sqlite().await).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(database) = $crate::storage::database::Database::postgres().await {
                    super::$test(database).await;
                }
            })+
        }
    };
}

/// An open database that nobody else uses.
pub(super) struct Database {
    pub(super) storage: Storage,
    pub(super) url: String,
    /// Where SQLite's file is.
    _folder: Option<TempDir>,
}

impl Database {
    pub(super) async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}/data/modelramp.db", folder.path().display());
        Self {
            storage: Storage::open(&url).await.unwrap(),
            url,
            _folder: Some(folder),
        }
    }

    pub(super) async fn postgres() -> Option<Self> {
        let url = postgres::database().await?;
        Some(Self {
            storage: Storage::open(&url).await.unwrap(),
            url,
            _folder: None,
        })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// The same database as another process would have it.
    pub(super) async fn again(&self) -> Storage {
        Storage::open(&self.url).await.unwrap()
    }

    /// Changes it behind the storage's back.
    pub(super) async fn execute(&self, sql: &str) -> sqlx::Result<()> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        }
    }

    /// The number that a query gives.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        let read = async {
            if self.is_sqlite() {
                let mut connection = SqliteConnection::connect(&self.url).await?;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            } else {
                let mut connection = PgConnection::connect(&self.url).await?;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            }
        };
        read.await.unwrap()
    }
}
