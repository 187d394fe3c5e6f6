//! What happened in a window, as counts that can be added to those of another replica.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::distribution::Distribution;
use crate::{
    _core::{assignment::Variant, units::Microdollars},
    recording::Judgement,
};

/// Nanoseconds in a millisecond.
const NS_PER_MS: f64 = 1e6;
/// Milliseconds in a minute.
const MS_PER_MINUTE: f64 = 60_000.0;

/// A window's length in minutes, fractions allowed: 1 to 10,080 (seven days).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Minutes(#[schemars(range(min = 1, max = 10_080))] f64);

/// A window's length out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{0}` minutes is not a window; expected a number from 1 to 10080")]
pub struct InvalidMinutes(pub f64);

impl Minutes {
    /// One hour: the default, and what health and recommendations look at.
    pub const HOUR: Self = Self(60.0);
    /// Seven days, as far back as windows reach.
    pub const WEEK: Self = Self(10_080.0);

    /// The number of minutes, 1 to 10,080.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The first millisecond since 1970 that a window ending `now` holds.
    pub fn start(self, now: DateTime<Utc>) -> i64 {
        (now.timestamp_millis() as f64 - self.0 * MS_PER_MINUTE).floor() as i64
    }
}

impl Default for Minutes {
    fn default() -> Self {
        Self::HOUR
    }
}

impl TryFrom<f64> for Minutes {
    type Error = InvalidMinutes;

    fn try_from(minutes: f64) -> Result<Self, InvalidMinutes> {
        if (1.0..=Self::WEEK.0).contains(&minutes) {
            Ok(Self(minutes))
        } else {
            Err(InvalidMinutes(minutes))
        }
    }
}

impl<'de> Deserialize<'de> for Minutes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What the windows remember of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowSample {
    pub(super) at_ms: i64,
    pub(super) model: u16,
    pub(super) variant: Variant,
    pub(super) failed: bool,
    pub(super) latency_ms: f64,
    pub(super) first_token_ms: Option<f64>,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
    pub(super) cost: Microdollars,
    /// Whether something is wrong with the answer, where it was looked at.
    pub(super) flawed: Option<bool>,
    /// No attempt, but what a model found of an answer.
    pub(super) judged: Option<Judgement>,
}

/// Exact sums over events of one model and variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts that were not cancelled.
    pub requests: u64,
    /// Those of them that met a fault.
    pub failures: u64,
    /// All latencies together, in nanoseconds, so that adding loses nothing.
    pub latency_ns: u128,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What it cost, in microdollars.
    pub cost: i64,
    /// Answers that were looked at.
    pub answers: u64,
    /// Those in which something was wrong.
    pub flawed: u64,
    /// Answers that a model judged beside the other side's, whatever it found.
    pub judged: u64,
    /// Those that were the worse ones.
    pub judged_worse: u64,
}

impl Totals {
    pub(super) fn add(&mut self, sample: &WindowSample) {
        if let Some(judgement) = sample.judged {
            self.judged += 1;
            self.judged_worse += u64::from(judgement == Judgement::Worse);
            return;
        }
        self.requests += 1;
        self.failures += u64::from(sample.failed);
        self.latency_ns = self
            .latency_ns
            .saturating_add(nanoseconds(sample.latency_ms));
        self.prompt_tokens += u64::from(sample.prompt_tokens);
        self.completion_tokens += u64::from(sample.completion_tokens);
        self.cost = self.cost.saturating_add(sample.cost.0);
        self.answers += u64::from(sample.flawed.is_some());
        self.flawed += u64::from(sample.flawed == Some(true));
    }

    /// Adds other events.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.latency_ns = self.latency_ns.saturating_add(other.latency_ns);
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cost = self.cost.saturating_add(other.cost);
        self.answers += other.answers;
        self.flawed += other.flawed;
        self.judged += other.judged;
        self.judged_worse += other.judged_worse;
    }

    /// The mean latency in whole milliseconds, halves up; 0 without requests.
    pub fn average_ms(&self) -> u64 {
        let count = u128::from(self.requests) * 1_000_000;
        let doubled = self.latency_ns.saturating_mul(2).saturating_add(count);
        let mean = doubled.checked_div(count * 2).unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }

    /// Flawed answers in percent of those that were looked at, not rounded; none where none was.
    pub fn flaw_rate(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.flawed as f64 / self.answers as f64 * 100.0)
    }

    /// Failures in percent of requests, not rounded; 0 without requests.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.failures as f64 / self.requests as f64 * 100.0
    }
}

fn nanoseconds(ms: f64) -> u128 {
    let rounded = ms * NS_PER_MS + 0.5;
    // The shorter cast is many times faster, and enough for 584 years. Both saturate.
    if rounded < u64::MAX as f64 {
        u128::from(rounded as u64)
    } else {
        rounded as u128
    }
}

/// One thing for each variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Variants")]
pub struct PerVariant<T> {
    /// The models in use so far.
    pub control: T,
    /// The models being rolled out.
    pub candidate: T,
}

impl<T> PerVariant<T> {
    /// The same for both.
    pub fn from_fn(mut make: impl FnMut(Variant) -> T) -> Self {
        Self {
            control: make(Variant::Control),
            candidate: make(Variant::Candidate),
        }
    }

    /// That of one variant.
    pub fn get(&self, variant: Variant) -> &T {
        match variant {
            Variant::Control => &self.control,
            Variant::Candidate => &self.candidate,
        }
    }

    /// That of one variant, to change it.
    pub fn get_mut(&mut self, variant: Variant) -> &mut T {
        match variant {
            Variant::Control => &mut self.control,
            Variant::Candidate => &mut self.candidate,
        }
    }
}

/// Durations of one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// From sending to the whole answer.
    pub latency: Distribution,
    /// To the first token, of streamed answers.
    pub first_token: Distribution,
}

impl Durations {
    fn merge(self, other: &Self) -> Self {
        Self {
            latency: self.latency.merge(&other.latency),
            first_token: self.first_token.merge(&other.first_token),
        }
    }
}

/// All counts of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCounts {
    /// Sums by model, without those that had nothing.
    pub models: BTreeMap<Arc<str>, PerVariant<Totals>>,
    /// Durations by variant.
    pub durations: PerVariant<Durations>,
}

impl WindowCounts {
    /// Adds the window of another replica; nothing is lost.
    pub fn merge(mut self, other: &Self) -> Self {
        for (model, totals) in &other.models {
            let ours = self.models.entry(model.clone()).or_default();
            ours.control.merge(&totals.control);
            ours.candidate.merge(&totals.candidate);
        }
        let PerVariant { control, candidate } = self.durations;
        self.durations = PerVariant {
            control: control.merge(&other.durations.control),
            candidate: candidate.merge(&other.durations.candidate),
        };
        self
    }

    /// The sums of one variant.
    pub fn totals(&self, variant: Variant) -> Totals {
        let mut sum = Totals::default();
        for model in self.models.values() {
            sum.merge(model.get(variant));
        }
        sum
    }
}

/// A window while it is being put together, by model id rather than name.
pub(super) struct Builder {
    models: Vec<PerVariant<Totals>>,
    durations: PerVariant<Durations>,
}

impl Builder {
    /// For the samples of a window short enough to be exact.
    pub(super) fn exact() -> Self {
        Self::new(Distribution::exact)
    }

    /// For any number of samples.
    pub(super) fn counted() -> Self {
        Self::new(Distribution::counted)
    }

    fn new(distribution: fn() -> Distribution) -> Self {
        Self {
            models: Vec::new(),
            durations: PerVariant::from_fn(|_| Durations {
                latency: distribution(),
                first_token: distribution(),
            }),
        }
    }

    pub(super) fn add(&mut self, sample: &WindowSample) {
        self.totals(sample.model)
            .get_mut(sample.variant)
            .add(sample);
        if sample.judged.is_some() {
            return;
        }
        let durations = self.durations.get_mut(sample.variant);
        durations.latency.add(sample.latency_ms);
        if let Some(ms) = sample.first_token_ms {
            durations.first_token.add(ms);
        }
    }

    pub(super) fn totals(&mut self, model: u16) -> &mut PerVariant<Totals> {
        let index = usize::from(model);
        if self.models.len() <= index {
            self.models.resize_with(index + 1, PerVariant::default);
        }
        &mut self.models[index]
    }

    pub(super) fn durations(&mut self, variant: Variant) -> &mut Durations {
        self.durations.get_mut(variant)
    }

    /// The window, with models named by their ids' places in `names`.
    pub(super) fn finish(mut self, names: &[Arc<str>]) -> WindowCounts {
        for durations in [&mut self.durations.control, &mut self.durations.candidate] {
            durations.latency.sort();
            durations.first_token.sort();
        }
        let models = names.iter().cloned().zip(self.models);
        WindowCounts {
            models: models
                .filter(|(_, totals)| *totals != PerVariant::default())
                .collect(),
            durations: self.durations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_one_minute_to_a_week() {
        for minutes in [1.0, 1.5, 60.0, 10_080.0] {
            assert_eq!(Minutes::try_from(minutes).map(Minutes::get), Ok(minutes));
        }
        for minutes in [0.0, 0.999, -1.0, 10_080.1, f64::NAN, f64::INFINITY] {
            assert!(Minutes::try_from(minutes).is_err(), "{minutes}");
        }
        assert_eq!(
            InvalidMinutes(0.5).to_string(),
            "`0.5` minutes is not a window; expected a number from 1 to 10080"
        );
    }

    #[test]
    fn a_window_starts_on_a_whole_millisecond() {
        let now = DateTime::from_timestamp_millis(1_000_000).unwrap();
        assert_eq!(Minutes::try_from(1.0).unwrap().start(now), 940_000);
        assert_eq!(Minutes::try_from(1.00001).unwrap().start(now), 939_999);
    }

    #[test]
    fn averages_round_halves_up_and_rates_do_not_round() {
        let totals = |requests, latency_ms: u128, failures| Totals {
            requests,
            failures,
            latency_ns: latency_ms * 1_000_000,
            ..Totals::default()
        };
        assert_eq!(totals(2, 3, 0).average_ms(), 2);
        assert_eq!(totals(4, 5, 0).average_ms(), 1);
        assert_eq!(totals(0, 0, 0).average_ms(), 0);
        assert_eq!(totals(6, 0, 1).error_rate(), 16.666666666666664);
        assert_eq!(totals(0, 0, 0).error_rate(), 0.0);
    }
}
