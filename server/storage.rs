//! Everything durable, in one database.
//!
//! Each file holds the queries of one area and implements the trait that stands beside that area's
//! code, so nothing outside this folder knows SQL. The queries keep to what SQLite and PostgreSQL
//! share: `$1` placeholders, `ON CONFLICT`, `RETURNING`, times as integers that Rust supplies. Only
//! the tables themselves differ (numbered ids), so each database has a folder of migrations.

#[macro_use]
mod db;
mod accounts;
mod api_keys;
mod audit;
mod backup;
mod changes;
mod commands;
mod condition;
mod conversations;
mod emails;
mod events;
mod failure;
mod flags;
mod import;
mod lease;
mod login_links;
mod moves;
mod original;
mod outbox;
mod people;
mod personal;
mod placebos;
mod postgres;
mod private;
mod probe;
mod quotas;
mod replicas;
mod requests;
mod rollouts;
mod samples;
mod secret;
mod sent_alerts;
mod series;
mod spending;
mod sqlite;
mod subjects;
mod takings;
mod texts;
mod trials;
mod upkeep;
mod users;
mod writers;

use std::{borrow::Cow, io, path::PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value::Error as ValueError};
use sqlx::migrate::{MigrateError, Migrator};

use self::db::Db;
use crate::_core::errors::in_full;

pub(crate) use self::writers::Writers;
pub use self::{
    backup::{BackupError, Restored},
    condition::{Condition, DatabaseFile, DatabaseServer},
    failure::passes,
    import::{ImportPlan, ImportReport, Imported},
    personal::Forgotten,
    postgres::ServerError,
    probe::DatabaseProbe,
    secret::{has_secret, secret_for_development},
    upkeep::{ROLLOUT_RETENTION, Rollup, Upkeep},
    users::UserError,
};

/// The open database; cheap to clone.
///
/// Another process may have the same one open and write to it.
#[derive(Clone)]
pub struct Storage {
    db: Db,
}

impl Storage {
    /// Opens `sqlite://path` (relative to the working folder, `sqlite:///path` for an absolute one;
    /// file and folder are created where they are missing) or `postgres://user@host/database`, and
    /// brings the tables up to date.
    pub async fn open(url: &str) -> Result<Self, StorageError> {
        Db::open(url).await.map(|db| Self { db })
    }

    /// Opens a database that is there already, for reading: nothing of it changes, and writing to it
    /// fails. One whose tables are not those of this release is refused.
    ///
    /// A server may have it open meanwhile. On SQLite a database that nobody has open gets a `-shm`
    /// and an empty `-wal` file beside it, as SQLite needs them to read; the next server uses them.
    pub async fn open_read_only(url: &str) -> Result<Self, StorageError> {
        Db::open_read_only(url).await.map(|db| Self { db })
    }

    /// Opens a database that is there already and whose tables are those of this release. A command must bring no
    /// table up to date: a server of before may use them, and its copy should be made first.
    pub async fn open_existing(url: &str) -> Result<Self, StorageError> {
        Self::require(url).await?;
        Self::open(url).await
    }

    /// The same, and makes one where there is none.
    pub async fn open_or_make(url: &str) -> Result<Self, StorageError> {
        match Self::require(url).await {
            Ok(()) | Err(StorageError::Missing { .. }) => Self::open(url).await,
            Err(error) => Err(error),
        }
    }

    /// Fails where no server has used this database yet, and so nobody's tables are there.
    pub async fn require(url: &str) -> Result<(), StorageError> {
        match Self::open_read_only(url).await {
            Ok(storage) => {
                storage.close().await;
                Ok(())
            }
            Err(StorageError::Older {
                database,
                version: 0,
                ..
            }) => Err(StorageError::Missing { database }),
            Err(error) => Err(error),
        }
    }

    /// Where the database is, for people: the whole path of a file, or server and name without user
    /// and password.
    pub fn place(url: &str) -> Result<String, StorageError> {
        if postgres::is_url(url) {
            postgres::place(url)
        } else {
            sqlite::path(url).map(|path| sqlite::place(&path))
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StorageError> {
        self.db.ping().await.map_err(StorageError::Ping)
    }

    /// Ends what runs and closes the files; calls after this fail.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Only the scheme is named: the rest of a URL may hold a password.
    #[error(
        "database URLs of kind `{scheme}` are not supported; use `sqlite://path/to/file.db` or \
         `postgres://user@host/database`"
    )]
    UnsupportedUrl {
        /// What stands before the first colon, or nothing.
        scheme: String,
    },
    /// `sqlite:`, but not a writable file behind it.
    #[error("the database URL `{url}` {why}; use `sqlite://path/to/file.db`")]
    NotAFile {
        /// As given, without what may be a password.
        url: String,
        /// Completes “the URL …”.
        why: &'static str,
    },
    /// Not repeated, as it may hold a password.
    #[error(
        "the PostgreSQL URL cannot be read; expected `postgres://user:password@host:port/database`"
    )]
    InvalidPostgresUrl,
    /// The folder of the file.
    #[error("cannot create the folder `{}` for the database", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no database or may not be written, or the server refuses us.
    #[error("cannot open the database `{database}`: {cause}")]
    Open {
        /// The file.
        database: String,
        /// Why not, said once.
        cause: String,
    },
    /// The PostgreSQL server cannot be reached, or refuses us.
    #[error(transparent)]
    Postgres(#[from] ServerError),
    /// There is no file to read.
    #[error(
        "there is no database at `{database}`; start the server here once, which makes it, or let \
         `DATABASE_URL` name the server's"
    )]
    Missing {
        /// Where it would be.
        database: String,
    },
    /// The files that SQLite needs for reading cannot be made.
    #[error(
        "cannot read the database `{database}`, because nothing can be written beside it; copy it, \
         with its `-wal` file if there is one, into another folder"
    )]
    NoRoom {
        /// The file.
        database: String,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The tables were made by a newer release.
    #[error(
        "the database `{database}` is of a newer modelramp (its schema has version {version}, this \
         program knows up to {known}); use that release or another database"
    )]
    Newer {
        /// The file, or server and name.
        database: String,
        /// A version that is unknown here.
        version: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The tables were made by an older release, and may not be changed.
    #[error(
        "the database `{database}` is of an older modelramp (its schema has version {version}, this \
         program reads version {known}); start this release's server on it once, which brings it up \
         to date, or read it with the release that made it"
    )]
    Older {
        /// The file, or server and name.
        database: String,
        /// The newest version that it has; 0 where it has no tables.
        version: i64,
        /// The version that is read here.
        known: i64,
    },
    /// The tables could not be brought up to date.
    #[error("cannot bring the tables of the database `{database}` up to date")]
    Migrate {
        /// The file, or server and name.
        database: String,
        /// What the migration failed at.
        source: MigrateError,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Ping(#[source] sqlx::Error),
}

impl StorageError {
    fn open(database: String, source: &sqlx::Error) -> Self {
        let mut cause = words(source);
        if let Some(advice) = postgres::about_pooler(source) {
            cause = format!("{cause}; {advice}");
        }
        Self::Open { database, cause }
    }

    fn migrate(database: String, known: &Migrator, source: MigrateError) -> Self {
        match source {
            MigrateError::VersionMissing(version) => Self::Newer {
                database,
                version,
                known: newest(known),
            },
            source => Self::Migrate { database, source },
        }
    }
}

/// An error of sqlx with its causes, each said once: its texts repeat what they wrap.
fn words(error: &sqlx::Error) -> String {
    in_full(error)
}

/// Its last migration's version.
fn newest(known: &Migrator) -> i64 {
    known.iter().map(|m| m.version).max().unwrap_or(0)
}

/// A stored time; one that is out of chrono's range, which we never store, becomes 1970.
fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// A plain enum's name as serde has it, which is also its name on the wire.
fn name(value: impl Serialize) -> anyhow::Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(name) => Ok(name),
        other => anyhow::bail!("`{other}` is not a name"),
    }
}

fn from_name<'de, T: Deserialize<'de>>(name: &'de str) -> anyhow::Result<T> {
    T::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).map_err(Into::into)
}

/// PostgreSQL keeps any text but the character NUL; so nobody has to know which database it is, both
/// keep the replacement character in its place.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}
