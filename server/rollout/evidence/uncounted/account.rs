//! Refusals of our account: key, credits, the account's limits. They blame no arm, as both may share it.

use serde::{Deserialize, Serialize};

use crate::{_core::assignment::Variant, rollout::arms::PerArm};

/// Refusals within [`EPISODE_MS`] that begin an episode.
const ENOUGH: usize = 5;
/// Five minutes; an episode ends after as long without a refusal.
const EPISODE_MS: i64 = 300_000;

/// The episode under way, or the refusals that may become one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountEpisode {
    /// When the last few came.
    recent_ms: Vec<i64>,
    is_under_way: bool,
    /// Refusals of the episode by arm.
    refused: PerArm<u64>,
}

impl AccountEpisode {
    pub(super) fn fold(&mut self, arm: Variant, at_ms: i64) {
        self.recent_ms
            .retain(|then| at_ms.saturating_sub(*then) < EPISODE_MS);
        if self.recent_ms.is_empty() {
            self.is_under_way = false;
            self.refused = PerArm::default();
        }
        if self.recent_ms.len() >= ENOUGH {
            self.recent_ms.remove(0);
        }
        self.recent_ms.push(at_ms);
        self.refused[arm] += 1;
        self.is_under_way |= self.recent_ms.len() >= ENOUGH;
    }

    /// Refusals of the episode by arm, while there is one.
    pub(super) fn under_way(&self, now_ms: i64) -> Option<PerArm<u64>> {
        let is_calm = self
            .recent_ms
            .last()
            .is_none_or(|last| now_ms.saturating_sub(*last) >= EPISODE_MS);
        (self.is_under_way && !is_calm).then_some(self.refused)
    }
}

#[cfg(test)]
mod tests {
    use Variant::{Candidate, Control};

    use super::*;

    #[test]
    fn an_episode_begins_with_five_within_five_minutes_and_ends_by_itself() {
        let mut account = AccountEpisode::default();
        for n in 0..4 {
            account.fold(Candidate, n * 1_000);
        }
        assert_eq!(account.under_way(4_000), None);
        account.fold(Control, 4_000);
        assert_eq!(account.under_way(4_000), Some([1, 4].into()));
        assert_eq!(account.under_way(303_999), Some([1, 4].into()));
        assert_eq!(account.under_way(304_000), None, "five minutes of calm");
        account.fold(Candidate, 400_000);
        assert_eq!(account.under_way(400_000), None, "one is no episode");
    }

    #[test]
    fn refusals_far_apart_are_none() {
        let mut account = AccountEpisode::default();
        for n in 0..100 {
            account.fold(Candidate, n * 90_000);
            assert_eq!(account.under_way(n * 90_000), None);
        }
    }
}
