//! What counts as slow: control's quantiles of the trailing day, fixed for an hour at a time.
//!
//! Thresholds are fixed before the requests they judge, so the tests on them stay valid. A histogram
//! of 5 % steps loses a twenty-fourth of its weight at each hour, which makes its memory about a day.

use serde::{Deserialize, Serialize};

/// Latencies that control needs before anything can be called slow.
const ENOUGH: f64 = 100.0;
/// Each bucket ends 5 % above the last; the last of them at more than two hours.
const BUCKETS: usize = 324;
const KEPT_PER_HOUR: f64 = 23.0 / 24.0;

/// Milliseconds above which a request is slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Thresholds {
    /// At control's P50, P95 and P99.
    pub quantiles: [f64; 3],
}

/// Control's latencies of about a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Latencies {
    /// By bucket, trailing empty ones left out.
    weights: Vec<f64>,
    total: f64,
    fixed: Option<Thresholds>,
}

impl Latencies {
    /// Whether nothing was ever counted.
    pub(super) fn is_empty(&self) -> bool {
        self.weights.is_empty() && self.fixed.is_none()
    }

    /// How many were counted of about a day.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// What is in force.
    pub(super) fn thresholds(&self) -> Option<Thresholds> {
        self.fixed
    }

    /// Counts one latency of control; not a number is not counted.
    pub(super) fn count(&mut self, ms: f64) {
        if ms.is_nan() {
            return;
        }
        // Beyond either end is in the first or the last bucket; the cast saturates.
        let bucket = ((ms.max(1.0).ln() / 1.05_f64.ln()) as usize).min(BUCKETS - 1);
        if bucket >= self.weights.len() {
            self.weights.resize(bucket + 1, 0.0);
        }
        if let Some(weight) = self.weights.get_mut(bucket) {
            *weight += 1.0;
            self.total += 1.0;
        }
        if self.fixed.is_none() {
            self.fix();
        }
    }

    /// Fixes thresholds for the coming hour, `hours` after the last time; weights are kept to a thousandth where `rounded`,
    /// which takes less room.
    pub(super) fn reach(&mut self, hours: u32, rounded: bool) {
        self.fix();
        let kept = KEPT_PER_HOUR.powi(hours.min(10_000) as i32);
        for weight in &mut self.weights {
            *weight *= kept;
            if rounded {
                // Down, or what is small would stay for ever.
                *weight = (*weight * 1e3).floor() / 1e3;
            }
        }
        self.total = self.weights.iter().sum();
    }

    fn fix(&mut self) {
        if self.total >= ENOUGH {
            self.fixed = Some(Thresholds {
                quantiles: [0.50, 0.95, 0.99].map(|q| self.quantile(q)),
            });
        }
    }

    /// The upper edge of the bucket that the quantile is in.
    fn quantile(&self, q: f64) -> f64 {
        let mut rest = q * self.total;
        let mut bucket = 0;
        for weight in &self.weights {
            bucket += 1;
            rest -= weight;
            if rest <= 0.0 {
                break;
            }
        }
        1.05_f64.powi(bucket)
    }
}
