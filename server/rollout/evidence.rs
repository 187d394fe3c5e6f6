//! What a rollout's traffic proves, by tests that stay valid however often one looks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::_core::{assignment::Variant, units::Percent};

/// One counted request: how the first attempt on the primary model of its route ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the request arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// A stable 64-bit hash of the subject.
    pub subject: u64,
    /// Its arm.
    pub variant: Variant,
    /// The model or its provider failed (a timeout is an error too).
    pub error: bool,
    /// To the end of the attempt.
    pub latency_ms: f64,
    /// It ended by our own time limit.
    pub timed_out: bool,
}

/// What evidence is to be held against; part of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidencePlan {
    /// Rollback at E ≥ this.
    pub rollback: f64,
    /// Hold at E ≥ this.
    pub hold: f64,
    /// Watch at E ≥ this.
    pub watch: f64,
    /// The ratio of error rates that is still tolerated.
    pub margin: f64,
    /// Weights of errors, slow requests (P50 and P95), very slow ones (P99 and timeouts) and
    /// feedback; normalised when the plan is loaded.
    pub weights: [f64; 4],
    /// The absolute limit of the candidate's error rate.
    pub max_error_rate: f64,
    /// The error rate below which a candidate is good enough, however rare errors are.
    pub good_error_rate: f64,
    /// Counted errors per user, day and metric.
    pub cap_per_user_day: u32,
    /// Hours that the whole plan is meant to take: over these the restarts are spread.
    pub planned_hours: u32,
}

/// How alarming the evidence is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing speaks against the candidate.
    Clear,
    /// Alert, and freeze the ramp.
    Watch,
    /// No promotion.
    Hold,
    /// Take it back.
    Rollback,
}

/// The whole state of a rollout's evidence; folding the same observations in the same order gives
/// the same state, bit for bit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {}

impl Evidence {
    /// Folds one observation, made while `share` was in force.
    pub fn fold(&mut self, _observation: &Observation, _share: Percent) {}
}
