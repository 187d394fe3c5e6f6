//! Files that only their owner may read: the database holds sessions' users and conversations.

use std::path::{Path, PathBuf};

/// What SQLite and we keep beside a database, the database itself included.
const BESIDE: [&str; 5] = ["", "-wal", "-shm", ".writer-lock", ".jwt-secret"];

/// A file beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes the database's file, and takes from others what they may do with the files that are there.
/// SQLite gives its own files the mode of the database, so whatever the umask says, all are 0600.
#[cfg(unix)]
pub(super) fn keep_private(database: &Path) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    const PRIVATE: u32 = 0o600;
    // What hinders this hinders SQLite as well, which says so.
    let _ = std::fs::File::options()
        .append(true)
        .create(true)
        .mode(PRIVATE)
        .open(database);
    for path in BESIDE.map(|suffix| beside(database, suffix)) {
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if !metadata.is_file() || mode & 0o077 == 0 {
            continue;
        }
        let file = path.display();
        let mended = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(PRIVATE));
        match mended {
            Ok(()) => {
                tracing::warn!(%file, was = format!("{mode:o}"), "others could read or write a file of the database; now its owner alone may")
            }
            Err(error) => {
                tracing::warn!(%file, mode = format!("{mode:o}"), %error, "others can read or write a file of the database, and that cannot be changed")
            }
        }
    }
}

/// Other systems have no modes.
#[cfg(not(unix))]
pub(super) fn keep_private(_: &Path) {}
