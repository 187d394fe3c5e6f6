//! Databases of earlier releases go on working.

use std::path::Path;

use modelramp::{
    _core::{assignment::Subject, caller::Role, units::Microdollars},
    chat::store::{ConversationStore, Rated, Rating},
    providers::fault::FaultKind,
    recording::{EventStore, Outcome},
    rollout::{evidence::UserHistory, store::RolloutStore},
    storage::Storage,
};
use sqlx::{SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::at;

/// As the first release left it: migration 1 alone, and some data.
pub(super) async fn first_release(folder: &Path) -> String {
    let migrations = folder.join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    let name = "0001_users_conversations_events.sql";
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/storage/migrations/sqlite");
    std::fs::copy(all.join(name), migrations.join(name)).unwrap();

    let file = folder.join("old.db");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    Migrator::new(migrations)
        .await
        .unwrap()
        .run(&pool)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO users VALUES (7, 'bo', 'Bo', NULL, 'dev', 'admin', 1, 2, 3, NULL);
         INSERT INTO conversations VALUES (3, 7, 'Title', 4, 5);
         INSERT INTO messages VALUES (11, 3, 'user', 'hej', 6), (12, 3, 'assistant', 'goddag', 7);
         INSERT INTO ai_events VALUES
           ('b', 2000, 'r-2', 7, 'glm', 'chat', 'candidate', 0, 12.5, 1.25, 1, 2, 3, 'timeout'),
           ('a', 2000, 'r-1', NULL, 'glm', 'chat', 'control', 1, 12.5, NULL, 1, 2, 3, 'success'),
           ('c', 1000, 'r-0', 7, 'glm', 'chat', 'control', 0, 0.5, NULL, 1, 2, 3, 'cancelled');",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    format!("sqlite://{}", file.display())
}

#[tokio::test]
async fn a_file_of_the_first_release_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let url = first_release(folder.path()).await;
    // The second time there is nothing to do.
    for _ in 0..2 {
        let storage = Storage::open(&url).await.unwrap();
        let user = storage.find_user(7).await.unwrap().unwrap();
        assert_eq!((user.open_id.as_str(), user.role), ("bo", Role::Admin));
        let messages = storage.messages(3, 0, 9).await.unwrap();
        let texts: Vec<_> = messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(texts, ["hej", "goddag"]);
        let (_, origin) = storage.message(12).await.unwrap().unwrap();
        assert_eq!(origin, None);

        let events = storage.since(0).await.unwrap();
        let told: Vec<_> = events.iter().map(|e| (e.seq, &*e.request_id)).collect();
        assert_eq!(told, [(1, "r-0"), (2, "r-1"), (3, "r-2")]);
        let last = &events[2];
        assert_eq!(last.outcome, Outcome::Fault(FaultKind::Timeout));
        assert_eq!(
            (last.first_token_ms, last.cost),
            (Some(1.25), Microdollars(3))
        );
        assert_eq!((last.subject, last.counted), (None, false));
        assert!(last.rollout.is_none());
        assert_eq!(
            storage.history_by_subject(0, i64::MAX).await.unwrap(),
            [UserHistory {
                subject: Subject::User(7).key(),
                requests: 1,
                errors: 1,
            }]
        );
        storage.close().await;
    }
    // What is new works, too.
    let storage = Storage::open(&url).await.unwrap();
    let rated = storage.rate_message(12, 7, Rating::Good, at(0)).await;
    assert_eq!(rated.unwrap(), Rated::First);
    let next = storage.create_conversation(7, None, at(0)).await.unwrap();
    assert_eq!(next.id, 4);
}
