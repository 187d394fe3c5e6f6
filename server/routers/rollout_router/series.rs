//! `rollout.series`: how the evidence of a rollout went, in columns for a chart.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{State, refusals::refusal};
use crate::{
    _core::{context::Context, errors::RpcError, units::Percent},
    rollout::{
        evidence::Metric,
        record::Action,
        samples::{Counts, Sample},
    },
};

/// Points where nothing else is asked for, and at most.
const POINTS: u32 = 200;
const MAX_POINTS: u32 = 400;

/// Of which rollout and time.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct WhichSeries {
    /// The rollout; the beginning of its id is enough where no other begins so.
    #[schemars(length(min = 1, max = 100))]
    id: String,
    /// From this time on; from its start where it is not given.
    #[serde(default)]
    from: Option<DateTime<Utc>>,
    /// Before this time; until now, or until some minutes after its end, where it is not given.
    #[serde(default)]
    to: Option<DateTime<Utc>>,
    /// The most points; 200 where it is not given.
    #[serde(default)]
    #[schemars(range(min = 2, max = MAX_POINTS))]
    points: Option<u32>,
}

/// Columns of the same length; what lies at one place of them belongs together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RolloutSeries {
    /// About how far apart the points are, in milliseconds; where nothing was noted, they are farther.
    step_ms: u64,
    /// When each was noted.
    at: Vec<DateTime<Utc>>,
    /// The evidence over all metrics that the candidate is worse.
    e: Vec<f64>,
    /// By metric.
    by_metric: Vec<MetricColumn>,
    /// The evidence for the next stage.
    proof: Vec<f64>,
    /// The candidate's failures by request divided by control's, since the start; null where one of
    /// them has none.
    ratio: Vec<Option<f64>>,
    /// That ratio is not below this: both limits together hold at every moment, with a probability of
    /// 95 %. 0 where that cannot be said; null where it was not noted.
    low: Vec<Option<f64>>,
    /// It is not above this; null where that cannot be said, and where it was not noted.
    high: Vec<Option<f64>>,
    /// The share of users with the candidate.
    share: Vec<Percent>,
    /// Control since the start.
    control: Vec<Counts>,
    /// The candidate since the start.
    candidate: Vec<Counts>,
    /// What was decided within the time, oldest first.
    marks: Vec<Mark>,
}

/// The evidence of one metric.
#[derive(Debug, Serialize, JsonSchema)]
struct MetricColumn {
    /// What is compared.
    metric: Metric,
    /// At each point; null where it was not compared.
    e: Vec<Option<f64>>,
}

/// A decision.
#[derive(Debug, Serialize, JsonSchema)]
struct Mark {
    /// When.
    at: DateTime<Utc>,
    /// The version that it made.
    version: i64,
    /// What was done.
    action: Action,
}

pub(super) async fn series(
    state: State,
    context: Context,
    input: WhichSeries,
) -> Result<RolloutSeries, RpcError> {
    let view = state.controller.get(&input.id).await.map_err(refusal)?;
    let status = &view.status;
    let end = status.ended_at.map(|at| at + TimeDelta::minutes(5));
    let end = end.filter(|end| *end < context.received_at);
    let from = input.from.unwrap_or(status.started_at);
    let to = input.to.unwrap_or(end.unwrap_or(context.received_at));
    if from >= to {
        return Err(RpcError::bad_request(format!(
            "`from` = {} is not before `to` = {}",
            from.to_rfc3339(),
            to.to_rfc3339()
        )));
    }
    let samples = state.samples.samples(&status.id, from, to).await;
    let mut samples = samples.map_err(RpcError::internal)?;
    let is_current = !status.state.is_final() && input.to.is_none();
    if is_current {
        // The last minute's end is not noted yet.
        samples.push(Sample::of(&view, context.received_at));
    }
    let points = input.points.unwrap_or(POINTS).clamp(2, MAX_POINTS);
    let samples = thinned(samples, points as usize);
    let history = state.controller.archive().history(&status.id).await;
    let history = history.map_err(refusal)?;
    // The history is kept to the millisecond.
    let (from_ms, to_ms) = (from.timestamp_millis(), to.timestamp_millis());
    let is_within = |at: DateTime<Utc>| (from_ms..=to_ms).contains(&at.timestamp_millis());
    let within = history.iter().filter(|row| is_within(row.at));
    let marks = within.map(|row| Mark {
        at: row.at,
        version: row.version,
        action: row.action,
    });
    let step = (to - from).num_milliseconds() / i64::from(points);
    Ok(RolloutSeries {
        step_ms: u64::try_from(step).unwrap_or_default().max(1),
        by_metric: by_metric(&samples),
        ratio: samples.iter().map(ratio).collect(),
        low: samples
            .iter()
            .map(|it| Some(it.figures.limits?.low))
            .collect(),
        high: samples.iter().map(|it| it.figures.limits?.high).collect(),
        at: samples.iter().map(|it| it.at).collect(),
        e: samples.iter().map(|it| it.figures.e).collect(),
        proof: samples.iter().map(|it| it.figures.proof).collect(),
        share: samples.iter().map(|it| it.figures.share).collect(),
        control: samples.iter().map(|it| it.figures.arms.control).collect(),
        candidate: samples.iter().map(|it| it.figures.arms.candidate).collect(),
        marks: marks.collect(),
    })
}

/// At most so many of them, evenly, the first and the last among them. Of each stretch the one stays whose
/// evidence is the strongest, so that no peak is lost.
fn thinned(samples: Vec<Sample>, points: usize) -> Vec<Sample> {
    if samples.len() <= points {
        return samples;
    }
    let last = samples.last().cloned();
    let stretch = samples.len().div_ceil(points - 1);
    let strongest = |stretch: &[Sample]| {
        let by_e = |a: &&Sample, b: &&Sample| a.figures.e.total_cmp(&b.figures.e);
        stretch.iter().max_by(by_e).cloned()
    };
    let mut kept: Vec<Sample> = samples.chunks(stretch).filter_map(strongest).collect();
    if let Some(last) = last
        && kept.last().is_some_and(|it| it.at < last.at)
    {
        kept.push(last);
    }
    kept
}

fn ratio(sample: &Sample) -> Option<f64> {
    let rate = |counts: Counts| {
        let Counts { requests, errors } = counts;
        (requests > 0).then(|| errors as f64 / requests as f64)
    };
    let arms = sample.figures.arms;
    let (candidate, control) = (rate(arms.candidate)?, rate(arms.control)?);
    (control > 0.0).then(|| candidate / control)
}

fn by_metric(samples: &[Sample]) -> Vec<MetricColumn> {
    let mut metrics: Vec<Metric> = Vec::new();
    for (metric, _) in samples.iter().flat_map(|it| &it.figures.metrics) {
        if !metrics.contains(metric) {
            metrics.push(*metric);
        }
    }
    let column = |metric: Metric| {
        let at = |sample: &Sample| {
            let mut found = sample.figures.metrics.iter();
            found.find(|(it, _)| *it == metric).map(|(_, e)| *e)
        };
        MetricColumn {
            metric,
            e: samples.iter().map(at).collect(),
        }
    };
    metrics.into_iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{arms::PerArm, samples::Figures};

    fn sample(minute: i64, e: f64) -> Sample {
        let counts = |requests, errors| Counts { requests, errors };
        Sample {
            at: DateTime::UNIX_EPOCH + TimeDelta::minutes(minute),
            figures: Figures {
                share: Percent::FULL,
                e,
                metrics: vec![(Metric::Errors, e)],
                proof: 1.0,
                limits: None,
                arms: PerArm {
                    control: counts(100, 2),
                    candidate: counts(50, 2),
                },
            },
        }
    }

    #[test]
    fn few_points_keep_the_peak_and_the_end() {
        let samples: Vec<_> = (0..1_000)
            .map(|n| sample(n, if n == 437 { 90.0 } else { 1.0 }))
            .collect();
        for points in [2, 3, 200, 400] {
            let kept = thinned(samples.clone(), points);
            assert!(kept.len() <= points + 1, "{} for {points}", kept.len());
            assert!(kept.iter().any(|it| it.figures.e == 90.0), "{points}");
            assert_eq!(kept.last(), samples.last());
            assert!(kept.is_sorted_by_key(|it| it.at));
        }
        assert_eq!(thinned(samples.clone(), 1_000), samples);
    }

    #[test]
    fn a_ratio_without_failures_of_control_is_unknown() {
        assert_eq!(ratio(&sample(0, 1.0)), Some(2.0));
        let mut none = sample(0, 1.0);
        none.figures.arms.control.errors = 0;
        assert_eq!(ratio(&none), None);
    }
}
