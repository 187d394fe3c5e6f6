//! Rollouts and alerts as they are stored, and what a commit does when something fails.

use modelramp::{
    _core::{actor::Actor, assignment::Variant, units::Percent},
    alerting::{Alert, AlertKind, Outbox, Severity},
    providers::fault::FaultKind,
    recording::{Batch, Event, Outcome},
    rollout::{
        observation::Step,
        record::{Action, Record, Standing},
        status::RunState,
        store::{
            AuditRow, Commit, CommitError, Fence, RolloutChange, RolloutStore, StoredRollout,
            StoredStatus,
        },
    },
    storage::Storage,
};
use serde_json::json;

use super::{at, database::Database, events::event};
use crate::support::log::{Book, since};

on_both!(
    a_commit_is_read_back_as_it_was,
    a_commit_based_on_an_old_version_changes_nothing,
    a_commit_that_is_repeated_changes_nothing,
    only_one_process_is_the_writer,
    a_replaced_writer_is_refused,
    the_clocks_of_processes_decide_nothing_about_the_lease,
    a_clean_stop_frees_the_lease_at_once,
    a_commit_that_fails_half_way_leaves_nothing,
    the_audit_is_only_added_to,
    the_history_is_read_on_by_places_and_not_by_times,
    a_batch_goes_behind_the_last_of_its_writer,
    subjects_are_counted_with_their_requests_and_errors,
    events_of_a_rollout_are_paged_by_number,
);

pub(super) const ROLLOUT: &str = "0193f0c2-0000-7000-8000-000000000001";

pub(super) fn rollout(version: i64) -> StoredRollout {
    StoredRollout {
        id: ROLLOUT.into(),
        plan: json!({"name": "standard", "stages": [10, 50, 100]}),
        status: json!({"state": "running"}),
        version,
        // Floats have to come back bit for bit.
        evidence: json!({"log": 0.1 + 0.2, "tiny": f64::MIN_POSITIVE, "nul": "\0"}),
        cursor: 7,
        is_live: true,
    }
}

fn standing(share: f64) -> Standing {
    Standing {
        state: RunState::WaitingAtGate { recommended: true },
        stage: 1,
        share: Percent::new(share).unwrap(),
        soaked_ms: 12,
    }
}

pub(super) fn audit(version: i64) -> AuditRow {
    AuditRow {
        id: format!("0193f0c2-0000-7000-8000-0000000001{version:02}"),
        rollout_id: ROLLOUT.into(),
        at: at(version),
        actor: Actor::User(7),
        action: Action::Started,
        reason: "all's well".into(),
        before: Some(standing(10.0)),
        after: standing(50.0),
        record: Ok(Record {
            cursor: 7,
            at_ms: 0,
            step: Step::Stage {
                share: Percent::FULL,
                rho_bad: 0.1 + 0.2,
            },
            finding: None,
            verdict: None,
            models: Some("glm → oss".into()),
            moves: Vec::new(),
        }),
        version,
    }
}

pub(super) fn alert(id: &str, seconds: i64) -> Alert {
    Alert {
        id: id.into(),
        kind: AlertKind::BothSidesFailing,
        severity: Severity::Critical,
        rollout_id: Some(ROLLOUT.into()),
        title: "Both sides fail".into(),
        text: "Control fails as well.\nLook at the provider.".into(),
        details: json!({"errors": [1, 2.5]}),
        at: at(seconds),
    }
}

fn numbered(seq: i64) -> Event {
    Event {
        seq,
        // Its sign bit is set.
        subject: Some(u64::MAX - 3),
        rollout: Some(ROLLOUT.into()),
        counted: true,
        was_open: false,
        ..event(seq * 1_000)
    }
}

pub(super) fn change(version: i64) -> RolloutChange {
    RolloutChange {
        rollout: rollout(version),
        based_on: (version > 1).then(|| version - 1),
        audit: Some(audit(version)),
        alerts: vec![alert(&format!("alert-{version}"), version)],
    }
}

pub(super) async fn writer(storage: &Storage) -> Fence {
    storage.acquire("a", at(0)).await.unwrap().unwrap()
}

fn seqs(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.seq).collect()
}

fn status(rollout: &StoredRollout) -> StoredStatus {
    StoredStatus {
        id: rollout.id.clone(),
        status: rollout.status.to_string(),
        version: rollout.version,
        is_live: rollout.is_live,
    }
}

async fn a_commit_is_read_back_as_it_was(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    assert_eq!(storage.head().await.unwrap(), 0);
    let events: Vec<_> = (1..=1_203).map(numbered).collect();
    let mut book = Book::default();
    let commit = book.commit(events.clone(), vec![change(1)]);
    storage.commit(&fence, &commit).await.unwrap();

    assert_eq!(storage.statuses().await.unwrap(), [status(&rollout(1))]);
    assert_eq!(storage.rollout(ROLLOUT).await.unwrap(), Some(rollout(1)));
    assert_eq!(storage.rollout("other").await.unwrap(), None);
    assert_eq!(storage.audit(ROLLOUT).await.unwrap(), [audit(1)]);
    assert_eq!(storage.head().await.unwrap(), 1_203);
    let read = since(storage, 0).await;
    assert_eq!(format!("{read:?}"), format!("{events:?}"));
    let due = storage.due(&["mail".into()], at(9), 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].alert, alert("alert-1", 1));

    // Evidence moves without a new version; then the rollout ends.
    let mut moved = RolloutChange {
        based_on: Some(1),
        audit: None,
        alerts: Vec::new(),
        ..change(1)
    };
    moved.rollout.cursor = 9;
    let mut ended = change(2);
    ended.rollout.is_live = false;
    let commit = book.commit([], vec![moved, ended.clone()]);
    storage.commit(&fence, &commit).await.unwrap();
    assert_eq!(
        storage.rollout(ROLLOUT).await.unwrap(),
        Some(ended.rollout.clone())
    );
    let statuses = storage.statuses().await.unwrap();
    assert_eq!(statuses, [status(&ended.rollout)]);
    assert_eq!(storage.audit(ROLLOUT).await.unwrap(), [audit(1), audit(2)]);
    let ended_at = database.number("SELECT ended_ms FROM rollouts").await;
    assert_eq!(ended_at, at(2).timestamp_millis());
}

async fn a_commit_based_on_an_old_version_changes_nothing(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    for version in [1, 2] {
        let commit = book.commit([numbered(version)], vec![change(version)]);
        storage.commit(&fence, &commit).await.unwrap();
    }
    for based_on in [None, Some(1), Some(7)] {
        let mut stale = change(3);
        stale.based_on = based_on;
        let commit = book.clone().commit([numbered(3)], vec![stale]);
        let error = storage.commit(&fence, &commit).await.unwrap_err();
        assert!(
            matches!(&error, CommitError::Stale { rollout_id, current: 2, .. } if rollout_id == ROLLOUT),
            "{error}"
        );
    }
    assert_eq!(storage.head().await.unwrap(), 2);
    assert_eq!(storage.rollout(ROLLOUT).await.unwrap(), Some(rollout(2)));
    assert_eq!(storage.audit(ROLLOUT).await.unwrap().len(), 2);
}

async fn a_commit_that_is_repeated_changes_nothing(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    for version in [1, 2] {
        let commit = book.commit((1..=600).map(numbered), vec![change(version)]);
        for _ in 0..2 {
            storage.commit(&fence, &commit).await.unwrap();
        }
    }
    assert_eq!(since(storage, 0).await.len(), 1_200);
    assert_eq!(storage.audit(ROLLOUT).await.unwrap().len(), 2);
    assert_eq!(database.number("SELECT COUNT(*) FROM alerts").await, 2);
}

async fn the_history_is_read_on_by_places_and_not_by_times(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    assert_eq!(storage.last_place().await.unwrap(), 0);
    for version in [1, 2, 3] {
        let mut change = change(version);
        if let Some(audit) = &mut change.audit {
            // Each by a server whose clock is behind that of the one before.
            audit.at = at(100 - version);
        }
        let commit = book.commit([], vec![change]);
        storage.commit(&fence, &commit).await.unwrap();
    }
    let whole = storage.audit_after(0, 10).await.unwrap();
    let versions: Vec<_> = whole.iter().map(|(_, row)| row.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    let places: Vec<_> = whole.iter().map(|(place, _)| *place).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(storage.last_place().await.unwrap(), places[2]);
    let rest = storage.audit_after(places[0], 1).await.unwrap();
    assert_eq!((rest.len(), rest[0].1.version), (1, 2));
    let place_of = async |version, at_ms| storage.place_of(ROLLOUT, version, at_ms).await.unwrap();
    assert_eq!(place_of(2, 0).await, places[1]);
    // It is not stored: what is older than it is told.
    assert_eq!(place_of(9, at(99).timestamp_millis()).await, places[2]);
    assert_eq!(place_of(9, 0).await, 0);
}

async fn a_batch_goes_behind_the_last_of_its_writer(database: Database) {
    let storage = &database.storage;
    let Some(id) = storage.enter("b", at(0)).await.unwrap() else {
        assert!(database.is_sqlite(), "one process writes there");
        return;
    };
    let batch = |number| Batch {
        writer: None,
        number,
        events: [event(number)].into(),
    };
    let append = async |after, number| {
        storage
            .append("b", id, after, &batch(number))
            .await
            .unwrap()
    };
    assert_eq!(append(0, 1).await, 1);
    assert_eq!(append(0, 1).await, 1, "its answer was lost");
    // The database lacks the second.
    assert_eq!(append(2, 3).await, 1);
    assert_eq!((append(1, 2).await, append(2, 3).await), (2, 3));
    assert_eq!(since(storage, 0).await.len(), 0, "none has a place yet");
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 3);
    let other = storage.append("c", id, 3, &batch(4)).await;
    assert!(other.is_err(), "it is not its number");
}

async fn only_one_process_is_the_writer(database: Database) {
    let (first, second) = (&database.storage, database.again().await);
    let fence = writer(first).await;
    assert_eq!(second.acquire("b", at(14)).await.unwrap(), None);
    assert!(first.renew(&fence).await.unwrap());
    assert_eq!(second.acquire("b", at(28)).await.unwrap(), None);
    // The same process again, as after an error of its own.
    let next = first.acquire("a", at(14)).await.unwrap().unwrap();
    assert!(next.number > fence.number);
    assert!(!first.renew(&fence).await.unwrap());
    let refused = first.commit(&fence, &Commit::default()).await;
    assert!(matches!(refused, Err(CommitError::Fenced)));
    first.commit(&next, &Commit::default()).await.unwrap();
}

async fn a_replaced_writer_is_refused(database: Database) {
    let (first, second) = (&database.storage, database.again().await);
    let old = writer(first).await;
    if database.is_sqlite() {
        // The lock goes with the process.
        first.close().await;
    }
    // As after ten seconds without a word of the first.
    let run_out = "UPDATE leases SET expires_ms = 1 WHERE expires_ms > 1";
    database.execute(run_out).await.unwrap();
    let new = second.acquire("b", at(15)).await.unwrap().unwrap();
    assert!(new.number > old.number);
    if !database.is_sqlite() {
        assert!(!first.renew(&old).await.unwrap());
        let commit = Book::default().commit([numbered(1)], vec![change(1)]);
        let refused = first.commit(&old, &commit).await;
        assert!(matches!(refused, Err(CommitError::Fenced)));
        // Nor does it give away what is no longer its own.
        first.release(&old, at(1)).await.unwrap();
        assert_eq!(first.acquire("a", at(16)).await.unwrap(), None);
    }
    assert_eq!(second.head().await.unwrap(), 0);
    assert!(second.renew(&new).await.unwrap());
}

async fn the_clocks_of_processes_decide_nothing_about_the_lease(database: Database) {
    let (first, second) = (&database.storage, database.again().await);
    // One whose clock is years behind, and one whose clock is years ahead.
    let fence = first.acquire("a", at(0)).await.unwrap().unwrap();
    let ahead = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
    assert_eq!(second.acquire("b", ahead).await.unwrap(), None);
    assert!(first.renew(&fence).await.unwrap());
    assert_eq!(second.acquire("b", ahead).await.unwrap(), None);
}

async fn a_clean_stop_frees_the_lease_at_once(database: Database) {
    let (first, second) = (&database.storage, database.again().await);
    let old = writer(first).await;
    first.release(&old, at(1)).await.unwrap();
    let new = second.acquire("b", at(1)).await.unwrap().unwrap();
    assert!(new.number > old.number);
    assert!(!first.renew(&old).await.unwrap());
}

async fn a_commit_that_fails_half_way_leaves_nothing(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    let good = book.commit([numbered(1)], vec![change(1)]);
    storage.commit(&fence, &good).await.unwrap();
    // Refused after events, rollout, audit and an alert were written.
    let mut other = change(2);
    other.rollout.id = "other".into();
    other.based_on = None;
    let commit = book.commit((2..=700).map(numbered), vec![change(2), other]);
    let error = storage.commit(&fence, &commit).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(_)), "{error}");
    assert_eq!(storage.head().await.unwrap(), 1);
    let stored = storage.rollout(ROLLOUT).await.unwrap();
    assert_eq!(stored, Some(rollout(1)));
    assert_eq!(storage.statuses().await.unwrap().len(), 1);
    assert_eq!(storage.audit(ROLLOUT).await.unwrap(), [audit(1)]);
    assert_eq!(database.number("SELECT COUNT(*) FROM alerts").await, 1);
}

/// Connections are cut again and again while commits go on; each is there whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_loses_a_commit_whole() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let storage = &database.storage;
    let fence = writer(storage).await;
    let cut = async {
        for _ in 0..100 {
            database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'modelramp' AND datname = current_database()",
                )
                .await
                .unwrap();
        }
    };
    let commits = async {
        let mut failures = 0;
        let mut book = Book::default();
        for version in 1..=40 {
            let commit = book.commit((1..=900).map(numbered), vec![change(version)]);
            // As the controller does: the same commit until it is taken.
            while let Err(error) = storage.commit(&fence, &commit).await {
                assert!(matches!(error, CommitError::Store(_)), "{error}");
                failures += 1;
            }
        }
        failures
    };
    let ((), failures) = tokio::join!(cut, commits);
    assert!(failures > 0, "no connection was cut in time");
    assert_eq!(since(storage, 0).await.len(), 40 * 900);
    assert_eq!(storage.rollout(ROLLOUT).await.unwrap(), Some(rollout(40)));
    assert_eq!(storage.audit(ROLLOUT).await.unwrap().len(), 40);
    assert_eq!(database.number("SELECT COUNT(*) FROM alerts").await, 40);
}

async fn the_audit_is_only_added_to(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let commit = Book::default().commit([], vec![change(1)]);
    storage.commit(&fence, &commit).await.unwrap();
    for sql in [
        "UPDATE rollout_audit SET reason = 'another'",
        "DELETE FROM rollout_audit",
    ] {
        let error = database.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("only added to"), "{error}");
    }
    assert_eq!(storage.audit(ROLLOUT).await.unwrap(), [audit(1)]);
}

async fn subjects_are_counted_with_their_requests_and_errors(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let of = |seq: i64, subject: u64, outcome| Event {
        subject: Some(subject),
        position: 0,
        outcome,
        variant: Variant::Control,
        ..numbered(seq)
    };
    let timeout = Outcome::Fault(FaultKind::Timeout);
    let clients = Outcome::Fault(FaultKind::BadRequest);
    let events = [
        of(1, u64::MAX, timeout),
        of(2, u64::MAX, Outcome::Success),
        of(3, u64::MAX, timeout),
        of(4, u64::MAX, Outcome::Fault(FaultKind::Upstream)),
        of(5, 1, clients),
        of(6, 2, Outcome::Cancelled),
        // A fallback.
        Event {
            position: 1,
            ..of(7, 3, timeout)
        },
        // Half of what came after the first token were the first words.
        Event {
            latency_ms: 1_100.0,
            first_token_ms: Some(100.0),
            answer_chars: Some(200),
            ..of(5, 4, Outcome::Success)
        },
        // At the end, which is not in.
        of(8, u64::MAX, timeout),
        // Of the first release: only the user is known.
        Event {
            subject: None,
            ..of(4, 0, timeout)
        },
    ];
    let commit = Book::default().commit(events, Vec::new());
    storage.commit(&fence, &commit).await.unwrap();
    let user = modelramp::_core::assignment::Subject::User(7).key();
    let mut expected = vec![
        (u64::MAX, 4, 3),
        (1, 0, 0),
        (2, 0, 0),
        (4, 1, 0),
        (user, 1, 1),
    ];
    expected.sort_unstable();
    let history = storage.history_by_subject(0, 8_000, &[]).await.unwrap();
    let history = history
        .iter()
        .map(|it| (it.subject, it.requests, it.errors));
    assert_eq!(history.collect::<Vec<_>>(), expected);
    let later = storage.history_by_subject(3_500, 4_500, &[]).await.unwrap();
    assert_eq!(later.len(), 2, "{later:?}");

    let task = vec![numbered(1).task.to_string()];
    let of_task = storage.history_by_subject(0, 8_000, &task).await.unwrap();
    let latencies = of_task.iter().map(|it| it.latencies.count);
    assert_eq!(
        latencies.sum::<u32>(),
        1,
        "only answers tell how long it takes"
    );
    let streamed = of_task.iter().map(|it| it.first_words);
    let streamed: Vec<_> = streamed.filter(|it| it.count > 0).collect();
    assert_eq!(streamed.len(), 1);
    assert!(
        (streamed[0].sum - 600.0_f64.ln()).abs() < 1e-12,
        "{streamed:?}"
    );
    let other = ["other".to_owned()];
    let of_other = storage.history_by_subject(0, 8_000, &other).await.unwrap();
    assert!(of_other.is_empty());
}

async fn events_of_a_rollout_are_paged_by_number(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let events = (1..=20).map(|seq| Event {
        rollout: (seq % 2 == 0).then(|| ROLLOUT.into()),
        // Times need not grow with the numbers.
        at_ms: 100 - seq,
        ..numbered(seq)
    });
    let commit = Book::default().commit(events, Vec::new());
    storage.commit(&fence, &commit).await.unwrap();
    let page = storage.events_of(ROLLOUT, 0, 4).await.unwrap();
    assert_eq!(seqs(&page), [2, 4, 6, 8]);
    let page = storage.events_of(ROLLOUT, 8, 99).await.unwrap();
    assert_eq!(seqs(&page), [10, 12, 14, 16, 18, 20]);
}
