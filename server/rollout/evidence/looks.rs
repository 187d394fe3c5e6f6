//! Users without a past are looked at once in each share.
//!
//! Nobody knows what they are like, and the requests of one user are not independent of each other. But
//! the arm of a user was drawn by a hash. So if the first request of a user is slow, and the candidate is no
//! worse, it is one of the candidate with a probability of exactly the share, whatever users are like. When the
//! share rises, users who were on control are drawn anew: of those who were left, so many go over.

use serde::{Deserialize, Serialize};

use super::slots::LAST_LOOK;
use crate::_core::{assignment::Variant, units::Percent};

/// Shares that are told apart; in later ones only new users are looked at.
const MOST_SHARES: usize = 14;

/// The shares that were in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Looks(Vec<f64>);

impl Looks {
    pub(super) fn begin_share(&mut self, share: Percent) {
        if self.0.len() < MOST_SHARES {
            self.0.push(share.get() / 100.0);
        }
    }

    /// With which probability a user is in the candidate of whom this was the last look, and the number of this
    /// one; `None` if it was looked at before in this share, or its arm says nothing.
    pub(super) fn look(&self, last: usize, arm: Variant, share: Percent) -> Option<(f64, usize)> {
        let share = share.get() / 100.0;
        let now = self.0.len();
        let before = match last {
            0 => 0.0,
            last if last >= now => return None,
            last => *self.0.get(last - 1)?,
        };
        if share <= before {
            return None;
        }
        // Whoever is in the candidate once stays there; there is nothing left to draw.
        let is_settled = arm == Variant::Candidate;
        let number = if is_settled { LAST_LOOK } else { now };
        Some(((share - before) / (1.0 - before), number))
    }
}
