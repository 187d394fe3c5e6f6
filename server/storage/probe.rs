//! Whether the database can be used now, for `/readyz`.
//!
//! A database that answers is not enough: a full disk still reads, and a file that was deleted, replaced
//! or overwritten goes on working in this process until it stops, and all that was written is lost. So
//! the probe writes a little, reads of every table, and on SQLite looks at the files themselves. Load balancers ask often, so
//! what was found holds for [`FRESH`], and one look serves all who ask meanwhile.

use std::{io, path::Path, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgPool, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::{Instant, timeout};

use super::{Storage, db::Db, failure::Ailment, sqlite::DatabaseFiles};

/// How long an answer holds.
const FRESH: Duration = Duration::from_secs(3);
/// How long a look may take; who asks waits for 2 s.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// More than a page of the log and its header, so that a disk whose last free block is in a file of ours
/// counts as full.
const ROOM: usize = 64 * 1024;
/// What every database file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What requests read and write, by name.
const TABLES: [&str; 33] = [
    "alert_deliveries",
    "alerts",
    "api_keys",
    "changes",
    "conversations",
    "email_insights",
    "email_suggestions",
    "ended_sessions",
    "event_order",
    "event_rollups",
    "events",
    "flag_audit",
    "imported",
    "key_spending",
    "leases",
    "live_flags",
    "login_links",
    "message_ratings",
    "messages",
    "move_bets",
    "move_refusals",
    "move_reports",
    "moves",
    "placebos",
    "quotas",
    "request_texts",
    "rollout_audit",
    "rollout_samples",
    "rollouts",
    "trials",
    "upkeep",
    "users",
    "writers",
];

/// And what only a database has that several processes share.
const SHARED_TABLES: [&str; 3] = ["commands", "replicas", "rollout_places"];

/// Asks whether a database can be used.
pub struct DatabaseProbe {
    storage: Storage,
    last: tokio::sync::Mutex<Option<(Instant, Option<&'static str>)>>,
}

impl Storage {
    /// A probe of this database.
    pub fn probe(&self) -> DatabaseProbe {
        DatabaseProbe {
            storage: self.clone(),
            last: tokio::sync::Mutex::new(None),
        }
    }
}

/// What is wrong, in words that anybody may read, with a cause for the log.
struct Trouble(&'static str, String);

const FULL: &str = "the disk of the database is full";
const READ_ONLY: &str = "the database can only be read";
const GONE: &str =
    "the file of the database is gone: it was deleted or moved while the server runs";
const REPLACED: &str = "the file of the database was replaced by another while the server runs";
const LOG_GONE: &str =
    "the log of the database (its -wal file) was deleted or replaced while the server runs";
const DAMAGED: &str = "the file of the database is damaged";
const UNUSABLE: &str = "the database can be neither read nor written";
const CHANGED: &str = "the tables of the database are not those that this release made";
const SILENT: &str = "the database does not answer in time";

impl DatabaseProbe {
    /// Why the database cannot be used; none where it can.
    pub async fn reason(&self) -> Option<&'static str> {
        let mut last = self.last.lock().await;
        let before = match *last {
            Some((at, reason)) if at.elapsed() < FRESH => return reason,
            Some((_, reason)) => reason,
            None => None,
        };
        let found = match timeout(PATIENCE, self.look()).await {
            Ok(Ok(())) => None,
            Ok(Err(trouble)) => Some(trouble),
            Err(_) => Some(Trouble(SILENT, format!("not within {PATIENCE:?}"))),
        };
        let reason = found.as_ref().map(|Trouble(reason, _)| *reason);
        match found {
            Some(Trouble(reason, cause)) if before != Some(reason) => {
                tracing::error!(reason, cause, "the database cannot be used");
            }
            None if before.is_some() => tracing::info!("the database can be used again"),
            _ => {}
        }
        *last = Some((Instant::now(), reason));
        reason
    }

    async fn look(&self) -> Result<(), Trouble> {
        if let Db::Sqlite(sqlite) = &self.storage.db {
            let files = sqlite.files.clone();
            let looked = tokio::task::spawn_blocking(move || look_at(&files)).await;
            looked.map_err(|error| Trouble(UNUSABLE, error.to_string()))??;
        }
        let written = changed!(self.storage.db.write(), pool => sqlx::query(
                "INSERT INTO upkeep (name, value) VALUES ('probe', 1) \
                 ON CONFLICT (name) DO UPDATE SET value = upkeep.value % 1000000 + 1",
            )
            .execute(pool));
        written.map_err(|error| trouble(&error))?;
        let read = match &self.storage.db {
            Db::Sqlite(sqlite) => read_anew(&sqlite.files.database).await,
            Db::Postgres(postgres) => read_all(&postgres.pool).await,
        };
        read.map_err(|error| trouble(&error))
    }
}

/// The files as they lie there now.
fn look_at(files: &DatabaseFiles) -> Result<(), Trouble> {
    let shown = files.database.display();
    match files.identity_now() {
        Ok((database, _)) if database != files.identity.0 => {
            return Err(Trouble(REPLACED, format!("`{shown}`")));
        }
        Ok((_, log)) if log != files.identity.1 => {
            return Err(Trouble(LOG_GONE, format!("`{shown}-wal`")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Trouble(GONE, format!("`{shown}`")));
        }
        Err(error) => return Err(Trouble(UNUSABLE, format!("`{shown}`: {error}"))),
    }
    match files.start() {
        Ok(start) if start == *MAGIC => {}
        Ok(_) => return Err(Trouble(DAMAGED, format!("`{shown}` has lost its header"))),
        Err(error) => return Err(Trouble(DAMAGED, format!("`{shown}`: {error}"))),
    }
    has_room(files.database.parent()).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
            _ => FULL,
        };
        Trouble(reason, format!("beside `{shown}`: {error}"))
    })
}

/// Whether something can be written beside the database. Where no file may be made at all the database
/// itself may still be written, which is tried after.
fn has_room(folder: Option<&Path>) -> io::Result<()> {
    use io::{ErrorKind::*, Write};
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    // It has no name, so that a process which is killed leaves nothing.
    let written = tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
        .and_then(|mut file| file.write_all(&[0; ROOM]));
    match written {
        Err(error)
            if matches!(
                error.kind(),
                StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The first page of every table, past the caches of open connections.
async fn read_anew(database: &Path) -> sqlx::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    for table in TABLES {
        sqlx::query(AssertSqlSafe(first_of(table)))
            .fetch_optional(&mut connection)
            .await?;
    }
    connection.close().await
}

/// In one statement: a database may be far away.
async fn read_all(pool: &PgPool) -> sqlx::Result<()> {
    let tables = TABLES.iter().chain(&SHARED_TABLES);
    let each: Vec<_> = tables
        .map(|table| format!("({})", first_of(table)))
        .collect();
    sqlx::query(AssertSqlSafe(each.join(" UNION ALL ")))
        .fetch_all(pool)
        .await?;
    Ok(())
}

fn first_of(table: &str) -> String {
    format!("SELECT 1 FROM {table} LIMIT 1")
}

fn trouble(error: &sqlx::Error) -> Trouble {
    let reason = match Ailment::of(error) {
        Ailment::Full => FULL,
        Ailment::ReadOnly => READ_ONLY,
        Ailment::Damaged => DAMAGED,
        Ailment::Busy => SILENT,
        Ailment::Away => UNUSABLE,
        Ailment::Well => CHANGED,
    };
    Trouble(reason, super::words(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_table_is_asked_and_one_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db", folder.path().display());
        let storage = Storage::open(&url).await.unwrap();
        let Db::Sqlite(sqlite) = &storage.db else {
            unreachable!("the URL says so")
        };
        let there: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
             AND name <> '_sqlx_migrations' ORDER BY name",
        )
        .fetch_all(&sqlite.read)
        .await
        .unwrap();
        assert_eq!(there, TABLES);
        assert_eq!(storage.probe().reason().await, None);
        sqlx::query("ALTER TABLE users RENAME TO elsewhere")
            .execute(&sqlite.write)
            .await
            .unwrap();
        assert_eq!(storage.probe().reason().await, Some(CHANGED));
    }
}
