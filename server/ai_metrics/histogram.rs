//! How often each duration occurred, to a thousandth, in little memory.
//!
//! A duration's *key* is its floating point number cut off after ten bits of mantissa, so a key's
//! values lie within 2⁻¹⁰ (0.098 %) of each other; whole milliseconds below 2,048 each have a key of
//! their own. A key stands for the least of its values. Counts by key add up without loss, in any
//! order and across replicas, which no sketch with moving centroids offers.
//!
//! [`Histogram`] is how such counts are stored by the ten thousand: as gaps between keys, one byte
//! for most of them, with a small unsorted tail so that adding is cheap in whatever order events
//! come. [`Distribution`](super::distribution::Distribution) is how they are read.

use std::collections::BTreeMap;

/// Bits of mantissa that a key keeps.
const MANTISSA_BITS: u32 = 10;
/// How far a number's bits are shifted to get its key.
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// The key of 2⁻³² ms, below which everything is 0; keys then reach up to 2³² ms (49 days).
const LEAST: u64 = (1023 - 32) << MANTISSA_BITS;
/// Number of keys.
pub(super) const KEYS: usize = 1 << 16;
/// Additions that a histogram keeps unsorted, at least.
const TAIL: usize = 1_024;
/// How many times as many as keys in order, at least, so that merging costs little per addition.
const TAIL_PER_KEY: usize = 4;
/// A tail too short to be worth sorting when nothing more is expected.
const SHORT_TAIL: usize = 32;

/// The key of a duration that is finite and not negative.
pub(super) fn key(value: f64) -> u16 {
    let key = (value.to_bits() >> SHIFT).saturating_sub(LEAST);
    u16::try_from(key).unwrap_or(u16::MAX)
}

/// The least value that has this key.
pub(super) fn value(key: u16) -> f64 {
    match key {
        0 => 0.0,
        key => f64::from_bits((u64::from(key) + LEAST) << SHIFT),
    }
}

/// Stored bytes that no histogram can have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored histogram is damaged")]
pub struct InvalidHistogram;

/// Counts by key, as they are kept in a bucket.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Ascending keys as variable-length integers: twice the gap to the key before, plus one where
    /// a count other than 1 follows.
    sorted: Vec<u8>,
    /// Keys in `sorted`.
    distinct: usize,
    /// Keys not yet in `sorted`.
    tail: Vec<u16>,
}

impl Histogram {
    /// Counts keys, in any order.
    pub(super) fn add(&mut self, keys: &[u16]) {
        self.tail.extend_from_slice(keys);
        if self.tail.len() >= TAIL.max(TAIL_PER_KEY * self.distinct) {
            self.merge_tail();
        }
    }

    /// Counts one duration in milliseconds; one that is negative or not finite stands for an extreme.
    pub fn count(&mut self, ms: f64) {
        self.add(&[key(ms)]);
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        let mut counts = BTreeMap::<u16, u64>::new();
        for (key, count) in self.iter().chain(other.iter()) {
            *counts.entry(key).or_default() += count;
        }
        let mut merged = Writer::with_capacity(self.sorted.len() + other.sorted.len());
        for (key, count) in counts {
            merged.write(key, count);
        }
        self.sorted = merged.bytes;
        self.distinct = merged.distinct;
        self.tail.clear();
    }

    /// Durations in ascending order, each as the least of its key, with how often they occurred.
    pub fn counts(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut counts = BTreeMap::<u16, u64>::new();
        for (key, count) in self.iter() {
            *counts.entry(key).or_default() += count;
        }
        counts.into_iter().map(|(key, count)| (value(key), count))
    }

    /// All of it, for storing.
    pub fn to_bytes(&mut self) -> Vec<u8> {
        self.merge_tail();
        self.sorted.clone()
    }

    /// What [`Histogram::to_bytes`] gave.
    pub fn from_bytes(sorted: Vec<u8>) -> Result<Self, InvalidHistogram> {
        let distinct = check(&sorted).ok_or(InvalidHistogram)?;
        Ok(Self {
            sorted,
            distinct,
            tail: Vec::new(),
        })
    }

    /// Takes as little memory as possible; for when little more is expected.
    pub(super) fn compact(&mut self) {
        if self.tail.len() > SHORT_TAIL {
            self.merge_tail();
        }
        self.tail.shrink_to_fit();
        self.sorted.shrink_to_fit();
    }

    /// Keys with their counts; a key may come several times.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        Entries::new(&self.sorted).chain(self.tail.iter().map(|&key| (key, 1)))
    }

    fn merge_tail(&mut self) {
        sort(&mut self.tail);
        let mut added = self.tail.chunk_by(|a, b| a == b).peekable();
        let mut merged = Writer::with_capacity(self.sorted.len() + 2 * self.tail.len());
        for (key, mut count) in Entries::new(&self.sorted) {
            while let Some(same) = added.next_if(|same| first(same) < key) {
                merged.write(first(same), same.len() as u64);
            }
            if let Some(same) = added.next_if(|same| first(same) == key) {
                count += same.len() as u64;
            }
            merged.write(key, count);
        }
        for same in added {
            merged.write(first(same), same.len() as u64);
        }
        self.sorted = merged.bytes;
        self.distinct = merged.distinct;
        self.tail.clear();
    }
}

/// The key of a chunk of equal keys, which is never empty.
fn first(same: &[u16]) -> u16 {
    same.first().copied().unwrap_or_default()
}

/// Sorts by the low byte, then by the high byte, keeping the order; several times faster than
/// comparing.
fn sort(keys: &mut Vec<u16>) {
    let mut sorted = vec![0; keys.len()];
    for byte in [|key: u16| key as u8, |key: u16| (key >> 8) as u8] {
        let mut places = [0; 257];
        for key in keys.iter() {
            places[usize::from(byte(*key)) + 1] += 1;
        }
        for i in 1..places.len() {
            places[i] += places[i - 1];
        }
        for key in keys.iter() {
            let place = &mut places[usize::from(byte(*key))];
            sorted[*place] = *key;
            *place += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

/// Writes ascending keys.
struct Writer {
    bytes: Vec<u8>,
    last: u16,
    distinct: usize,
}

impl Writer {
    fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            last: 0,
            distinct: 0,
        }
    }

    fn write(&mut self, key: u16, count: u64) {
        let gap = u64::from(key - self.last);
        self.integer(gap << 1 | u64::from(count != 1));
        if count != 1 {
            self.integer(count);
        }
        self.last = key;
        self.distinct += 1;
    }

    fn integer(&mut self, mut integer: u64) {
        while integer >= 0x80 {
            self.bytes.push(integer as u8 | 0x80);
            integer >>= 7;
        }
        self.bytes.push(integer as u8);
    }
}

/// How many keys there are, where the bytes are as a [`Writer`] writes them, so that reading them
/// cannot go wrong.
fn check(bytes: &[u8]) -> Option<usize> {
    let mut bytes = bytes.iter();
    let mut integer = || {
        let mut integer: u64 = 0;
        for shift in (0..63).step_by(7) {
            let byte = *bytes.next()?;
            integer |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(integer);
            }
        }
        None
    };
    let (mut key, mut distinct) = (0_u64, 0);
    while let Some(head) = integer() {
        let gap = head >> 1;
        key += gap;
        let is_ascending = gap > 0 || distinct == 0;
        if !is_ascending || key > u64::from(u16::MAX) || (head & 1 == 1 && integer()? == 0) {
            return None;
        }
        distinct += 1;
    }
    bytes.as_slice().is_empty().then_some(distinct)
}

/// Reads what a [`Writer`] wrote.
struct Entries<'a> {
    bytes: std::slice::Iter<'a, u8>,
    key: u16,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            key: 0,
        }
    }

    fn integer(&mut self) -> Option<u64> {
        let byte = *self.bytes.next()?;
        if byte < 0x80 {
            return Some(byte.into());
        }
        let mut integer = u64::from(byte & 0x7f);
        let mut shift = 7;
        loop {
            let byte = *self.bytes.next()?;
            integer |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(integer);
            }
            shift += 7;
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = (u16, u64);

    fn next(&mut self) -> Option<(u16, u64)> {
        let head = self.integer()?;
        self.key += (head >> 1) as u16;
        let count = if head & 1 == 0 { 1 } else { self.integer()? };
        Some((self.key, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_stands_for_its_values_within_a_thousandth() {
        for exponent in -31..32 {
            for step in 0..1000 {
                let exact = 2f64.powi(exponent) * (1.0 + f64::from(step) / 1000.0);
                let kept = value(key(exact));
                assert!(
                    kept <= exact && exact - kept < exact * 0.001,
                    "{exact} {kept}"
                );
            }
        }
    }

    #[test]
    fn whole_milliseconds_below_two_seconds_are_exact() {
        for ms in (0..2048).map(f64::from) {
            assert_eq!(value(key(ms)), ms);
        }
    }

    #[test]
    fn the_extremes_have_keys_too() {
        assert_eq!(value(key(f64::MIN_POSITIVE)), 0.0);
        assert_eq!(key(f64::MAX), u16::MAX);
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back_and_adds_up(
            first in prop::collection::vec(0.0..100_000f64, 0..2_000),
            second in prop::collection::vec(0.0..10f64, 0..200),
        ) {
            let of = |values: &[f64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.count(*value));
                Histogram::from_bytes(histogram.to_bytes()).unwrap()
            };
            let mut merged = of(&first);
            merged.merge(&of(&second));
            let all: Vec<f64> = first.iter().chain(&second).copied().collect();
            prop_assert!(merged.counts().eq(of(&all).counts()));
            prop_assert_eq!(merged.to_bytes(), of(&all).to_bytes());
        }

        #[test]
        fn any_bytes_are_refused_or_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(mut histogram) = Histogram::from_bytes(bytes) {
                histogram.count(1.0);
                prop_assert!(histogram.counts().count() > 0);
                histogram.to_bytes();
            }
        }

        #[test]
        fn a_histogram_counts_in_any_order(values in prop::collection::vec(0.0..100_000f64, 0..2_000)) {
            let mut histogram = Histogram::default();
            let mut expected = BTreeMap::new();
            for (i, &value) in values.iter().enumerate() {
                histogram.add(&[key(value)]);
                *expected.entry(key(value)).or_insert(0) += 1;
                if i % 500 == 499 {
                    histogram.compact();
                }
            }
            let mut counted = BTreeMap::new();
            for (key, count) in histogram.iter() {
                *counted.entry(key).or_insert(0) += count;
            }
            prop_assert_eq!(counted, expected);
        }
    }
}
