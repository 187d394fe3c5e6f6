//! Bets on the mean of differences that lie between −1 and 1.
//!
//! A difference d of a pair becomes x = (1 + d) / 2, a mean m becomes μ = (1 + m) / 2. Whoever puts the part f
//! of what is there on "the mean is above m" has (1 − f + f·x/μ) times as much after a pair. If the mean is m
//! or less, that is expected to be at most 1 times as much, whatever came before, so by Ville's inequality
//! a stake of 1 ever becomes 1/α with a probability of at most α: one may look after each pair, and stop whenever one
//! wants. All parts of a grid are bet at once, with the same stake each: the mixture is a bet as fair.
//! (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", sections 3 and 4.)
//!
//! Where d is −1, 0 or 1 and m is 0, a pair without a difference changes nothing, and one with a difference wins or
//! loses f: a bet on the pairs that disagree.

use std::array;

/// Parts that are bet at once.
pub(crate) const BETS: usize = 24;
/// More pairs than anybody would ask.
const MOST_MORE: f64 = 100_000.0;
/// A fair value of 0 would be divided by.
const LEAST_FAIR: f64 = 1e-9;
/// Halvings in the search for a limit.
const HALVINGS: u32 = 24;

/// The parts, between 0 and 1: denser near 0, where small differences are found.
fn parts() -> [f64; BETS] {
    array::from_fn(|i| ((i as f64 + 0.5) / BETS as f64).powi(2))
}

/// What is bet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BetSide {
    /// The mean is above a value.
    Above,
    /// It is below it.
    Below,
}

/// Bets, all at once, that the mean of differences is on one side of a value.
#[derive(Clone, Debug)]
pub(crate) struct Bets {
    side: BetSide,
    /// The mean under which a bet is fair, from 0 to 1.
    fair: f64,
    parts: [f64; BETS],
    logs: [f64; BETS],
    seen: u32,
    best: f64,
}

impl Bets {
    /// `mean` is between −1 and 1.
    pub(crate) fn new(side: BetSide, mean: f64) -> Self {
        let fair = match side {
            BetSide::Above => (1.0 + mean) / 2.0,
            BetSide::Below => (1.0 - mean) / 2.0,
        };
        Self {
            side,
            fair: fair.max(LEAST_FAIR),
            parts: parts(),
            logs: [0.0; BETS],
            seen: 0,
            best: 0.0,
        }
    }

    /// A difference between −1 and 1, after which somebody looks.
    pub(crate) fn add(&mut self, difference: f64) {
        self.put(difference);
        self.best = self.best.max(self.log());
    }

    fn put(&mut self, difference: f64) {
        let value = match self.side {
            BetSide::Above => (1.0 + difference) / 2.0,
            BetSide::Below => (1.0 - difference) / 2.0,
        };
        for (log, part) in self.logs.iter_mut().zip(self.parts) {
            *log += (1.0 - part + part * value / self.fair).ln();
        }
        self.seen += 1;
    }

    /// The logarithm of what a stake of 1 has become.
    pub(super) fn log(&self) -> f64 {
        self.log_after(1.0)
    }

    /// What it would be after so many times as many differences, if they were like those so far.
    fn log_after(&self, times: f64) -> f64 {
        let top = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts = self.logs.iter().map(|log| ((log - top) * times).exp());
        top * times + (parts.sum::<f64>() / BETS as f64).ln()
    }

    /// The logarithms of what is on each part.
    pub(crate) fn parts(&self) -> &[f64; BETS] {
        &self.logs
    }

    /// Puts more on each part, by logarithms: bets of somebody else on the same, who has stopped.
    pub(crate) fn join(&mut self, more: &[f64; BETS]) {
        for (log, more) in self.logs.iter_mut().zip(more) {
            let (less, top) = (log.min(*more), log.max(*more));
            *log = top + (less - top).exp().ln_1p();
        }
        self.best = self.best.max(self.log());
    }

    /// The most that it ever was; at least 0.
    pub(crate) fn best(&self) -> f64 {
        self.best
    }

    /// About how many more differences like those so far it takes to come to e to the `goal`; `None` where they
    /// would not.
    pub(super) fn more(&self, goal: f64) -> Option<u64> {
        let seen = f64::from(self.seen);
        let suffices = |more: f64| self.log_after(1.0 + more / seen) >= goal;
        if self.seen == 0 || !suffices(MOST_MORE) {
            return None;
        }
        let (mut few, mut enough) = (0.0, MOST_MORE);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(few, enough);
            if suffices(middle) {
                enough = middle;
            } else {
                few = middle;
            }
        }
        Some(enough.ceil().max(1.0) as u64)
    }
}

/// The limits of the mean of differences, which hold at every moment with a probability of 1 − α: each mean is in
/// that neither side has rejected at α/2.
pub(super) fn limits(differences: &[f64], alpha: f64) -> (f64, f64) {
    let goal = (2.0 / alpha).ln();
    let is_rejected = |side, mean| {
        let mut bets = Bets::new(side, mean);
        differences.iter().for_each(|it| bets.put(*it));
        bets.log() >= goal
    };
    // The smaller the mean, the more has been won against it by those who bet above it; and the other way round.
    let edge = |side, rejected: f64| {
        if differences.is_empty() || !is_rejected(side, rejected) {
            return rejected;
        }
        let (mut out, mut kept) = (rejected, -rejected);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(out, kept);
            if is_rejected(side, middle) {
                out = middle;
            } else {
                kept = middle;
            }
        }
        out
    };
    (edge(BetSide::Above, -1.0), edge(BetSide::Below, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::verdict::tests::random;

    /// −1, 0 or 1: how a candidate and a control that fail so often differ.
    fn pair(control: f64, candidate: f64, random: &mut impl FnMut() -> f64) -> f64 {
        f64::from(random() < candidate) - f64::from(random() < control)
    }

    #[test]
    fn a_fair_bet_rarely_wins_however_often_one_looks() {
        let mut random = random(11);
        for (side, mean, control, candidate) in [
            (BetSide::Above, 0.0, 0.2, 0.2),
            (BetSide::Above, 0.0, 0.02, 0.02),
            (BetSide::Below, 0.05, 0.10, 0.15),
        ] {
            let runs = 400;
            let won = (0..runs).filter(|_| {
                let mut bets = Bets::new(side, mean);
                (0..300).for_each(|_| bets.add(pair(control, candidate, &mut random)));
                bets.best() >= 20_f64.ln()
            });
            // 5 % would be 20; more than 34 have a probability of a thousandth then.
            let won = won.count();
            assert!(won <= 34, "{side:?} {control} {candidate}: {won} of {runs}");
        }
    }

    #[test]
    fn limits_hold_the_mean_and_grow_narrow() {
        let mut random = random(5);
        let mut held = 0;
        for _ in 0..60 {
            let differences: Vec<_> = (0..150).map(|_| pair(0.1, 0.3, &mut random)).collect();
            let (low, high) = limits(&differences, 0.05);
            held += u32::from(low <= 0.2 && 0.2 <= high);
            assert!(high - low < 0.45, "{low} to {high}");
        }
        // 5 % of 60 would be 3.
        assert!(held >= 53, "{held} of 60");
        assert_eq!(limits(&[], 0.05), (-1.0, 1.0));
        let (low, high) = limits(&[0.0; 100], 0.05);
        assert!(low > -0.1 && low < 0.0 && high > 0.0 && high < 0.1);
        let (low, high) = limits(&[1.0; 50], 0.05);
        assert!(low > 0.7 && high > 0.999, "{low} to {high}");
    }

    #[test]
    fn pairs_without_a_difference_prove_that_none_is_large() {
        let mut bets = Bets::new(BetSide::Below, 0.05);
        let goal = 20_f64.ln();
        (0..10).for_each(|_| bets.add(0.0));
        let more = bets.more(goal).unwrap();
        assert!((50..150).contains(&more), "{more}");
        (0..more).for_each(|_| bets.add(0.0));
        assert!((goal..goal * 1.1).contains(&bets.log()), "{}", bets.log());
        let mut lost = Bets::new(BetSide::Below, 0.05);
        (0..10).for_each(|_| lost.add(1.0));
        assert_eq!(lost.more(goal), None);
    }
}
