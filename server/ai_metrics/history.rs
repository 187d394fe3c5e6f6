//! Older samples, by second, minute and hour.
//!
//! Every sample is counted in all three tiers, so a window is read from few buckets: seconds up to
//! the next full minute, minutes up to the next full hour, then hours. Seven days are at most 168
//! hours and 60 minutes. Buckets exist only where something happened, in whatever order it was
//! reported; each tier keeps a bounded number of them and drops the oldest first. The bound is by
//! number and not by age because the only clock here is the events' own, and one event from the
//! future must not empty the rest.

use std::collections::BTreeMap;

use super::{
    histogram::Histogram,
    window::{Builder, PerVariant, Sample, Totals},
};
use crate::_core::assignment::Variant;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// How finely the start of a window is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// To the second; for windows of up to an hour.
    Second,
    /// To the minute.
    Minute,
}

/// The three tiers.
pub(super) struct History {
    seconds: Tier,
    minutes: Tier,
    hours: Tier,
}

impl History {
    pub(super) fn new() -> Self {
        // What a window can ask for, and some more for reports that come late or too early.
        Self {
            seconds: Tier::new(SECOND, 60 * 60 + 600),
            minutes: Tier::new(MINUTE, 7 * 24 * 60 + 120),
            hours: Tier::new(HOUR, 7 * 24 + 4),
        }
    }

    /// Counts samples that are sorted by time.
    pub(super) fn add(&mut self, samples: &[Sample]) {
        let same_second =
            |a: &Sample, b: &Sample| a.at_ms.div_euclid(SECOND) == b.at_ms.div_euclid(SECOND);
        for run in samples.chunk_by(same_second) {
            for tier in [&mut self.seconds, &mut self.minutes, &mut self.hours] {
                tier.add(run);
            }
        }
    }

    /// Adds everything at or after `start_ms`, rounded down to the edge, to a window.
    pub(super) fn read(&self, start_ms: i64, edge: Edge, window: &mut Builder) {
        let minute = if edge == Edge::Second && self.seconds.is_complete_since(start_ms) {
            let minute = ceil(start_ms, MINUTE);
            self.seconds.read(start_ms..minute, window);
            minute
        } else {
            floor(start_ms, MINUTE)
        };
        let hour = ceil(minute, HOUR);
        self.minutes.read(minute..hour, window);
        self.hours.read(hour..i64::MAX, window);
    }
}

fn floor(at_ms: i64, width: i64) -> i64 {
    at_ms - at_ms.rem_euclid(width)
}

fn ceil(at_ms: i64, width: i64) -> i64 {
    floor(at_ms + width - 1, width)
}

/// Buckets of one width.
struct Tier {
    width: i64,
    limit: usize,
    buckets: BTreeMap<i64, Bucket>,
    /// The first bucket before which none was dropped.
    complete_from: i64,
}

impl Tier {
    fn new(width: i64, limit: usize) -> Self {
        Self {
            width,
            limit,
            buckets: BTreeMap::new(),
            complete_from: i64::MIN,
        }
    }

    fn add(&mut self, samples: &[Sample]) {
        let Some(first) = samples.first() else {
            return;
        };
        let index = first.at_ms.div_euclid(self.width);
        let bucket = self.buckets.entry(index).or_default();
        for sample in samples {
            bucket.add(sample);
        }
        while self.buckets.len() > self.limit {
            if let Some((dropped, _)) = self.buckets.pop_first() {
                self.complete_from = self.complete_from.max(dropped + 1);
            }
        }
    }

    fn is_complete_since(&self, at_ms: i64) -> bool {
        at_ms.div_euclid(self.width) >= self.complete_from
    }

    /// From the bucket that holds the start to the one before that which holds the end.
    fn read(&self, times: std::ops::Range<i64>, window: &mut Builder) {
        let first = times.start.div_euclid(self.width);
        let end = times.end.div_euclid(self.width);
        if first < end {
            for bucket in self.buckets.range(first..end).map(|(_, bucket)| bucket) {
                bucket.read(window);
            }
        }
    }
}

/// What happened in one second, minute or hour.
#[derive(Default)]
struct Bucket {
    /// Sorted by model and variant; most buckets know only a few.
    totals: Vec<((u16, bool), Totals)>,
    latency: PerVariant<Histogram>,
    first_token: PerVariant<Histogram>,
}

impl Bucket {
    fn add(&mut self, sample: &Sample) {
        let key = (sample.model, sample.variant == Variant::Candidate);
        let place = self.totals.binary_search_by_key(&key, |(key, _)| *key);
        let place = place.unwrap_or_else(|place| {
            self.totals.insert(place, (key, Totals::default()));
            place
        });
        if let Some((_, totals)) = self.totals.get_mut(place) {
            totals.add(sample);
        }
        self.latency.get_mut(sample.variant).add(sample.latency_ms);
        if let Some(ms) = sample.first_token_ms {
            self.first_token.get_mut(sample.variant).add(ms);
        }
    }

    fn read(&self, window: &mut Builder) {
        for ((model, candidate), totals) in &self.totals {
            let variant = variant(*candidate);
            window.totals(*model).get_mut(variant).merge(totals);
        }
        for variant in [Variant::Control, Variant::Candidate] {
            let durations = window.durations(variant);
            durations.latency.add_histogram(self.latency.get(variant));
            durations
                .first_token
                .add_histogram(self.first_token.get(variant));
        }
    }
}

fn variant(candidate: bool) -> Variant {
    if candidate {
        Variant::Candidate
    } else {
        Variant::Control
    }
}
