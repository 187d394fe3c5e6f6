//! Everything durable, in one database.
//!
//! Each file holds the queries of one area and implements the trait that stands beside that area's
//! code, so nothing outside this folder knows SQL. The queries keep to what SQLite and PostgreSQL
//! share: `$1` placeholders, `ON CONFLICT`, `RETURNING`, times as integers that Rust supplies. Only
//! the tables themselves differ (numbered ids), so each database has a folder of migrations.

mod conversations;
mod db;
mod events;
mod secret;
mod users;

use std::{io, path::PathBuf};

use chrono::{DateTime, Utc};

use self::db::Db;

pub use self::{secret::secret_for_development, users::UserError};

/// The open database; cheap to clone.
///
/// Another process may have the same file open and write to it.
#[derive(Clone)]
pub struct Storage {
    db: Db,
}

impl Storage {
    /// Opens `sqlite://path` (relative to the working folder, `sqlite:///path` for an absolute one),
    /// creates file and folder where they are missing, and brings the tables up to date.
    pub async fn open(url: &str) -> Result<Self, StorageError> {
        Db::open(url).await.map(|db| Self { db })
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
    #[error("database URLs of kind `{scheme}` are not supported; use `sqlite://path/to/file.db`")]
    UnsupportedUrl {
        /// What stands before the first colon, or nothing.
        scheme: String,
    },
    /// `sqlite:`, but not a writable file behind it.
    #[error("`{url}` is not a database file that can be kept; use `sqlite://path/to/file.db`")]
    NotAFile {
        /// As given.
        url: String,
    },
    /// A parameter that SQLite does not know, or bad encoding.
    #[error("the database URL `{url}` cannot be read")]
    InvalidUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// The folder of the file.
    #[error("cannot create the folder `{}` for the database", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no database, or may not be written.
    #[error("cannot open the database `{}` for writing", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: sqlx::Error,
    },
    /// The file was written by a newer release.
    #[error(
        "the database `{}` is of a newer modelramp (its schema has version {version}, this program \
         knows up to {known}); use that release or another file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first version that is unknown here.
        version: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The tables could not be brought up to date.
    #[error("cannot bring the tables of the database `{}` up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: sqlx::migrate::MigrateError,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Ping(#[source] sqlx::Error),
}

/// A stored time; one that is out of chrono's range, which we never store, becomes 1970.
fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}
