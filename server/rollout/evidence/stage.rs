//! What belongs to the stage in force, and begins anew with the next.

use serde::{Deserialize, Serialize};

use super::{
    limit::Limit,
    mixture::Restarts,
    ratio::{Direction, Ratio},
};

/// What belongs to the stage in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) began_at_ms: i64,
    /// H₀: the candidate is at least `rho_bad` times as bad.
    pub(super) dual: Ratio,
    /// H₀: it fails at least as often as the plan calls good.
    pub(super) good: Limit,
    pub(super) requests: u64,
    /// One bit for each of 4,096 groups of the candidate's users.
    pub(super) users: Vec<u64>,
}

impl Stage {
    pub(super) fn new(at_ms: i64, rho_bad: f64, good_error_rate: f64) -> Self {
        Self {
            began_at_ms: at_ms,
            dual: Ratio::new(Direction::Better, rho_bad, Restarts::NEVER),
            good: Limit::below(good_error_rate, Restarts::NEVER),
            requests: 0,
            users: vec![0; 64],
        }
    }

    pub(super) fn see(&mut self, subject: u64) {
        self.requests += 1;
        let bit = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        if let Some(word) = self.users.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
    }
}
