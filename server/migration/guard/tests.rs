//! What the bets find, and that they rarely find what is not there.

use std::sync::Arc;

use chrono::DateTime;

use super::*;
use crate::{
    _core::{actor::Actor, units::Percent},
    migration::mode::{Mode, Move},
};

fn watch(user: u64) -> CallWatch {
    watch_of("a.b", Some(user))
}

fn watch_of(procedure: &'static str, user: Option<u64>) -> CallWatch {
    let of = Move {
        id: "m".into(),
        name: "a.*".into(),
        mode: Mode::Share,
        share: Percent::FULL,
        at: DateTime::UNIX_EPOCH,
        actor: Actor::Controller,
        reason: String::new(),
    };
    CallWatch {
        of: Arc::new(of),
        procedure,
        user,
        compares: false,
    }
}

/// The guard of the only process there is.
fn first(now: Instant) -> OutcomePairing {
    let mut guard = OutcomePairing::new(0.01, now);
    guard.stakes.take(0);
    guard
}

fn took(ms: u64, failed: bool) -> MoveOutcome {
    let took = Duration::from_millis(ms);
    MoveOutcome {
        failed,
        refused: failed,
        took,
    }
}

fn refused() -> MoveOutcome {
    MoveOutcome {
        refused: true,
        ..took(10, false)
    }
}

/// A random number from 0 to below 1; the same each time.
fn random(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn failing_and_slowness_are_found_soon() {
    for (ours, theirs, why) in [
        (took(10, true), took(10, false), "fails"),
        (refused(), took(10, false), "refuses"),
        (took(400, false), took(100, false), "slower"),
    ] {
        let now = Instant::now();
        let mut guard = first(now);
        let mut users = 0;
        while guard.stakes.evidence().verdict().is_none() {
            users += 1;
            guard.add_ours(&watch(2 * users), ours, now);
            guard.add_theirs(&watch(2 * users + 1), theirs, now);
            assert!(users < 20, "{why}");
        }
        assert!(guard.stakes.evidence().verdict().unwrap().contains(why));
    }
}

#[test]
fn refusals_of_both_servers_prove_nothing() {
    let now = Instant::now();
    let mut guard = first(now);
    for user in 0..1_000 {
        guard.add_ours(&watch(2 * user), refused(), now);
        guard.add_theirs(&watch(2 * user + 1), refused(), now);
    }
    assert_eq!(guard.stakes.evidence().verdict(), None);
}

#[test]
fn what_a_burst_of_the_old_server_answered_waits_a_minute() {
    for (after, is_found) in [(40, true), (61, false)] {
        let now = Instant::now();
        let mut guard = first(now);
        (0..19).for_each(|user| guard.add_theirs(&watch(user), took(1, false), now));
        let later = now + Duration::from_secs(after);
        (100..119).for_each(|user| guard.add_ours(&watch(user), took(1, true), later));
        assert_eq!(
            guard.stakes.evidence().verdict().is_some(),
            is_found,
            "{after} s"
        );
    }
}

#[test]
fn who_is_unknown_proves_nothing_and_a_user_counts_once_for_all_procedures() {
    const PROCEDURES: [&str; 20] = [
        "a.a", "a.b", "a.c", "a.d", "a.e", "a.f", "a.g", "a.h", "a.i", "a.j", "a.k", "a.l", "a.m",
        "a.n", "a.o", "a.p", "a.q", "a.r", "a.s", "a.t",
    ];
    for user in [None, Some(7)] {
        let now = Instant::now();
        let mut guard = first(now);
        for (procedure, other) in PROCEDURES.into_iter().zip(100..) {
            let watch = watch_of(procedure, user);
            guard.add_compared(&watch, true, now);
            guard.add_ours(&watch, refused(), now);
            let other = watch_of(procedure, Some(other));
            guard.add_theirs(&other, took(1, false), now);
        }
        assert_eq!(guard.stakes.evidence().verdict(), None, "{user:?}");
    }
}

#[test]
fn a_procedure_that_is_always_called_second_counts() {
    let mut now = Instant::now();
    let mut guard = first(now);
    for _ in 0..20 {
        for user in 0..100 {
            for (procedure, outcome) in [("a.a", took(1, false)), ("a.b", refused())] {
                guard.add_ours(&watch_of(procedure, Some(2 * user)), outcome, now);
                let theirs = watch_of(procedure, Some(2 * user + 1));
                guard.add_theirs(&theirs, took(1, false), now);
            }
        }
        now += ONCE;
    }
    assert!(
        guard
            .stakes
            .evidence()
            .verdict()
            .unwrap()
            .contains("refuses")
    );
}

#[test]
fn answers_that_differ_are_found_and_a_few_are_tolerated() {
    let now = Instant::now();
    let mut guard = first(now);
    (0..2_000).for_each(|user| guard.add_compared(&watch(user), user % 200 == 0, now));
    assert_eq!(guard.stakes.evidence().verdict(), None);
    (2_000..3_000).for_each(|user| guard.add_compared(&watch(user), user % 5 == 0, now));
    assert!(
        guard
            .stakes
            .evidence()
            .verdict()
            .unwrap()
            .contains("differ")
    );
}

#[test]
fn who_calls_again_and_again_proves_nothing_more() {
    let mut now = Instant::now();
    let mut guard = first(now);
    for minute in 0..5 {
        for call in 0..1_000 {
            guard.add_ours(&watch(7), took(1, true), now);
            guard.add_theirs(&watch(1_000 * minute + call), took(1, false), now);
        }
        assert!(guard.stakes.evidence().fails < 100.0, "minute {minute}");
        now += ONCE;
    }
}

/// Both fail in 1 of 20 calls and refuse 1 of 5 others, and the times are of one kind.
#[test]
fn a_move_that_is_no_worse_is_rarely_taken_back() {
    let mut random = random(7);
    let runs = 400;
    let mut taken = 0;
    for _ in 0..runs {
        let now = Instant::now();
        let mut guard = first(now);
        for user in 0..2_000 {
            let mut outcome = || {
                let outcome = took((200.0 * random()) as u64 + 1, random() < 0.05);
                let refused = outcome.failed || random() < 0.2;
                MoveOutcome { refused, ..outcome }
            };
            let (ours, theirs) = (outcome(), outcome());
            guard.add_ours(&watch(2 * user), ours, now);
            guard.add_theirs(&watch(2 * user + 1), theirs, now);
            guard.add_compared(&watch(user), random() < 0.01, now);
        }
        taken += u32::from(guard.stakes.evidence().verdict().is_some());
    }
    // Half of 1 % would be 2; more than 12 have a probability of less than a thousandth then.
    assert!(taken <= 12, "{taken} of {runs}");
}

/// What was won is there after a restart, and is split by nobody.
#[test]
fn what_was_kept_goes_on_with_the_process_that_takes_it() {
    let now = Instant::now();
    let fail = |guard: &mut OutcomePairing, users: std::ops::Range<u64>| {
        for user in users {
            guard.add_ours(&watch(2 * user), took(1, true), now);
            guard.add_theirs(&watch(2 * user + 1), took(1, false), now);
        }
    };
    let mut before = first(now);
    fail(&mut before, 0..8);
    let stake = before.stakes.evidence().fails;
    assert!(stake > 20.0 && before.stakes.evidence().verdict().is_none());

    // A restart that is the second process of the move, and one that nobody had seen end.
    let mut after = OutcomePairing::new(0.01, now);
    after.stakes.take(1);
    after.stakes.join(&before.stakes.kept());
    let both = after.stakes.evidence().fails;
    assert!(
        (stake + 0.45..=stake + 0.55).contains(&both),
        "{both} {stake}"
    );
    fail(&mut after, 100..106);
    assert!(after.stakes.evidence().verdict().unwrap().contains("fails"));

    // Of another setting only what it proves is taken.
    let mut other = OutcomePairing::new(0.05, now);
    other.stakes.take(1);
    other.stakes.join(&before.stakes.kept());
    assert_eq!(other.stakes.evidence().differs, 0.5);
    assert!(other.stakes.evidence().fails > 20.0);
    other.stakes.join("{}");
    other.stakes.join("");
}

#[test]
fn who_lost_a_place_begins_anew_at_the_next_with_half() {
    let now = Instant::now();
    let mut guard = OutcomePairing::new(0.01, now);
    assert_eq!(guard.stakes.evidence().fails, 1.0 / 32.0);
    guard.stakes.take(0);
    assert_eq!(guard.stakes.evidence().fails, 1.0);
    for user in 0..5 {
        guard.add_ours(&watch(2 * user), took(1, true), now);
        guard.add_theirs(&watch(2 * user + 1), took(1, false), now);
    }
    assert!(guard.stakes.evidence().fails > 2.0);
    guard.stakes.take(0);
    assert!(guard.stakes.evidence().fails > 2.0);
    guard.stakes.take(3);
    // A sum of logarithms.
    assert!((guard.stakes.evidence().fails - 0.125).abs() < 1e-9);
}
