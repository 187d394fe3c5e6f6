//! Opens a database file and keeps its connections.
//!
//! SQLite lets one connection write at a time and makes the others poll. So writes of this process
//! queue, fairly and without polling, for the one connection of their own pool; the busy timeout is
//! only for other processes. A transaction begins with the statement that writes, because one that
//! first reads and then writes fails at once, whatever the timeout, if somebody wrote in between.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    migrate::Migrator,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};
use tokio::time::Instant;

use super::{StorageError, failure::Ailment, private};
use crate::_core::{database_url::sqlite_file, masked::masked};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("server/storage/migrations/sqlite");

/// How long a write waits for other processes, and before that for its turn in this one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries where SQLite itself does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Connections that read.
const READERS: u32 = 4;

/// Connections to read and one to write.
#[derive(Clone)]
pub(super) struct Sqlite {
    /// For single `SELECT`s.
    pub(super) read: SqlitePool,
    /// For everything that changes something.
    pub(super) write: SqlitePool,
    pub(super) writer_lock: Arc<WriterLock>,
    pub(super) files: Arc<DatabaseFiles>,
}

/// The files of an open database, by which a probe knows that they are still the same.
pub(super) struct DatabaseFiles {
    pub(super) database: PathBuf,
    /// Of the database and of its log.
    pub(super) identity: (Identity, Option<Identity>),
    /// The database, open as long as its connections are. A process that closes a file gives up all its
    /// locks on it, those of SQLite too; then the next other process that closes the database takes
    /// itself for the last, and deletes the log under this one.
    open: Option<Mutex<File>>,
}

/// Device and number of a file.
pub(super) type Identity = (u64, u64);

impl DatabaseFiles {
    fn of(database: &Path) -> Self {
        let mut files = Self {
            database: database.to_owned(),
            identity: Default::default(),
            open: File::open(database).ok().map(Mutex::new),
        };
        // What cannot be looked at now is gone later, too.
        files.identity = files.identity_now().unwrap_or_default();
        files
    }

    /// What lies there now.
    pub(super) fn identity_now(&self) -> io::Result<(Identity, Option<Identity>)> {
        let log = private::beside(&self.database, "-wal");
        Ok((identity(&self.database)?, identity(&log).ok()))
    }

    /// What the database begins with now.
    pub(super) fn start<const BYTES: usize>(&self) -> io::Result<[u8; BYTES]> {
        let open = self.open.as_ref().ok_or(io::ErrorKind::PermissionDenied)?;
        let mut open = open.lock();
        let mut start = [0; BYTES];
        open.rewind()?;
        open.read_exact(&mut start)?;
        Ok(start)
    }
}

#[cfg(unix)]
fn identity(file: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Other systems do not let go of an open file.
#[cfg(not(unix))]
fn identity(file: &Path) -> io::Result<Identity> {
    file.metadata().map(|_| (0, 0))
}

impl Sqlite {
    pub(super) async fn open(url: &str) -> Result<Self, StorageError> {
        let (path, options) = parse(url)?;
        create_parent(&path)?;
        private::keep_private(&path);
        let cannot_open = |source: sqlx::Error| StorageError::open(place(&path), &source);
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let write = connect_writer(&options).await.map_err(cannot_open)?;
        let mut connection = write.acquire().await.map_err(cannot_open)?;
        migrate(&mut connection, &path).await?;
        drop(connection);
        let read = pool(READERS)
            .connect_with(options)
            .await
            .map_err(cannot_open)?;
        Ok(Self {
            read,
            write,
            writer_lock: Arc::new(WriterLock::beside(&path)),
            files: Arc::new(DatabaseFiles::of(&path)),
        })
    }

    /// Opens a file that is there, for reading. With its name.
    pub(super) async fn open_read_only(url: &str) -> Result<(Self, String), StorageError> {
        let (path, options) = parse(url)?;
        let database = place(&path);
        if !path.exists() {
            return Err(StorageError::Missing { database });
        }
        // Not `immutable`, which would spare SQLite its files beside it: that reads past a server's
        // log, and past what a server does meanwhile.
        let options = options.read_only(true).busy_timeout(BUSY_TIMEOUT);
        let read = match pool(READERS).connect_with(options).await {
            Ok(read) => read,
            Err(source) => return Err(StorageError::open(database, &source)),
        };
        let sqlite = Self {
            write: read.clone(),
            read,
            writer_lock: Arc::new(WriterLock::beside(&path)),
            files: Arc::new(DatabaseFiles::of(&path)),
        };
        Ok((sqlite, database))
    }

    pub(super) async fn close(&self) {
        // The writer last: whoever closes last folds the log into the file.
        self.read.close().await;
        self.write.close().await;
        self.writer_lock.free();
    }
}

/// The right to control rollouts: a lock of the operating system on a file beside the database,
/// which a process that dies gives back at once.
pub(super) struct WriterLock {
    path: PathBuf,
    /// While it is ours, with the name it was taken under.
    held: Mutex<Option<(File, String)>>,
}

impl WriterLock {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: private::beside(database, ".writer-lock"),
            held: Mutex::new(None),
        }
    }

    /// Whether it is now held under this name; a holder may take it again.
    pub(super) fn take(&self, holder: &str) -> io::Result<bool> {
        let mut held = self.held.lock();
        if let Some((_, by)) = &*held {
            return Ok(by == holder);
        }
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some((file, holder.to_owned()));
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether it is held by this process.
    pub(super) fn is_held(&self) -> bool {
        self.held.lock().is_some()
    }

    /// Gives it back.
    pub(super) fn free(&self) {
        if let Some((file, _)) = self.held.lock().take() {
            // Closing would do, but for a program that is started at this moment and has the file open until it runs.
            let _ = file.unlock();
        }
    }
}

/// The file that a URL names.
pub(super) fn path(url: &str) -> Result<PathBuf, StorageError> {
    parse(url).map(|(path, _)| path)
}

/// Where a file is, for people who may be in another folder than they think.
pub(super) fn place(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    path.display().to_string()
}

/// Creates the folder of a file.
pub(super) fn create_parent(path: &Path) -> Result<(), StorageError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|source| StorageError::Folder {
                path: folder.to_owned(),
                source,
            })
        }
        _ => Ok(()),
    }
}

fn parse(url: &str) -> Result<(PathBuf, SqliteConnectOptions), StorageError> {
    match sqlite_file(url) {
        Some(Ok(path)) => {
            // Not parsed from the URL, because sqlx would decode `%2F` and so on.
            let options = SqliteConnectOptions::new().filename(path);
            Ok((path.to_owned(), options))
        }
        Some(Err(why)) => Err(StorageError::NotAFile {
            url: masked(url),
            why,
        }),
        None => Err(StorageError::UnsupportedUrl {
            scheme: masked(url.split_once(':').unwrap_or_default().0),
        }),
    }
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(size)
        .idle_timeout(None)
        .max_lifetime(None)
        // Behind a lock of another process a queue would else wait for each of its writes in turn.
        .acquire_timeout(BUSY_TIMEOUT)
        // A full disk makes SQLite itself undo a transaction, which sqlx 0.9 does not notice: its
        // own undoing fails, and the connection takes itself to be in a transaction for ever.
        .before_acquire(|connection, _| {
            let is_usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_usable) })
        })
}

/// The one connection that writes. A file or log that may not be written just then SQLite opens for reading,
/// and the connection stays so for ever; so it is used once, and the next write has a new one.
fn writer() -> SqlitePoolOptions {
    let only_reads = Arc::new(AtomicBool::new(false));
    let noted = only_reads.clone();
    pool(1)
        .after_connect(move |connection, _| {
            let noted = noted.clone();
            Box::pin(async move {
                noted.store(is_read_only(connection).await?, Ordering::Relaxed);
                Ok(())
            })
        })
        .before_acquire(move |connection, _| {
            let is_usable = !connection.is_in_transaction() && !only_reads.load(Ordering::Relaxed);
            Box::pin(async move { Ok(is_usable) })
        })
}

/// Whether SQLite opened a file for reading only. It says so before it waits for any lock.
async fn is_read_only(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let set_timeout = |timeout: Duration| {
        let timeout = timeout.as_millis();
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA busy_timeout = {timeout}")))
    };
    set_timeout(Duration::ZERO)
        .execute(&mut *connection)
        .await?;
    let tried = sqlx::raw_sql("DELETE FROM upkeep WHERE 0")
        .execute(&mut *connection)
        .await;
    set_timeout(BUSY_TIMEOUT).execute(connection).await?;
    // A fresh file has no such table yet, and what is locked is not for reading only.
    Ok(tried.is_err_and(|error| Ailment::of(&error) == Ailment::ReadOnly))
}

/// The first connection turns a fresh file's write-ahead log on. SQLite does not wait for that but
/// fails at once where another process is about to do the same, so here we wait in its place.
async fn connect_writer(options: &SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    let patience = Instant::now() + BUSY_TIMEOUT;
    loop {
        match writer().connect_with(options.clone()).await {
            Err(error) if Ailment::of(&error) == Ailment::Busy && Instant::now() < patience => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Whether SQLite cannot make the files that it needs beside a database.
pub(super) fn has_no_room(error: &sqlx::Error) -> bool {
    /// `SQLITE_READONLY_DIRECTORY`
    const READONLY_DIRECTORY: &str = "1544";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == READONLY_DIRECTORY)
}

/// In one transaction that holds the write lock from the start, so that of two processes that begin
/// with a fresh file the second finds the work done.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::migrate(place(path), &MIGRATIONS, source);
    let work = async {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        MIGRATIONS
            .run_direct(None, &mut *transaction, false)
            .await?;
        Ok(transaction.commit().await?)
    };
    work.await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_and_passwords_are_not_repeated() {
        for url in [
            "sqlite::memory:",
            "sqlite://folder/",
            "sqlite://a.db?colour=red",
        ] {
            assert!(
                matches!(path(url), Err(StorageError::NotAFile { .. })),
                "{url}"
            );
        }
        for url in [
            "",
            "data/modelramp.db",
            "postgres://u:hunter2@host/db",
            "password=hunter2 host=a:b",
        ] {
            let error = path(url).unwrap_err();
            assert!(
                matches!(error, StorageError::UnsupportedUrl { .. }),
                "{url}"
            );
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    /// The world: a disk that can only be read for a while, as after an error of it.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_could_only_be_read_is_written_again() {
        use std::{os::unix::fs::PermissionsExt, process::Command};

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let sqlite = Sqlite::open(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let write = || sqlx::raw_sql("DELETE FROM upkeep").execute(&sqlite.write);
        // The log; the descriptor of the database itself SQLite keeps and uses again.
        let log = private::beside(&file, "-wal");
        // Root writes whatever the mode says, but not what is immutable.
        let allow = |mode, flag| {
            let set = || std::fs::set_permissions(&log, std::fs::Permissions::from_mode(mode));
            let _ = set();
            let _ = Command::new("chattr").arg(flag).arg(&log).output();
            let _ = set();
        };
        allow(0o400, "+i");
        let is_refused = File::options().append(true).open(&log).is_err();
        // A write that fails in a transaction has its connection opened anew.
        let connection = sqlite.write.acquire().await.unwrap();
        connection.close().await.unwrap();
        let refused = write().await.map_err(|error| Ailment::of(&error));
        allow(0o600, "-i");
        // Where neither root nor anybody else can be kept from writing, nothing is refused.
        assert_eq!(refused.err(), is_refused.then_some(Ailment::ReadOnly));
        write().await.unwrap();
    }
}
