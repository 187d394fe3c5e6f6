//! The database: opening it, sharing it between processes, and what is kept in it.

#[macro_use]
mod database;
mod accounts;
mod alerts;
mod backup;
mod conversations;
mod damaged;
mod events;
mod flags;
mod import;
mod log;
mod looked_for;
mod migrations;
mod moves;
mod personal;
#[cfg(unix)]
mod probe;
mod read_only;
mod recorded;
mod replicas;
mod restart;
mod rollouts;
mod upkeep;
mod users;

use std::{collections::HashSet, path::Path};

use chrono::{DateTime, Utc};
use modelramp::{
    _core::caller::Role,
    chat::store::{ConversationStore, MessageRole},
    storage::{Storage, StorageError, secret_for_development},
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::task::JoinSet;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_762_637_400 + seconds, 0).unwrap()
}

fn url(folder: &Path) -> String {
    format!("sqlite://{}/data/modelramp.db", folder.display())
}

async fn storage() -> (TempDir, Storage) {
    let folder = TempDir::new().unwrap();
    let storage = Storage::open(&url(folder.path())).await.unwrap();
    (folder, storage)
}

/// The text with all its causes, as the log would have it.
fn text(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

#[tokio::test]
async fn file_and_folder_are_created_and_data_outlives_a_restart() {
    let (folder, storage) = storage().await;
    storage.ping().await.unwrap();
    let user = storage
        .ensure_local_user(7, Role::Admin, at(0))
        .await
        .unwrap();
    let conversation = storage
        .create_conversation(7, Some("Første"), at(1))
        .await
        .unwrap();
    let message = storage
        .add_message(conversation.id, MessageRole::User, "hej", at(2))
        .await
        .unwrap()
        .unwrap();
    storage.close().await;
    assert!(storage.ping().await.is_err());

    let storage = Storage::open(&url(folder.path())).await.unwrap();
    assert_eq!(storage.find_user(7).await.unwrap(), Some(user));
    assert_eq!(
        storage.conversation(conversation.id).await.unwrap(),
        Some(conversation)
    );
    assert_eq!(storage.messages(1, 0, 10).await.unwrap(), [message]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn programs_that_open_a_fresh_file_at_once_all_succeed() {
    for _ in 0..20 {
        let folder = TempDir::new().unwrap();
        let mut openings = JoinSet::new();
        for _ in 0..8 {
            let url = url(folder.path());
            openings.spawn(async move { Storage::open(&url).await });
        }
        while let Some(opened) = openings.join_next().await {
            opened.unwrap().unwrap().close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_programs_write_the_same_file_at_once() {
    let (folder, first) = storage().await;
    let second = Storage::open(&url(folder.path())).await.unwrap();
    let mut writes = JoinSet::new();
    for id in 1..=100 {
        let storage = if id % 2 == 0 { &first } else { &second }.clone();
        writes.spawn(async move {
            storage
                .ensure_local_user(id, Role::User, at(0))
                .await
                .unwrap();
            storage.create_conversation(id, None, at(0)).await.unwrap();
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
    for storage in [&first, &second] {
        assert!(storage.find_user(99).await.unwrap().is_some());
        assert!(storage.find_user(100).await.unwrap().is_some());
        for id in [99, 100] {
            assert_eq!(storage.conversations_of(id).await.unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let open = async |url: String| match Storage::open(&url).await {
        Ok(_) => panic!("`{url}` was opened"),
        Err(error) => error,
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(
        &file,
        "neither a folder nor a database, but long enough to look like one",
    )
    .unwrap();

    let error = open("mysql://root:hunter2@localhost/db".into()).await;
    assert_eq!(
        error.to_string(),
        "database URLs of kind `mysql` are not supported; use `sqlite://path/to/file.db` or \
         `postgres://user@host/database`"
    );

    let error = open(format!("sqlite://{}/below/a.db", file.display())).await;
    assert!(matches!(error, StorageError::Folder { .. }));
    assert!(text(error).contains(&format!("{}/below", file.display())));

    let error = open(format!("sqlite://{}", file.display())).await;
    assert!(matches!(error, StorageError::Open { .. }), "{error:?}");
    let error = text(error);
    assert!(
        error.contains("/file`") && error.contains("not a database"),
        "{error}"
    );

    let error = open(format!("sqlite://{}", folder.path().display())).await;
    assert!(matches!(error, StorageError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused() {
    let (folder, storage) = storage().await;
    storage.close().await;
    let file = folder.path().join("data/modelramp.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, X'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let Err(error) = Storage::open(&url(folder.path())).await else {
        panic!("the file was opened");
    };
    assert!(matches!(error, StorageError::Newer { version: 9999, .. }));
    assert!(error.to_string().contains("newer modelramp"), "{error}");
}

#[test]
fn the_development_secret_is_made_once_and_is_private() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let secrets: HashSet<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| secret_for_development(&url).unwrap()))
            .collect();
        makers
            .into_iter()
            .map(|maker| maker.join().unwrap().expose_secret().to_owned())
            .collect()
    });
    assert_eq!(secrets.len(), 1);
    assert!(secrets.iter().all(|secret| secret.len() == 64));
    let again = secret_for_development(&url).unwrap();
    assert!(secrets.contains(again.expose_secret()));

    let left: Vec<_> = std::fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["modelramp.db.jwt-secret"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = folder.path().join("data/modelramp.db.jwt-secret");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_damaged_development_secret_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(
        folder.path().join("data/modelramp.db.jwt-secret"),
        "short\n",
    )
    .unwrap();
    let error = secret_for_development(&url(folder.path()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("modelramp.db.jwt-secret") && error.contains("32 bytes"),
        "{error}"
    );
    assert!(!error.contains("short\n"));
}
