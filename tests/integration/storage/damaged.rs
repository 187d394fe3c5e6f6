//! Rollouts that cannot be read whole: what is told, and what goes on.
//!
//! The world: a disk that lost a page, a hand that edited a row, a release of before that reads what a later one
//! wrote.

use std::sync::Arc;

use modelramp::{
    _core::feature_flags::FeatureFlags,
    ai_metrics::AiMetrics,
    config::{Config, Sources},
    recording::Log,
    rollout::{
        controller::{Controller, ControllerParts, World},
        plan::{KnownNames, Library},
        status::Status,
    },
    storage::Storage,
};
use tempfile::TempDir;

use super::{
    read_only::{kept_rollout, modelramp},
    url,
};

/// A folder with the database of a rollout that was started and paused, after this statement.
async fn spoilt(statement: &'static str) -> (TempDir, String, String) {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let id = kept_rollout(&url).await;
    run(&url, statement).await;
    (folder, url, id)
}

async fn run(url: &str, statement: &'static str) {
    let pool = sqlx::SqlitePool::connect(url).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    pool.close().await;
}

/// The controller of a server that starts with this database.
async fn controller(storage: &Storage, url: &str) -> anyhow::Result<Arc<Controller>> {
    let config = Config::load(&Sources {
        environment: [("DATABASE_URL".to_owned(), url.to_owned())].into(),
        working_dir: "/".into(),
        config_file: None,
    });
    let log = Arc::new(Log::default());
    Controller::open(ControllerParts {
        store: Arc::new(storage.clone()),
        flags: Arc::new(FeatureFlags::new(config.unwrap().flags)),
        metrics: Arc::new(AiMetrics::over(log.clone())),
        log,
        library: Library::default(),
        known: KnownNames::default(),
        world: World::real(),
        holder: "test".into(),
        seen: Default::default(),
    })
    .await
}

#[tokio::test]
async fn an_action_that_cannot_be_read_is_told_and_the_rest_is_replayed() {
    let (_folder, url, id) = spoilt(
        "DROP TRIGGER rollout_audit_is_not_changed; \
         UPDATE rollout_audit SET action = 'undone' WHERE version = 2",
    )
    .await;
    let (code, out, err) = modelramp(&url, &["rollout", "replay", &id]);
    assert_eq!(code, Some(1), "{out}{err}");
    for line in [
        "version 1    started        the same verdict",
        "version 2    unknown        ANOTHER verdict",
        "note: of version 2, the record is damaged: its action is `undone`, which this release does not know",
        "800 events were folded, 400 of them ratings",
    ] {
        assert!(out.lines().any(|it| it == line), "{line}: {out}");
    }
    let (code, out, err) = modelramp(&url, &["rollout", "report", &id]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("The record is damaged") && out.contains("undone"),
        "{out}"
    );
}

#[tokio::test]
async fn a_rollout_that_cannot_be_read_says_what_to_do() {
    for (part, statement) in [
        ("status", "UPDATE rollouts SET status = '{\"cut'"),
        ("status", "UPDATE rollouts SET status = '{}'"),
        ("plan", "UPDATE rollouts SET plan = '[]'"),
        ("evidence", "UPDATE rollouts SET evidence = '{}'"),
    ] {
        let (_folder, url, id) = spoilt(statement).await;
        let words = format!("rollout `{id}` is damaged: its {part} in the database cannot be read");
        let (code, _, err) = modelramp(&url, &["rollout", "report", &id]);
        assert_eq!(code, Some(1), "{err}");
        for said in [&*words, "modelramp restore --replace FILE"] {
            assert!(err.contains(said), "{statement}: {err}");
        }
        let storage = Storage::open(&url).await.unwrap();
        let refused = controller(&storage, &url).await.map(drop).unwrap_err();
        let refused = format!("{refused:#}");
        for said in [&*words, "the server did not start"] {
            assert!(refused.contains(said), "{statement}: {refused}");
        }
        storage.close().await;
    }
}

#[tokio::test]
async fn a_rollout_that_cannot_be_read_hides_no_other() {
    let (_folder, url, id) = spoilt("SELECT 1").await;
    let storage = Storage::open(&url).await.unwrap();
    let controller = controller(&storage, &url).await.unwrap();
    let another = "CREATE TEMP TABLE another AS SELECT * FROM rollouts; \
        UPDATE another SET id = 'ffffffff-0000-7000-8000-000000000001', status = '{\"cut'; \
        INSERT INTO rollouts SELECT * FROM another";
    run(&url, another).await;
    let archive = controller.archive();
    let stored = archive.list().await.unwrap();
    let read: Vec<_> = stored.iter().map(|it| it.read()).collect();
    let [Err(damaged), Ok(status)] = &*read else {
        panic!("{read:?}");
    };
    let words = "rollout `ffffffff-0000-7000-8000-000000000001` is damaged: its status";
    assert!(damaged.to_string().starts_with(words), "{damaged}");
    assert_eq!(status.id, id);
    let listed = |statuses: Vec<Status>| statuses.into_iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(listed(controller.list().await.unwrap()), [&*id]);
    // The beginning of an id is looked for among all.
    assert_eq!(archive.rollout(&id[..8]).await.unwrap().status.id, id);
    // What the server has in memory is in force.
    run(&url, "UPDATE rollouts SET status = '{\"cut'").await;
    assert_eq!(listed(controller.list().await.unwrap()), [&*id]);
    storage.close().await;
}
