//! How much alike the requests of one user are, measured on control, and what a request weighs therefore.
//!
//! Of n requests of a user whose outcomes have a correlation of r, n/(1 + (n − 1)·r) are worth one of
//! another user each: the more have come, the less the next one says. Strata take most of the correlation away,
//! if users are still as they were; what they leave is measured.

use serde::{Deserialize, Serialize};

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
}

impl Alike {
    /// Two requests of a stratum of which this part is bad.
    pub(super) fn pair(&mut self, one: bool, other: bool, rate: f64) {
        let [one, other] = [one, other].map(|it| f64::from(u8::from(it)) - rate);
        self.products += one * other;
        self.variance += rate * (1.0 - rate);
        self.pairs += 1.0;
    }

    /// What the next request of a user weighs of whom so many were compared: 1 for the first.
    pub(super) fn weight(&self, compared: u32) -> f64 {
        let (mut correlation, pairs) = PRIOR;
        if self.variance > 0.0 {
            let prior = pairs * self.variance / self.pairs;
            correlation = (self.products + correlation * prior) / (self.variance + prior);
        }
        let correlation = (CAUTION * correlation).clamp(0.0, 1.0);
        (1.0 + f64::from(compared) * correlation).powi(-2)
    }

    /// Forgets, as the rates of control are forgotten.
    pub(super) fn reach(&mut self, kept: f64) {
        self.products *= kept;
        self.variance *= kept;
        self.pairs *= kept;
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
