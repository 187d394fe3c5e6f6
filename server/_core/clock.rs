//! The time, as all servers of a fleet have it.
//!
//! Evidence, windows, sessions and limits compare times that several servers stamped. A server whose clock is wrong by an
//! hour would give its events to another hour, count no request of its own for a share that another server moved, and
//! delete as old what is new. So where servers share a database, its clock is the one that counts: a server asks it
//! every two seconds, and where its own clock differs by more than [`TOLERATED_MS`], it goes by the database's.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

/// A smaller difference is left: how long an answer takes may be as much.
const TOLERATED_MS: i64 = 500;
/// A clock that was put right is believed again below this, so that one that is wrong by half a second does not jump to and
/// fro by it.
const BELIEVED_MS: i64 = 250;
/// Differences of which the one with the quickest answer counts.
const REMEMBERED: usize = 10;

/// How far the machine's clock is ahead of the time, in milliseconds. One for the process, as the machine has one clock.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// The time now: the machine's, put right.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that asks the clock"
)]
pub fn now() -> DateTime<Utc> {
    let ahead = TimeDelta::milliseconds(AHEAD_MS.load(Ordering::Relaxed));
    let machine = Utc::now();
    machine.checked_sub_signed(ahead).unwrap_or(machine)
}

/// The machine's own time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that asks the clock"
)]
pub fn machine() -> DateTime<Utc> {
    Utc::now()
}

/// Whether the machine's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// As before.
    Same,
    /// No more.
    Lost,
    /// Again.
    Regained,
}

/// From now on the time is the machine's less so many milliseconds; none where that is tolerated.
pub fn put_right(ahead_ms: i64) -> Belief {
    let before = AHEAD_MS.load(Ordering::Relaxed);
    let ahead_ms = untolerated(ahead_ms, before);
    AHEAD_MS.store(ahead_ms, Ordering::Relaxed);
    match (before, ahead_ms) {
        (0, 0) => Belief::Same,
        (0, _) => Belief::Lost,
        (_, 0) => Belief::Regained,
        _ => Belief::Same,
    }
}

const fn untolerated(ahead_ms: i64, before: i64) -> i64 {
    let tolerated = if before == 0 {
        TOLERATED_MS
    } else {
        BELIEVED_MS
    };
    if ahead_ms.unsigned_abs() > tolerated.unsigned_abs() {
        ahead_ms
    } else {
        0
    }
}

/// How far the machine's clock is ahead of the database's, as some questions found it.
#[derive(Debug, Default)]
pub struct Ahead(VecDeque<(Duration, i64)>);

impl Ahead {
    /// Takes up a question: the machine's time before it, how long the answer took, and the time that was answered, in
    /// milliseconds since 1970. Returns how far the machine's clock is ahead, by the answer that was the quickest of the last
    /// ten: the database read its clock somewhere within that time, most likely in its middle. What is no more than that
    /// time shows nothing, and is 0.
    pub fn note(&mut self, before_ms: i64, took: Duration, told_ms: i64) -> i64 {
        let half_ms = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
        let ahead_ms = before_ms.saturating_add(half_ms).saturating_sub(told_ms);
        // A clock that was set since makes what was found before wrong.
        let is_other = |(other_took, other_ms): &(Duration, i64)| {
            let apart = u128::from(ahead_ms.abs_diff(*other_ms));
            apart > (took + *other_took).as_millis()
        };
        self.0.retain(|other| !is_other(other));
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((took, ahead_ms));
        let quickest = self.0.iter().min_by_key(|(took, _)| *took);
        let (took, ahead_ms) = quickest.copied().unwrap_or((took, ahead_ms));
        if u128::from(ahead_ms.unsigned_abs()) > took.as_millis() {
            ahead_ms
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn took(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Each question waited three seconds for a connection; then the database read its clock at once.
    #[test]
    fn a_slow_database_puts_no_right_clock_wrong() {
        let mut ahead = Ahead::default();
        for _ in 0..20 {
            assert_eq!(ahead.note(10_000, took(3_000), 13_000), 0);
        }
    }

    #[test]
    fn the_quickest_answer_of_the_last_ten_says_how_far_a_clock_is_ahead() {
        let mut ahead = Ahead::default();
        // The database read its clock late in a slow answer.
        assert_eq!(ahead.note(HOUR_MS, took(400), 390), HOUR_MS - 190);
        assert_eq!(ahead.note(HOUR_MS + 1_000, took(4), 1_002), HOUR_MS);
        for second in 2..11 {
            let before_ms = HOUR_MS + second * 1_000;
            assert_eq!(ahead.note(before_ms, took(300), second * 1_000), HOUR_MS);
        }
        assert_eq!(
            ahead.note(HOUR_MS + 11_000, took(300), 11_000),
            HOUR_MS + 150,
            "ten slow ones later nothing better is known"
        );
    }

    #[test]
    fn a_clock_that_is_set_counts_at_once() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.note(HOUR_MS, took(2), 1), HOUR_MS);
        assert_eq!(ahead.note(2_000, took(40), 2_020), 0);
    }

    #[test]
    fn what_an_answer_may_take_is_no_wrong_clock() {
        let believed = |ahead_ms| untolerated(ahead_ms, 0);
        assert_eq!([-500, 500].map(believed), [0, 0]);
        assert_eq!([-501, HOUR_MS].map(believed), [-501, HOUR_MS]);
    }

    #[test]
    fn a_clock_that_is_wrong_by_half_a_second_does_not_jump() {
        let put_right = |ahead_ms| untolerated(ahead_ms, 501);
        assert_eq!([499, -499, 251, 250].map(put_right), [499, -499, 251, 0]);
    }
}
