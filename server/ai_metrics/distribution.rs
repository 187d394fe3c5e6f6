//! The durations of a window: every one of them for few, counts by key for many.

use super::histogram::{Histogram, KEYS, key, value};

/// Values that are kept exactly.
pub(super) const EXACT_LIMIT: usize = 10_000;

/// Durations of a window, ready to be asked and to be merged with those of other replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Values);

#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// Every value; sorted but while a window is being built.
    Exact(Vec<f64>),
    Counted(Counts),
}

#[derive(Clone, Debug, PartialEq)]
struct Counts {
    /// How often each key occurred. Only pages that are used take memory.
    by_key: Vec<u64>,
    /// The least and the greatest key that occurred; the other way round before any did.
    first: u16,
    last: u16,
    total: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::exact()
    }
}

impl Distribution {
    /// For at most [`EXACT_LIMIT`] values.
    pub(super) fn exact() -> Self {
        Self(Values::Exact(Vec::new()))
    }

    /// For any number of values.
    pub(super) fn counted() -> Self {
        Self(Values::Counted(Counts::new()))
    }

    pub(super) fn add(&mut self, value: f64) {
        match &mut self.0 {
            Values::Exact(values) => values.push(value),
            Values::Counted(counts) => counts.add(key(value), 1),
        }
    }

    pub(super) fn add_histogram(&mut self, histogram: &Histogram) {
        match &mut self.0 {
            Values::Exact(values) => {
                for (key, count) in histogram.iter() {
                    values.extend(std::iter::repeat_n(value(key), count as usize));
                }
            }
            Values::Counted(counts) => histogram.iter().for_each(|(key, n)| counts.add(key, n)),
        }
    }

    /// Has to be called between adding and asking.
    pub(super) fn sort(&mut self) {
        if let Values::Exact(values) = &mut self.0 {
            values.sort_unstable_by(f64::total_cmp);
        }
    }

    /// Number of values.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Values::Exact(values) => values.len() as u64,
            Values::Counted(counts) => counts.total,
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the values of another. The result is exact as long as it has few enough of them.
    pub fn merge(self, other: &Self) -> Self {
        Self(match (self.0, &other.0) {
            (Values::Exact(mut a), Values::Exact(b)) if a.len() + b.len() <= EXACT_LIMIT => {
                a.extend(b);
                // Stable sorting finds the two sorted runs and merges them.
                a.sort_by(f64::total_cmp);
                Values::Exact(a)
            }
            (a, b) => {
                let mut counts = match a {
                    Values::Counted(counts) => counts,
                    Values::Exact(values) => Counts::of(&values),
                };
                match b {
                    Values::Counted(others) => counts.merge(others),
                    Values::Exact(values) => counts.merge(&Counts::of(values)),
                }
                Values::Counted(counts)
            }
        })
    }

    /// The least value that at least `percent` of all values do not exceed (nearest rank, as SQL's
    /// `percentile_disc`); `None` without values.
    pub fn quantile(&self, percent: u64) -> Option<f64> {
        let rank = (self.len() * percent.min(100)).div_ceil(100).max(1);
        match &self.0 {
            Values::Exact(values) => values.get(usize::try_from(rank).ok()? - 1).copied(),
            Values::Counted(counts) => counts.ranked(rank),
        }
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            by_key: vec![0; KEYS],
            first: u16::MAX,
            last: 0,
            total: 0,
        }
    }

    fn add(&mut self, key: u16, count: u64) {
        if let Some(slot) = self.by_key.get_mut(usize::from(key)) {
            *slot += count;
        }
        self.first = self.first.min(key);
        self.last = self.last.max(key);
        self.total += count;
    }

    fn of(values: &[f64]) -> Self {
        let mut counts = Self::new();
        values.iter().for_each(|value| counts.add(key(*value), 1));
        counts
    }

    fn merge(&mut self, other: &Self) {
        // Only what is used: the rest takes neither memory nor time.
        let used = usize::from(other.first)..usize::from(other.last) + 1;
        if let (Some(ours), Some(theirs)) =
            (self.by_key.get_mut(used.clone()), other.by_key.get(used))
        {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                *ours += theirs;
            }
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.total += other.total;
    }

    fn ranked(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        let mut keys = (self.first..=self.last).filter(|key| {
            seen += self.by_key.get(usize::from(*key)).unwrap_or(&0);
            seen >= rank
        });
        keys.next().map(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        for mut distribution in [Distribution::exact(), Distribution::counted()] {
            for ms in (1..=20).rev() {
                distribution.add(f64::from(ms));
            }
            distribution.sort();
            let ask = |percent| distribution.quantile(percent).unwrap();
            assert_eq!((ask(50), ask(95), ask(99)), (10.0, 19.0, 20.0));
            assert_eq!((ask(0), ask(1), ask(100)), (1.0, 1.0, 20.0));
        }
    }

    #[test]
    fn nothing_has_no_quantiles() {
        assert_eq!(Distribution::exact().quantile(50), None);
        assert_eq!(Distribution::counted().quantile(50), None);
    }

    #[test]
    fn merging_stays_exact_up_to_the_limit() {
        let of = |n: usize| {
            let mut d = Distribution::exact();
            (0..n).for_each(|i| d.add(i as f64 + 0.123));
            d.sort();
            d
        };
        let few = of(4_000).merge(&of(6_000));
        assert_eq!(few.quantile(100), Some(5_999.123));
        let many = of(4_000).merge(&of(6_001));
        assert_eq!(many.len(), 10_001);
        let last = many.quantile(100).unwrap();
        assert!(
            last != 6_000.123 && (last - 6_000.123).abs() < 6.0,
            "{last}"
        );
    }

    proptest! {
        #[test]
        fn halves_merge_to_the_whole(values in prop::collection::vec(0.0..1e6f64, 1..500), cut in 0..500usize) {
            let of = |values: &[f64]| {
                let mut d = Distribution::counted();
                values.iter().for_each(|&v| d.add(v));
                d
            };
            let (a, b) = values.split_at(cut.min(values.len()));
            prop_assert_eq!(of(a).merge(&of(b)), of(&values));
        }
    }
}
