//! G21: a candidate that is as much worse as is tolerated, in every metric together: the edge of the null hypothesis, where
//! the evidence of errors, flaws and P99 has an expectation of 1 and not less. What the proof leaves open
//! (docs/statistics.md, "A gap") would be seen here first.

use super::{
    super::traffic::{Flaws, Population, Scenario},
    Measure, Planned, WATCH,
};

/// What a rollout's tests may take back together.
const FAMILY: f64 = 0.012;
/// The plan's margin.
const TOLERATED: f64 = 1.25;
/// Of latencies with σ = .6: then 1.25 times as many requests are above control's P99, 1.19 times as many above its P95,
/// and the odds of being above its P50 are 1.15 times as large.
const SLOWER: f64 = 1.052;

pub(super) fn cells() -> Vec<Planned> {
    let mut cells = Vec::new();
    for (whose, users) in [
        ("even", Population::Even(1_000)),
        ("uneven", Population::Uneven(1_000)),
    ] {
        for share in [1.0, 10.0, 50.0] {
            cells.push(Planned {
                goal: "G21",
                name: format!("{share} %, 1.25 times as bad, {whose} users"),
                scenario: Scenario {
                    users,
                    ratio: TOLERATED,
                    slower: SLOWER,
                    flaws: Flaws::Even(0.01),
                    flaws_ratio: TOLERATED,
                    ..Scenario::new(share, 0.02)
                },
                watch: WATCH,
                measure: Measure::FalseRollback,
                at_most: FAMILY,
                runs: 250,
            });
        }
    }
    cells
}
