//! What an operator asks of a database before users depend on it.

mod way;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use tokio::time::timeout;

use self::way::ConnectionPath;
use super::{Storage, db::Db};

/// The longest that a look at every page of a file may take.
const INTEGRITY_PATIENCE: Duration = Duration::from_secs(60);

/// How a database is.
#[derive(Debug)]
pub struct Condition {
    /// Of PostgreSQL alone.
    pub server: Option<DatabaseServer>,
    /// Of SQLite alone.
    pub file: Option<DatabaseFile>,
    /// Users who are admins and not deleted.
    pub admins: i64,
    /// Who leads the rollouts; on SQLite also who was killed while it led.
    pub leader: Option<String>,
}

/// A server of PostgreSQL.
#[derive(Debug)]
pub struct DatabaseServer {
    /// Such as 150004 for 15.4.
    pub version: i64,
    /// Its clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether our connection to it is encrypted.
    pub is_encrypted: bool,
    /// Whether our connection to it leaves the machine.
    pub is_remote: bool,
}

/// A file of SQLite.
#[derive(Debug)]
pub struct DatabaseFile {
    /// Where it is.
    pub path: PathBuf,
    /// What SQLite found damaged; `None` where nothing is, or where the look took too long.
    pub damage: Option<String>,
    /// Whether every page was looked at.
    pub is_looked_through: bool,
}

impl Storage {
    /// Looks; on SQLite at every page of the file, for a minute at most.
    pub async fn condition(&self) -> anyhow::Result<Condition> {
        let admins = on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT COUNT(*) FROM users WHERE role = 'admin' AND deleted_at IS NULL",
            )
            .fetch_one(pool)
            .await)
        .context("cannot count the admins")?;
        // On SQLite nothing runs out: who was killed has not given it back either.
        let in_force = match &self.db {
            Db::Sqlite(_) => "expires_ms > 0",
            Db::Postgres(_) => {
                "expires_ms > (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT"
            }
        };
        let leader = format!(
            "SELECT holder FROM leases WHERE name = 'rollouts' AND holder <> '' AND {in_force}"
        );
        let leader = on!(self.db.read(), pool => sqlx::query_scalar(sqlx::AssertSqlSafe(leader))
            .fetch_optional(pool)
            .await)
        .context("cannot read who leads")?;
        let mut condition = Condition {
            server: None,
            file: None,
            admins,
            leader,
        };
        match &self.db {
            Db::Postgres(postgres) => {
                let (version, now_ms) = sqlx::query_as(
                    "SELECT current_setting('server_version_num')::BIGINT, \
                     (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT",
                )
                .fetch_one(&postgres.pool)
                .await
                .context("cannot ask the database about itself")?;
                let way = ConnectionPath::to(&postgres.pool.connect_options()).await;
                let (is_encrypted, is_remote) = (way.is_encrypted, way.is_remote);
                condition.server = Some(DatabaseServer {
                    version,
                    now_ms,
                    is_encrypted,
                    is_remote,
                });
            }
            Db::Sqlite(sqlite) => {
                let look = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&sqlite.read);
                let looked: Option<Result<String, _>> =
                    timeout(INTEGRITY_PATIENCE, look).await.ok();
                let said = looked.transpose().context("cannot look through the file")?;
                condition.file = Some(DatabaseFile {
                    path: sqlite.files.database.clone(),
                    is_looked_through: said.is_some(),
                    damage: said.filter(|said| said != "ok"),
                });
            }
        }
        Ok(condition)
    }
}
