//! Events as they are stored.

use modelramp::{
    _core::{assignment::Variant, units::Microdollars},
    providers::{
        fault::{Cause, FaultKind},
        finish::Finish,
        quality::Quality,
    },
    recording::{Event, Outcome},
};

use super::database::Database;
use crate::support::log::{append, since};

on_both!(
    events_come_back_as_they_were_oldest_first,
    events_are_stored_all_or_none,
);

pub(super) fn event(at_ms: i64) -> Event {
    Event {
        at_ms,
        request_id: "r".into(),
        user_id: Some(7),
        seq: 0,
        subject: None,
        rollout: None,
        counted: false,
        was_open: false,
        model: "glm-4.5-air-free".into(),
        task: "chat".into(),
        variant: Variant::Candidate,
        position: 1,
        latency_ms: 12.5,
        first_token_ms: None,
        words_ms: None,
        prompt_tokens: u32::MAX,
        completion_tokens: 3,
        quality: Some(Quality::FLAWS[usize::try_from(at_ms.unsigned_abs() % 4).unwrap_or(0)]),
        answer_chars: Some(u32::MAX),
        status: Some(u16::MAX),
        cause: Some(Cause::TimeoutUpstream),
        finish: Some(Finish::Length),
        cost: Microdollars(42),
        outcome: Outcome::Fault(FaultKind::Timeout),
    }
}

async fn events_come_back_as_they_were_oldest_first(database: Database) {
    let storage = &database.storage;
    // More than two inserts of one transaction, the newest first.
    let events: Vec<_> = (0..1_203).rev().map(event).collect();
    append(storage, &events).await.unwrap();
    append(storage, &[]).await.unwrap();
    let read = since(storage, 3).await;
    let times: Vec<_> = read.iter().map(|event| event.at_ms).collect();
    assert_eq!(times, (3..1_203).collect::<Vec<_>>());
    let numbered = |event: Event, seq| format!("{:?}", Event { seq, ..event });
    assert_eq!(format!("{:?}", read[0]), numbered(event(3), 1_200));

    let other = Event {
        user_id: None,
        seq: 0,
        subject: None,
        rollout: None,
        counted: false,
        was_open: false,
        first_token_ms: Some(1.25),
        words_ms: Some(u32::MAX),
        variant: Variant::Control,
        outcome: Outcome::Success,
        ..event(5_000)
    };
    append(storage, std::slice::from_ref(&other)).await.unwrap();
    let read = since(storage, 5_000).await;
    assert_eq!(format!("{:?}", read[0]), numbered(other, 1_204));
}

async fn events_are_stored_all_or_none(database: Database) {
    let storage = &database.storage;
    let mut events: Vec<_> = (0..600).map(event).collect();
    // SQLite keeps not-a-number as NULL, which the column refuses, as PostgreSQL's check does.
    events[599].latency_ms = f64::NAN;
    assert!(append(storage, &events).await.is_err());
    assert!(since(storage, 0).await.is_empty());
}
