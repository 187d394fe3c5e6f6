//! The absolute limit: more errors of the candidate than the plan ever allows, and whether control has as many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Edition, Evidence,
    finite::{finite, read_finite},
    harm::Harm,
    limit::Limit,
    ratio::BinCounts,
    stream::Stream,
};
use crate::_core::assignment::Variant;

/// The crash detector and the absolute limit may err a tenth as often as the main test.
pub(super) const A_TENTH: f64 = 10.0;
/// At this evidence an arm is failing in itself.
const FAILING: f64 = 20.0;
/// A candidate that was found failing still is at this, over the last hour; a single request that
/// fails is enough.
const STILL_FAILING: f64 = 5.0;

/// Whether the candidate's error rate is above what the plan ever allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbsoluteLimit {
    /// The limit, 0 to 1.
    pub limit: f64,
    /// The evidence that the candidate is above it.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// The same over the last hour alone.
    #[serde(deserialize_with = "read_finite")]
    pub last_hour: f64,
    /// The candidate is above it, and still is.
    pub broken: bool,
    /// The evidence that control is above it, over the last hour or the last ten minutes, whichever says more.
    #[serde(deserialize_with = "read_finite")]
    pub control_last_hour: f64,
    /// Control is failing as well.
    pub control_broken: bool,
    /// The evidence that the candidate fails more than control, open bins included.
    #[serde(deserialize_with = "read_finite")]
    pub worse: f64,
}

/// Whether the candidate is above the limit still where the minutes are left out in which control was as well: an outage
/// of both sides is no reason to take it back, also when it is over.
pub(super) fn fails_alone(evidence: &Evidence) -> bool {
    let limit = evidence.plan.max_error_rate;
    let alone = evidence.last_hour.without_common(limit, FAILING);
    let (requests, errors) = (alone.requests.candidate, alone.errors.candidate);
    evidence.edition < Edition::Fifth || Limit::of(limit, requests, errors) >= STILL_FAILING
}

/// Where the candidate and control are against the limit.
pub(super) fn absolute(evidence: &Evidence) -> AbsoluteLimit {
    let limit = evidence.plan.max_error_rate;
    let e = evidence.absolute.value();
    let last_hour = evidence.last_hour.sum();
    let above = |counts: BinCounts, arm| Limit::of(limit, counts.requests[arm], counts.errors[arm]);
    let mut control_last_hour = above(last_hour, Variant::Control);
    let candidate_last_hour = above(last_hour, Variant::Candidate);
    if evidence.edition >= Edition::Fifth {
        // Five minutes of an outage are little of an hour.
        let newest = above(evidence.last_hour.newest(), Variant::Control);
        control_last_hour = control_last_hour.max(newest);
    }
    // As if every bin closed now: the crash detector cannot wait here.
    let mut crash = evidence.crash.clone();
    let errors = evidence.streams.get(Harm::Error);
    let open = errors.into_iter().flat_map(Stream::open);
    open.filter(|(stratum, _)| evidence.edition.judges(*stratum))
        .for_each(|(_, bin)| crash.judge_weighed(bin.counts, bin.weight()));
    AbsoluteLimit {
        limit,
        e: finite(e),
        last_hour: finite(candidate_last_hour),
        broken: e >= evidence.plan.rollback * A_TENTH && candidate_last_hour >= STILL_FAILING,
        control_last_hour: finite(control_last_hour),
        control_broken: control_last_hour >= FAILING,
        worse: finite(crash.value()),
    }
}
