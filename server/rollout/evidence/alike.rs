//! How much alike the requests of one user are, measured on control, and what a request weighs therefore.
//!
//! Of n requests of a user whose outcomes have a correlation of r, n/(1 + (n − 1)·r) are worth one of
//! another user each: the more have come, the less the next one says. Strata take most of the correlation away,
//! if users are still as they were; what they leave is measured.

use serde::{Deserialize, Serialize};

use super::Edition;

/// Before anything was measured: a correlation, and the pairs that it weighs.
const PRIOR: (f64, f64) = (0.05, 200.0);
/// By how much the correlation is taken for larger than it was measured.
const CAUTION: f64 = 1.5;

/// What two requests of the same user deviate from the rate of their stratum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Alike {
    /// The sum of the products.
    products: f64,
    /// What that would be if all requests of a user ended alike.
    variance: f64,
    pairs: f64,
    /// Since the tenth edition: the correlation by which requests are weighed until the next full hour. No bin is open when
    /// it changes, so what a bin weighs says nothing of how its requests end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_force: Option<f64>,
}

impl Alike {
    /// Nothing measured yet.
    pub(super) fn new(edition: Edition) -> Self {
        let nothing = Self::default();
        Self {
            in_force: (edition >= Edition::Tenth).then(|| nothing.correlation()),
            ..nothing
        }
    }

    /// Two requests of a stratum of which this part is bad.
    pub(super) fn pair(&mut self, one: bool, other: bool, rate: f64) {
        let [one, other] = [one, other].map(|it| f64::from(u8::from(it)) - rate);
        self.products += one * other;
        self.variance += rate * (1.0 - rate);
        self.pairs += 1.0;
    }

    /// What the next request of a user weighs after so many others: 1 for the first.
    pub(super) fn weight(&self, others: u32) -> f64 {
        let correlation = self.in_force.unwrap_or_else(|| self.correlation());
        (1.0 + f64::from(others) * correlation).powi(-2)
    }

    /// What was measured so far, and some caution; 0 to 1.
    fn correlation(&self) -> f64 {
        let (mut correlation, pairs) = PRIOR;
        if self.variance > 0.0 {
            let prior = pairs * self.variance / self.pairs;
            correlation = (self.products + correlation * prior) / (self.variance + prior);
        }
        (CAUTION * correlation).clamp(0.0, 1.0)
    }

    /// At a full hour: forgets, as the rates of control are forgotten.
    pub(super) fn reach(&mut self, kept: f64) {
        self.products *= kept;
        self.variance *= kept;
        self.pairs *= kept;
        self.in_force = self.in_force.map(|_| self.correlation());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_alike_requests_are_the_less_the_next_one_says() {
        let learned = |is_same: fn(u32) -> bool| {
            let mut alike = Alike::default();
            for n in 0..10_000_u32 {
                let one = n % 2 == 0;
                alike.pair(one, one == is_same(n), 0.5);
            }
            alike
        };
        let independent = learned(|n| n / 2 % 2 == 0);
        let user_decides = learned(|_| true);
        for alike in [independent, user_decides, Alike::default()] {
            assert_eq!(alike.weight(0), 1.0, "the first says all");
        }
        assert!(independent.weight(100) > 0.7);
        let all: f64 = (0..1_000).map(|n| user_decides.weight(n)).sum();
        assert!((1.0..2.0).contains(&all), "a thousand say {all}");
    }
}
