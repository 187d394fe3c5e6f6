//! Copies of the database: whole while somebody writes, put back only where nothing is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use modelramp::{
    _core::caller::Role,
    storage::{BackupError, Storage},
};
use tempfile::TempDir;

use super::{at, database::Database, text};
use crate::support::postgres;

on_both!(
    a_copy_that_is_made_while_users_sign_in_has_all_who_had_before,
    nothing_is_restored_over_a_database,
);

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// An address where no database is yet, of the kind of this one.
async fn empty(database: &Database, folder: &TempDir) -> String {
    if database.is_sqlite() {
        format!("sqlite://{}", file(folder, "restored.db").display())
    } else {
        postgres::database().await.unwrap()
    }
}

async fn a_copy_that_is_made_while_users_sign_in_has_all_who_had_before(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let (signed_in, is_copied) = (AtomicUsize::new(0), AtomicBool::new(false));
    let users = async {
        for id in 1.. {
            let user = database.storage.ensure_local_user(id, Role::Admin, at(id));
            user.await.unwrap();
            signed_in.store(usize::try_from(id).unwrap(), Ordering::SeqCst);
            if is_copied.load(Ordering::SeqCst) {
                break;
            }
        }
    };
    let copy = file(&folder, "copy");
    let copying = async {
        while signed_in.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        let before = signed_in.load(Ordering::SeqCst);
        let bytes = Storage::backup(&database.url, &copy).await.unwrap();
        is_copied.store(true, Ordering::SeqCst);
        assert_eq!(bytes, fs::metadata(&copy).unwrap().len());
        before
    };
    let ((), before) = tokio::join!(users, copying);
    assert_eq!(mode(&copy), 0o600, "only its owner may read it");

    let url = empty(&database, &folder).await;
    let restored = Storage::restore(&url, &copy, false).await.unwrap();
    assert_eq!(restored.database, Storage::place(&url).unwrap());
    assert_eq!(restored.moved_aside, None);
    let restored = Storage::open(&url).await.unwrap();
    for id in 1..=before {
        let user = restored
            .find_user(i64::try_from(id).unwrap())
            .await
            .unwrap();
        assert_eq!(user.unwrap().role, Role::Admin, "user {id} of {before}");
    }
}

async fn nothing_is_restored_over_a_database(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let copy = file(&folder, "copy");
    Storage::backup(&database.url, &copy).await.unwrap();
    let again = Storage::backup(&database.url, &copy).await.unwrap_err();
    assert!(matches!(again, BackupError::FileExists { .. }), "{again}");
    let over = Storage::restore(&database.url, &copy, false).await;
    let over = over.unwrap_err();
    assert!(matches!(over, BackupError::DatabaseExists { .. }), "{over}");
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "no half of a file is left");
}

#[tokio::test]
async fn a_file_that_is_no_backup_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", file(&folder, "made.db").display());
    Storage::open(&url).await.unwrap().close().await;
    let copy = file(&folder, "copy");
    Storage::backup(&url, &copy).await.unwrap();
    let whole = fs::read(&copy).unwrap();

    let cut = whole[..whole.len() / 2].to_vec();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 8_192].fill(0x5a);
    for (name, bytes, expected) in [
        ("empty", Vec::new(), "begins as neither"),
        ("words", b"Dear diary".to_vec(), "begins as neither"),
        ("cut", cut, "is no backup of modelramp"),
        ("damaged", damaged, "is no backup of modelramp"),
        (
            "dump",
            b"PGDMP\x01\x0e".to_vec(),
            "is a backup of PostgreSQL",
        ),
    ] {
        let other = file(&folder, name);
        fs::write(&other, bytes).unwrap();
        let target = format!("sqlite://{}", file(&folder, "target.db").display());
        let refused = text(Storage::restore(&target, &other, false).await.unwrap_err());
        assert!(refused.contains(expected), "{name}: {refused}");
        assert!(!file(&folder, "target.db").exists(), "{name}");
    }
    let missing = Storage::restore(&url, &file(&folder, "missing"), true).await;
    assert!(matches!(missing, Err(BackupError::Read { .. })));
}

#[tokio::test]
async fn a_log_that_a_killed_server_left_adds_nothing_to_what_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "served.db");
    let url = format!("sqlite://{}", path.display());
    let server = Storage::open(&url).await.unwrap();
    server
        .ensure_local_user(1, Role::Admin, at(1))
        .await
        .unwrap();
    let copy = file(&folder, "copy");
    Storage::backup(&url, &copy).await.unwrap();
    server
        .ensure_local_user(2, Role::Admin, at(2))
        .await
        .unwrap();
    // As after `kill -9`, and after somebody took the database away but not its log.
    let log = folder.path().join("served.db-wal");
    let left = fs::read(&log).unwrap();
    assert!(!left.is_empty());
    server.close().await;
    drop(server);
    fs::remove_file(&path).unwrap();
    fs::write(&log, left).unwrap();

    let refused = Storage::restore(&url, &copy, false).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::DatabaseExists { .. }),
        "{refused}"
    );
    Storage::restore(&url, &copy, true).await.unwrap();
    let restored = Storage::open(&url).await.unwrap();
    assert!(restored.find_user(1).await.unwrap().is_some());
    assert!(restored.find_user(2).await.unwrap().is_none());
}

#[cfg(unix)]
fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// Runs the program in a folder, whose database is `data/modelramp.db`.
fn modelramp(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelramp"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let all = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(all).unwrap()
}

#[test]
fn the_command_restores_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| modelramp(folder.path(), arguments);
    let token = |user: &str| said(&run(&["token", "--user", user, "--create"]));
    assert!(token("1").contains("user 1 is now"));
    assert!(run(&["backup", "copy"]).status.success());
    assert!(token("2").contains("user 2 is now"));

    let refused = said(&run(&["restore", "copy"]));
    assert!(refused.contains("`--replace` moves it aside"), "{refused}");
    let restored = run(&["restore", "copy", "--replace"]);
    assert!(restored.status.success(), "{}", said(&restored));
    let aside = said(&restored);
    let aside = aside.split('`').nth(1).unwrap();
    assert!(token("1").contains("user 1 is still"));
    assert!(token("2").contains("user 2 is now"), "made after the copy");

    fs::rename(aside, folder.path().join("data/modelramp.db")).unwrap();
    assert!(token("2").contains("user 2 is still"), "nothing is lost");
}
