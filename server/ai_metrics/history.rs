//! Older samples, by second, minute and hour.
//!
//! Every sample is counted in all three tiers, so a window is read from few buckets: seconds up to
//! the next full minute, minutes up to the next full hour, then hours. Seven days are at most 168
//! hours and 60 minutes. Buckets exist only where something happened, in whatever order it was
//! reported; each tier keeps a bounded number of them and drops the oldest first. The bound is by
//! number and not by age because the only clock here is the events' own, and one event from the
//! future must not empty the rest.
//!
//! Of streamed answers of one model and its candidate, in 1 to 10 s, seven days of minutes take about 7 MB where one comes
//! each second, 17 MB where ten do, 120 MB of 100 and 280 MB of 1,000; an hour and ten minutes of seconds 2 to 10 MB.

use std::collections::BTreeMap;

use super::{
    histogram::{self, Histogram},
    window::{Builder, PerVariant, Totals, WindowSample},
};
use crate::_core::assignment::Variant;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

const VARIANTS: [Variant; 2] = [Variant::Control, Variant::Candidate];

/// How finely the start of a window is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// To the second; for windows of up to an hour.
    Second,
    /// To the minute.
    Minute,
}

/// The three tiers.
pub(super) struct TieredHistory {
    seconds: Tier,
    minutes: Tier,
    hours: Tier,
    /// Both are only kept for their memory.
    run: Run,
    buffer: Vec<WindowSample>,
}

impl TieredHistory {
    pub(super) fn new() -> Self {
        // What a window can ask for, and some more for reports that come late or too early.
        Self {
            seconds: Tier::new(SECOND, 60 * 60 + 600),
            minutes: Tier::new(MINUTE, 7 * 24 * 60 + 120),
            hours: Tier::new(HOUR, 7 * 24 + 4),
            run: Run::default(),
            buffer: Vec::new(),
        }
    }

    /// An empty list of samples that has memory already.
    pub(super) fn take_buffer(&mut self) -> Vec<WindowSample> {
        std::mem::take(&mut self.buffer)
    }

    /// Keeps the memory of a list for the next time.
    pub(super) fn return_buffer(&mut self, mut buffer: Vec<WindowSample>) {
        buffer.clear();
        self.buffer = buffer;
    }

    /// Counts samples that are sorted by time.
    pub(super) fn add(&mut self, samples: &[WindowSample]) {
        let same_second = |a: &WindowSample, b: &WindowSample| {
            a.at_ms.div_euclid(SECOND) == b.at_ms.div_euclid(SECOND)
        };
        for samples in samples.chunk_by(same_second) {
            let Some(at_ms) = samples.first().map(|sample| sample.at_ms) else {
                continue;
            };
            // What can be done once is not done for each tier.
            self.run.collect(samples);
            for tier in [&mut self.seconds, &mut self.minutes, &mut self.hours] {
                tier.bucket(at_ms).add(&self.run);
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
            full_minute(start_ms)
        };
        let hour = ceil(minute, HOUR);
        self.minutes.read(minute..hour, window);
        self.hours.read(hour..i64::MAX, window);
    }
}

/// Where windows of more than an hour begin that start at this time.
pub(super) fn full_minute(start_ms: i64) -> i64 {
    floor(start_ms, MINUTE)
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
    /// The bucket that was used last.
    open: i64,
    /// The first bucket before which none was dropped.
    complete_from: i64,
}

impl Tier {
    fn new(width: i64, limit: usize) -> Self {
        Self {
            width,
            limit,
            buckets: BTreeMap::new(),
            open: i64::MIN,
            complete_from: i64::MIN,
        }
    }

    /// The bucket of this time, which may be a new one.
    fn bucket(&mut self, at_ms: i64) -> &mut Bucket {
        let index = at_ms.div_euclid(self.width);
        if !self.buckets.contains_key(&index) {
            if let Some(done) = self.buckets.get_mut(&self.open) {
                done.compact();
            }
            if self.buckets.len() >= self.limit
                && let Some((oldest, _)) = self.buckets.pop_first()
            {
                self.complete_from = self.complete_from.max(oldest + 1);
            }
        }
        self.open = index;
        self.buckets.entry(index).or_default()
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

/// Sums by model and variant, sorted; mostly there are only a few.
#[derive(Default)]
struct Sums(Vec<(SumKey, Totals)>);

/// A model, and whether it served the candidate.
type SumKey = (u16, bool);

impl Sums {
    fn get_mut(&mut self, key: SumKey) -> &mut Totals {
        let place = self.0.binary_search_by_key(&key, |(key, _)| *key);
        let place = place.unwrap_or_else(|place| {
            self.0.insert(place, (key, Totals::default()));
            place
        });
        &mut self.0[place].1
    }
}

/// Samples of one second on their way into the tiers.
#[derive(Default)]
struct Run {
    sums: Sums,
    latency: PerVariant<Vec<u16>>,
    first_token: PerVariant<Vec<u16>>,
}

impl Run {
    fn collect(&mut self, samples: &[WindowSample]) {
        self.sums.0.clear();
        for keys in [&mut self.latency, &mut self.first_token] {
            keys.control.clear();
            keys.candidate.clear();
        }
        for sample in samples {
            let variant = sample.variant;
            let key = (sample.model, variant == Variant::Candidate);
            self.sums.get_mut(key).add(sample);
            if sample.judged.is_some() {
                continue;
            }
            let latency = histogram::key(sample.latency_ms);
            self.latency.get_mut(variant).push(latency);
            if let Some(ms) = sample.first_token_ms {
                self.first_token.get_mut(variant).push(histogram::key(ms));
            }
        }
    }
}

/// What happened in one second, minute or hour.
#[derive(Default)]
struct Bucket {
    sums: Sums,
    latency: PerVariant<Histogram>,
    first_token: PerVariant<Histogram>,
}

impl Bucket {
    fn add(&mut self, run: &Run) {
        for (key, totals) in &run.sums.0 {
            self.sums.get_mut(*key).merge(totals);
        }
        for variant in VARIANTS {
            self.latency.get_mut(variant).add(run.latency.get(variant));
            let first_token = self.first_token.get_mut(variant);
            first_token.add(run.first_token.get(variant));
        }
    }

    fn compact(&mut self) {
        self.sums.0.shrink_to_fit();
        for variant in VARIANTS {
            self.latency.get_mut(variant).compact();
            self.first_token.get_mut(variant).compact();
        }
    }

    fn read(&self, window: &mut Builder) {
        for ((model, is_candidate), totals) in &self.sums.0 {
            let variant = if *is_candidate {
                Variant::Candidate
            } else {
                Variant::Control
            };
            window.totals(*model).get_mut(variant).merge(totals);
        }
        for variant in VARIANTS {
            let durations = window.durations(variant);
            durations.latency.add_histogram(self.latency.get(variant));
            let first_token = self.first_token.get(variant);
            durations.first_token.add_histogram(first_token);
        }
    }
}
