//! Whether an error rate is above (or below) a fixed limit, judging every request.

use serde::{Deserialize, Serialize};

use super::{
    mixture::{MOST, Mixture, Restarts},
    ratio::{BinCounts, steps},
};
use crate::_core::assignment::Variant;

/// Rates above the limit that are tried, as multiples of it.
const ABOVE: [f64; 7] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0];
/// Rates below it.
const BELOW: [f64; 7] = [0.9, 0.75, 0.6, 0.5, 0.35, 0.2, 0.1];

/// A sequential test of one arm's error rate against a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Limit {
    is_above: bool,
    steps: Vec<[f64; 2]>,
    mixture: Mixture,
}

impl Limit {
    /// H₀: the rate is at most the limit.
    pub(super) fn above(limit: f64, restarts: Restarts) -> Self {
        Self::new(true, limit, restarts)
    }

    /// H₀: the rate is at least the limit.
    pub(super) fn below(limit: f64, restarts: Restarts) -> Self {
        Self::new(false, limit, restarts)
    }

    fn new(is_above: bool, limit: f64, restarts: Restarts) -> Self {
        let ratios = if is_above { ABOVE } else { BELOW };
        Self {
            is_above,
            steps: ratios.map(|ratio| steps(limit, ratio)).to_vec(),
            mixture: Mixture::new(ratios.len(), restarts),
        }
    }

    /// Judges one request.
    pub(super) fn judge(&mut self, is_error: bool) {
        self.mixture
            .add(self.steps.iter().map(|step| step[usize::from(is_error)]));
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
        let weights = std::iter::repeat_n(1.0 / 7.0, 7);
        self.mixture.since(before, weights)
    }

    /// The evidence against the null hypothesis.
    pub(super) fn value(&self) -> f64 {
        self.mixture.value(std::iter::repeat_n(1.0 / 7.0, 7))
    }

    /// The evidence that so many requests would have been by themselves.
    pub(super) fn of(limit: f64, requests: u32, errors: u32) -> f64 {
        let mean: f64 = ABOVE
            .iter()
            .map(|ratio| {
                let [ok, error] = steps(limit, *ratio);
                let ok = f64::from(requests.saturating_sub(errors)) * ok;
                (ok + f64::from(errors) * error).exp() / 7.0
            })
            .sum();
        mean.min(MOST)
    }
}

fn sum<'a>(slots: impl IntoIterator<Item = &'a BinCounts>) -> BinCounts {
    let mut sum = BinCounts::default();
    for slot in slots {
        for arm in [Variant::Control, Variant::Candidate] {
            sum.requests[arm] = sum.requests[arm].saturating_add(slot.requests[arm]);
            sum.errors[arm] = sum.errors[arm].saturating_add(slot.errors[arm]);
        }
    }
    sum
}

/// Requests and errors of the last hour, in twelve slots of five minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastHour {
    /// The number of the newest slot since 1970.
    newest: i64,
    slots: [BinCounts; 12],
}

impl LastHour {
    const SLOT_MS: i64 = 5 * 60 * 1_000;

    /// The number of a moment's slot since 1970.
    pub(super) fn number(at_ms: i64) -> i64 {
        at_ms.div_euclid(Self::SLOT_MS)
    }

    pub(super) fn new(at_ms: i64) -> Self {
        Self {
            newest: Self::number(at_ms),
            slots: Default::default(),
        }
    }

    fn slot(&mut self, number: i64) -> Option<&mut BinCounts> {
        let index = number.rem_euclid(12);
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    /// Drops what is older than an hour.
    pub(super) fn reach(&mut self, at_ms: i64) {
        let now = Self::number(at_ms);
        for number in (self.newest.saturating_add(1)..=now).take(12) {
            // After twelve slots nothing is left, whichever they are.
            if let Some(slot) = self.slot(number) {
                *slot = BinCounts::default();
            }
        }
        self.newest = self.newest.max(now);
    }

    pub(super) fn count(&mut self, arm: Variant, is_error: bool) {
        if let Some(BinCounts { requests, errors }) = self.slot(self.newest) {
            requests[arm] = requests[arm].saturating_add(1);
            errors[arm] = errors[arm].saturating_add(u32::from(is_error));
        }
    }

    /// All of it.
    pub(super) fn sum(&self) -> BinCounts {
        sum(&self.slots)
    }

    /// The newest slot, of five minutes at most.
    pub(super) fn newest_slot(&self) -> BinCounts {
        self.without(|number| number != self.newest)
    }

    /// The five to ten minutes that end now.
    pub(super) fn newest(&self) -> BinCounts {
        let slots = [self.newest, self.newest.saturating_sub(1)].map(|number| {
            let index = usize::try_from(number.rem_euclid(12)).unwrap_or_default();
            self.slots.get(index).copied().unwrap_or_default()
        });
        sum(&slots)
    }

    /// All of it but the five minutes in which control was above the limit as well, by this evidence: an outage of
    /// both sides blames neither.
    pub(super) fn without_common(&self, limit: f64, failing: f64) -> BinCounts {
        let is_common = |slot: &BinCounts| {
            Limit::of(limit, slot.requests.control, slot.errors.control) >= failing
        };
        let slots = self.slots.iter().filter(|slot| !is_common(slot));
        sum(slots)
    }

    /// All of it but these slots.
    pub(super) fn without(&self, is_left_out: impl Fn(i64) -> bool) -> BinCounts {
        let numbers = (0..).map(|ago| self.newest - ago).take(self.slots.len());
        let kept = numbers.filter(|number| !is_left_out(*number));
        sum(kept.filter_map(|number| {
            let index = usize::try_from(number.rem_euclid(12)).ok()?;
            self.slots.get(index)
        }))
    }
}
