use super::*;
use crate::_core::assignment::Variant;

#[tokio::test]
async fn few_statements_are_kept_prepared_however_many_events_come_at_once() {
    use sqlx::Connection as _;

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/a.db", folder.path().display());
    let storage = Storage::open(&url).await.unwrap();
    let kept = async || {
        on!(storage.db.write(), pool => {
            pool.acquire().await.unwrap().cached_statements_size()
        })
    };
    let before = kept().await;
    let event = |at_ms| crate::recording::event::tests::event(at_ms, "m", 1.0);
    let events: Vec<_> = (0..600).map(event).collect();
    for count in (1..40).chain([255, 256, 300, 511, 600]) {
        refused(&storage.db, &events[..count]).await.unwrap();
    }
    let more = kept().await - before;
    assert!(more <= 12, "{more}");
}

#[test]
fn rows_are_added_in_powers_of_two() {
    let of = |rows| portions(rows, 256).collect::<Vec<_>>();
    assert_eq!(of(0), [0; 0]);
    assert_eq!(of(1), [1]);
    assert_eq!(of(300), [256, 32, 8, 4]);
    assert_eq!(of(600), [256, 256, 64, 16, 8]);
}

#[tokio::test]
async fn of_many_events_those_are_found_that_are_refused_and_none_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/a.db", folder.path().display());
    let storage = Storage::open(&url).await.unwrap();
    let mut events: Vec<_> = (0..1_200)
        .map(|at_ms| crate::recording::event::tests::event(at_ms, "m", 1.0))
        .collect();
    assert_eq!(refused(&storage.db, &events).await.unwrap(), [0; 0]);
    let odd = [3, 499, 500, 1_199];
    for place in odd {
        events[place].latency_ms = f64::MAX;
    }
    assert_eq!(refused(&storage.db, &events).await.unwrap(), odd);
    let stored: i64 = on!(storage.db.read(), pool => {
        sqlx::query_scalar("SELECT COUNT(*) FROM events").fetch_one(pool).await.unwrap()
    });
    assert_eq!(stored, 0);
}

#[test]
fn what_is_no_end_is_left_out_of_requests_by_its_name() {
    let others = [
        Outcome::Success,
        Outcome::Refused,
        Outcome::Cancelled,
        Outcome::Open,
        Outcome::Rated { good: true },
        Outcome::Rated { good: false },
        Outcome::Fault(FaultKind::Timeout),
    ];
    let judged = Judgement::ALL.map(Outcome::Judged);
    for outcome in judged.into_iter().chain(others) {
        let name = format!("'{}'", outcome.name());
        let is_named = crate::storage::requests::ENDS.contains(&name);
        assert_eq!(is_named, !outcome.is_end(), "{name}");
    }
}

#[test]
fn outcomes_and_variants_have_stable_names() {
    for (value, text) in [
        (Outcome::Success, "success"),
        (Outcome::Refused, "refused-answer"),
        (Outcome::Cancelled, "cancelled"),
        (Outcome::Open, "open"),
        (Outcome::Rated { good: true }, "rated-good"),
        (Outcome::Rated { good: false }, "rated-bad"),
        (Outcome::Judged(Judgement::Better), "judged-better"),
        (
            Outcome::Judged(Judgement::Inconsistent),
            "judged-inconsistent",
        ),
        (Outcome::Fault(FaultKind::ContextLength), "context-length"),
        (Outcome::Fault(FaultKind::EmptyReply), "empty-reply"),
        (Outcome::Fault(FaultKind::Rejected), "rejected"),
        (Outcome::Fault(FaultKind::AccountLimit), "account-limit"),
        (
            Outcome::Fault(FaultKind::ProviderRateLimited),
            "provider-rate-limited",
        ),
    ] {
        assert_eq!(value.name(), text);
        assert_eq!(outcome(text), value);
    }
    assert_eq!(name(Variant::Candidate).unwrap(), "candidate");
    assert_eq!(from_name::<Variant>("control").unwrap(), Variant::Control);
    assert_eq!(outcome("on fire"), Outcome::Unknown);
}
