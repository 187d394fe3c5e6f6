//! GrowthBook's sequential test, which ours is compared with (`gbstats/frequentist/tests.py`: tuning
//! N* = 5,000, one-sided α): an asymptotic confidence sequence on the difference of error rates.

use super::super::arms::PerArm;
use crate::_core::assignment::Variant;

/// Requests and errors of either arm.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GrowthBook {
    requests: PerArm<f64>,
    errors: PerArm<f64>,
}

impl GrowthBook {
    const TUNED_TO: f64 = 5_000.0;
    const ALPHA: f64 = 0.05;

    /// Counts a request; whether the candidate is now found worse.
    pub(super) fn observe(&mut self, arm: Variant, is_error: bool) -> bool {
        self.requests[arm] += 1.0;
        self.errors[arm] += f64::from(u8::from(is_error));
        arm == Variant::Candidate && is_error && self.is_worse()
    }

    fn is_worse(&self) -> bool {
        let rates = PerArm::of(|arm| self.errors[arm] / self.requests[arm]);
        let n = self.requests.control + self.requests.candidate;
        let squared_error: f64 =
            PerArm::of(|arm| rates[arm] * (1.0 - rates[arm]) / (self.requests[arm] - 1.0))
                .into_iter()
                .sum();
        if !squared_error.is_finite()
            || self.requests.control < 2.0
            || self.requests.candidate < 2.0
        {
            return false;
        }
        let log = -2.0 * (2.0 * Self::ALPHA).ln();
        let rho = ((log + (log + 1.0).ln()) / Self::TUNED_TO).sqrt();
        let spread = n * rho * rho;
        let half_width = (n * squared_error * 2.0 * (spread + 1.0) / (n * rho).powi(2)
            * (1.0 + (spread + 1.0).sqrt() / (2.0 * Self::ALPHA)).ln())
        .sqrt();
        rates.candidate - rates.control > half_width
    }
}
