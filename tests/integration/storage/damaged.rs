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
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    pool.close().await;
    (folder, url, id)
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
        let config = Config::load(&Sources {
            environment: [("DATABASE_URL".to_owned(), url)].into(),
            working_dir: "/".into(),
            config_file: None,
        });
        let log = Arc::new(Log::default());
        let started = Controller::open(ControllerParts {
            store: Arc::new(storage.clone()),
            flags: Arc::new(FeatureFlags::new(config.unwrap().flags)),
            metrics: Arc::new(AiMetrics::over(log.clone())),
            log,
            library: Library::default(),
            known: KnownNames::default(),
            world: World::real(),
            holder: "test".into(),
            seen: Default::default(),
        });
        let refused = started.await.map(drop).unwrap_err();
        let refused = format!("{refused:#}");
        for said in [&*words, "the server did not start"] {
            assert!(refused.contains(said), "{statement}: {refused}");
        }
        storage.close().await;
    }
}
