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
//! are and begin anew. What a process had when it was last written down is kept ([`Guard::kept`]), and goes on with the
//! process that takes it ([`Guard::join`]); no stake is ever made of nothing. That holds for users
//! whose outcomes do not depend on each other: so each user counts once a minute for each side, whichever
//! procedure of the move it is, and who calls again and again proves nothing more. Who is unknown here does
//! not count. An outcome is in one pair, with the newest one of the other side that waits, for a minute at most; which
//! that is does not depend on how it ended.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    mem,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::evidence::{Outcome, Watch};
use crate::trial::betting::{BETS, Bets, Side};

/// What a stake has to become: four bets, with stakes of 2 in all processes together, lose 1 %.
pub(super) const WINS: f64 = 800.0;
/// What a process begins with before it has its place, by logarithm: as the sixth one.
const UNPLACED: f64 = -5.0 * std::f64::consts::LN_2;
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

/// The bets about one move.
#[derive(Debug)]
pub(super) struct Guard {
    fails: Bets,
    refuses: Bets,
    slower: Bets,
    differs: Bets,
    /// What each began with, by logarithm.
    stake: f64,
    /// Of the bets as they are kept; none before they are.
    pub(super) place: Option<i64>,
    /// The part of the compared answers that may differ.
    tolerated: f64,
    waiting: HashMap<&'static str, VecDeque<(Of, Outcome, Instant)>>,
    counted: HashSet<(Of, u64)>,
    /// Those of the minute before.
    earlier: HashSet<(Of, u64)>,
    since: Instant,
    coin: RandomState,
}

/// Bets as they are kept: the logarithms of what is on each part.
#[derive(Serialize, Deserialize)]
struct Kept {
    fails: Vec<f64>,
    refuses: Vec<f64>,
    slower: Vec<f64>,
    differs: Vec<f64>,
    tolerated: f64,
}

/// What the bets have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// That this server fails more.
    pub fails: f64,
    /// That it answers with errors more often, failures included.
    pub refuses: f64,
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
                self.refuses,
                "this server refuses more calls than the old one",
            ),
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
            refuses: Bets::new(Side::Above, 0.0),
            slower: Bets::new(Side::Above, 0.0),
            differs: Bets::new(Side::Above, tolerated),
            stake: UNPLACED,
            place: None,
            tolerated,
            waiting: HashMap::new(),
            counted: HashSet::new(),
            earlier: HashSet::new(),
            since: now,
            coin: RandomState::new(),
        }
    }

    /// The most that the stakes ever were.
    pub(super) fn evidence(&self) -> Evidence {
        let most = |bets: &Bets| (bets.best() + self.stake).exp();
        Evidence {
            fails: most(&self.fails),
            refuses: most(&self.refuses),
            slower: most(&self.slower),
            differs: most(&self.differs),
        }
    }

    /// The bets are at this place from now on. At their first one they get what belongs to it; at a later one they
    /// begin anew, as somebody else goes on with what they were.
    pub(super) fn take(&mut self, place: i64) {
        if self.place == Some(place) {
            return;
        }
        if self.place.is_some() {
            self.fails = Bets::new(Side::Above, 0.0);
            self.refuses = Bets::new(Side::Above, 0.0);
            self.slower = Bets::new(Side::Above, 0.0);
            self.differs = Bets::new(Side::Above, self.tolerated);
        }
        self.place = Some(place);
        self.stake = -(place as f64) * std::f64::consts::LN_2;
    }

    /// What is there, to be kept.
    pub(super) fn kept(&self) -> String {
        let parts = |bets: &Bets| bets.parts().iter().map(|log| log + self.stake).collect();
        let kept = Kept {
            fails: parts(&self.fails),
            refuses: parts(&self.refuses),
            slower: parts(&self.slower),
            differs: parts(&self.differs),
            tolerated: self.tolerated,
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Goes on with what another process kept and left behind; what cannot be read is lost.
    pub(super) fn join(&mut self, kept: &str) {
        let Ok(kept) = serde_json::from_str::<Kept>(kept) else {
            return;
        };
        let stake = self.stake;
        let join = |bets: &mut Bets, parts: &[f64]| {
            let relative: Vec<f64> = parts.iter().map(|log| log - stake).collect();
            if let Ok(relative) = <&[f64; BETS]>::try_from(&*relative) {
                bets.join(relative);
            }
        };
        join(&mut self.fails, &kept.fails);
        join(&mut self.refuses, &kept.refuses);
        join(&mut self.slower, &kept.slower);
        // Of another setting it proves another thing.
        if kept.tolerated == self.tolerated {
            join(&mut self.differs, &kept.differs);
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
        self.fails.add(more(ours.failed, theirs.failed));
        self.refuses.add(more(ours.refused, theirs.refused));
        if !ours.refused && !theirs.refused {
            let allowed = theirs.took.mul_f64(SLOWER) + GRACE;
            self.slower
                .add(if ours.took > allowed { 1.0 } else { -1.0 });
        }
    }

    fn counts(&mut self, of: Of, watch: &Watch, now: Instant) -> bool {
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
        watch_of("a.b", Some(user))
    }

    fn watch_of(procedure: &'static str, user: Option<u64>) -> Watch {
        let of = Move {
            id: "m".into(),
            name: "a.*".into(),
            mode: Mode::Share,
            share: Percent::FULL,
            at: DateTime::UNIX_EPOCH,
            actor: Actor::Controller,
            reason: String::new(),
        };
        Watch {
            of: Arc::new(of),
            procedure,
            user,
            compares: false,
        }
    }

    /// The guard of the only process there is.
    fn first(now: Instant) -> Guard {
        let mut guard = Guard::new(0.01, now);
        guard.take(0);
        guard
    }

    fn took(ms: u64, failed: bool) -> Outcome {
        let took = Duration::from_millis(ms);
        Outcome {
            failed,
            refused: failed,
            took,
        }
    }

    fn refused() -> Outcome {
        Outcome {
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
    fn refusals_of_both_servers_prove_nothing() {
        let now = Instant::now();
        let mut guard = first(now);
        for user in 0..1_000 {
            guard.add_ours(&watch(2 * user), refused(), now);
            guard.add_theirs(&watch(2 * user + 1), refused(), now);
        }
        assert_eq!(guard.evidence().verdict(), None);
    }

    #[test]
    fn what_a_burst_of_the_old_server_answered_waits_a_minute() {
        for (after, is_found) in [(40, true), (61, false)] {
            let now = Instant::now();
            let mut guard = first(now);
            (0..19).for_each(|user| guard.add_theirs(&watch(user), took(1, false), now));
            let later = now + Duration::from_secs(after);
            (100..119).for_each(|user| guard.add_ours(&watch(user), took(1, true), later));
            assert_eq!(guard.evidence().verdict().is_some(), is_found, "{after} s");
        }
    }

    #[test]
    fn who_is_unknown_proves_nothing_and_a_user_counts_once_for_all_procedures() {
        const PROCEDURES: [&str; 20] = [
            "a.a", "a.b", "a.c", "a.d", "a.e", "a.f", "a.g", "a.h", "a.i", "a.j", "a.k", "a.l",
            "a.m", "a.n", "a.o", "a.p", "a.q", "a.r", "a.s", "a.t",
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
            assert_eq!(guard.evidence().verdict(), None, "{user:?}");
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
        assert!(guard.evidence().verdict().unwrap().contains("refuses"));
    }

    #[test]
    fn answers_that_differ_are_found_and_a_few_are_tolerated() {
        let now = Instant::now();
        let mut guard = first(now);
        (0..2_000).for_each(|user| guard.add_compared(&watch(user), user % 200 == 0, now));
        assert_eq!(guard.evidence().verdict(), None);
        (2_000..3_000).for_each(|user| guard.add_compared(&watch(user), user % 5 == 0, now));
        assert!(guard.evidence().verdict().unwrap().contains("differ"));
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
            assert!(guard.evidence().fails < 100.0, "minute {minute}");
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
                    Outcome { refused, ..outcome }
                };
                let (ours, theirs) = (outcome(), outcome());
                guard.add_ours(&watch(2 * user), ours, now);
                guard.add_theirs(&watch(2 * user + 1), theirs, now);
                guard.add_compared(&watch(user), random() < 0.01, now);
            }
            taken += u32::from(guard.evidence().verdict().is_some());
        }
        // Half of 1 % would be 2; more than 12 have a probability of less than a thousandth then.
        assert!(taken <= 12, "{taken} of {runs}");
    }

    /// What was won is there after a restart, and is split by nobody.
    #[test]
    fn what_was_kept_goes_on_with_the_process_that_takes_it() {
        let now = Instant::now();
        let fail = |guard: &mut Guard, users: std::ops::Range<u64>| {
            for user in users {
                guard.add_ours(&watch(2 * user), took(1, true), now);
                guard.add_theirs(&watch(2 * user + 1), took(1, false), now);
            }
        };
        let mut before = first(now);
        fail(&mut before, 0..8);
        let stake = before.evidence().fails;
        assert!(stake > 20.0 && before.evidence().verdict().is_none());

        // A restart that is the second process of the move, and one that nobody had seen end.
        let mut after = Guard::new(0.01, now);
        after.take(1);
        after.join(&before.kept());
        let both = after.evidence().fails;
        assert!(
            (stake + 0.45..=stake + 0.55).contains(&both),
            "{both} {stake}"
        );
        fail(&mut after, 100..106);
        assert!(after.evidence().verdict().unwrap().contains("fails"));

        // Of another setting only what it proves is taken.
        let mut other = Guard::new(0.05, now);
        other.take(1);
        other.join(&before.kept());
        assert_eq!(other.evidence().differs, 0.5);
        assert!(other.evidence().fails > 20.0);
        other.join("{}");
        other.join("");
    }

    #[test]
    fn who_lost_a_place_begins_anew_at_the_next_with_half() {
        let now = Instant::now();
        let mut guard = Guard::new(0.01, now);
        assert_eq!(guard.evidence().fails, 1.0 / 32.0);
        guard.take(0);
        assert_eq!(guard.evidence().fails, 1.0);
        for user in 0..5 {
            guard.add_ours(&watch(2 * user), took(1, true), now);
            guard.add_theirs(&watch(2 * user + 1), took(1, false), now);
        }
        assert!(guard.evidence().fails > 2.0);
        guard.take(0);
        assert!(guard.evidence().fails > 2.0);
        guard.take(3);
        // A sum of logarithms.
        assert!((guard.evidence().fails - 0.125).abs() < 1e-9);
    }
}
