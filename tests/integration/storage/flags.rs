//! The kill switch and the live share, as they are kept.

use modelramp::{
    _core::{actor::Actor, units::Percent},
    alerting::Outbox,
    live_flags::store::{FlagChange, FlagCommitError, FlagPosition, FlagStore, StoredFlag},
};

use super::{at, database::Database, rollouts::alert};

on_both!(
    the_first_share_is_the_settings_and_stays,
    a_change_is_written_whole_or_not_at_all,
    the_history_is_only_added_to,
);

fn percent(value: f64) -> Percent {
    Percent::new(value).unwrap()
}

fn change(before: &StoredFlag, id: &str, share: f64, killed: bool) -> StoredFlag {
    let position = FlagPosition {
        share: percent(share),
        killed,
    };
    StoredFlag {
        position,
        version: before.version + 1,
        configured: before.configured,
        last: Some(FlagChange {
            id: id.to_owned(),
            version: before.version + 1,
            at: at(3),
            actor: Actor::User(7),
            reason: "fordi: æøå".to_owned(),
            before: before.position,
            after: position,
        }),
    }
}

async fn the_first_share_is_the_settings_and_stays(database: Database) {
    let storage = &database.storage;
    assert!(storage.flag().await.is_err(), "nobody has made it");
    let first = storage.open_flag(percent(12.5)).await.unwrap();
    assert_eq!((first.version, first.last.clone()), (0, None));
    assert_eq!(first.position.share, percent(12.5));
    let other = database.again().await;
    assert_eq!(other.open_flag(percent(99.0)).await.unwrap(), first);
    for share in [0.1, 33.333333333333336, 100.0] {
        let flag = storage.flag().await.unwrap();
        let next = change(&flag, &share.to_string(), share, false);
        storage.commit_flag(&next, None).await.unwrap();
        assert_eq!(other.flag().await.unwrap(), next, "to the last bit");
    }
}

async fn a_change_is_written_whole_or_not_at_all(database: Database) {
    let (one, two) = (&database.storage, database.again().await);
    let first = one.open_flag(percent(10.0)).await.unwrap();
    let kill = change(&first, "kill", 10.0, true);
    one.commit_flag(&kill, Some(&alert("kill", 3)))
        .await
        .unwrap();
    let late = change(&first, "late", 50.0, false);
    let refused = two.commit_flag(&late, Some(&alert("late", 4))).await;
    assert!(
        matches!(refused, Err(FlagCommitError::Stale)),
        "{refused:?}"
    );
    assert_eq!(two.flag().await.unwrap(), kill);
    let due = one.due(&["mail".to_owned()], at(5), 9).await.unwrap();
    let told: Vec<_> = due.iter().map(|it| it.alert.id.as_str()).collect();
    assert_eq!(told, ["kill"]);
    // The same id again is a fault of ours, and changes nothing.
    let again = change(&kill, "kill", 0.0, false);
    let failed = one.commit_flag(&again, None).await;
    assert!(
        matches!(failed, Err(FlagCommitError::Store(_))),
        "{failed:?}"
    );
    assert_eq!(one.flag().await.unwrap(), kill);
}

async fn the_history_is_only_added_to(database: Database) {
    let storage = &database.storage;
    let mut flag = storage.open_flag(percent(0.0)).await.unwrap();
    let mut all = Vec::new();
    for n in 1..=5 {
        flag = change(&flag, &n.to_string(), f64::from(n), false);
        storage.commit_flag(&flag, None).await.unwrap();
        all.extend(flag.last.clone());
    }
    assert_eq!(storage.flag_history(1, i64::MAX, 9).await.unwrap(), all);
    assert_eq!(storage.flag_history(2, 4, 2).await.unwrap(), all[2..4]);
    for change in [
        "UPDATE flag_audit SET reason = 'x'",
        "DELETE FROM flag_audit",
    ] {
        assert!(database.execute(change).await.is_err(), "{change}");
    }
}
