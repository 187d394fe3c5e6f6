//! What a candidate usually loses, outside of outages.

use serde::{Deserialize, Serialize};

/// Attempts by which it is said.
const BEFORE: u32 = 40;
/// As if so many more had been seen, of which one was lost: nobody knows a candidate after its first attempts.
const SUPPOSED: u32 = 10;
/// With so few attempts between, two outages are one that comes and goes.
const BETWEEN: u32 = 12;

/// The last [`BEFORE`] attempts that are too old to be among the newest six ([`RecentAttempts`](super::recent::RecentAttempts)), but those of outages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// A bit each, the newest the lowest; 1 is lost.
    bits: u64,
    known: u32,
    /// How many of them came since an outage was last found, [`BEFORE`] at most; where none was found yet, since the first
    /// attempt.
    since: u32,
}

impl Usual {
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Takes note of an attempt of which nobody says any more that it belongs to an outage.
    pub(super) fn see(&mut self, is_answered: bool) {
        self.bits = (self.bits << 1 | u64::from(!is_answered)) & ((1 << BEFORE) - 1);
        self.known = (self.known + 1).min(BEFORE);
        self.since = (self.since + 1).min(BEFORE);
    }

    /// Takes note that an outage is found now. Whether it is the one that was found before, which came and went: that is so where
    /// at most [`BETWEEN`] attempts were taken note of since, and these are forgotten again, as they belong to it.
    ///
    /// The first outage counts as one that was found before if it comes within the first [`BETWEEN`] attempts. All that is known
    /// is forgotten then, and the candidate is judged as one of whom nothing is known: a few attempts that end in an outage say
    /// little of what is usual. It changes nothing of whether the first outage is found.
    pub(super) fn find_outage(&mut self) -> bool {
        let since = std::mem::take(&mut self.since);
        let is_the_same = since <= BETWEEN;
        if is_the_same {
            self.bits >>= since;
            self.known = self.known.saturating_sub(since);
        }
        is_the_same
    }

    /// How many of those that are known were lost.
    pub(super) fn lost(self) -> u32 {
        self.bits.count_ones()
    }

    /// How probable it is that `lost` or more of `all` attempts are lost at the usual rate, 0 to 1 (binomial).
    pub(super) fn chance(self, lost: u32, all: u32) -> f64 {
        let rate = f64::from(self.lost() + 1) / f64::from(self.known + SUPPOSED);
        // That exactly so many are lost, from none on.
        let mut exactly = (1.0 - rate).powi(all as i32);
        let mut fewer = 0.0;
        for count in 0..lost {
            fewer += exactly;
            exactly *= f64::from(all - count) / f64::from(count + 1) * rate / (1.0 - rate);
        }
        1.0 - fewer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(attempts: &[bool]) -> Usual {
        let mut usual = Usual::default();
        attempts.iter().for_each(|it| usual.see(*it));
        usual
    }

    #[test]
    fn the_chance_is_that_of_the_binomial_distribution() {
        let usual = after(&[true; 40]);
        let rate: f64 = 1.0 / 50.0;
        let none = (1.0 - rate).powi(6);
        let one = 6.0 * rate * (1.0 - rate).powi(5);
        for (lost, chance) in [(0, 1.0), (1, 1.0 - none), (2, 1.0 - none - one)] {
            let difference = usual.chance(lost, 6) - chance;
            assert!(difference.abs() < 1e-12, "{lost}");
        }
    }

    #[test]
    fn one_that_comes_again_after_a_few_attempts_is_the_same_and_they_say_nothing() {
        let mut usual = after(&[true; 40]);
        assert!(!usual.find_outage());
        let before = usual;
        (0..BETWEEN).for_each(|_| usual.see(false));
        assert!(usual.find_outage());
        assert_eq!(usual.lost(), before.lost());
        assert_eq!(usual.known, BEFORE - BETWEEN);
        (0..=BETWEEN).for_each(|_| usual.see(false));
        assert!(!usual.find_outage());
        assert_eq!(usual.lost(), BETWEEN + 1);
    }

    #[test]
    fn what_is_known_of_the_first_attempts_is_forgotten_if_an_outage_follows_at_once() {
        for (attempts, known) in [(1, 0), (BETWEEN, 0), (BETWEEN + 1, BETWEEN + 1)] {
            let mut usual = after(&vec![true; attempts as usize]);
            usual.find_outage();
            assert_eq!(usual.known, known, "{attempts}");
            assert_eq!(usual.since, 0);
        }
    }
}
