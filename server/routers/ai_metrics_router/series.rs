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
        series::{By, Cell, Grid, Hour, SeriesStore, quantile},
    },
    model_router::ModelRouter,
    procedures,
};

/// Steps where nothing else is asked for, and at most.
const POINTS: u32 = 120;
const MAX_POINTS: u32 = 400;
/// Single attempts that are read at once.
const MOST: u32 = 100_000;
const HOUR_MS: i64 = 3_600_000;
/// Longer times are read by the hour.
const SINGLE_MS: i64 = 48 * HOUR_MS;
/// The hours before now that may not be counted yet.
const UNCOUNTED_MS: i64 = 2 * HOUR_MS;
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
        /// two days it is by the hour.
        query Viewer getSeries = get_series, errors [
            Declared::new(
                ErrorCode::PayloadTooLarge,
                "More than 100,000 attempts would have to be read; ask for less.",
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
    /// On this route.
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
    fn new(key: String, cells: &[Cell]) -> Self {
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

    fn key_of_hour(&self, hour: &Hour, by: By) -> String {
        match by {
            By::Variant => hour.variant.name().to_owned(),
            By::Model => hour.model.clone(),
            By::Provider => self.provider(&hour.model),
            By::Task => hour.task.clone(),
            By::Outcome => hour.outcome.to_owned(),
        }
    }

    /// Adds single attempts to the grid.
    async fn add_attempts(
        &self,
        grid: &mut Grid,
        filter: &RequestFilter,
        by: By,
    ) -> Result<(), RpcError> {
        let points = self.store.points(filter, by, MOST + 1).await;
        let points = points.map_err(RpcError::internal)?;
        if points.len() > MOST as usize {
            return Err(RpcError::new(
                ErrorCode::PayloadTooLarge,
                format!(
                    "more than {MOST} attempts would have to be read; ask for a shorter time, for more \
                     than two days, which are counted by the hour, or for fewer by `filter`"
                ),
            ));
        }
        for point in &points {
            match by {
                By::Provider => grid.add(point, &self.provider(&point.key)),
                _ => grid.add(point, &point.key),
            }
        }
        Ok(())
    }
}

async fn get_series(
    past: Past,
    context: Context,
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
    let is_by_hour = length > SINGLE_MS;
    if is_by_hour && only.rollout_id.is_some() {
        return Err(RpcError::bad_request(
            "`filter.rolloutId` is for two days at most: attempts are counted by the hour for all \
             rollouts together",
        ));
    }
    let points = i64::from(points.unwrap_or(POINTS).clamp(1, MAX_POINTS));
    let least = if is_by_hour { HOUR_MS } else { 1 };
    let step_ms = (length + points - 1) / points;
    let step_ms = (step_ms + least - 1) / least * least;
    let from_ms = from_ms
        - if is_by_hour {
            from_ms.rem_euclid(HOUR_MS)
        } else {
            0
        };
    let steps = usize::try_from((to_ms - from_ms + step_ms - 1) / step_ms).unwrap_or(1);
    let mut grid = Grid::new(from_ms, step_ms, steps);
    let mut filter = RequestFilter {
        from_ms: Some(from_ms),
        to_ms: Some(to_ms),
        models: only.model.map(|model| vec![model]),
        task: only.task,
        variant: only.variant,
        rollout: only.rollout_id,
        ..RequestFilter::default()
    };
    if is_by_hour {
        let now_ms = context.received_at.timestamp_millis();
        let counted_until = now_ms - UNCOUNTED_MS;
        let counted_until = counted_until - counted_until.rem_euclid(HOUR_MS);
        let hours = past.store.hours(from_ms, to_ms.min(counted_until)).await;
        for hour in hours.map_err(RpcError::internal)? {
            let is = |wanted: &Option<String>, found: &str| match wanted {
                Some(wanted) => wanted == found,
                None => true,
            };
            let models = filter.models.as_ref();
            let fits = models.is_none_or(|all| all.contains(&hour.model))
                && is(&filter.task, &hour.task)
                && filter.variant.is_none_or(|it| it == hour.variant);
            if fits {
                grid.add_hour(&hour, &past.key_of_hour(&hour, by));
            }
        }
        filter.from_ms = Some(from_ms.max(counted_until));
    }
    past.add_attempts(&mut grid, &filter, by).await?;
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
