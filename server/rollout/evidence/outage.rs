//! Whether a breach of the candidate looks like an outage, which may end, and what is known of earlier ones.
//!
//! A candidate that was well and does not answer just now may answer again in a minute. One that fails more often than
//! control for hours will not. So an outage is a *change*: of the candidate's last six first attempts ([`RecentAttempts`]) so many were
//! lost as hardly ever would be by what it lost of the forty before ([`Usual`]). What comes and goes, or fails in most requests
//! only, is one as well, and a candidate that always fails as often hardly ever has one.
//!
//! How it goes, in the ninth edition:
//!
//! 1. [`see`](Outages::see) takes note of each first attempt of the candidate. Where the last ones are those of an outage, the
//!    stretches of five minutes from its first loss until now are *away*.
//! 2. When a test calls for a rollback, [`explain`](Outages::explain) says whether an outage may have brought that about. Tests
//!    find what happened when a bin of requests closes, which is at the next full hour at the latest, so stretches are kept for a
//!    little more than an hour.
//! 3. If so, the rollout is held and [`begin`](Outages::begin) takes note of it. Who comes back has a new start, but for what is
//!    usual and for when it was held.
//! 4. [`final_until`](Outages::final_until) says from which outage on no more are waited for.
//!
//! Earlier editions asked for half of the six, the last three in a row, and kept moments in place of stretches.

mod recent;
mod usual;

use serde::{Deserialize, Serialize};

pub(super) use self::recent::RecentAttempts;
use self::usual::Usual;
use super::{
    Edition,
    limit::{LastHour, Limit},
};

/// No attempt older than this is a part of an outage that is under way: an hour.
const RECENT_MS: i64 = 3_600_000;
/// So many losses come so seldom where nothing has changed.
const RARE: f64 = 0.001;
/// Stretches of five minutes that are kept: fourteen are 70 minutes.
const KEPT: i64 = 14;
/// So many outages within the plan's period are waited for, and two more for each that control had: of five and none, or
/// seven and one, so uneven a split would come three times in a hundred where both have as many.
pub(super) const WAITED_FOR: usize = 4;
const FOR_EACH: usize = 2;
/// Control's outages that are remembered, and the candidate's that go with them.
const OF_CONTROL: usize = 5;
const MOST: usize = WAITED_FOR + FOR_EACH * OF_CONTROL;
/// Control has one where its errors of five minutes are such evidence against the plan's limit.
const FAILING: f64 = 20.0;
/// What is nearer than this to one of control's is part of it, as the candidate is away for half an hour after each of its.
const APART_MS: i64 = 1_800_000;
/// Before the ninth edition an outage that was over for longer than five minutes explained nothing.
const JUST_MS: i64 = 300_000;

/// The candidate's last first attempts, and its outages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outages {
    /// It gave a good answer since the rollout began; one that never did has no outage.
    has_answered: bool,
    attempts: RecentAttempts,
    /// Before the ninth edition: when it was last held for one.
    last_ms: Option<i64>,
    /// In the eighth: when it was held for the one before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
    /// In the seventh and the eighth: when its last attempts were last those of an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_ms: Option<i64>,
    /// Since the ninth, as all that follows: what it loses outside of outages.
    #[serde(default, skip_serializing_if = "Usual::is_unknown")]
    usual: Usual,
    /// The last stretches of five minutes in which it was away, [`KEPT`] at most, by their numbers since 1970
    /// ([`LastHour::number`]), the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    away: Vec<i64>,
    /// When it was held for an outage, the last [`MOST`] times, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held_ms: Vec<i64>,
    /// When outages of control began, the last [`OF_CONTROL`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    control_ms: Vec<i64>,
}

/// Adds the newest, and forgets the oldest beyond so many.
fn push(list: &mut Vec<i64>, newest: i64, most: usize) {
    list.push(newest);
    let old = list.len().saturating_sub(most);
    list.drain(..old);
}

impl Outages {
    /// Takes note of the end of a first attempt of the candidate.
    pub(super) fn see(&mut self, edition: Edition, at_ms: i64, is_answered: bool) {
        self.has_answered |= is_answered;
        let forgotten = self.attempts.see(at_ms, is_answered);
        if edition >= Edition::Ninth {
            // Only now is it sure that it belongs to no outage.
            if let Some((then, was_answered)) = forgotten
                && !self.is_away(LastHour::number(then))
            {
                self.usual.see(was_answered);
            }
            if self.is_changed(at_ms) {
                self.be_away(at_ms);
            }
        } else if edition >= Edition::Seventh
            && self.attempts.is_row(at_ms)
            && self.attempts.is_outage(at_ms)
        {
            self.seen_ms = Some(at_ms);
        }
    }

    /// Whether so many of the last attempts were lost as hardly ever would be by what is usual.
    fn is_changed(&self, at_ms: i64) -> bool {
        let (lost, all) = self.attempts.lost(at_ms, RECENT_MS);
        self.usual.chance(lost, all) <= RARE
    }

    /// It is away now: since the first loss of its last attempts, or, where this is the outage that was found before, since then.
    fn be_away(&mut self, at_ms: i64) {
        let now = LastHour::number(at_ms);
        let is_the_same = self.usual.find_outage();
        let first_lost = self.attempts.first_lost_ms(at_ms, RECENT_MS);
        let first_lost = first_lost.map_or(now, LastHour::number);
        let first = match self.away.last() {
            Some(last) if is_the_same || first_lost <= *last => last + 1,
            _ => first_lost,
        };
        for stretch in first.max(now - KEPT)..=now {
            push(&mut self.away, stretch, KEPT as usize);
        }
    }

    /// Takes note of control's last five minutes, in which a request has just failed.
    pub(super) fn see_control(&mut self, at_ms: i64, limit: f64, requests: u32, errors: u32) {
        let is_new = |last: &i64| at_ms.saturating_sub(*last) >= APART_MS;
        if self.control_ms.last().is_none_or(is_new)
            && Limit::of(limit, requests, errors) >= FAILING
        {
            push(&mut self.control_ms, at_ms, OF_CONTROL);
        }
    }

    /// Whether it was away in this stretch of five minutes, by its number since 1970.
    pub(super) fn is_away(&self, stretch: i64) -> bool {
        self.away.contains(&stretch)
    }

    /// Whether a breach at this moment may be by an outage, under way or over for an hour at most, and not the final one
    /// within `period_ms`.
    pub(super) fn explain(&self, edition: Edition, at_ms: i64, period_ms: i64) -> bool {
        let final_until = self.final_until(edition, at_ms, period_ms);
        let is_final = final_until.is_some_and(|until| at_ms < until);
        let may_be = if edition >= Edition::Ninth {
            self.was_away_lately(at_ms)
        } else {
            self.fails_in_a_row(edition, at_ms)
        };
        self.has_answered && !is_final && may_be
    }

    fn was_away_lately(&self, at_ms: i64) -> bool {
        let oldest = LastHour::number(at_ms) - KEPT;
        self.away.last().is_some_and(|last| *last > oldest)
    }

    /// What an outage was before the ninth edition.
    fn fails_in_a_row(&self, edition: Edition, at_ms: i64) -> bool {
        let is_row = edition < Edition::Fifth || self.attempts.is_row(at_ms);
        let was_just_now = |then: i64| at_ms.saturating_sub(then) <= JUST_MS;
        is_row && self.attempts.is_outage(at_ms) || self.seen_ms.is_some_and(was_just_now)
    }

    /// Until when another one takes it back for good, if one does, in milliseconds since 1970: until the first of as many as are
    /// waited for is out of the period. In the eighth edition two were, before that one.
    pub(super) fn final_until(&self, edition: Edition, at_ms: i64, period_ms: i64) -> Option<i64> {
        let first_ms = if edition >= Edition::Ninth {
            let waited_for = self.waited_for(at_ms, period_ms);
            let first = self.held_ms.len().checked_sub(waited_for)?;
            self.held_ms.get(first).copied()
        } else if edition >= Edition::Eighth {
            self.before_ms
        } else {
            self.last_ms
        };
        first_ms.map(|then| then.saturating_add(period_ms))
    }

    /// How many are waited for: so many more the more often control had one within the period.
    fn waited_for(&self, at_ms: i64, period_ms: i64) -> usize {
        let is_recent = |then: &&i64| at_ms.saturating_sub(**then) < period_ms;
        let of_control = self.control_ms.iter().filter(is_recent).count();
        WAITED_FOR + FOR_EACH * of_control
    }

    /// The candidate is held for one.
    pub(super) fn begin(&mut self, edition: Edition, at_ms: i64) {
        if edition >= Edition::Ninth {
            push(&mut self.held_ms, at_ms, MOST);
            self.away.clear();
        } else {
            if edition >= Edition::Eighth {
                self.before_ms = self.last_ms;
            }
            self.last_ms = Some(at_ms);
            self.seen_ms = None;
        }
        self.attempts = RecentAttempts::default();
    }
}

#[cfg(test)]
mod tests;
