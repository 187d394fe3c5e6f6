//! How attempts went over time, by whatever they differ in.
//!
//! Of a short time single attempts are read. Of a long one, and where there were very many, it is what the
//! upkeep counted by the hour, with those single attempts that it has not counted yet; both are read of the
//! same state of the database, so each attempt is in one of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    requests::RequestFilter,
    spending::{Consumption, Spender},
};
use crate::{_core::assignment::Variant, ai_metrics::histogram::Histogram};

/// What the lines of a chart differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Control and candidate.
    Variant,
    /// The model that was asked.
    Model,
    /// The provider of that.
    Provider,
    /// The task.
    Task,
    /// How attempts ended.
    Outcome,
}

/// One attempt, as far as a chart wants to know.
#[derive(Clone, Debug)]
pub struct ChartPoint {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The line it belongs to; the model where lines are providers.
    pub key: String,
    /// How it ended.
    pub outcome: String,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// To the first token, in milliseconds, where it was streamed.
    pub first_token_ms: Option<f64>,
    /// Tokens read and written.
    pub tokens: i64,
    /// What it cost, in millionths of a US dollar.
    pub cost: i64,
}

/// The attempts of an hour that are alike.
#[derive(Clone, Debug)]
pub struct AttemptHour {
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// The model.
    pub model: String,
    /// The task.
    pub task: String,
    /// Control or candidate.
    pub variant: Variant,
    /// How they ended.
    pub outcome: &'static str,
    /// How many attempts ended so.
    pub attempts: u64,
    /// Tokens read and written.
    pub tokens: u64,
    /// What they cost, in millionths of a US dollar.
    pub cost: i64,
    /// How long they took.
    pub latency: Histogram,
    /// To the first token, where they were streamed.
    pub first_token: Histogram,
}

/// What a chart is made of: a single attempt, or an hour of those that are alike.
#[derive(Clone, Debug)]
pub enum ChartPart {
    /// One attempt.
    Attempt(ChartPoint),
    /// An hour's.
    Hour(Box<AttemptHour>),
}

/// Takes the parts one by one, so that no more than the chart is kept of them.
pub type Taker<'a> = &'a mut (dyn FnMut(ChartPart) + Send);

/// Where attempts are looked up. Those that were cancelled are left out.
#[async_trait]
pub trait SeriesStore: Send + Sync {
    /// Whether more than so many attempts ended from one time to before another, in milliseconds since
    /// 1970, whatever else is true of them.
    async fn has_more(&self, from_ms: i64, to_ms: i64, than: u32) -> anyhow::Result<bool>;

    /// Single attempts that fit; at most `most`, and `false` where there are more.
    async fn attempts_of(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool>;

    /// The hours that begin within the time of the filter, and single attempts that are not counted yet;
    /// at most `most` of each, and `false` where there are more. Of a filter only time, models, task and
    /// variant are looked at.
    async fn hours_of(
        &self,
        filter: &RequestFilter,
        by: By,
        most: u32,
        take: Taker<'_>,
    ) -> anyhow::Result<bool>;

    /// What was used in a time, the dearest first; at most `limit` sums.
    async fn spending(
        &self,
        by: Spender,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<Consumption>>;
}

/// What one line had within one step.
#[derive(Clone, Debug, Default)]
pub struct SeriesCell {
    /// Attempts that were not cancelled.
    pub requests: u64,
    /// Of them failed.
    pub failures: u64,
    /// Tokens read and written.
    pub tokens: u64,
    /// What they cost, in millionths of a US dollar.
    pub cost: i64,
    /// How long they took.
    pub latency: Histogram,
    /// To the first token.
    pub first_token: Histogram,
}

/// Lines that are kept apart; all further ones are one.
const MOST_LINES: usize = 30;
/// The name of that one.
const OTHERS: &str = "(other)";

/// Cells by line and step.
#[derive(Debug)]
pub struct Grid {
    from_ms: i64,
    step_ms: i64,
    steps: usize,
    /// By line, then by step.
    pub lines: BTreeMap<String, Vec<SeriesCell>>,
    /// Faults by their kind, then by step.
    pub faults: BTreeMap<String, Vec<u64>>,
}

impl Grid {
    /// An empty grid of so many steps, of at least a millisecond.
    pub fn new(from_ms: i64, step_ms: i64, steps: usize) -> Self {
        Self {
            from_ms,
            step_ms: step_ms.max(1),
            steps,
            lines: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// The beginning of each step, in milliseconds since 1970.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        let steps = i64::try_from(self.steps).unwrap_or(i64::MAX);
        (0..steps).map(|n| self.from_ms + n * self.step_ms)
    }

    /// Counts an attempt.
    pub fn add(&mut self, point: &ChartPoint, key: &str) {
        let is_fault = is_fault(&point.outcome);
        let Some(cell) = self.cell(point.at_ms, key) else {
            return;
        };
        cell.requests += 1;
        cell.failures += u64::from(is_fault);
        cell.tokens += u64::try_from(point.tokens).unwrap_or_default();
        cell.cost += point.cost;
        cell.latency.count(point.latency_ms);
        if let Some(ms) = point.first_token_ms {
            cell.first_token.count(ms);
        }
        self.add_faults(point.at_ms, &point.outcome, 1);
    }

    /// Counts an hour.
    pub fn add_hour(&mut self, hour: &AttemptHour, key: &str) {
        let is_fault = is_fault(hour.outcome);
        let Some(cell) = self.cell(hour.at_ms, key) else {
            return;
        };
        cell.requests += hour.attempts;
        cell.failures += if is_fault { hour.attempts } else { 0 };
        cell.tokens += hour.tokens;
        cell.cost += hour.cost;
        cell.latency.merge(&hour.latency);
        cell.first_token.merge(&hour.first_token);
        self.add_faults(hour.at_ms, hour.outcome, hour.attempts);
    }

    fn step(&self, at_ms: i64) -> Option<usize> {
        let step = usize::try_from((at_ms - self.from_ms).div_euclid(self.step_ms)).ok()?;
        (step < self.steps).then_some(step)
    }

    fn cell(&mut self, at_ms: i64, key: &str) -> Option<&mut SeriesCell> {
        let step = self.step(at_ms)?;
        let is_known = self.lines.contains_key(key) || self.lines.len() < MOST_LINES;
        let key = if is_known { key } else { OTHERS };
        let steps = self.steps;
        let line = self.lines.entry(key.to_owned());
        line.or_insert_with(|| vec![SeriesCell::default(); steps])
            .get_mut(step)
    }

    fn add_faults(&mut self, at_ms: i64, outcome: &str, attempts: u64) {
        let Some(step) = self.step(at_ms).filter(|_| is_fault(outcome)) else {
            return;
        };
        let steps = self.steps;
        let line = self.faults.entry(outcome.to_owned());
        if let Some(count) = line.or_insert_with(|| vec![0; steps]).get_mut(step) {
            *count += attempts;
        }
    }
}

fn is_fault(outcome: &str) -> bool {
    !matches!(
        outcome,
        "success" | "refused-answer" | "cancelled" | "unknown"
    )
}

/// The duration that so many percent of those counted do not exceed (nearest rank); `None` of none.
pub fn quantile(durations: &Histogram, percent: u64) -> Option<f64> {
    let total: u64 = durations.counts().map(|(_, count)| count).sum();
    let rank = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    durations.counts().find_map(|(ms, count)| {
        seen += count;
        (seen >= rank).then_some(ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: i64, outcome: &str, latency_ms: f64) -> ChartPoint {
        ChartPoint {
            at_ms,
            key: "m".into(),
            outcome: outcome.into(),
            latency_ms,
            first_token_ms: None,
            tokens: 3,
            cost: 2,
        }
    }

    #[test]
    fn attempts_fall_into_the_step_they_ended_in_and_none_outside_counts() {
        let mut grid = Grid::new(1_000, 100, 3);
        for (at_ms, outcome) in [
            (999, "success"),
            (1_000, "success"),
            (1_099, "timeout"),
            (1_299, "success"),
            (1_300, "success"),
        ] {
            grid.add(&point(at_ms, outcome, 10.0), "m");
        }
        let requests: Vec<_> = grid.lines["m"].iter().map(|it| it.requests).collect();
        assert_eq!(requests, [2, 0, 1]);
        assert_eq!(grid.faults["timeout"], [1, 0, 0]);
        assert_eq!(
            (grid.lines["m"][0].failures, grid.lines["m"][0].tokens),
            (1, 6)
        );
        assert_eq!(grid.times().collect::<Vec<_>>(), [1_000, 1_100, 1_200]);
    }

    #[test]
    fn lines_beyond_the_most_are_one() {
        let mut grid = Grid::new(0, 100, 1);
        for n in 0..40 {
            grid.add(&point(5, "success", 10.0), &format!("m{n:02}"));
        }
        assert_eq!(grid.lines.len(), MOST_LINES + 1);
        assert_eq!(grid.lines[OTHERS][0].requests, 10);
    }

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let mut durations = Histogram::default();
        assert_eq!(quantile(&durations, 50), None);
        for ms in 1..=100 {
            durations.count(f64::from(ms));
        }
        assert_eq!(quantile(&durations, 50), Some(50.0));
        assert_eq!(quantile(&durations, 95), Some(95.0));
        assert_eq!(quantile(&durations, 100), Some(100.0));
    }
}
