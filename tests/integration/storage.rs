//! The database file: opening it, sharing it between processes, and what is kept in it.

use std::{collections::HashSet, path::Path, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    _core::{
        assignment::Variant,
        auth::{Authenticator, Role, SessionKey, UserStore},
        context::Caller,
        units::Microdollars,
    },
    ai_metrics::{Event, EventStore, Outcome},
    chat::store::{ConversationStore, MessageRole},
    providers::fault::FaultKind,
    storage::{Storage, StorageError, UserError, secret_for_development},
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
            storage.append(&[event(id), event(id)]).await.unwrap();
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
    for storage in [&first, &second] {
        assert!(storage.find_user(99).await.unwrap().is_some());
        assert!(storage.find_user(100).await.unwrap().is_some());
        assert_eq!(storage.since(0).await.unwrap().len(), 200);
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
        "database URLs of kind `mysql` are not supported; use `sqlite://path/to/file.db`"
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

#[tokio::test]
async fn an_unknown_open_id_becomes_a_user_of_that_name() {
    let (_folder, storage) = storage().await;
    let made = storage
        .user_of_session("brand-new", "Ny", at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(made.id, 1);
    assert_eq!(made.name.as_deref(), Some("Ny"));
    assert_eq!(made.email, None);
    assert_eq!(made.login_method.as_deref(), Some("dev"));
    assert_eq!(made.role, Role::User);
    assert_eq!(made.created_at, at(0));
    let again = storage
        .user_of_session("brand-new", "Other", at(1))
        .await
        .unwrap();
    assert_eq!(again, Some(made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_calls_at_once_make_one_user() {
    let (_folder, storage) = storage().await;
    let ids: HashSet<i64> = futures::future::join_all((0..20).map(|_| {
        let storage = storage.clone();
        async move {
            storage
                .user_of_session("new", "N", at(0))
                .await
                .unwrap()
                .unwrap()
                .id
        }
    }))
    .await
    .into_iter()
    .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_call_is_noted_once_a_minute() {
    let (_folder, storage) = storage().await;
    let mut seen = Vec::new();
    for seconds in [0, 59, 60, 100, 120, 121] {
        let user = storage
            .user_of_session("u", "U", at(seconds))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(user.updated_at, at(0));
        seen.push((user.last_signed_in - at(0)).num_seconds());
    }
    assert_eq!(seen, [0, 0, 60, 60, 120, 120]);
    let stored = storage.find_user(1).await.unwrap().unwrap();
    assert_eq!(stored.last_signed_in, at(120));
}

#[tokio::test]
async fn local_users_are_made_by_the_command_only() {
    let (_folder, storage) = storage().await;
    assert_eq!(
        storage
            .user_of_session("local:7", "X", at(0))
            .await
            .unwrap(),
        None
    );
    let made = storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    assert_eq!(
        (made.id, made.open_id.as_str(), made.role),
        (7, "local:7", Role::User)
    );
    let session = storage
        .user_of_session("local:7", "X", at(1))
        .await
        .unwrap();
    assert_eq!(session, Some(made));
    let admin = storage
        .ensure_local_user(7, Role::Admin, at(2))
        .await
        .unwrap();
    assert_eq!((admin.id, admin.role), (7, Role::Admin));
    assert_eq!((admin.created_at, admin.updated_at), (at(0), at(2)));
}

#[tokio::test]
async fn ids_that_were_asked_for_are_not_handed_out_later() {
    let (_folder, storage) = storage().await;
    storage
        .ensure_local_user(3, Role::User, at(0))
        .await
        .unwrap();
    storage
        .ensure_local_user(1, Role::User, at(0))
        .await
        .unwrap();
    for expected in [4, 5] {
        let open_id = format!("user-{expected}");
        let user = storage
            .user_of_session(&open_id, "N", at(0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(user.id, expected);
    }
}

#[tokio::test]
async fn the_role_of_a_user_who_came_by_session_can_be_set() {
    let (_folder, storage) = storage().await;
    storage.user_of_session("bo", "Bo", at(0)).await.unwrap();
    let user = storage
        .ensure_local_user(1, Role::Admin, at(1))
        .await
        .unwrap();
    assert_eq!((user.open_id.as_str(), user.role), ("bo", Role::Admin));
    assert_eq!(user.name.as_deref(), Some("Bo"));
}

#[tokio::test]
async fn ids_are_positive_and_deleted_users_stay_deleted() {
    let (_folder, storage) = storage().await;
    for id in [0, -1, i64::MIN, i64::MAX] {
        let error = storage
            .ensure_local_user(id, Role::User, at(0))
            .await
            .unwrap_err();
        assert!(matches!(error, UserError::InvalidId { .. }));
        assert!(error.to_string().contains(&format!("`{id}`")));
    }
    storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    assert!(storage.delete_user(7, at(1)).await.unwrap());
    assert!(!storage.delete_user(7, at(1)).await.unwrap());
    assert_eq!(storage.find_user(7).await.unwrap(), None);
    assert_eq!(
        storage
            .user_of_session("local:7", "X", at(2))
            .await
            .unwrap(),
        None
    );
    let error = storage
        .ensure_local_user(7, Role::Admin, at(2))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "user `7` was deleted");

    storage.user_of_session("bo", "Bo", at(0)).await.unwrap();
    storage.delete_user(8, at(1)).await.unwrap();
    assert_eq!(
        storage.user_of_session("bo", "Bo", at(2)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn an_issued_token_names_its_user() {
    let (_folder, storage) = storage().await;
    let user = storage
        .ensure_local_user(7, Role::Admin, at(0))
        .await
        .unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    // The checker has its own clock, so the token is dated far ahead.
    let token = SessionKey::new(&secret.into())
        .issue(
            &user,
            "app",
            TimeDelta::days(36_500).to_std().unwrap(),
            at(0),
        )
        .unwrap();
    let authenticator =
        Authenticator::new(SessionKey::new(&secret.into()), None, Arc::new(storage));
    let Caller::User(caller) = authenticator.caller_of_token(&token, at(1)).await else {
        panic!("the token names nobody");
    };
    assert_eq!(*caller, user);
}

#[tokio::test]
async fn messages_go_with_their_conversation_and_cannot_come_back() {
    let (_folder, storage) = storage().await;
    storage
        .ensure_local_user(1, Role::User, at(0))
        .await
        .unwrap();
    let doomed = storage.create_conversation(1, None, at(0)).await.unwrap();
    let kept = storage.create_conversation(1, None, at(0)).await.unwrap();
    for conversation in [&doomed, &kept] {
        storage
            .add_message(conversation.id, MessageRole::User, "hej", at(1))
            .await
            .unwrap();
    }
    storage.delete_conversation(doomed.id).await.unwrap();
    storage.delete_conversation(doomed.id).await.unwrap();
    let late = storage
        .add_message(doomed.id, MessageRole::Assistant, "too late", at(2))
        .await
        .unwrap();
    assert_eq!(late, None);
    assert!(storage.messages(doomed.id, 0, 10).await.unwrap().is_empty());
    assert_eq!(storage.messages(kept.id, 0, 10).await.unwrap().len(), 1);
    // Nor is its id handed out again.
    storage.delete_conversation(kept.id).await.unwrap();
    let next = storage.create_conversation(1, None, at(3)).await.unwrap();
    assert_eq!(next.id, kept.id + 1);
}

fn event(at_ms: i64) -> Event {
    Event {
        at_ms,
        request_id: "r".into(),
        user_id: Some(7),
        model: "glm-4.5-air-free".into(),
        task: "chat".into(),
        variant: Variant::Candidate,
        position: 1,
        latency_ms: 12.5,
        first_token_ms: None,
        prompt_tokens: u32::MAX,
        completion_tokens: 3,
        cost: Microdollars(42),
        outcome: Outcome::Fault(FaultKind::Timeout),
    }
}

#[tokio::test]
async fn events_come_back_as_they_were_oldest_first() {
    let (_folder, storage) = storage().await;
    // More than two inserts of one transaction, the newest first.
    let events: Vec<_> = (0..1_203).rev().map(event).collect();
    storage.append(&events).await.unwrap();
    storage.append(&[]).await.unwrap();
    let read = storage.since(3).await.unwrap();
    let times: Vec<_> = read.iter().map(|event| event.at_ms).collect();
    assert_eq!(times, (3..1_203).collect::<Vec<_>>());
    assert_eq!(format!("{:?}", read[0]), format!("{:?}", event(3)));

    let other = Event {
        user_id: None,
        first_token_ms: Some(1.25),
        variant: Variant::Control,
        outcome: Outcome::Success,
        ..event(5_000)
    };
    storage.append(std::slice::from_ref(&other)).await.unwrap();
    let read = storage.since(5_000).await.unwrap();
    assert_eq!(format!("{read:?}"), format!("[{other:?}]"));
}

#[tokio::test]
async fn events_are_stored_all_or_none() {
    let (_folder, storage) = storage().await;
    let mut events: Vec<_> = (0..600).map(event).collect();
    // SQLite keeps not-a-number as NULL, which the column refuses.
    events[599].latency_ms = f64::NAN;
    assert!(storage.append(&events).await.is_err());
    assert!(storage.since(0).await.unwrap().is_empty());
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
