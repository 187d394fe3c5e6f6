//! Databases that earlier releases left behind: see `tests/recorded/README.md`.

use std::{fs, path::Path};

use modelramp::{
    dashboard::audit::{AuditFilter, AuditStore, AuditSubject},
    rollout::{record::Action, replay, store::RolloutStore},
    storage::Storage,
};
use serde_json::Value;

/// Opens a copy of a recorded database, which migrates it.
async fn open(name: &str, folder: &Path) -> Storage {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let copy = folder.join("copy.db");
    fs::copy(recorded.join(name), &copy).unwrap();
    let url = format!("sqlite://{}", copy.display());
    Storage::open(&url).await.unwrap()
}

/// What was done to each rollout, the newest first, of which the first is still running.
async fn replays(name: &str, histories: &[&[Action]]) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(name, folder.path()).await;
    let statuses = storage.statuses().await.unwrap();
    assert_eq!(statuses.len(), histories.len());
    for (place, (status, actions)) in statuses.iter().zip(histories).enumerate() {
        let is_live = place == 0;
        assert_eq!(status.is_live, is_live);
        let history = storage.audit(&status.id).await.unwrap();
        let done: Vec<_> = history.iter().map(|row| row.action).collect();
        assert_eq!(done, *actions);
        let replay = replay::replay(&storage, &status.id).await.unwrap().unwrap();
        assert!(replay.is_identical, "{replay:?}");
        assert!(replay.remarks.is_empty(), "{replay:?}");
        // A live one may have stopped before its evidence was stored: it catches up from the log.
        assert!(is_live || replay.events > 50, "{replay:?}");
        assert_eq!(replay.events, replay.events_stored);
    }
}

#[tokio::test]
async fn every_line_of_their_audits_says_how_it_was_before_and_after() {
    for (name, changes) in [
        ("c385dc6.db", (12, 4)),
        ("d97a2f0.db", (11, 0)),
        ("1463549.db", (11, 0)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(name, folder.path()).await;
        let filter = AuditFilter {
            subjects: AuditSubject::ALL.into(),
            ..AuditFilter::default()
        };
        let lines = storage.changes(&filter, None, 100).await.unwrap();
        let of = |subject| lines.iter().filter(|it| it.subject == subject).count();
        assert_eq!(
            (of(AuditSubject::Rollout), of(AuditSubject::Flags)),
            changes,
            "{name}"
        );
        for line in &lines {
            assert_eq!(
                line.before.is_none(),
                line.action == "started",
                "{name}: {line:?}"
            );
            assert!(line.after.is_some(), "{name}: {line:?}");
        }
    }
}

#[tokio::test]
async fn rollouts_of_c385dc6_replay_bit_for_bit() {
    use Action::*;
    let completed = [
        Started, Paused, Resumed, ShareSet, Advanced, Completed, Released,
    ];
    let taken_back = [Started, Held, RolledBack, Released];
    replays("c385dc6.db", &[&[Started], &taken_back, &completed]).await;
}

#[tokio::test]
async fn rollouts_of_d97a2f0_replay_bit_for_bit() {
    use Action::*;
    let completed = [
        Started, Paused, Resumed, ShareSet, Asked, Advanced, Completed,
    ];
    let histories: [&[Action]; 3] = [&[Started, Asked], &[Started, RolledBack], &completed];
    replays("d97a2f0.db", &histories).await;
}

#[tokio::test]
async fn rollouts_of_1463549_replay_as_they_did() {
    use Action::*;
    let completed = [Started, Paused, Resumed, ShareSet, Advanced, Completed];
    let taken_back = [Started, RolledBack, Released];
    let histories: [&[Action]; 3] = [&[Started, Advanced], &taken_back, &completed];
    replays("1463549.db", &histories).await;

    let folder = tempfile::tempdir().unwrap();
    let storage = open("1463549.db", folder.path()).await;
    let mut again = Vec::new();
    for status in storage.statuses().await.unwrap() {
        again.push(replay::replay(&storage, &status.id).await.unwrap().unwrap());
    }
    let before: Value = serde_json::from_str(include_str!("../../recorded/1463549.json")).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), before);
    assert_eq!(storage.head().await.unwrap(), 594);
}
