//! SQLite: `VACUUM INTO` reads one moment of the database, and nobody who writes waits for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chrono::Utc;
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{BackupError, Restored, partial, persist};
use crate::storage::{
    StorageError, newest, private,
    sqlite::{self, MIGRATIONS, Sqlite, WriterLock},
    words,
};

/// A database of SQLite: the file, and what lies beside it while it is open or after a crash.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Copies it into an empty file, and reads that through once.
pub(super) async fn copy(url: &str, target: &Path) -> Result<(), BackupError> {
    let (sqlite, database) = Sqlite::open_read_only(url).await?;
    let failed = |why| BackupError::Copy {
        database: database.clone(),
        why,
    };
    let Some(name) = target.to_str() else {
        return Err(failed("the path of the new file is not UTF-8".into()));
    };
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(name)
        .execute(&sqlite.read)
        .await;
    sqlite.close().await;
    copied.map_err(|error| failed(words(&error)))?;
    check(target).await.map(drop).map_err(failed)
}

/// Puts a copy of the file in the place of the database.
pub(super) async fn restore(
    url: &str,
    file: &Path,
    replace: bool,
) -> Result<Restored, BackupError> {
    let path = sqlite::path(url)?;
    let database = sqlite::place(&path);
    sqlite::create_parent(&path)?;
    let copy = partial(&path)?;
    fs::copy(file, copy.path()).map_err(|source| BackupError::write(&path, source))?;
    // `copy` gave it the mode of the backup, which may have been moved about.
    private::keep_private(copy.path());
    let version = check(copy.path()).await;
    let version = version.map_err(|why| BackupError::NoBackup {
        file: file.into(),
        why,
    })?;
    let known = newest(&MIGRATIONS);
    if version > known {
        return Err(BackupError::Storage(StorageError::Newer {
            database: file.display().to_string(),
            version,
            known,
        }));
    }
    let lock = WriterLock::beside(&path);
    let is_free = lock.take("restore");
    if !is_free.map_err(|source| BackupError::write(&path, source))? {
        return Err(BackupError::InUse { database });
    }
    // A log that lies there alone counts: SQLite would add what it holds to the restored database.
    let is_there = PARTS
        .iter()
        .any(|part| private::beside(&path, part).exists());
    let moved_aside = match (is_there, replace) {
        (false, _) => None,
        (true, true) => Some(move_aside(&path)?),
        (true, false) => {
            return Err(BackupError::DatabaseExists {
                database,
                advice: "`--replace` moves it aside",
            });
        }
    };
    if let Err(error) = persist(copy, &path) {
        if let Some(aside) = &moved_aside {
            // As it was, as far as that can be.
            rename_parts(aside, &path)?;
        }
        return Err(error);
    }
    Ok(Restored {
        database,
        moved_aside,
    })
}

/// Reads a database through; the version of its tables, or what is wrong.
async fn check(file: &Path) -> Result<i64, String> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .journal_mode(SqliteJournalMode::Delete);
    let read = async {
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&mut connection)
            .await?;
        let version: i64 =
            sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>((found, version))
    };
    match read.await {
        Ok((found, version)) if found == "ok" => Ok(version),
        Ok((found, _)) => Err(format!("it is damaged ({found})")),
        Err(error) => Err(words(&error)),
    }
}

/// Renames the database and what SQLite keeps beside it; its new name.
fn move_aside(path: &Path) -> Result<PathBuf, BackupError> {
    #[expect(clippy::disallowed_methods, reason = "a command runs now")]
    let suffix = Utc::now()
        .format(".before-restore-%Y%m%d-%H%M%S")
        .to_string();
    let aside = private::beside(path, &suffix);
    if aside.exists() {
        return Err(BackupError::FileExists { file: aside });
    }
    rename_parts(path, &aside)?;
    // People may be in another folder than they think.
    Ok(std::path::absolute(&aside).unwrap_or(aside))
}

/// The log goes with its database: it holds what was written last.
fn rename_parts(database: &Path, name: &Path) -> Result<(), BackupError> {
    for part in PARTS {
        let (from, to) = (private::beside(database, part), private::beside(name, part));
        if from.exists() {
            fs::rename(&from, &to).map_err(|source| BackupError::write(&from, source))?;
        }
    }
    Ok(())
}
