//! How many requests it takes to prove that a candidate may pass.

use crate::rollout::evidence::{EvidencePlan, Metric};

/// The evidence that promotes without a person, in the mean of two tests with seven alternatives each.
const PROOF: f64 = 100.0 * 2.0 * 7.0;
/// The same of the last day, of which a fifth is asked.
const LATELY: f64 = PROOF / 5.0;
/// Of control's requests so many are above its P95 and its P99.
const ABOVE_P95: f64 = 0.05;
const ABOVE_P99: f64 = 0.01;
/// Above the P99 a candidate that is too bad is so more often by this power.
const OF_RARE: f64 = 1.5;

/// What the proof of a stage takes, of the metric that takes longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofNeeds {
    /// That metric.
    pub metric: Metric,
    /// The mean requests of both arms until a candidate as good as control is proven no worse; infinite where
    /// that cannot be.
    pub requests: f64,
    /// Those of them that have to come within one day, as the last day has to agree with the stage.
    pub within_a_day: f64,
}

impl ProofNeeds {
    /// Of the metrics that have a weight, and of errors in any case. `baseline` and `share` are 0 to 1; answers
    /// are taken to be flawed as often as requests fail.
    pub fn of(evidence: &EvidencePlan, baseline: f64, share: f64, rho_bad: f64) -> Self {
        let [_, slow, very_slow, _, quality] = evidence.normalised_weights();
        let of = |metric, rate: f64, rho_bad: f64| {
            let good = evidence.good_error_rate;
            let requests = |proof| requests(proof, rate, share, rho_bad, good);
            Self {
                metric,
                requests: requests(PROOF),
                within_a_day: requests(LATELY),
            }
        };
        let errors = of(Metric::Errors, baseline, rho_bad);
        let others = [
            (slow, of(Metric::Slow, ABOVE_P95, rho_bad)),
            (
                very_slow,
                of(Metric::VerySlow, ABOVE_P99, rho_bad.powf(OF_RARE)),
            ),
            (quality, of(Metric::Quality, baseline, rho_bad)),
        ];
        let judged = others.into_iter().filter(|(weight, _)| *weight > 0.0);
        judged.map(|(_, it)| it).fold(errors, |longest, it| {
            if it.requests > longest.requests {
                it
            } else {
                longest
            }
        })
    }

    /// The mean hours that takes with so many requests a day; infinite where a day has too few.
    pub(super) fn hours(self, requests_per_day: f64) -> f64 {
        if requests_per_day >= self.within_a_day {
            self.requests / (requests_per_day / 24.0)
        } else {
            f64::INFINITY
        }
    }
}

/// The mean requests of both arms until a candidate as good as control has this evidence that it is no worse:
/// by its ratio to control, or by being bad more rarely than `good` (0 to 1), whichever is sooner.
fn requests(evidence: f64, rate: f64, share: f64, rho_bad: f64, good: f64) -> f64 {
    let divergence = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    let bad = share * rho_bad / (share * rho_bad + 1.0 - share);
    let by_ratio = evidence.ln() / (rate * divergence(share, bad));
    let by_rate = if rate < good {
        evidence.ln() / (share * divergence(rate, good))
    } else {
        f64::INFINITY
    };
    let requests = [by_ratio, by_rate]
        .into_iter()
        .filter(|it| it.is_finite() && *it > 0.0)
        .fold(f64::INFINITY, f64::min);
    requests.ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_takes_as_long_as_in_simulations() {
        // Simulated by others: 28.8 and 14.6 hours at 2 %, 84 and 16 hours at .5 %.
        for (baseline, share, simulated) in [
            (0.02, 0.1, 28.8),
            (0.02, 0.5, 14.6),
            (0.005, 0.5, 16.0),
            (0.005, 0.1, 84.0),
        ] {
            let requests = requests(PROOF, baseline, share, 2.0, 0.01);
            let hours = requests / (10_000.0 / 24.0);
            let ratio = hours / simulated;
            assert!((0.6..1.7).contains(&ratio), "{baseline} {share}: {hours} h");
        }
        assert_eq!(requests(PROOF, 0.02, 1.0, 2.0, 0.01), f64::INFINITY);
        assert_eq!(requests(PROOF, 0.0, 0.1, 2.0, 0.0), f64::INFINITY);
    }

    #[test]
    fn the_metric_that_takes_longest_decides() {
        let all = EvidencePlan::default();
        let of = |plan: &EvidencePlan, baseline| ProofNeeds::of(plan, baseline, 0.1, 2.0);
        assert_eq!(of(&all, 0.05).metric, Metric::VerySlow);
        assert_eq!(of(&all, 0.02).metric, Metric::Errors);
        let errors = EvidencePlan {
            weights: [1.0, 0.0, 0.0, 0.0, 0.0],
            ..all.clone()
        };
        assert_eq!(of(&errors, 0.05).metric, Metric::Errors);
        assert!(of(&errors, 0.05).requests < of(&all, 0.05).requests);
        let proof = of(&all, 0.02);
        assert!(proof.within_a_day < proof.requests);
        assert_eq!(proof.hours(proof.within_a_day - 1.0), f64::INFINITY);
    }
}
