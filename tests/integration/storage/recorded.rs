//! Databases that earlier releases left behind: see `tests/recorded/README.md`.

use std::{fs, path::Path};

use modelramp::{
    rollout::{record::Action, replay, store::RolloutStore},
    storage::Storage,
};

/// Opens a copy of a recorded database, which migrates it.
async fn open(name: &str, folder: &Path) -> Storage {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let copy = folder.join("copy.db");
    fs::copy(recorded.join(name), &copy).unwrap();
    let url = format!("sqlite://{}", copy.display());
    Storage::open(&url).await.unwrap()
}

#[tokio::test]
async fn rollouts_of_c385dc6_replay_bit_for_bit() {
    use Action::*;
    let histories = [
        (&[Started][..], true),
        (&[Started, Held, RolledBack, Released], false),
        (
            &[
                Started, Paused, Resumed, ShareSet, Advanced, Completed, Released,
            ],
            false,
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let storage = open("c385dc6.db", folder.path()).await;
    let statuses = storage.statuses().await.unwrap();
    assert_eq!(statuses.len(), histories.len());
    for (status, (actions, is_live)) in statuses.iter().zip(histories) {
        assert_eq!(status.is_live, is_live);
        let history = storage.audit(&status.id).await.unwrap();
        let done: Vec<_> = history.iter().map(|row| row.action).collect();
        assert_eq!(done, actions);
        let replay = replay::replay(&storage, &status.id).await.unwrap().unwrap();
        assert!(replay.is_identical, "{replay:?}");
        assert!(replay.remarks.is_empty(), "{replay:?}");
        // The live one stopped before its evidence was stored: it catches up from the log.
        assert!(is_live || replay.events > 50, "{replay:?}");
        assert_eq!(replay.events, replay.events_stored);
    }
}
