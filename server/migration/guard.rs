//! Whether this server does worse than the old one with the calls of a move, so that it has to go back.
//!
//! Three bets, each with a stake of its own, which [`crate::trial::betting`] explains:
//!
//! - it *fails* more: pairs of a call that this server answered and one that the old server answered, of the
//!   same procedure, in the order of their ends; the mean of (ours failed) − (theirs failed) is above 0;
//! - it is *slower*: of such pairs where neither failed, ours takes more than 1.5 times as long as theirs
//!   and 50 ms in more than half of them;
//! - it *differs*: of calls that both were asked, more than the tolerated part have answers that differ.
//!
//! A stake that has become [`WINS`] takes the move back. If this server is no worse, each ever comes to that
//! with a probability of at most 1/[`WINS`] (Ville's inequality), so that a move is taken back without
//! need in at most 1 of 100 moves, however long it lasts and however often one looks. That holds for users
//! whose outcomes do not depend on each other: so each user counts once a minute for each procedure and side,
//! and who calls again and again proves nothing more. An outcome is in one pair, and which one it gets
//! into does not depend on how it ended.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::evidence::{Outcome, Watch};
use crate::trial::betting::{Bets, Side};

/// What a stake of 1 has to become: three bets lose 1 % together.
pub(super) const WINS: f64 = 300.0;
/// How much longer this server may take: so many times, and so much more.
const SLOWER: f64 = 1.5;
const GRACE: Duration = Duration::from_millis(50);
/// In which a user counts once.
const ONCE: Duration = Duration::from_secs(60);
/// Users that are remembered for that; more do not count until it is over.
const REMEMBERED: usize = 50_000;
/// Outcomes that wait for one of the other side; the oldest goes.
const WAITING: usize = 8;

/// Whose outcome it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Ours,
    Theirs,
    Both,
}

/// The bets about one move.
#[derive(Debug)]
pub(super) struct Guard {
    fails: Bets,
    slower: Bets,
    differs: Bets,
    waiting: HashMap<&'static str, VecDeque<(Of, Outcome)>>,
    counted: HashSet<(&'static str, Of, u64)>,
    since: Instant,
}

/// What the bets have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// That this server fails more.
    pub fails: f64,
    /// That it is slower.
    pub slower: f64,
    /// That it differs.
    pub differs: f64,
}

impl Evidence {
    /// Why the move is to be taken back, if it is.
    pub(super) fn verdict(&self) -> Option<&'static str> {
        let all = [
            (self.fails, "this server fails more often than the old one"),
            (
                self.differs,
                "this server's answers differ from the old one's",
            ),
            (self.slower, "this server is slower than the old one"),
        ];
        let won = all.into_iter().find(|(stake, _)| *stake >= WINS);
        won.map(|(_, why)| why)
    }
}

impl Guard {
    /// `tolerated` is the part of the compared answers that may differ.
    pub(super) fn new(tolerated: f64, now: Instant) -> Self {
        Self {
            fails: Bets::new(Side::Above, 0.0),
            slower: Bets::new(Side::Above, 0.0),
            differs: Bets::new(Side::Above, tolerated),
            waiting: HashMap::new(),
            counted: HashSet::new(),
            since: now,
        }
    }

    /// The most that the stakes ever were.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            fails: self.fails.best().exp(),
            slower: self.slower.best().exp(),
            differs: self.differs.best().exp(),
        }
    }

    pub(super) fn add_ours(&mut self, watch: &Watch, outcome: Outcome, now: Instant) {
        self.add(Of::Ours, watch, outcome, now);
    }

    pub(super) fn add_theirs(&mut self, watch: &Watch, outcome: Outcome, now: Instant) {
        self.add(Of::Theirs, watch, outcome, now);
    }

    /// Both were asked.
    pub(super) fn add_compared(&mut self, watch: &Watch, differs: bool, now: Instant) {
        if self.counts(Of::Both, watch, now) {
            self.differs.add(f64::from(u8::from(differs)));
        }
    }

    fn add(&mut self, of: Of, watch: &Watch, outcome: Outcome, now: Instant) {
        // Callers without a name are all the old server's, so they are not like those of this one.
        if watch.user.is_none() || !self.counts(of, watch, now) {
            return;
        }
        let waiting = self.waiting.entry(watch.procedure).or_default();
        let Some((_, other)) = waiting.pop_front_if(|(other, _)| *other != of) else {
            if waiting.len() == WAITING {
                waiting.pop_front();
            }
            waiting.push_back((of, outcome));
            return;
        };
        let (ours, theirs) = match of {
            Of::Ours => (outcome, other),
            _ => (other, outcome),
        };
        self.fails
            .add(f64::from(u8::from(ours.failed)) - f64::from(u8::from(theirs.failed)));
        if !ours.failed && !theirs.failed {
            let allowed = theirs.took.mul_f64(SLOWER) + GRACE;
            self.slower
                .add(if ours.took > allowed { 1.0 } else { -1.0 });
        }
    }

    fn counts(&mut self, of: Of, watch: &Watch, now: Instant) -> bool {
        if now.duration_since(self.since) >= ONCE {
            self.counted.clear();
            self.since = now;
        }
        let user = watch.user.unwrap_or_default();
        self.counted.len() < REMEMBERED && self.counted.insert((watch.procedure, of, user))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::{
        _core::{actor::Actor, units::Percent},
        migration::mode::{Mode, Move},
    };

    fn watch(user: u64) -> Watch {
        let of = Move {
            id: "m".into(),
            name: "a.b".into(),
            mode: Mode::Share,
            share: Percent::FULL,
            at: DateTime::UNIX_EPOCH,
            actor: Actor::Controller,
            reason: String::new(),
        };
        Watch {
            of: Arc::new(of),
            procedure: "a.b",
            user: Some(user),
            compares: false,
        }
    }

    fn took(ms: u64, failed: bool) -> Outcome {
        let took = Duration::from_millis(ms);
        Outcome { failed, took }
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
            (took(400, false), took(100, false), "slower"),
        ] {
            let now = Instant::now();
            let mut guard = Guard::new(0.01, now);
            let mut users = 0;
            while guard.evidence().verdict().is_none() {
                users += 1;
                guard.add_ours(&watch(2 * users), ours, now);
                guard.add_theirs(&watch(2 * users + 1), theirs, now);
                assert!(users < 20, "{why}");
            }
            assert!(guard.evidence().verdict().unwrap().contains(why));
        }
    }

    #[test]
    fn answers_that_differ_are_found_and_a_few_are_tolerated() {
        let now = Instant::now();
        let mut guard = Guard::new(0.01, now);
        (0..2_000).for_each(|user| guard.add_compared(&watch(user), user % 200 == 0, now));
        assert_eq!(guard.evidence().verdict(), None);
        (2_000..3_000).for_each(|user| guard.add_compared(&watch(user), user % 5 == 0, now));
        assert!(guard.evidence().verdict().unwrap().contains("differ"));
    }

    #[test]
    fn who_calls_again_and_again_proves_nothing_more() {
        let mut now = Instant::now();
        let mut guard = Guard::new(0.01, now);
        for minute in 0..5 {
            for call in 0..1_000 {
                guard.add_ours(&watch(7), took(1, true), now);
                guard.add_theirs(&watch(1_000 * minute + call), took(1, false), now);
            }
            assert!(guard.evidence().fails < 100.0, "minute {minute}");
            now += ONCE;
        }
    }

    /// Both fail in 1 of 20 calls, and the times are of one kind.
    #[test]
    fn a_move_that_is_no_worse_is_rarely_taken_back() {
        let mut random = random(7);
        let runs = 400;
        let mut taken = 0;
        for _ in 0..runs {
            let now = Instant::now();
            let mut guard = Guard::new(0.01, now);
            for user in 0..2_000 {
                let mut outcome = || took((200.0 * random()) as u64 + 1, random() < 0.05);
                let (ours, theirs) = (outcome(), outcome());
                guard.add_ours(&watch(2 * user), ours, now);
                guard.add_theirs(&watch(2 * user + 1), theirs, now);
                guard.add_compared(&watch(user), random() < 0.01, now);
            }
            taken += u32::from(guard.evidence().verdict().is_some());
        }
        // 1 % would be 4; more than 12 have a probability of less than a thousandth then.
        assert!(taken <= 12, "{taken} of {runs}");
    }
}
