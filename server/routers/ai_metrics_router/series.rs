//! `aiMetrics.getSeries`: attempts over time, in columns for charts.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        assignment::Variant,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    dashboard::{
        requests::RequestFilter,
        series::{AttemptHour, By, ChartPart, Grid, SeriesCell, SeriesStore, quantile},
    },
    model_router::ModelRouter,
    procedures,
};

/// Steps where nothing else is asked for, and at most.
const POINTS: u32 = 120;
const MAX_POINTS: u32 = 400;
/// Single attempts that are read for one answer, and hours of attempts that are alike.
const MOST: u32 = 300_000;
const HOUR_MS: i64 = 3_600_000;
/// Longer times are read by the hour.
const SINGLE_MS: i64 = 48 * HOUR_MS;
/// The longest time that may be asked for: some more than a year.
const LONGEST_MS: i64 = 400 * 24 * HOUR_MS;

/// What the procedure works with.
#[derive(Clone)]
pub struct Past {
    /// Where attempts are looked up.
    pub store: Arc<dyn SeriesStore>,
    /// The catalog, which knows each model's provider.
    pub models: Arc<ModelRouter>,
}

/// Registers it.
pub(super) fn register(registry: &mut Registry, past: Option<Past>) {
    procedures!(registry.outline("aiMetrics", past);
        /// Attempts over time, with a line for each variant, model, provider, task or outcome: how many,
        /// how many failed, how long they took, what they cost; and faults by their kind. Of more than
        /// two days, and of a time with more than 300,000 attempts, it is by the hour.
        query Viewer getSeries = get_series, errors [
            Declared::new(
                ErrorCode::PayloadTooLarge,
                "More than 300,000 attempts of a rollout, or hours of attempts that are alike, would have to be read; ask for less.",
            ),
        ];
    );
}

/// Of which time, and of which attempts.
#[derive(Debug, Deserialize, JsonSchema)]
struct WhichAttempts {
    /// From this time on.
    from: DateTime<Utc>,
    /// Before this time.
    to: DateTime<Utc>,
    /// The most steps; 120 where it is not given. By the hour there may be fewer.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_POINTS))]
    points: Option<u32>,
    /// What the lines differ in.
    by: By,
    /// Only these attempts.
    #[serde(default)]
    filter: Only,
}

/// What must be true of an attempt; what is left out is not looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Only {
    /// At this model.
    #[schemars(length(min = 1, max = 200))]
    model: Option<String>,
    /// For this task.
    #[schemars(length(min = 1, max = 200))]
    task: Option<String>,
    /// For this variant.
    variant: Option<Variant>,
    /// Decided by this rollout; of two days at most.
    #[schemars(length(min = 1, max = 100))]
    rollout_id: Option<String>,
}

/// Columns of the same length; what lies at one place of them belongs together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptSeries {
    /// How long each step is, in milliseconds.
    step_ms: u64,
    /// When each begins.
    at: Vec<DateTime<Utc>>,
    /// A line for each that had an attempt, in the order of their names.
    series: Vec<Line>,
    /// Faults by their kind.
    faults: Vec<FaultLine>,
}

/// How the attempts of one line went.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// The variant, model, provider, task or outcome; `(other)` for all beyond thirty.
    key: String,
    /// Attempts that were not cancelled.
    requests: Vec<u64>,
    /// Those of them that met a fault.
    failures: Vec<u64>,
    /// Median latency in milliseconds; null without attempts.
    p50: Vec<Option<f64>>,
    /// Latency that 95 % do not exceed.
    p95: Vec<Option<f64>>,
    /// Latency that 99 % do not exceed.
    p99: Vec<Option<f64>>,
    /// Median time to the first token; null where nothing was streamed.
    first_token_p50: Vec<Option<f64>>,
    /// Tokens read and written.
    tokens: Vec<u64>,
    /// What they cost, in millionths of a US dollar.
    cost_microdollars: Vec<i64>,
}

/// How often one kind of fault came.
#[derive(Debug, Serialize, JsonSchema)]
struct FaultLine {
    /// The kind.
    outcome: String,
    /// How often.
    count: Vec<u64>,
}

impl Line {
    fn new(key: String, cells: &[SeriesCell]) -> Self {
        let latency = |percent| {
            cells
                .iter()
                .map(|it| quantile(&it.latency, percent))
                .collect()
        };
        Self {
            key,
            requests: cells.iter().map(|it| it.requests).collect(),
            failures: cells.iter().map(|it| it.failures).collect(),
            p50: latency(50),
            p95: latency(95),
            p99: latency(99),
            first_token_p50: cells
                .iter()
                .map(|it| quantile(&it.first_token, 50))
                .collect(),
            tokens: cells.iter().map(|it| it.tokens).collect(),
            cost_microdollars: cells.iter().map(|it| it.cost).collect(),
        }
    }
}

impl Past {
    /// The line of a model where lines are providers.
    fn provider(&self, model: &str) -> String {
        let catalog = self.models.catalog();
        let found = catalog.models.iter().find(|it| *it.name == *model);
        found.map_or_else(|| "(unknown)".to_owned(), |it| it.provider.clone())
    }

    fn key_of_hour(&self, hour: &AttemptHour, by: By) -> String {
        match by {
            By::Variant => hour.variant.name().to_owned(),
            By::Model => hour.model.clone(),
            By::Provider => self.provider(&hour.model),
            By::Task => hour.task.clone(),
            By::Outcome => hour.outcome.to_owned(),
        }
    }

    /// Adds single attempts to the grid, or hours with what is not counted by the hour yet.
    async fn fill(
        &self,
        grid: &mut Grid,
        filter: &RequestFilter,
        by: By,
        is_by_hour: bool,
    ) -> Result<(), RpcError> {
        let mut take = |part: ChartPart| match part {
            ChartPart::Attempt(point) if by == By::Provider => {
                grid.add(&point, &self.provider(&point.key));
            }
            ChartPart::Attempt(point) => grid.add(&point, &point.key),
            ChartPart::Hour(hour) => grid.add_hour(&hour, &self.key_of_hour(&hour, by)),
        };
        let is_all = match is_by_hour {
            true => self.store.hours_of(filter, by, MOST, &mut take).await,
            false => self.store.attempts_of(filter, by, MOST, &mut take).await,
        };
        match is_all.map_err(RpcError::internal)? {
            true => Ok(()),
            false => Err(RpcError::new(
                ErrorCode::PayloadTooLarge,
                format!(
                    "more than {MOST} attempts, or hours of attempts that are alike, would have to be \
                     read; ask for a shorter time, or for fewer by `filter`"
                ),
            )),
        }
    }
}

async fn get_series(
    past: Past,
    _: Context,
    input: WhichAttempts,
) -> Result<AttemptSeries, RpcError> {
    let WhichAttempts {
        from,
        to,
        points,
        by,
        filter: only,
    } = input;
    let (from_ms, to_ms) = (from.timestamp_millis(), to.timestamp_millis());
    let length = to_ms - from_ms;
    if !(1..=LONGEST_MS).contains(&length) {
        return Err(RpcError::bad_request(format!(
            "from `from` = {} to `to` = {} is no time of 1 ms to 400 days",
            from.to_rfc3339(),
            to.to_rfc3339()
        )));
    }
    if length > SINGLE_MS && only.rollout_id.is_some() {
        return Err(RpcError::bad_request(
            "`filter.rolloutId` is for two days at most: attempts are counted by the hour for all \
             rollouts together",
        ));
    }
    // Very many are given by the hour, however short the time is.
    let is_by_hour = only.rollout_id.is_none()
        && (length > SINGLE_MS || {
            let has_more = past.store.has_more(from_ms, to_ms, MOST).await;
            has_more.map_err(RpcError::internal)?
        });
    let points = i64::from(points.unwrap_or(POINTS).clamp(1, MAX_POINTS));
    let least = if is_by_hour { HOUR_MS } else { 1 };
    let step_ms = (length + points - 1) / points;
    let step_ms = (step_ms + least - 1) / least * least;
    let (from_ms, to_ms) = match is_by_hour {
        true => (
            from_ms - from_ms.rem_euclid(HOUR_MS),
            to_ms + (-to_ms).rem_euclid(HOUR_MS),
        ),
        false => (from_ms, to_ms),
    };
    let steps = usize::try_from((to_ms - from_ms + step_ms - 1) / step_ms).unwrap_or(1);
    let mut grid = Grid::new(from_ms, step_ms, steps);
    let filter = RequestFilter {
        from_ms: Some(from_ms),
        to_ms: Some(to_ms),
        models: only.model.map(|model| vec![model]),
        task: only.task,
        variant: only.variant,
        rollout: only.rollout_id,
        ..RequestFilter::default()
    };
    past.fill(&mut grid, &filter, by, is_by_hour).await?;
    let time = |ms| DateTime::from_timestamp_millis(ms).unwrap_or_default();
    Ok(AttemptSeries {
        step_ms: u64::try_from(step_ms).unwrap_or(1),
        at: grid.times().map(time).collect(),
        series: (grid.lines.into_iter())
            .map(|(key, cells)| Line::new(key, &cells))
            .collect(),
        faults: (grid.faults.into_iter())
            .map(|(outcome, count)| FaultLine { outcome, count })
            .collect(),
    })
}
