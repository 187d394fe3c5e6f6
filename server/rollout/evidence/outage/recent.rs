//! The last few first attempts of an arm.

use serde::{Deserialize, Serialize};

/// So many are looked at.
const LAST: usize = 6;
/// None older than ten minutes is a part of an outage of control's, or before the ninth edition of the candidate's.
const SHORT_MS: i64 = 600_000;
/// One alone may be chance.
const ENOUGH: u32 = 2;
/// Before the ninth edition so many of the candidate's had to be lost without one between.
const IN_A_ROW: usize = 3;

/// The last first attempts, the newest last: when, in milliseconds since 1970, and whether it was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::rollout::evidence) struct RecentAttempts(Vec<(i64, bool)>);

impl RecentAttempts {
    /// Takes note of the end of one; gives the one that is forgotten for it.
    pub(in crate::rollout::evidence) fn see(
        &mut self,
        at_ms: i64,
        is_answered: bool,
    ) -> Option<(i64, bool)> {
        let forgotten = (self.0.len() >= LAST).then(|| self.0.remove(0));
        self.0.push((at_ms, is_answered));
        forgotten
    }

    /// Those that are not older than this, the oldest first.
    fn within(&self, at_ms: i64, ms: i64) -> impl DoubleEndedIterator<Item = &(i64, bool)> {
        let recent = self.0.iter();
        recent.filter(move |(then, _)| at_ms.saturating_sub(*then) <= ms)
    }

    /// How many of those within so many milliseconds were lost, and how many there were.
    pub(super) fn lost(&self, at_ms: i64, within_ms: i64) -> (u32, u32) {
        let recent = self.within(at_ms, within_ms);
        recent.fold((0, 0), |(lost, all), (_, is_answered)| {
            (lost + u32::from(!is_answered), all + 1)
        })
    }

    /// When the first of them was that was lost.
    pub(super) fn first_lost_ms(&self, at_ms: i64, within_ms: i64) -> Option<i64> {
        let mut recent = self.within(at_ms, within_ms);
        let first = recent.find(|(_, is_answered)| !is_answered);
        first.map(|(then, _)| *then)
    }

    /// Whether half or more of those of ten minutes were lost.
    pub(in crate::rollout::evidence) fn is_outage(&self, at_ms: i64) -> bool {
        let (lost, all) = self.lost(at_ms, SHORT_MS);
        lost >= ENOUGH && 2 * lost >= all
    }

    /// Whether the last [`IN_A_ROW`] of ten minutes were lost, or all where there were fewer. Of a candidate that
    /// fails in one request of five that is so in one of 25 moments at which it fails, where half of the last six are
    /// lost in a fourth of them.
    pub(super) fn is_row(&self, at_ms: i64) -> bool {
        let mut newest = self.0.iter().rev().take(IN_A_ROW);
        newest.all(|(then, is_answered)| !is_answered || at_ms.saturating_sub(*then) > SHORT_MS)
    }

    /// Whether nothing was seen.
    pub(in crate::rollout::evidence) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
