//! How a rollout's evidence went: a sample a minute for two days, then one an hour.
//!
//! Decisions have their evidence in the history; samples are what lies between, for charts. Nothing is
//! decided by them, so they are written beside the log and not in its transactions, and one that is lost
//! leaves a gap that is shown as one.

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    arms::PerArm,
    evidence::{Metric, MetricEvidence, Verdict},
    view::View,
};
use crate::_core::units::Percent;

/// For so long samples stay as they were written; of older ones the first of each hour does.
pub const FINE: TimeDelta = TimeDelta::hours(48);

/// What was known of a rollout at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When they were taken.
    pub at: DateTime<Utc>,
    /// What the evidence was at that moment.
    pub figures: Figures,
}

/// What a sample holds; stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Users below this share got the candidate.
    pub share: Percent,
    /// The evidence over all metrics that the candidate is worse.
    pub e: f64,
    /// By metric.
    pub metrics: Vec<(Metric, f64)>,
    /// The evidence for the next stage.
    pub proof: f64,
    /// Where the ratio of failures lies; not in samples of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RatioLimits>,
    /// Each arm since the rollout began.
    pub arms: PerArm<Counts>,
}

/// The ratio of failures is not below the one and not above the other: both hold at every moment, with a
/// probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioLimits {
    /// 0 where that cannot be said.
    pub low: f64,
    /// `None` where that cannot be said.
    pub high: Option<f64>,
}

/// What an arm had since the rollout began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Counted requests.
    pub requests: u64,
    /// Of them failed.
    pub errors: u64,
}

impl Sample {
    /// What is known of a rollout now.
    pub fn of(view: &View, at: DateTime<Utc>) -> Self {
        let Verdict {
            e,
            metrics,
            promotion,
            control,
            candidate,
            effects,
            ..
        } = &view.verdict;
        let errors = effects.iter().find(|it| it.metric == Metric::Errors);
        let metric = |it: &MetricEvidence| (it.metric, finite(it.e));
        let counts = |requests, errors| Counts { requests, errors };
        Self {
            at: at.trunc_subsecs(3),
            figures: Figures {
                share: view.status.share,
                e: finite(*e),
                metrics: metrics.iter().map(metric).collect(),
                proof: finite(promotion.e),
                limits: errors.map(|it| RatioLimits {
                    low: it.low,
                    high: it.high,
                }),
                arms: PerArm {
                    control: counts(control.requests, control.errors),
                    candidate: counts(candidate.requests, candidate.errors),
                },
            },
        }
    }
}

/// JSON has no infinity; what is that strong is as good as the greatest number.
fn finite(e: f64) -> f64 {
    e.min(f64::MAX)
}

/// Where samples are kept.
#[async_trait]
pub trait SampleStore: Send + Sync {
    /// Adds a sample; one of the same moment stays as it is.
    async fn add_sample(&self, rollout: &str, sample: &Sample) -> anyhow::Result<()>;

    /// Leaves of the samples before this time the first of each hour.
    async fn thin_samples(&self, before: DateTime<Utc>) -> anyhow::Result<u64>;

    /// The samples of a rollout from one time to before another, oldest first.
    async fn samples(
        &self,
        rollout: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> anyhow::Result<Vec<Sample>>;
}
