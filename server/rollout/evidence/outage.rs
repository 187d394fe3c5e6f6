//! Whether a breach looks like an outage of the candidate, which may end, and what is known of earlier ones; and
//! whether control has one, whose errors are no proof for the candidate.
//!
//! A candidate that was well and does not answer just now may answer again in a minute. One that fails more often than
//! control for hours will not. So an outage is a *change*: of the candidate's last six first attempts so many were lost
//! as hardly ever would be by what it lost of the forty before. What comes and goes, or fails in most requests only, is one as
//! well, and a candidate that always fails as often never has one. (Before the ninth edition half of the six had to be lost,
//! the last three in a row.)

use serde::{Deserialize, Serialize};

use super::{
    Edition,
    limit::{LastHour, Limit},
};

/// First attempts that are looked at.
const LAST: usize = 6;
/// None older than this is a part of an outage that is under way: an hour, and ten minutes before the ninth edition and
/// of control's.
const RECENT_MS: i64 = 3_600_000;
const SHORT_MS: i64 = 600_000;
/// Five minutes; before the ninth edition one that was over for longer when evidence was found did not bring it about.
const JUST_MS: i64 = 300_000;
/// What no outage looks like is waited for in vain, so before the ninth edition these had to be lost without one between.
const IN_A_ROW: usize = 3;
/// One alone may be chance.
const ENOUGH: usize = 2;
/// Attempts before the last ones by which it is said what is usual.
const BEFORE: u32 = 40;
/// As if so many more had been seen, of which one was lost.
const SUPPOSED: u32 = 10;
/// So many losses come so seldom where nothing has changed.
const RARE: f64 = 0.001;
/// With so few attempts between, two are one outage that comes and goes.
const BETWEEN: u32 = 12;
/// So many outages within the plan's period are waited for, and two more for each that control had: of five and none, or
/// seven and one, so uneven a split would come three times in a hundred where both have as many.
const WAITED_FOR: usize = 4;
const FOR_EACH: usize = 2;
/// Control's outages that are remembered, and the candidate's that go with them.
const OF_CONTROL: usize = 5;
const MOST: usize = WAITED_FOR + FOR_EACH * OF_CONTROL;
/// Control has one where its errors of five minutes are such evidence against the plan's limit.
const FAILING: f64 = 20.0;
/// What is nearer than this to one of control's is part of it, as the candidate is away for half an hour after each of its.
const APART_MS: i64 = 1_800_000;
/// Stretches of five minutes in which evidence may still find what happened: bins are closed at each full hour.
const KEPT: i64 = 14;

/// The last first attempts of an arm, the newest last: when, and whether it was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Recent(Vec<(i64, bool)>);

impl Recent {
    /// Takes note of the end of one; the one that is forgotten for it.
    pub(super) fn see(&mut self, at_ms: i64, is_answered: bool) -> Option<(i64, bool)> {
        let forgotten = (self.0.len() >= LAST).then(|| self.0.remove(0));
        self.0.push((at_ms, is_answered));
        forgotten
    }

    /// How many of so long were lost, and how many there were.
    fn lost(&self, at_ms: i64, within_ms: i64) -> (u32, u32) {
        let recent = self.0.iter();
        let recent = recent.filter(|(then, _)| at_ms.saturating_sub(*then) <= within_ms);
        recent.fold((0, 0), |(lost, all), (_, is_answered)| {
            (lost + u32::from(!is_answered), all + 1)
        })
    }

    /// Whether half of those of ten minutes or more were not answered.
    pub(super) fn is_outage(&self, at_ms: i64) -> bool {
        let (lost, all) = self.lost(at_ms, SHORT_MS);
        lost as usize >= ENOUGH && 2 * lost >= all
    }

    /// Whether the last [`IN_A_ROW`] of ten minutes were not answered, or all where there were fewer. Of a candidate that
    /// fails in one request of five that is so in one of 25 moments at which it fails, where half of the last six are not
    /// answered in a fourth of them.
    fn is_row(&self, at_ms: i64) -> bool {
        let recent = self.0.iter().rev().take(IN_A_ROW);
        let mut recent = recent.filter(|(then, _)| at_ms.saturating_sub(*then) <= SHORT_MS);
        recent.all(|(_, is_answered)| !is_answered)
    }

    /// The first of [`RECENT_MS`] that was lost.
    fn first_lost_ms(&self, at_ms: i64) -> Option<i64> {
        let mut lost = self
            .0
            .iter()
            .filter(|(then, is_answered)| !is_answered && at_ms.saturating_sub(*then) <= RECENT_MS);
        lost.next().map(|(then, _)| *then)
    }

    /// Whether nothing was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is usual: the attempts before the last ones, without those of outages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Usual {
    /// A bit each, the newest the lowest; 1 is lost.
    bits: u64,
    known: u32,
    /// How many of them came since an outage was last found, [`BEFORE`] at most.
    since: u32,
}

impl Usual {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    fn see(&mut self, is_answered: bool) {
        self.bits = (self.bits << 1 | u64::from(!is_answered)) & ((1 << BEFORE) - 1);
        self.known = (self.known + 1).min(BEFORE);
        self.since = (self.since + 1).min(BEFORE);
    }

    /// An outage is found. Whether it goes on, so that what came since is none of what is usual.
    fn find(&mut self) -> bool {
        let since = std::mem::take(&mut self.since);
        let goes_on = since <= BETWEEN;
        if goes_on {
            self.bits >>= since;
            self.known = self.known.saturating_sub(since);
        }
        goes_on
    }

    /// How probable it is that as many or more of so many are lost, at the usual rate.
    fn chance(self, lost: u32, all: u32) -> f64 {
        let rate = f64::from(self.bits.count_ones() + 1) / f64::from(self.known + SUPPOSED);
        // Of none, of one, and so on.
        let mut chance = (1.0 - rate).powi(all as i32);
        let mut fewer = 0.0;
        for count in 0..lost {
            fewer += chance;
            chance *= f64::from(all - count) / f64::from(count + 1) * rate / (1.0 - rate);
        }
        1.0 - fewer
    }
}

/// The candidate's last first attempts, and its outages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outages {
    /// It gave a good answer since the rollout began.
    has_answered: bool,
    attempts: Recent,
    /// When it was last held for one; kept by editions before the ninth.
    last_ms: Option<i64>,
    /// The one before that; kept by the eighth edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
    /// When its last attempts were last those of an outage, answered or not since: evidence may find what it did only when
    /// a bin closes. Kept by the seventh and the eighth edition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_ms: Option<i64>,
    /// Since the ninth edition: what it lost outside of outages,
    #[serde(default, skip_serializing_if = "Usual::is_unknown")]
    usual: Usual,
    /// the last [`KEPT`] stretches of five minutes with an outage, by their numbers since 1970,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    away: Vec<i64>,
    /// when it was held for the last [`MOST`],
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held_ms: Vec<i64>,
    /// and when the last [`OF_CONTROL`] of control began.
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
            if let Some((then, was_answered)) = forgotten
                && !self.is_away(LastHour::number(then))
            {
                self.usual.see(was_answered);
            }
            self.find(at_ms);
        } else if edition >= Edition::Seventh
            && self.attempts.is_row(at_ms)
            && self.attempts.is_outage(at_ms)
        {
            self.seen_ms = Some(at_ms);
        }
    }

    /// Takes note of an outage, if the last attempts are those of one.
    fn find(&mut self, at_ms: i64) {
        let (lost, all) = self.attempts.lost(at_ms, RECENT_MS);
        if self.usual.chance(lost, all) > RARE {
            return;
        }
        let now = LastHour::number(at_ms);
        let first = self.attempts.first_lost_ms(at_ms);
        let first = first.map_or(now, LastHour::number);
        let goes_on = self.usual.find();
        let first = match self.away.last() {
            Some(last) if goes_on || first <= *last => last + 1,
            _ => first,
        };
        let first = first.max(now - KEPT);
        (first..=now).for_each(|it| push(&mut self.away, it, KEPT as usize));
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

    /// Whether it had an outage in this stretch of five minutes.
    pub(super) fn is_away(&self, number: i64) -> bool {
        self.away.contains(&number)
    }

    /// Whether a breach at this moment may be by an outage, under way or over for an hour at most, and not the final one
    /// within `period_ms`.
    pub(super) fn explain(&self, edition: Edition, at_ms: i64, period_ms: i64) -> bool {
        let final_until = self.final_until(edition, at_ms, period_ms);
        let is_final = final_until.is_some_and(|until| at_ms < until);
        let is_one = if edition >= Edition::Ninth {
            let oldest = LastHour::number(at_ms) - KEPT;
            self.away.last().is_some_and(|last| *last > oldest)
        } else {
            let is_row = edition < Edition::Fifth || self.attempts.is_row(at_ms);
            let was_just_now = |then: i64| at_ms.saturating_sub(then) <= JUST_MS;
            is_row && self.attempts.is_outage(at_ms) || self.seen_ms.is_some_and(was_just_now)
        };
        self.has_answered && !is_final && is_one
    }

    /// Until when another one takes it back for good, if one does: of those within `period_ms` the fifth is the final one, and
    /// two later for each that control had. In the eighth edition it was the third, before that the second.
    pub(super) fn final_until(&self, edition: Edition, at_ms: i64, period_ms: i64) -> Option<i64> {
        let first = match edition {
            Edition::Eighth => self.before_ms,
            _ if edition < Edition::Eighth => self.last_ms,
            _ => {
                let is_recent = |then: &&i64| at_ms.saturating_sub(**then) < period_ms;
                let of_control = self.control_ms.iter().filter(is_recent).count();
                let earlier = WAITED_FOR + FOR_EACH * of_control;
                let first = self.held_ms.len().checked_sub(earlier);
                first.and_then(|first| self.held_ms.get(first).copied())
            }
        };
        first.map(|then| then.saturating_add(period_ms))
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
        self.attempts = Recent::default();
    }
}

#[cfg(test)]
mod tests;
