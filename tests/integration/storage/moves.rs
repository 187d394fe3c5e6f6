//! Who answers procedures that an old server has as well, as it is kept.

use std::collections::BTreeMap;

use modelramp::{
    _core::{actor::Actor, units::Percent},
    alerting::Outbox,
    dashboard::audit::{AuditFilter, AuditStore, AuditSubject},
    migration::{
        Mode,
        mode::Move,
        report::{CallCounts, Example, MoveTally},
        store::{BetsHeld, MoveStore},
    },
};

use super::{at, database::Database, rollouts::alert};

on_both!(
    a_namespace_takes_the_place_of_its_procedures_and_reports_begin_anew,
    only_what_was_judged_is_taken_back,
    reports_of_all_processes_are_one_sum,
    bets_are_one_processs_and_then_anothers,
);

fn to(id: &str, name: &str, mode: Mode, share: f64) -> Move {
    Move {
        id: id.to_owned(),
        name: name.to_owned(),
        mode,
        share: Percent::new(share).unwrap(),
        at: at(1),
        actor: Actor::User(7),
        reason: "fordi: æøå".to_owned(),
    }
}

fn seen(count: i64) -> MoveTally {
    let calls = |failed| CallCounts {
        count,
        failed,
        refused: failed + 1,
        micros: 1000 * count,
    };
    let example = |path: &str| Example {
        at: at(count),
        path: path.to_owned(),
        theirs: "1".to_owned(),
        ours: "2".to_owned(),
    };
    MoveTally {
        compared: count,
        differed: 1,
        incomparable: 2,
        dropped: 3,
        ours: calls(4),
        theirs: calls(5),
        examples: vec![example("a.0.b"), example(&format!("place{count}"))],
    }
}

fn reports(all: &[(&str, i64)]) -> BTreeMap<String, MoveTally> {
    let all = all.iter();
    all.map(|(name, count)| ((*name).to_owned(), seen(*count)))
        .collect()
}

async fn a_namespace_takes_the_place_of_its_procedures_and_reports_begin_anew(database: Database) {
    let storage = &database.storage;
    let one = to("1", "chat.getMessages", Mode::Share, 33.333333333333336);
    storage.set_move(&one).await.unwrap();
    storage.set_move(&one).await.unwrap();
    let other = to("2", "chatty.x", Mode::Native, 100.0);
    storage.set_move(&other).await.unwrap();
    assert_eq!(storage.moves().await.unwrap(), [one, other.clone()]);
    let names = [("chat.getMessages", 1), ("chat.x", 2), ("chatty.x", 3)];
    storage.add_reports(&reports(&names)).await.unwrap();
    let all = to("3", "chat.*", Mode::Shadow, 0.0);
    storage.set_move(&all).await.unwrap();
    assert_eq!(database.again().await.moves().await.unwrap(), [all, other]);
    let left = storage.reports().await.unwrap();
    assert_eq!(left, reports(&[("chatty.x", 3)]));
    let filter = AuditFilter {
        subjects: vec![AuditSubject::Moves],
        ..AuditFilter::default()
    };
    let lines = storage.changes(&filter, None, 10).await.unwrap();
    assert_eq!(lines.len(), 3, "what is written twice is told once");
}

async fn only_what_was_judged_is_taken_back(database: Database) {
    let storage = &database.storage;
    storage
        .set_move(&to("1", "a.b", Mode::Share, 5.0))
        .await
        .unwrap();
    let newer = to("2", "a.b", Mode::Share, 10.0);
    storage.set_move(&newer).await.unwrap();
    storage.add_reports(&reports(&[("a.b", 1)])).await.unwrap();
    let back = to("3", "a.b", Mode::Legacy, 0.0);
    let taken = storage.take_back(&back, "1", &alert("late", 3)).await;
    assert!(!taken.unwrap());
    assert_eq!(storage.moves().await.unwrap(), [newer]);
    let taken = storage.take_back(&back, "2", &alert("told", 3)).await;
    assert!(taken.unwrap());
    assert_eq!(storage.moves().await.unwrap(), [back]);
    assert_eq!(storage.reports().await.unwrap().len(), 1, "it says why");
    let due = storage.due(&["webhook".to_owned()], at(5), 10).await;
    let due: Vec<_> = due.unwrap().into_iter().map(|it| it.alert.id).collect();
    assert_eq!(due, ["told"]);
}

async fn reports_of_all_processes_are_one_sum(database: Database) {
    let (one, two) = (&database.storage, database.again().await);
    one.add_reports(&reports(&[("a.b", 1)])).await.unwrap();
    two.add_reports(&reports(&[("a.b", 10), ("c.d", 1)]))
        .await
        .unwrap();
    let sum = one.reports().await.unwrap();
    assert_eq!(sum["a.b"].compared, 11);
    assert_eq!(sum["a.b"].theirs.micros, 11_000);
    assert_eq!(sum["a.b"].theirs.failed, 10);
    assert_eq!(sum["a.b"].theirs.refused, 12);
    assert_eq!(sum["a.b"].ours.refused, 10);
    let examples = sum["a.b"].examples.iter().map(|it| it.path.as_str());
    assert_eq!(examples.collect::<Vec<_>>(), ["a.0.b", "place1", "place10"]);
    assert_eq!(sum["c.d"], seen(1));
}

async fn bets_are_one_processs_and_then_anothers(database: Database) {
    let (one, two) = (&database.storage, database.again().await);
    let held = |place, left: &[&str]| BetsHeld {
        place: Some(place),
        left: left.iter().map(|it| (*it).to_owned()).collect(),
    };
    one.set_move(&to("m", "a.b", Mode::Share, 5.0))
        .await
        .unwrap();
    let begun = one.hold_bets("m", "first", None, at(0), at(20)).await;
    assert_eq!(begun.unwrap(), held(0, &[]));
    let kept = one
        .hold_bets("m", "first", Some((0, "a")), at(1), at(20))
        .await;
    assert_eq!(kept.unwrap(), held(0, &[]));
    // Another one beside it gets a place of its own, and nothing of what is held.
    let begun = two.hold_bets("m", "second", None, at(20), at(40)).await;
    assert_eq!(begun.unwrap(), held(1, &[]));
    let kept = two
        .hold_bets("m", "second", Some((1, "b")), at(21), at(60))
        .await;
    assert_eq!(kept.unwrap(), held(1, &["a"]), "the first one is gone");
    let again = two
        .hold_bets("m", "second", Some((1, "ab")), at(22), at(60))
        .await;
    assert_eq!(again.unwrap(), held(1, &[]), "it is taken once");
    // The first one was only slow: what it had is another's, and it begins anew.
    let late = one
        .hold_bets("m", "first", Some((0, "a2")), at(30), at(50))
        .await;
    assert_eq!(late.unwrap(), held(2, &[]));
    // One that ends leaves what it has at once.
    let ended = two
        .hold_bets("m", "second", Some((1, "c")), at(31), at(-1_000))
        .await;
    assert_eq!(ended.unwrap(), held(1, &[]), "and does not take it itself");
    let next = one
        .hold_bets("m", "first", Some((2, "d")), at(32), at(50))
        .await;
    assert_eq!(next.unwrap(), held(2, &["c"]));
    // With the move they go.
    one.set_move(&to("n", "a.b", Mode::Share, 6.0))
        .await
        .unwrap();
    let other = one.hold_bets("m", "third", None, at(100), at(120)).await;
    assert_eq!(other.unwrap(), held(0, &[]));
}
