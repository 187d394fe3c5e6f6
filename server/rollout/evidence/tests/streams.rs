//! Facts about streams, which are as slow as their first words are.

use super::*;

/// Users who had a week of streams before.
fn readers() -> Strata {
    let mut first_words = LogLatencies::default();
    (0..20).for_each(|_| first_words.add(1_500.0));
    Strata::new((0..200).map(|subject| UserHistory {
        subject,
        requests: 20,
        first_words,
        ..UserHistory::default()
    }))
}

/// Requests of 200 users, twenty of whom are on the candidate: until the first words, and until the end; `None` for
/// answers that come as a whole.
fn judged(
    edition: Edition,
    strata: Strata,
    took: impl Fn(u64, bool) -> (Option<f64>, f64),
) -> Evidence {
    let mut evidence = Evidence::of_edition(edition, &EvidencePlan::default(), strata, BEGIN);
    for n in 0..8_000_u64 {
        let user = n % 200;
        let is_candidate = user.is_multiple_of(10);
        let mut one = request(n as i64 * 8_640, user, is_candidate, false);
        (one.first_words_ms, one.latency_ms) = took(n, is_candidate);
        evidence.fold(&one, share(10.0));
    }
    evidence
}

/// The evidence that the candidate is slow.
fn slow(evidence: &Evidence) -> f64 {
    let metrics = evidence.verdict(BEGIN).metrics;
    metrics[1].e.max(metrics[2].e)
}

fn words(n: u64) -> f64 {
    500.0 + (n * 7_919 % 2_000) as f64
}

#[test]
fn a_candidate_that_writes_twice_as_much_is_not_slower() {
    let took = |n: u64, is_candidate| {
        let rest = if is_candidate { 8_000.0 } else { 4_000.0 };
        (Some(words(n)), words(n) + rest)
    };
    let evidence = judged(Edition::Sixth, readers(), took);
    assert!(slow(&evidence) < 5.0, "{}", slow(&evidence));
    assert_eq!(evidence.verdict(BEGIN).timed, Timed::FirstWords);
    // Whole times were judged before, and a rollout that began then is judged by them to its end.
    let mut known = LogLatencies::default();
    (0..20).for_each(|_| known.add(5_500.0));
    let strata = Strata::new((0..200).map(|subject| UserHistory {
        subject,
        requests: 20,
        latencies: known,
        ..UserHistory::default()
    }));
    let before = judged(Edition::Fifth, strata, took);
    assert_eq!(before.verdict(BEGIN).timed, Timed::Whole);
    assert!(slow(&before) > 1_000.0, "{}", slow(&before));
}

#[test]
fn a_candidate_whose_first_words_come_late_is_slower() {
    let took = |n: u64, is_candidate| {
        let late = if is_candidate { 2.0 } else { 1.0 };
        // It says less, so that both take as long as a whole.
        (Some(late * words(n)), 9_000.0)
    };
    let evidence = judged(Edition::Sixth, readers(), took);
    assert!(slow(&evidence) > 1_000.0, "{}", slow(&evidence));
}

#[test]
fn streams_are_compared_with_streams_alone() {
    // One in five of control's answers is streamed, of the candidate's another part, so most of its times are shorter or
    // longer than most of control's.
    let mixed = |n: u64, is_candidate: bool, part: u64, times: f64| {
        let (part, late) = if is_candidate {
            (part, times)
        } else {
            (1, 1.0)
        };
        let whole = late * (6_000.0 + 4.0 * words(n));
        let is_streamed = n / 200 % 5 < part;
        (is_streamed.then_some(late * words(n)), whole)
    };
    for part in [0, 1, 4] {
        let alike = judged(Edition::Sixth, readers(), |n, is| mixed(n, is, part, 1.0));
        assert!(slow(&alike) < 5.0, "{part}: {}", slow(&alike));
        assert_eq!(alike.verdict(BEGIN).timed, Timed::Both);
        let slower = judged(Edition::Sixth, readers(), |n, is| mixed(n, is, part, 2.0));
        assert!(slow(&slower) > 100.0, "{part}: {}", slow(&slower));
    }
}

#[test]
fn a_request_that_tells_nothing_is_of_the_kind_that_most_are() {
    let streams = |n: u64, _| (Some(words(n)), 9_000.0);
    let mut evidence = judged(Edition::Sixth, readers(), streams);
    let late_ms = evidence.late_after_ms().unwrap();
    assert!((4_000.0..4_500.0).contains(&late_ms), "{late_ms}");
    let hanging = Observation {
        end: RequestEnd::Unknown,
        latency_ms: late_ms + 1.0,
        ..request(8_000 * 8_640, 10, true, false)
    };
    assert_eq!(
        hanging.time(Edition::Sixth, evidence.usual()).of,
        Timed::FirstWords
    );
    let before = evidence.clone();
    evidence.fold(&hanging, share(10.0));
    let slow = |evidence: &Evidence| {
        let stream = evidence.streams.get(Harm::AboveP99).unwrap();
        let open = stream.open().map(|(_, bin)| bin.counts.errors.candidate);
        open.sum::<u32>()
    };
    assert_eq!(slow(&evidence), slow(&before) + 1);
}

#[test]
fn who_goes_away_after_the_first_words_knows_how_long_they_took() {
    let gone = |first_words_ms| {
        let one = Observation {
            end: RequestEnd::Unknown,
            latency_ms: 40_000.0,
            first_words_ms,
            ..request(0, 1, true, false)
        };
        one.time(Edition::Sixth, Timed::FirstWords)
            .is_slower(2_000.0)
    };
    assert_eq!(gone(Some(900.0)), Some(false), "it is not slow");
    assert_eq!(gone(None), Some(true), "it waited for them");
    let early = Observation {
        end: RequestEnd::Unknown,
        latency_ms: 500.0,
        ..request(0, 1, true, false)
    };
    let time = early.time(Edition::Sixth, Timed::FirstWords);
    assert_eq!(time.is_slower(2_000.0), None, "nobody knows");
}

#[test]
fn who_goes_away_after_the_first_words_was_answered() {
    let counts = |edition, first_words_ms| {
        let mut evidence =
            Evidence::of_edition(edition, &EvidencePlan::default(), readers(), BEGIN);
        let gone = Observation {
            end: RequestEnd::Unknown,
            first_words_ms,
            ..request(0, 10, true, false)
        };
        evidence.fold(&gone, share(10.0));
        evidence.fold(&request(1, 10, true, true), share(10.0));
        let seen = evidence.verdict(BEGIN).candidate;
        [seen.requests, seen.errors]
    };
    assert_eq!(counts(Edition::NEWEST, Some(900.0)), [2, 1]);
    assert_eq!(counts(Edition::NEWEST, None), [1, 1], "nobody knows");
    assert_eq!(counts(Edition::Seventh, Some(900.0)), [1, 1]);
}

#[test]
fn what_is_streamed_and_what_is_not_is_stored_and_read_back() {
    let mixed = |n: u64, _| (n.is_multiple_of(3).then(|| words(n)), 9_000.0);
    let evidence = judged(Edition::Sixth, readers(), mixed);
    let text = serde_json::to_string(&evidence).unwrap();
    assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
}
