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

#[cfg(test)]
mod tests {
    use super::{
        super::super::{random::Random, traffic::Traffic},
        *,
    };
    use crate::_core::assignment::Variant;

    /// How much of a standard normal distribution is above this.
    fn above(z: f64) -> f64 {
        const STEP: f64 = 1e-3;
        let density = |n: u32| (-0.5 * (z + f64::from(n) * STEP).powi(2)).exp();
        (0..10_000).map(density).sum::<f64>() * STEP / std::f64::consts::TAU.sqrt()
    }

    #[test]
    fn the_candidate_is_slow_as_many_times_as_often_as_is_said() {
        let slower = |z: f64| above(z - SLOWER.ln() / 0.6);
        let odds = |part: f64| part / (1.0 - part);
        for (is, said) in [
            (slower(2.3263) / above(2.3263), TOLERATED),
            (slower(1.6449) / above(1.6449), 1.19),
            (odds(slower(0.0)) / odds(above(0.0)), 1.15),
        ] {
            assert!((is - said).abs() < 0.01, "{is}, {said}");
        }
    }

    #[test]
    fn the_candidate_fails_and_errs_as_often_as_is_tolerated() {
        let even = cells().remove(2);
        assert_eq!(even.name, "50 %, 1.25 times as bad, even users");
        let mut traffic = Traffic::new(even.scenario, Random::new(1, 2, 3));
        // Of each arm: requests, errors, answers, flaws.
        let mut counts = [[0.0; 4]; 2];
        for _ in 0..200_000 {
            let one = traffic.next();
            let count = &mut counts[usize::from(one.variant == Variant::Candidate)];
            let is_answered = one.quality.is_some();
            let is_flawed = one.quality.is_some_and(|it| it.is_flawed());
            let facts = [true, one.end.is_error(), is_answered, is_flawed];
            for (count, is) in count.iter_mut().zip(facts) {
                *count += f64::from(u8::from(is));
            }
        }
        let rates =
            counts.map(|[requests, errors, answers, flaws]| [errors / requests, flaws / answers]);
        let [control, candidate] = rates;
        for (control, candidate) in control.into_iter().zip(candidate) {
            let ratio = candidate / control;
            assert!((ratio - TOLERATED).abs() < 0.12, "{ratio}");
        }
    }
}
