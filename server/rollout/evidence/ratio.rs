//! Whether one arm's error rate is more than ρ₀ times the other's, by where the errors fall.
//!
//! Of the errors in a bin, each falls on the candidate with probability θ(ρ) = sρ/(sρ + 1 − s), where
//! s is the candidate's share of the bin's requests; the common error rate cancels, so neither a
//! daily cycle nor an outage of both arms moves it (Lindon & Malek 2022). Where errors are frequent
//! they are drawn without replacement, and the exact distribution of the candidate's part is Fisher's
//! non-central hypergeometric one, whose ρ is then a ratio of odds.

use serde::{Deserialize, Serialize};

use super::{
    super::arms::PerArm,
    mixture::{Mixture, Restarts},
};
use crate::_core::assignment::Variant;

/// How much worse than ρ₀ the candidate may be, and the weight of each.
const WORSE: [(f64, f64); 8] = [
    (1.25, 0.10),
    (1.5, 0.15),
    (2.0, 0.20),
    (3.0, 0.20),
    (5.0, 0.15),
    (10.0, 0.10),
    (20.0, 0.05),
    (50.0, 0.05),
];
/// How much worse a candidate is that crashes. Smaller ratios are left out on purpose: users differ, so
/// the arms do as well, and over a week a test of ρ₀ = 1 would find that.
const CRASHING: [(f64, f64); 4] = [(5.0, 0.25), (10.0, 0.25), (20.0, 0.25), (50.0, 0.25)];
/// How much better than ρ₀, each with the same weight.
const BETTER: [(f64, f64); 7] = {
    const EACH: f64 = 1.0 / 7.0;
    [
        (0.9, EACH),
        (0.75, EACH),
        (0.6, EACH),
        (0.5, EACH),
        (0.35, EACH),
        (0.2, EACH),
        (0.1, EACH),
    ]
};
/// Off by a factor in either direction, each with the same weight.
const EITHER: [(f64, f64); 8] = [
    (0.25, 0.125),
    (0.5, 0.125),
    (0.7, 0.125),
    (0.85, 0.125),
    (1.2, 0.125),
    (1.5, 0.125),
    (2.0, 0.125),
    (4.0, 0.125),
];
/// No alternative claims that more requests than this fail.
const HIGHEST_RATE: f64 = 0.95;
/// Errors are frequent where more than one request in this many is one.
pub(super) const FREQUENT: u64 = 10;

/// How many more of the candidate's users may meet an outcome that is not an error. Few users have to be
/// enough, so much weight is on large ratios.
const DIFFERING: [(f64, f64); 4] = [(2.0, 0.2), (5.0, 0.2), (20.0, 0.3), (100.0, 0.3)];

/// Requests and errors of one bin, by arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BinCounts {
    /// Requests.
    pub requests: PerArm<u32>,
    /// Errors among them.
    pub errors: PerArm<u32>,
}

/// What is tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TestDirection {
    /// H₀: the candidate is at most ρ₀ times as bad.
    Worse,
    /// The same, tried only against much worse candidates.
    Crashing,
    /// The same, by single users.
    Differing,
    /// H₀: the candidate is at least ρ₀ times as bad.
    Better,
    /// H₀: exactly ρ₀ times.
    Either,
}

impl TestDirection {
    fn alternatives(self) -> &'static [(f64, f64)] {
        match self {
            Self::Worse => &WORSE,
            Self::Crashing => &CRASHING,
            Self::Differing => &DIFFERING,
            Self::Better => &BETTER,
            Self::Either => &EITHER,
        }
    }
}

/// One sequential test of the ratio of two error rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ratio {
    null: f64,
    direction: TestDirection,
    mixture: Mixture,
}

impl Ratio {
    /// A test of H₀ that the ratio is at most, or at least, `null`; `null` is made positive.
    pub(super) fn new(direction: TestDirection, null: f64, restarts: Restarts) -> Self {
        Self {
            null: if null.is_finite() {
                null.clamp(0.01, 100.0)
            } else {
                1.0
            },
            direction,
            mixture: Mixture::new(direction.alternatives().len(), restarts),
        }
    }

    /// Judges a bin; one without errors or with an empty arm says nothing.
    pub(super) fn judge(&mut self, bin: BinCounts) {
        self.judge_weighed(bin, 1.0);
    }

    /// The same, its log evidence taken times a weight from 0 to 1: a power of an e-value is one (Jensen).
    pub(super) fn judge_weighed(&mut self, bin: BinCounts, weight: f64) {
        let PerArm { control, candidate } = bin.requests.map(u64::from);
        let errors = bin.errors.map(u64::from);
        let (x0, x1) = (errors.control, errors.candidate);
        if control == 0 || candidate == 0 || x0 + x1 == 0 {
            return;
        }
        let null = self.null;
        let alternatives = self.direction.alternatives().iter();
        if (x0 + x1) * FREQUENT > control + candidate {
            let under_null = log_draws(control, candidate, x0 + x1, null);
            self.mixture.add(alternatives.map(|(ratio, _)| {
                let under = log_draws(control, candidate, x0 + x1, null * ratio);
                weight * (x1 as f64 * ratio.ln() + under_null - under)
            }));
        } else {
            let share = candidate as f64 / (control + candidate) as f64;
            self.attribute(weight * x0 as f64, weight * x1 as f64, share);
        }
    }

    /// Judges single events of which a known share falls on the candidate; nothing at a share of 0 or 1.
    pub(super) fn attribute(&mut self, control: f64, candidate: f64, share: f64) {
        if share <= 0.0 || share >= 1.0 {
            return;
        }
        let null = self.null;
        let all = |ratio: f64| share * ratio + 1.0 - share;
        self.mixture
            .add(self.direction.alternatives().iter().map(|(ratio, _)| {
                let more = (all(null) / all(null * ratio)).ln();
                candidate * (ratio.ln() + more) + control * more
            }));
    }

    /// Judges an event of a user who was in the candidate with this probability.
    pub(super) fn attribute_one(&mut self, arm: Variant, probability: f64) {
        let [control, candidate] = match arm {
            Variant::Control => [1.0, 0.0],
            Variant::Candidate => [0.0, 1.0],
        };
        self.attribute(control, candidate, probability);
    }

    /// Judges candidate requests alone against a rate that the null hypothesis allows it.
    pub(super) fn against(&mut self, rate: f64, bin: BinCounts, weight: f64) {
        let requests = f64::from(bin.requests.candidate);
        let errors = f64::from(bin.errors.candidate);
        self.mixture
            .add(self.direction.alternatives().iter().map(|(ratio, _)| {
                let [ok, error] = steps(rate, *ratio);
                weight * (errors * error + (requests - errors) * ok)
            }));
    }

    /// Starts the components of all full hours up to this one.
    pub(super) fn reach(&mut self, hour: u32) {
        self.mixture.reach(hour);
    }

    /// The log evidence of each alternative so far.
    pub(super) fn logs(&self) -> &[f64] {
        self.mixture.logs()
    }

    /// The evidence of what came after these logs.
    pub(super) fn since(&self, before: &[f64]) -> f64 {
        let weights = self.direction.alternatives().iter();
        self.mixture
            .since(before, weights.map(|(_, weight)| *weight))
    }

    /// The evidence against the null hypothesis.
    pub(super) fn value(&self) -> f64 {
        let weights = self.direction.alternatives().iter();
        self.mixture.value(weights.map(|(_, weight)| *weight))
    }
}

/// The log evidence of a success and of an error for `ratio` times the limit.
pub(super) fn steps(limit: f64, ratio: f64) -> [f64; 2] {
    let limit = limit.clamp(1e-6, 0.9);
    let rate = (limit * ratio).min(HIGHEST_RATE);
    [((1.0 - rate) / (1.0 - limit)).ln(), (rate / limit).ln()]
}

/// ln Σₓ C(candidate, x)·C(control, errors − x)·ωˣ, up to a constant that does not depend on ω.
pub(super) fn log_draws(control: u64, candidate: u64, errors: u64, odds: f64) -> f64 {
    let least = errors.saturating_sub(control);
    let most = errors.min(candidate);
    let (mut term, mut sum, mut scale) = (1.0, 1.0, least as f64 * odds.ln());
    for x in least..most {
        let ways = ((candidate - x) * (errors - x)) as f64;
        term *= ways / ((x + 1) * (control + x + 1 - errors)) as f64 * odds;
        sum += term;
        if sum > 1e200 {
            scale += sum.ln();
            term /= sum;
            sum = 1.0;
        }
    }
    scale + sum.ln()
}
