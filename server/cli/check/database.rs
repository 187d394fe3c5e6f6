//! The database, its disk, who may do what in it, and its copies.

use std::{
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;

use super::Findings;
use crate::{
    config::Config,
    storage::{DatabaseFile, DatabaseServer, Storage, StorageError},
};

/// The oldest PostgreSQL whose makers still mend it.
const OLDEST_POSTGRES: i64 = 140_000;
/// A clock may differ by so much before a check reports it, and before people are hurt by it.
const SKEW: TimeDelta = TimeDelta::seconds(2);
const HARMFUL_SKEW: TimeDelta = TimeDelta::seconds(60);
/// Bytes that the disk of the database should have free, and must have.
const ROOM: u64 = 2 << 30;
const LITTLE_ROOM: u64 = 200 << 20;
/// The longest that a database may take to be closed.
const CLOSING: Duration = Duration::from_secs(3);
/// A copy may be so old: one each night, and two hours.
const BACKUP_AGE: TimeDelta = TimeDelta::hours(26);

#[expect(clippy::disallowed_methods, reason = "a command looks now")]
pub(super) async fn look(config: &Config, backup: Option<&Path>, findings: &mut Findings) {
    let now = Utc::now();
    match Storage::open_read_only(&config.database.url).await {
        Ok(storage) => {
            findings.pass(
                "database",
                "it can be read, and its tables are this release's",
            );
            open(&storage, config, now, findings).await;
            // A look that was given up may go on in SQLite.
            let _ = timeout(CLOSING, storage.close()).await;
        }
        Err(
            StorageError::Missing { database }
            | StorageError::Older {
                database,
                version: 0,
                ..
            },
        ) => {
            findings.warn(
                "database",
                format!("`{database}` is not there yet, or is empty"),
                "the first start makes it; run this again then",
            );
            room(Path::new(&database), findings);
        }
        Err(error @ StorageError::Older { .. }) => findings.warn(
            "database",
            error.to_string(),
            "make a copy with the release of before (`modelramp backup`), then start this one",
        ),
        Err(error) => findings.fail(
            "database",
            error.to_string(),
            "no server can start on it; see docs/deployment.md",
        ),
    }
    copies(&config.database.url, backup, now, findings);
}

async fn open(storage: &Storage, config: &Config, now: DateTime<Utc>, findings: &mut Findings) {
    let condition = match storage.condition().await {
        Ok(condition) => condition,
        Err(error) => {
            return findings.fail(
                "database",
                format!("{error:#}"),
                "see what the database itself logs",
            );
        }
    };
    if let Some(server) = &condition.server {
        postgres(server, now, findings);
    }
    if let Some(file) = &condition.file {
        sqlite(file, findings);
    }
    match (condition.admins, &config.auth.owner_open_id) {
        (0, None) => findings.fail(
            "roles",
            "nobody is an admin, so nobody can stop a rollout",
            "set `OWNER_OPEN_ID`, or `modelramp token --user 1 --role admin`",
        ),
        (0, Some(_)) => findings.warn(
            "roles",
            "the owner has not signed in yet, and nobody else is an admin",
            "let the owner of `OWNER_OPEN_ID` sign in once",
        ),
        (1, None) => findings.warn(
            "roles",
            "one person alone is an admin",
            "let a second person be able to stop a rollout: `modelramp user set-role`",
        ),
        (admins, _) => findings.pass("roles", format!("{admins} admins, owner aside")),
    }
    match &condition.leader {
        None => findings.pass("leader", "nobody leads the rollouts; the next start will"),
        Some(holder) if condition.server.is_none() => findings.pass(
            "leader",
            format!("one server leads the rollouts: {holder}, unless it was killed"),
        ),
        Some(holder) => findings.pass("leader", format!("one server leads the rollouts: {holder}")),
    }
}

fn postgres(server: &DatabaseServer, now: DateTime<Utc>, findings: &mut Findings) {
    let version = format!(
        "PostgreSQL {}.{}",
        server.version / 10_000,
        server.version % 10_000
    );
    if server.version < OLDEST_POSTGRES {
        findings.warn(
            "database",
            format!("{version} is not mended any more"),
            "plan an upgrade to a version that its makers support",
        );
    } else {
        findings.pass("database", version);
    }
    match (server.is_remote, server.is_encrypted) {
        (true, false) => findings.fail(
            "database",
            "the connection to it leaves this machine unencrypted",
            "add `?sslmode=verify-full` to `DATABASE_URL`",
        ),
        (_, true) => findings.pass("database", "the connection to it is encrypted"),
        (false, false) => findings.pass("database", "the connection to it stays on this machine"),
    }
    let ahead = TimeDelta::milliseconds(server.now_ms.saturating_sub(now.timestamp_millis()));
    clock("the database's", ahead, findings);
}

/// Compares our clock with another.
pub(super) fn clock(whose: &str, ahead: TimeDelta, findings: &mut Findings) {
    let differs = format!(
        "ours and {whose} differ by {} ms",
        ahead.num_milliseconds().abs()
    );
    let todo = "let one time server set both clocks (chrony, systemd-timesyncd)";
    match ahead.abs() {
        skew if skew >= HARMFUL_SKEW => findings.fail("clock", differs, todo),
        skew if skew >= SKEW => findings.warn("clock", differs, todo),
        _ => findings.pass("clock", differs),
    }
}

fn sqlite(file: &DatabaseFile, findings: &mut Findings) {
    match (&file.damage, file.is_looked_through) {
        (Some(damage), _) => findings.fail(
            "database",
            format!("the file is damaged: {damage}"),
            "stop the server and restore the newest copy (`modelramp restore --replace FILE`)",
        ),
        (None, true) => findings.pass("database", "every page of the file was read"),
        (None, false) => findings.skip(
            "database",
            "the file is too large to be looked through within a minute",
            "look through a copy of it: `sqlite3 FILE 'PRAGMA integrity_check'`",
        ),
    }
    for path in files_of(&file.path) {
        if let Some(mode) = fs::metadata(&path).ok().and_then(|it| shared_mode(&it)) {
            let shown = path.display();
            findings.fail(
                "files",
                format!("others on this machine may read `{shown}` (mode {mode:o})"),
                format!("`chmod 600 {shown}`"),
            );
            return room(&file.path, findings);
        }
    }
    findings.pass("files", "only its owner may read the database");
    room(&file.path, findings);
}

/// The database with what lies beside it.
fn files_of(database: &Path) -> Vec<PathBuf> {
    let beside = ["", "-wal", "-shm"].map(|end| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    });
    beside.into()
}

/// The mode, where others than the owner may read or write.
#[cfg(unix)]
fn shared_mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn shared_mode(_: &Metadata) -> Option<u32> {
    None
}

/// How much the disk has free on which this file is, or will be.
fn room(file: &Path, findings: &mut Findings) {
    let mut folders = file.ancestors().skip(1);
    let Some(folder) = folders.find(|it| it.is_dir()) else {
        return;
    };
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} MB are free on the disk of the database", free >> 20);
    let todo = "make room, or shorten `EVENT_RETENTION`; a full disk stops rollouts and chat";
    match free {
        ..LITTLE_ROOM => findings.fail("disk", found, todo),
        LITTLE_ROOM..ROOM => findings.warn("disk", found, todo),
        _ => findings.pass("disk", found),
    }
}

fn copies(url: &str, backup: Option<&Path>, now: DateTime<Utc>, findings: &mut Findings) {
    let Some(file) = backup else {
        return findings.skip(
            "backup",
            "copies of the database are not looked at",
            "`--backup FILE` looks at the newest one",
        );
    };
    let shown = file.display();
    let todo = "`modelramp backup FILE`, each night by a timer";
    if let Err(error) = Storage::require_backup(url, file) {
        return findings.fail("backup", error.to_string(), todo);
    }
    let place = Storage::place(url).unwrap_or_default();
    if fs::canonicalize(file).is_ok_and(|it| fs::canonicalize(place).is_ok_and(|other| it == other))
    {
        return findings.fail("backup", format!("`{shown}` is the database itself"), todo);
    }
    let written = fs::metadata(file).and_then(|it| it.modified());
    match written.map(|at| now - DateTime::<Utc>::from(at)) {
        Ok(age) if age < -SKEW => findings.warn(
            "backup",
            format!("`{shown}` is of a time to come"),
            "see the clocks of this machine and of the one that wrote it",
        ),
        Ok(age) if age > BACKUP_AGE => findings.warn(
            "backup",
            format!("`{shown}` is {} hours old", age.num_hours()),
            todo,
        ),
        Ok(age) => findings.pass(
            "backup",
            format!("`{shown}` is {} hours old", age.num_hours()),
        ),
        Err(error) => findings.fail("backup", format!("`{shown}`: {error}"), todo),
    }
}
