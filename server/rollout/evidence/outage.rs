//! Whether a breach looks like an outage of the candidate, which may end, and what is known of earlier ones; and
//! whether control has one, whose errors are no proof for the candidate.
//!
//! A candidate that has answered before and does not answer just now may answer again in a minute. One that
//! fails more often than control for hours will not. They are told apart by its last first attempts: at most
//! [`LAST`] of them, none older than [`RECENT_MS`]. In an outage half of them or more were not answered.

use serde::{Deserialize, Serialize};

use super::Edition;

/// First attempts that are looked at.
const LAST: usize = 6;
/// Ten minutes; what came before is no part of an outage that is under way.
const RECENT_MS: i64 = 600_000;
/// Five minutes; one that was over for longer when evidence was found did not bring it about.
const JUST_MS: i64 = 300_000;
/// What no outage looks like is waited for in vain, so these have to be lost without one between.
const IN_A_ROW: usize = 3;
/// One alone may be chance.
const ENOUGH: usize = 2;

/// The last first attempts of an arm, the newest last: when, and whether it was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Recent(Vec<(i64, bool)>);

impl Recent {
    /// Takes note of the end of one.
    pub(super) fn see(&mut self, at_ms: i64, is_answered: bool) {
        if self.0.len() >= LAST {
            self.0.remove(0);
        }
        self.0.push((at_ms, is_answered));
    }

    /// Whether half of them or more were not answered.
    pub(super) fn is_outage(&self, at_ms: i64) -> bool {
        let recent = self
            .0
            .iter()
            .filter(|(then, _)| at_ms.saturating_sub(*then) <= RECENT_MS);
        let (mut all, mut lost) = (0, 0);
        for (_, is_answered) in recent {
            all += 1;
            lost += usize::from(!is_answered);
        }
        lost >= ENOUGH && 2 * lost >= all
    }

    /// Whether the last [`IN_A_ROW`] of ten minutes were not answered, or all where there were fewer. Of a candidate that
    /// fails in one request of five that is so in one of 25 moments at which it fails, where half of the last six are not
    /// answered in a fourth of them.
    fn is_row(&self, at_ms: i64) -> bool {
        let recent = self.0.iter().rev().take(IN_A_ROW);
        let mut recent = recent.filter(|(then, _)| at_ms.saturating_sub(*then) <= RECENT_MS);
        recent.all(|(_, is_answered)| !is_answered)
    }

    /// Whether nothing was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The candidate's last first attempts, and its last two outages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outages {
    /// It gave a good answer since the rollout began.
    has_answered: bool,
    attempts: Recent,
    last_ms: Option<i64>,
    /// The one before that; not kept by editions before the eighth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
    /// When its last attempts were last those of an outage, answered or not since: evidence may find what it did only when
    /// a bin closes. Not kept by editions before the seventh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_ms: Option<i64>,
}

impl Outages {
    /// Takes note of the end of a first attempt of the candidate.
    pub(super) fn see(&mut self, edition: Edition, at_ms: i64, is_answered: bool) {
        self.has_answered |= is_answered;
        self.attempts.see(at_ms, is_answered);
        let is_one = self.attempts.is_row(at_ms) && self.attempts.is_outage(at_ms);
        if edition >= Edition::Seventh && is_one {
            self.seen_ms = Some(at_ms);
        }
    }

    /// Whether a breach at this moment is an outage, under way or over since five minutes at most, and not the final one
    /// within `period_ms`.
    pub(super) fn explain(&self, edition: Edition, at_ms: i64, period_ms: i64) -> bool {
        let final_until = self.final_until(edition, period_ms);
        let is_final = final_until.is_some_and(|until| at_ms < until);
        let is_row = edition < Edition::Fifth || self.attempts.is_row(at_ms);
        let is_now = is_row && self.attempts.is_outage(at_ms);
        let was_just_now = |then: i64| at_ms.saturating_sub(then) <= JUST_MS;
        self.has_answered && !is_final && (is_now || self.seen_ms.is_some_and(was_just_now))
    }

    /// Until when another one takes it back for good, if one does: the third within `period_ms` is the final one. Before the
    /// eighth edition it was the second, by which storms, where each provider is away for minutes several times a day, took
    /// back a fourth of good candidates.
    pub(super) fn final_until(&self, edition: Edition, period_ms: i64) -> Option<i64> {
        let first = if edition >= Edition::Eighth {
            self.before_ms
        } else {
            self.last_ms
        };
        first.map(|then| then.saturating_add(period_ms))
    }

    /// The candidate is held for one.
    pub(super) fn begin(&mut self, edition: Edition, at_ms: i64) {
        if edition >= Edition::Eighth {
            self.before_ms = self.last_ms;
        }
        self.last_ms = Some(at_ms);
        self.attempts = Recent::default();
        self.seen_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const PERIOD: i64 = 2 * 60 * MINUTE;

    /// Attempts of minute and success.
    fn after(attempts: &[(i64, bool)]) -> Outages {
        let mut outages = Outages::default();
        for (minute, is_answered) in attempts {
            outages.see(Edition::NEWEST, minute * MINUTE, *is_answered);
        }
        outages
    }

    #[test]
    fn a_candidate_that_never_answered_has_no_outage() {
        let outages = after(&[(0, false), (1, false), (2, false)]);
        assert!(!outages.explain(Edition::NEWEST, 2 * MINUTE, PERIOD));
    }

    #[test]
    fn half_of_its_last_attempts_within_ten_minutes_make_one() {
        let (good, bad) = (true, false);
        let cases: [(&[(i64, bool)], bool); 6] = [
            (&[(0, good), (20, bad), (21, bad)], true),
            (&[(0, good), (20, bad), (21, good), (22, bad)], true),
            (
                &[(0, good), (18, good), (19, good), (20, bad), (21, bad)],
                true,
            ),
            (
                &[(17, good), (18, good), (19, good), (20, bad), (21, bad)],
                false,
            ),
            (&[(0, good), (1, bad), (2, bad), (21, bad)], false),
            (&[(0, good), (21, bad)], false),
        ];
        for (attempts, is) in cases {
            let end = attempts.last().map_or(0, |(minute, _)| minute * MINUTE);
            assert_eq!(
                after(attempts).explain(Edition::Fourth, end, PERIOD),
                is,
                "{attempts:?}"
            );
        }
    }

    #[test]
    fn a_candidate_that_answers_between_its_failures_has_none() {
        let (good, bad) = (true, false);
        for (attempts, is) in [
            (&[good, bad, bad, bad][..], true),
            (&[good, good, good, bad, bad, bad], true),
            (&[good, bad, bad, good, bad, bad], false),
            (&[bad, good, bad, bad], false),
        ] {
            let timed: Vec<_> = attempts.iter().map(|it| (20, *it)).collect();
            let outages = after(&timed);
            let explained = outages.explain(Edition::Fifth, 20 * MINUTE, PERIOD);
            assert_eq!(explained, is, "{attempts:?}");
        }
    }

    /// An outage that begins at this moment, if it is one to wait for.
    fn next(outages: &mut Outages, edition: Edition, at_ms: i64) -> bool {
        (0..3).for_each(|_| outages.see(edition, at_ms, false));
        let is_one = outages.explain(edition, at_ms, PERIOD);
        if is_one {
            outages.begin(edition, at_ms);
        }
        is_one
    }

    #[test]
    fn a_third_one_within_the_period_is_no_reason_to_wait() {
        let first = 2 * MINUTE;
        let mut outages = after(&[(0, true), (1, false), (1, false), (2, false)]);
        assert!(outages.explain(Edition::Eighth, first, PERIOD));
        outages.begin(Edition::Eighth, first);
        assert_eq!(outages.final_until(Edition::Eighth, PERIOD), None);
        assert!(next(&mut outages, Edition::Eighth, first + PERIOD / 2));
        let until = outages.final_until(Edition::Eighth, PERIOD);
        assert_eq!(until, Some(first + PERIOD));
        for (later, is) in [(PERIOD - 1, false), (PERIOD, true)] {
            let mut outages = outages.clone();
            assert_eq!(next(&mut outages, Edition::Eighth, first + later), is);
        }
        // The second and the third one are within the period of a fourth.
        assert!(next(&mut outages, Edition::Eighth, first + PERIOD));
        assert!(!next(&mut outages, Edition::Eighth, first + PERIOD + 1));
    }

    #[test]
    fn before_the_eighth_edition_a_second_one_was_none_and_is_stored_as_it_was() {
        let mut outages = after(&[(0, true), (1, false), (1, false), (2, false)]);
        outages.begin(Edition::Seventh, 2 * MINUTE);
        for (later, is) in [(PERIOD - 1, false), (PERIOD, true)] {
            let mut outages = outages.clone();
            assert_eq!(next(&mut outages, Edition::Seventh, 2 * MINUTE + later), is);
            let stored = serde_json::to_value(&outages).expect("JSON");
            assert_eq!(stored.get("before_ms"), None, "{stored}");
        }
    }

    #[test]
    fn one_that_is_just_over_when_it_is_found_is_one() {
        let attempts = [(0, true), (1, false), (1, false), (2, false)];
        let over: Vec<_> = attempts
            .into_iter()
            .chain((0..6).map(|_| (3, true)))
            .collect();
        let outages = after(&over);
        for (minute, is) in [(3, true), (7, true), (8, false)] {
            let explained = outages.explain(Edition::NEWEST, minute * MINUTE, PERIOD);
            assert_eq!(explained, is, "minute {minute}");
        }
        let mut before = Outages::default();
        for (minute, is_answered) in over {
            before.see(Edition::Sixth, minute * MINUTE, is_answered);
        }
        assert!(!before.explain(Edition::Sixth, 3 * MINUTE, PERIOD));
    }

    #[test]
    fn its_size_is_bounded() {
        let mut outages = Outages::default();
        (0..1_000).for_each(|minute| outages.see(Edition::NEWEST, minute, minute % 2 == 0));
        assert_eq!(outages.attempts.0.len(), LAST);
    }
}
