//! Whether the database can be used, by what happens to its files; and who may read them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use modelramp::{
    rollout::store::RolloutStore,
    storage::{Storage, secret_for_development},
};
use tempfile::TempDir;

use super::{database::Database, storage, text, url};

on_both!(a_database_that_can_be_written_is_well);

async fn a_database_that_can_be_written_is_well(database: Database) {
    let probe = database.storage.probe();
    for _ in 0..3 {
        assert_eq!(probe.reason().await, None);
    }
    database.storage.close().await;
    assert!(database.storage.probe().reason().await.is_some());
}

/// An open database, and its file.
async fn opened() -> (TempDir, Storage, PathBuf) {
    let (folder, storage) = storage().await;
    let file = folder.path().join("data/modelramp.db");
    assert_eq!(storage.probe().reason().await, None);
    (folder, storage, file)
}

async fn reason(storage: &Storage) -> &'static str {
    storage.probe().reason().await.expect("it is not well")
}

#[tokio::test]
async fn a_deleted_file_is_told_and_one_that_is_put_back_is_well() {
    let (_folder, storage, file) = opened().await;
    let away = file.with_extension("away");
    fs::rename(&file, &away).unwrap();
    assert!(reason(&storage).await.contains("deleted or moved"));
    fs::rename(&away, &file).unwrap();
    assert_eq!(storage.probe().reason().await, None);
}

#[tokio::test]
async fn another_file_in_its_place_is_told() {
    let (_folder, storage, file) = opened().await;
    let copy = file.with_extension("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    assert!(reason(&storage).await.contains("replaced"));
}

#[tokio::test]
async fn a_log_that_is_gone_is_told() {
    let (_folder, storage, file) = opened().await;
    fs::remove_file(file.with_extension("db-wal")).unwrap();
    assert!(reason(&storage).await.contains("-wal"));
}

/// The world: a person who looks into the database of a running server with another program.
#[tokio::test]
async fn another_program_that_closes_the_database_leaves_the_log() {
    let (folder, storage, file) = opened().await;
    let ran = Command::new(env!("CARGO_BIN_EXE_modelramp"))
        .args(["token", "--user", "7"])
        .env_clear()
        .env("DATABASE_URL", url(folder.path()))
        .env("JWT_SECRET", "a secret for tests, long enough for HS256")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(file.with_extension("db-wal").exists());
    assert_eq!(storage.probe().reason().await, None);
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    for (from, len) in [(0_usize, 100), (0, usize::MAX), (4096, usize::MAX)] {
        let (folder, storage, file) = opened().await;
        // What the log has is not damaged, so it is folded into the file.
        storage.close().await;
        let storage = Storage::open(&url(folder.path())).await.unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let to = bytes.len().min(from.saturating_add(len));
        bytes[from..to].fill(0x5a);
        fs::write(&file, bytes).unwrap();
        assert!(reason(&storage).await.contains("damaged"), "{from} {len}");
    }
    let (_folder, storage, file) = opened().await;
    fs::write(&file, "").unwrap();
    assert!(reason(&storage).await.contains("damaged"), "empty");
}

#[tokio::test]
async fn all_files_are_their_owners_alone_and_loose_ones_are_mended() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let data = folder.path().join("data");
    secret_for_development(&url).unwrap();
    for round in ["new", "loose", "loose again"] {
        let storage = Storage::open(&url).await.unwrap();
        assert_eq!(storage.probe().reason().await, None);
        let fence = storage.acquire("a", super::at(0)).await.unwrap();
        let mut names = Vec::new();
        for entry in fs::read_dir(&data).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(mode, 0o600, "{round}: {name}");
            names.push(name);
        }
        assert_eq!(names.len(), 5, "{names:?}");
        storage
            .release(&fence.unwrap(), super::at(0))
            .await
            .unwrap();
        storage.close().await;
        for entry in fs::read_dir(&data).unwrap() {
            let loose = fs::Permissions::from_mode(0o664);
            fs::set_permissions(entry.unwrap().path(), loose).unwrap();
        }
    }
}

/// `F12`
#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_do_and_without_the_password() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("postgres://bo:hunter2@127.0.0.1:{port}/mail");
    let error = match Storage::open(&url).await {
        Ok(_) => panic!("nobody listens there"),
        Err(error) => text(error),
    };
    for part in [
        &format!("127.0.0.1:{port}"),
        "user `bo`",
        "database `mail`",
        "Connection refused",
        "DATABASE_URL",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(
        !error.contains("hunter2") && !error.contains("timed out"),
        "{error}"
    );

    let error = match Storage::open("postgres://bo@nowhere.invalid/mail").await {
        Ok(_) => panic!("there is no such host"),
        Err(error) => text(error),
    };
    let said = error.matches("lookup").count();
    assert_eq!(said, 1, "{error}");
}

#[tokio::test]
async fn what_sqlite_says_is_said_once() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(
        &file,
        "no database at all, but long enough to look like one",
    )
    .unwrap();
    let error = match Storage::open(&format!("sqlite://{}", file.display())).await {
        Ok(_) => panic!("it is no database"),
        Err(error) => text(error),
    };
    assert_eq!(error.matches("not a database").count(), 1, "{error}");
}
