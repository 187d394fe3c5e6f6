//! What is kept for how long, and how large it is.

use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    _core::assignment::Variant,
    providers::fault::{Cause, FaultKind},
    recording::{Event, Outcome},
    rollout::store::RolloutStore,
    storage::{ROLLOUT_RETENTION, Upkeep},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    database::Database,
    events::event,
    rollouts::{ROLLOUT, change, writer},
};
use crate::support::log::{Book, append, since};

on_both!(
    old_events_go_and_their_counts_stay,
    late_events_are_counted_too,
    events_of_a_rollout_stay_until_long_after_its_end,
    two_processes_count_an_event_once,
    many_events_are_read_in_pages,
    a_year_is_small,
);

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Of the events below.
const FORTNIGHT: TimeDelta = TimeDelta::days(14);

fn day(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(number * DAY_MS).unwrap()
}

fn numbered(seq: i64, at_ms: i64) -> Event {
    Event {
        seq,
        rollout: None,
        ..event(at_ms)
    }
}

async fn old_events_go_and_their_counts_stay(database: Database) {
    let storage = &database.storage;
    // One every six hours for thirty days.
    let events: Vec<_> = (0..120).map(|n| event(n * 6 * HOUR_MS)).collect();
    append(storage, &events).await.unwrap();
    let done = storage.prune(FORTNIGHT, day(30)).await.unwrap();
    let expected = Upkeep {
        counted: 120,
        deleted: 64,
    };
    assert_eq!(done, expected);
    let left = since(storage, 0).await;
    assert_eq!(left.len(), 56);
    assert_eq!(left[0].at_ms, 16 * DAY_MS);
    assert_eq!(storage.rollups(0, i64::MAX).await.unwrap().len(), 120);
    let again = storage.prune(FORTNIGHT, day(30)).await.unwrap();
    assert_eq!(again, Upkeep::default());

    // Numbers go on where they were, though nothing is left of the log.
    let done = storage.prune(FORTNIGHT, day(300)).await.unwrap();
    assert_eq!(done.deleted, 56);
    for table in ["events", "event_order", "writers"] {
        let left = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(database.number(&left).await, 0, "{table}");
    }
    assert_eq!(storage.head().await.unwrap(), 120);
    append(storage, &[event(300 * DAY_MS)]).await.unwrap();
    assert_eq!(since(storage, 0).await[0].seq, 121);
    let rollups = storage.rollups(DAY_MS, DAY_MS + HOUR_MS).await.unwrap();
    let [rollup] = rollups.as_slice() else {
        panic!("{rollups:?}");
    };
    assert_eq!(rollup.hour_ms, DAY_MS);
    assert_eq!((rollup.attempts, rollup.latency_ns), (1, 12_500_000));
    assert_eq!(rollup.prompt_tokens, u64::from(u32::MAX));
    assert_eq!(rollup.outcome, Outcome::Fault(FaultKind::Timeout));
    assert_eq!(rollup.latency.counts().collect::<Vec<_>>(), [(12.5, 1)]);
    assert_eq!(rollup.first_token.counts().count(), 0);
}

async fn late_events_are_counted_too(database: Database) {
    let storage = &database.storage;
    let with = |at_ms, latency_ms| Event {
        latency_ms,
        first_token_ms: Some(1.0),
        ..event(at_ms)
    };
    append(storage, &[with(10, 1.0), with(HOUR_MS, 2.0)])
        .await
        .unwrap();
    storage.prune(FORTNIGHT, day(1)).await.unwrap();
    append(storage, &[with(20, 1.0), with(30, 8.0)])
        .await
        .unwrap();
    storage.prune(FORTNIGHT, day(1)).await.unwrap();
    let rollups = storage.rollups(0, HOUR_MS).await.unwrap();
    let [rollup] = rollups.as_slice() else {
        panic!("{rollups:?}");
    };
    assert_eq!((rollup.attempts, rollup.latency_ns), (3, 10_000_000));
    let latencies: Vec<_> = rollup.latency.counts().collect();
    assert_eq!(latencies, [(1.0, 2), (8.0, 1)]);
    assert_eq!(rollup.first_token.counts().collect::<Vec<_>>(), [(1.0, 3)]);
}

async fn events_of_a_rollout_stay_until_long_after_its_end(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let of_rollout = |seq| Event {
        rollout: Some(ROLLOUT.into()),
        ..numbered(seq, DAY_MS)
    };
    let mut book = Book::default();
    let events = [
        numbered(1, DAY_MS),
        of_rollout(2),
        of_rollout(3),
        numbered(4, 2 * DAY_MS),
    ];
    let commit = book.commit(events, vec![change(1)]);
    storage.commit(&fence, &commit).await.unwrap();
    let seqs = async || -> Vec<i64> {
        let events = since(storage, 0).await;
        events.iter().map(|event| event.seq).collect()
    };
    // As long as it lives.
    storage.prune(FORTNIGHT, day(1_000)).await.unwrap();
    assert_eq!(seqs().await, [2, 3]);

    let mut ended = change(2);
    ended.rollout.is_live = false;
    ended.audit.as_mut().unwrap().at = day(2_000);
    let commit = book.commit([], vec![ended]);
    storage.commit(&fence, &commit).await.unwrap();
    let last = day(2_000) + ROLLOUT_RETENTION;
    storage.prune(FORTNIGHT, last).await.unwrap();
    assert_eq!(seqs().await, [2, 3]);
    let later = last + TimeDelta::milliseconds(1);
    storage.prune(FORTNIGHT, later).await.unwrap();
    assert_eq!(seqs().await, [0; 0]);
}

async fn two_processes_count_an_event_once(database: Database) {
    let (first, second) = (&database.storage, database.again().await);
    let events: Vec<_> = (0..12_000).map(event).collect();
    append(first, &events).await.unwrap();
    let (one, two) = tokio::join!(
        first.prune(FORTNIGHT, day(0)),
        second.prune(FORTNIGHT, day(0))
    );
    assert!(one.is_ok() && two.is_ok());
    first.prune(FORTNIGHT, day(0)).await.unwrap();
    let rollups = first.rollups(0, i64::MAX).await.unwrap();
    let attempts: u64 = rollups.iter().map(|rollup| rollup.attempts).sum();
    assert_eq!(attempts, 12_000);
}

async fn many_events_are_read_in_pages(database: Database) {
    use futures::TryStreamExt;
    let storage = &database.storage;
    // More than two pages, many of one time.
    let events: Vec<_> = (0..12_000).map(|n| event(n / 4_000)).collect();
    append(storage, &events).await.unwrap();
    let pages: Vec<_> = storage.events_between(0, 2).try_collect().await.unwrap();
    assert_eq!(
        pages.iter().map(Vec::len).collect::<Vec<_>>(),
        [5_000, 3_000]
    );
    let seqs: Vec<_> = pages.iter().flatten().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=8_000).collect::<Vec<_>>());
    let exact: Vec<_> = storage.events_between(0, 0).try_collect().await.unwrap();
    assert!(exact.is_empty());
}

/// A year at 100,000 requests a day, from what an event and an hour of counts take.
///
/// Events of a rollout stay longest: through its eleven days (`standard`) and ninety more. In the
/// worst case every request is of one. Of ten requests, one needs a second attempt. The counts are
/// those of a busy hour with several models and tasks, all through the year.
#[expect(clippy::print_stdout, reason = "docs/performance.md has the figures")]
async fn a_year_is_small(database: Database) {
    const ATTEMPTS_PER_DAY: i64 = 110_000;
    const RAW_DAYS: i64 = 11 + 90;
    const LIMIT: i64 = 5_000_000_000;
    const EVENTS: i64 = 20_000;
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut random = StdRng::seed_from_u64(1);
    let events = (1..=EVENTS).map(|seq| {
        let latency_ms = (random.random_range(-2.0..2.0_f64)).exp() * 800.0;
        let is_fault = random.random_bool(0.02);
        Event {
            seq,
            request_id: uuid::Uuid::from_u128(random.random()).to_string().into(),
            user_id: Some(random.random_range(1..5_000)),
            subject: Some(random.random()),
            rollout: Some(ROLLOUT.into()),
            counted: true,
            was_open: false,
            model: ["glm-4.5-air-free", "gpt-oss-20b-free", "claude-3.5-sonnet"]
                [random.random_range(0..3)]
            .into(),
            task: ["chat", "email-draft", "complex-reasoning", "tool-calling"]
                [random.random_range(0..4)]
            .into(),
            variant: [Variant::Control, Variant::Candidate][random.random_range(0..2)],
            position: 0,
            latency_ms,
            first_token_ms: Some(latency_ms / 4.0),
            prompt_tokens: random.random_range(50..4_000),
            completion_tokens: random.random_range(5..1_000),
            quality: None,
            answer_chars: None,
            outcome: if is_fault {
                Outcome::Fault(FaultKind::ProviderRateLimited)
            } else {
                Outcome::Success
            },
            status: is_fault.then_some(429),
            cause: is_fault.then_some(Cause::ProviderLimit),
            finish: None,
            // A day's worth in four hours.
            ..event(1_762_637_400_000 + seq * 4 * HOUR_MS / EVENTS)
        }
    });
    let commit = Book::default().commit(events, Vec::new());
    let size = if database.is_sqlite() {
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    } else {
        "SELECT pg_database_size(current_database())"
    };
    let empty = database.number(size).await;
    storage.commit(&fence, &commit).await.unwrap();
    let with_events = database.number(size).await;
    storage.prune(FORTNIGHT, day(0)).await.unwrap();
    let with_rollups = database.number(size).await;

    let per_event = (with_events - empty) / EVENTS;
    let hours = storage.rollups(0, i64::MAX).await.unwrap();
    let hours = hours.chunk_by(|a, b| a.hour_ms == b.hour_ms).count() as i64;
    let per_hour = (with_rollups - with_events) / hours;
    let year = RAW_DAYS * ATTEMPTS_PER_DAY * per_event + 365 * 24 * per_hour;
    let told = format!(
        "{per_event} bytes an event, {per_hour} an hour of counts, {} MB a year",
        year / 1_000_000
    );
    println!("{told}");
    assert!(year < LIMIT, "{told}");
    assert!((100..400).contains(&per_event), "{told}");
}
