//! Copies the database into one file while servers use it, and makes a database of such a file.
//!
//! Each database by its own means: SQLite by `VACUUM INTO`, PostgreSQL by `pg_dump` and `pg_restore`.
//! A file appears under its name when it is whole and on the disk, and only its owner may read it.

mod postgres;
mod sqlite;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{Storage, StorageError, postgres::is_url};

/// A restored database.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    /// The file, or server and name.
    pub database: String,
    /// Where the database lies that it took the place of.
    pub moved_aside: Option<PathBuf>,
}

impl Storage {
    /// Writes all that the database holds at this moment into a new file; its size in bytes.
    pub async fn backup(url: &str, file: &Path) -> Result<u64, BackupError> {
        if file.exists() {
            return Err(BackupError::FileExists { file: file.into() });
        }
        let partial = partial(file)?;
        if is_url(url) {
            postgres::copy(url, partial.path()).await?;
        } else {
            sqlite::copy(url, partial.path()).await?;
        }
        let keep = || -> io::Result<u64> {
            let written = File::open(partial.path())?;
            written.sync_all()?;
            written.metadata().map(|metadata| metadata.len())
        };
        let bytes = keep().map_err(|source| BackupError::write(file, source))?;
        persist(partial, file)?;
        Ok(bytes)
    }

    /// Fails where a file does not begin as a backup of this kind of database does.
    pub fn require_backup(url: &str, file: &Path) -> Result<(), BackupError> {
        match (BackupKind::of(file)?, is_url(url)) {
            (BackupKind::Sqlite, false) | (BackupKind::Postgres, true) => Ok(()),
            (kind, _) => Err(BackupError::OtherKind {
                file: file.into(),
                kind: kind.name(),
                database: Self::place(url)?,
            }),
        }
    }

    /// Makes the database of a file that [`backup`](Self::backup) wrote. With `replace` a database of
    /// SQLite that is there is moved aside; one on PostgreSQL has to be empty.
    pub async fn restore(url: &str, file: &Path, replace: bool) -> Result<Restored, BackupError> {
        let kind = BackupKind::of(file)?;
        match (kind, is_url(url)) {
            (BackupKind::Sqlite, false) => sqlite::restore(url, file, replace).await,
            (BackupKind::Postgres, true) => postgres::restore(url, file, replace).await,
            (kind, _) => Err(BackupError::OtherKind {
                file: file.into(),
                kind: kind.name(),
                database: Self::place(url)?,
            }),
        }
    }
}

/// What a backup is of.
#[derive(Clone, Copy)]
enum BackupKind {
    Sqlite,
    Postgres,
}

impl BackupKind {
    /// By what the file begins with.
    fn of(file: &Path) -> Result<Self, BackupError> {
        // A pipe would be waited for.
        if std::fs::metadata(file).is_ok_and(|it| !it.is_file()) {
            return Err(BackupError::NoBackup {
                file: file.into(),
                why: "it is no regular file".into(),
            });
        }
        let mut start = [0; 16];
        let read = File::open(file).and_then(|mut open| open.read(&mut start));
        let length = read.map_err(|source| BackupError::read(file, source))?;
        match &start[..length] {
            b"SQLite format 3\0" => Ok(Self::Sqlite),
            start if start.starts_with(b"PGDMP") => Ok(Self::Postgres),
            _ => Err(BackupError::NoBackup {
                file: file.into(),
                why: "it begins as neither a SQLite database nor a dump of PostgreSQL does".into(),
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// An empty file in the folder of another; tempfile gives it the mode 0600.
fn partial(file: &Path) -> Result<NamedTempFile, BackupError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".modelramp-backup-")
        .tempfile_in(folder)
        .map_err(|source| BackupError::write(file, source))
}

/// Gives a whole file its name, unless another has it by now.
fn persist(partial: NamedTempFile, file: &Path) -> Result<(), BackupError> {
    let kept = partial.persist_noclobber(file);
    kept.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::FileExists { file: file.into() },
        _ => BackupError::write(file, error.error),
    })?;
    // So that the name outlives a crash of the machine; some file systems cannot.
    if let Some(folder) = file.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Why nothing was copied or restored. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing is written over.
    #[error("`{}` exists already; name another file", file.display())]
    FileExists {
        /// As given.
        file: PathBuf,
    },
    /// No folder, no room, no right.
    #[error("cannot write `{}`", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No such file, or no right.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else, or was cut.
    #[error("`{}` is no backup of modelramp: {why}", file.display())]
    NoBackup {
        /// As given.
        file: PathBuf,
        /// What it is instead, or lacks.
        why: String,
    },
    /// A backup of SQLite for PostgreSQL, or the other way round.
    #[error(
        "`{}` is a backup of {kind}, and `DATABASE_URL` names `{database}`; restore it into a database of \
         its own kind", file.display()
    )]
    OtherKind {
        /// As given.
        file: PathBuf,
        /// What it is of.
        kind: &'static str,
        /// The file, or server and name.
        database: String,
    },
    /// Nothing is written over.
    #[error("there is a database at `{database}` already; {advice}")]
    DatabaseExists {
        /// The file, or server and name.
        database: String,
        /// What to do.
        advice: &'static str,
    },
    /// Its server would go on with what it knows.
    #[error("a server uses the database `{database}`; stop it first")]
    InUse {
        /// The file, or server and name.
        database: String,
    },
    /// SQLite cannot copy it, or it is damaged.
    #[error("cannot copy the database `{database}`: {why}")]
    Copy {
        /// The file.
        database: String,
        /// What SQLite said.
        why: String,
    },
    /// `pg_dump` or `pg_restore` is not there.
    #[error(
        "cannot run `{program}`, which copies PostgreSQL; install PostgreSQL's client programs (Debian: \
         `postgresql-client`)"
    )]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `pg_dump` or `pg_restore` failed.
    #[error("`{program}` failed for `{database}`: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Server and name.
        database: String,
        /// The end of what it said.
        said: String,
    },
}

impl BackupError {
    fn write(file: &Path, source: io::Error) -> Self {
        let file = file.into();
        Self::Write { file, source }
    }

    fn read(file: &Path, source: io::Error) -> Self {
        let file = file.into();
        Self::Read { file, source }
    }
}
