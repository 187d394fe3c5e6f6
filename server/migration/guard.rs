//! Whether this server does worse than the old one with the calls of a move, so that it has to go back.
//!
//! Four bets, each with a stake of its own, which [`crate::trial::betting`] explains:
//!
//! - it *fails* more: pairs of a call that this server answered and one that the old server answered, of the
//!   same procedure, in the order of their ends; the mean of (ours failed) − (theirs failed) is above 0;
//! - it *refuses* more: the same of any answer that is an error, failures included. Refusals that both servers
//!   give (a wrong input, a session that is over) cancel out; a schema that refuses what the old one took, or
//!   data that is missing here, does not;
//! - it is *slower*: of such pairs where neither answer is an error, ours takes more than 1.5 times as long as theirs
//!   and 50 ms in more than half of them;
//! - it *differs*: of calls that both were asked, more than the tolerated part have answers that differ.
//!
//! A stake that has become [`WINS`] takes the move back. If this server is no worse, one of 1 ever comes to that
//! with a probability of at most 1/[`WINS`] (Ville's inequality). The first process that bets about a move begins with 1,
//! the second with 1/2, the next with 1/4 and so on: together with 2, so that a move is taken back without
//! need in at most 1 of 100 moves, however long it lasts, however often one looks, and however many processes there
//! are and begin anew. Not among these is what one bets before it has its place, as while the database is away: 1/32
//! each. What a process had when it was last written down is kept ([`Stakes::kept`]), and goes on with the
//! process that takes it ([`Stakes::join`]); no stake is ever made of nothing. That holds for users
//! whose outcomes do not depend on each other: so each user counts once a minute for each side, whichever
//! procedure of the move it is, and who calls again and again proves nothing more. Who is unknown here does
//! not count. An outcome is in one pair, with the newest one of the other side that waits, for a minute at most; which
//! that is does not depend on how it ended.

mod stakes;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    mem,
    time::Duration,
};

use tokio::time::Instant;

use self::stakes::Stakes;
pub(super) use self::stakes::{MoveEvidence, WINS};
use super::evidence::{CallWatch, MoveOutcome};

/// How much longer this server may take: so many times, and so much more.
const SLOWER: f64 = 1.5;
const GRACE: Duration = Duration::from_millis(50);
/// In which a user counts once.
const ONCE: Duration = Duration::from_secs(60);
/// Users that are remembered for that; more do not count until it is over.
const REMEMBERED: usize = 50_000;
/// Outcomes of a procedure that wait for one of the other side, so many at most (48 KiB): the oldest goes.
const WAITING: usize = 1_000;
/// And so long at most: what both servers depend on may have changed since.
const WAITS: Duration = Duration::from_secs(60);

/// Whose outcome it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Ours,
    Theirs,
    Both,
}

/// Whose outcome counts for the bets about one move, and with which it is paired.
#[derive(Debug)]
pub(super) struct OutcomePairing {
    pub(super) stakes: Stakes,
    waiting: HashMap<&'static str, VecDeque<(Of, MoveOutcome, Instant)>>,
    counted: HashSet<(Of, u64)>,
    /// Those of the minute before.
    earlier: HashSet<(Of, u64)>,
    since: Instant,
    coin: RandomState,
}

impl OutcomePairing {
    /// `tolerated` is the part of the compared answers that may differ.
    pub(super) fn new(tolerated: f64, now: Instant) -> Self {
        Self {
            stakes: Stakes::new(tolerated),
            waiting: HashMap::new(),
            counted: HashSet::new(),
            earlier: HashSet::new(),
            since: now,
            coin: RandomState::new(),
        }
    }

    pub(super) fn add_ours(&mut self, watch: &CallWatch, outcome: MoveOutcome, now: Instant) {
        self.add(Of::Ours, watch, outcome, now);
    }

    pub(super) fn add_theirs(&mut self, watch: &CallWatch, outcome: MoveOutcome, now: Instant) {
        self.add(Of::Theirs, watch, outcome, now);
    }

    /// Both were asked.
    pub(super) fn add_compared(&mut self, watch: &CallWatch, differs: bool, now: Instant) {
        if self.counts(Of::Both, watch, now) {
            self.stakes.differs.add(f64::from(u8::from(differs)));
        }
    }

    fn add(&mut self, of: Of, watch: &CallWatch, outcome: MoveOutcome, now: Instant) {
        if !self.counts(of, watch, now) {
            return;
        }
        let waiting = self.waiting.entry(watch.procedure).or_default();
        while waiting
            .front()
            .is_some_and(|(_, _, at)| now.duration_since(*at) > WAITS)
        {
            waiting.pop_front();
        }
        // All that wait are of one side.
        let Some((_, other, _)) = waiting.pop_back_if(|(other, _, _)| *other != of) else {
            if waiting.len() == WAITING {
                waiting.pop_front();
            }
            waiting.push_back((of, outcome, now));
            return;
        };
        let (ours, theirs) = match of {
            Of::Ours => (outcome, other),
            _ => (other, outcome),
        };
        let more = |ours, theirs| f64::from(u8::from(ours)) - f64::from(u8::from(theirs));
        self.stakes.fails.add(more(ours.failed, theirs.failed));
        self.stakes.refuses.add(more(ours.refused, theirs.refused));
        if !ours.refused && !theirs.refused {
            let allowed = theirs.took.mul_f64(SLOWER) + GRACE;
            self.stakes
                .slower
                .add(if ours.took > allowed { 1.0 } else { -1.0 });
        }
    }

    fn counts(&mut self, of: Of, watch: &CallWatch, now: Instant) -> bool {
        if now.duration_since(self.since) >= ONCE {
            self.earlier = mem::take(&mut self.counted);
            self.since = now;
        }
        // Callers without a name are all the old server's, so they are not like those of this one, and what is run
        // here for them is refused.
        let Some(user) = watch.user else {
            return false;
        };
        // A client that always calls one procedure before another must not hide the other: after its first minute,
        // chance says whether a call is the one of this minute.
        let is_passed_over = || {
            let call = (user, watch.procedure, self.since);
            self.earlier.contains(&(of, user)) && self.coin.hash_one(call) % 2 == 0
        };
        self.counted.len() < REMEMBERED && !is_passed_over() && self.counted.insert((of, user))
    }
}
