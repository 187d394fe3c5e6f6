//! Databases of earlier releases go on working.

use std::{path::Path, str::FromStr};

use modelramp::{
    _core::{assignment::Subject, caller::Role, units::Microdollars},
    chat::store::{ConversationStore, Rating, RatingOutcome},
    providers::fault::FaultKind,
    recording::{Event, Outcome},
    rollout::{evidence::UserHistory, store::RolloutStore},
    storage::Storage,
};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{at, events::event};
use crate::support::{
    log::{append, since},
    postgres,
};

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

/// As the last release without batches left it, with this many numbers given to events and a tenth of them
/// deleted again.
async fn before_batches(folder: &Path, url: &str, numbers: i64) {
    let kind = if url.starts_with("sqlite:") {
        "sqlite"
    } else {
        "postgres"
    };
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/storage/migrations");
    for file in std::fs::read_dir(all.join(kind)).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap() < "0008" {
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
    let events = format!(
        "INSERT INTO ai_events (seq, at_ms, request_id, user_id, subject, rollout, counted, was_open, \
         model, task, variant, position, latency_ms, first_token_ms, prompt_tokens, completion_tokens, \
         cost_microdollars, outcome) \
         WITH RECURSIVE numbers (seq) AS \
         (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {numbers}) \
         SELECT seq, seq / 7, 'r', 7, seq, CASE WHEN seq % 2 = 0 THEN 'x' END, TRUE, FALSE, 'm', 'chat', \
         'control', 0, 1.5, NULL, 1, 2, 3, 'success' \
         FROM numbers WHERE seq % 1000 < 900 AND seq <= {numbers}"
    );
    let migrations = Migrator::new(folder).await.unwrap();
    macro_rules! fill {
        ($pool:expr) => {{
            let pool = $pool;
            migrations.run(&pool).await.unwrap();
            let events = sqlx::raw_sql(AssertSqlSafe(events));
            events.execute(&pool).await.unwrap();
            pool.close().await;
        }};
    }
    if kind == "sqlite" {
        let options = SqliteConnectOptions::from_str(url).unwrap();
        fill!(
            SqlitePool::connect_with(options.create_if_missing(true))
                .await
                .unwrap()
        );
    } else {
        fill!(PgPool::connect(url).await.unwrap());
    }
}

/// Opens a log of before, and checks that every event has the number that it had.
async fn is_carried_over(url: &str) {
    for numbers in [0, 1, 100_000] {
        let folder = TempDir::new().unwrap();
        let url = match url.strip_prefix("sqlite://") {
            Some(folder) => format!("sqlite://{folder}/{numbers}.db"),
            None => postgres::database().await.unwrap(),
        };
        before_batches(folder.path(), &url, numbers).await;
        let storage = Storage::open(&url).await.unwrap();
        let numbered = |events: Vec<Event>| events.iter().map(|it| it.seq).collect::<Vec<_>>();
        let kept = || (1..=numbers).filter(|seq| seq % 1_000 < 900);
        let all: Vec<_> = kept().collect();
        assert!(numbered(since(&storage, 0).await) == all, "{numbers}");
        let page = storage.events_of("x", 450, 5_000).await.unwrap();
        let of_rollout = kept().filter(|seq| seq % 2 == 0 && *seq > 450);
        assert!(numbered(page) == of_rollout.take(5_000).collect::<Vec<_>>());
        assert_eq!(storage.head().await.unwrap(), numbers);
        append(&storage, &[event(1_000_000)]).await.unwrap();
        let newest = since(&storage, 1_000_000).await;
        assert_eq!(numbered(newest), [numbers + 1]);
        storage.close().await;
    }
}

#[tokio::test]
async fn a_file_without_batches_is_carried_over() {
    let folder = TempDir::new().unwrap();
    is_carried_over(&format!("sqlite://{}", folder.path().display())).await;
}

#[tokio::test]
async fn a_postgres_database_without_batches_is_carried_over() {
    if let Some(url) = postgres::database().await {
        is_carried_over(&url).await;
    }
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

        let events = since(&storage, 0).await;
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
            storage.history_by_subject(0, i64::MAX, &[]).await.unwrap(),
            [UserHistory {
                subject: Subject::User(7).key(),
                requests: 1,
                errors: 1,
                ..UserHistory::default()
            }]
        );
        storage.close().await;
    }
    // What is new works, too.
    let storage = Storage::open(&url).await.unwrap();
    let rated = storage.rate_message(12, 7, Rating::Good, at(0)).await;
    assert_eq!(rated.unwrap(), RatingOutcome::First);
    let next = storage.create_conversation(7, None, at(0)).await.unwrap();
    assert_eq!(next.id, 4);
}
