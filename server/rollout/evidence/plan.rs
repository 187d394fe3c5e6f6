//! What evidence is held against.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{outage::WAITED_FOR, slots};

/// What evidence is to be held against; part of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidencePlan {
    /// Rollback at E ≥ this.
    pub rollback: f64,
    /// Hold at E ≥ this.
    pub hold: f64,
    /// Watch at E ≥ this.
    pub watch: f64,
    /// The ratio of error rates that is still tolerated.
    pub margin: f64,
    /// Weights of errors, slow requests (P50 and P95), very slow ones (P99 and timeouts), feedback and
    /// quality; normalised when the plan is loaded. Plans of an earlier release have no quality.
    #[serde(deserialize_with = "weights")]
    pub weights: [f64; 5],
    /// The absolute limit of the candidate's error rate.
    pub max_error_rate: f64,
    /// The error rate below which a candidate is good enough, however rare errors are.
    pub good_error_rate: f64,
    /// Counted errors per user, day and metric: 1 to 3.
    pub cap_per_user_day: u32,
    /// Milliseconds below which no request is slow, whatever control does; 0 in plans of an earlier
    /// release.
    #[serde(default)]
    pub slow_floor_ms: f64,
    /// Milliseconds of good probes after which a candidate comes back that had an outage.
    #[serde(default)]
    pub outage_calm_ms: u64,
    /// Milliseconds within which a fifth outage takes the candidate back for good (two later for each that control had), in the
    /// eighth edition a third, before it a second; where it is 0, as in plans of an earlier release, the first does.
    #[serde(default)]
    pub outage_period_ms: i64,
    /// Hours that the whole plan is meant to take: over these the restarts are spread.
    pub planned_hours: u32,
}

impl Default for EvidencePlan {
    fn default() -> Self {
        Self {
            rollback: 100.0,
            hold: 20.0,
            watch: 5.0,
            margin: 1.25,
            weights: [0.4, 0.24, 0.16, 0.0, 0.2],
            max_error_rate: 0.05,
            good_error_rate: 0.01,
            cap_per_user_day: slots::MOST_COUNTED,
            slow_floor_ms: 250.0,
            outage_calm_ms: 30 * 60 * 1_000,
            outage_period_ms: 24 * 60 * 60 * 1_000,
            planned_hours: 168,
        }
    }
}

impl EvidencePlan {
    /// Milliseconds of failed probes, in all, after which an outage is taken for the end: four times as many as of good ones
    /// would end it. Nobody gets the candidate meanwhile, so waiting harms nobody.
    pub fn outage_failing_ms(&self) -> u64 {
        self.outage_calm_ms.saturating_mul(4)
    }

    /// A sentence where so many outages as are waited for hardly fit into the period: then none is the final one, and a
    /// candidate that is away again and again comes back each time.
    pub fn short_outage_period(&self) -> Option<String> {
        let period_ms = u64::try_from(self.outage_period_ms).unwrap_or_default();
        // Each is waited for before the next one can come.
        let least_ms = self.outage_calm_ms.saturating_mul(WAITED_FOR as u64);
        let is_short = (1..least_ms.saturating_mul(2)).contains(&period_ms);
        let words = |ms: u64| humantime::format_duration(Duration::from_millis(ms));
        is_short.then(|| {
            format!(
                "`outage_period` is {}, and from the first outage of the candidate to the fifth, which is final, it is {} at \
                 least, as each is waited for {} (`outage_calm`): a candidate that is away again and again comes back each \
                 time. Give the plan a longer `outage_period`, such as {}",
                words(period_ms),
                words(least_ms),
                words(self.outage_calm_ms),
                words(least_ms.saturating_mul(12)),
            )
        })
    }

    /// The weights, not negative and summing to 1; the default ones where none is positive.
    pub fn normalised_weights(&self) -> [f64; 5] {
        let weights = self.weights.map(|weight| {
            if weight.is_finite() {
                weight.max(0.0)
            } else {
                0.0
            }
        });
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 && sum.is_finite() {
            weights.map(|weight| weight / sum)
        } else {
            Self::default().weights
        }
    }
}

/// Reads weights that a release stored which knew no quality.
fn weights<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 5], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Now([f64; 5]),
        Four([f64; 4]),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Now(weights) => weights,
        Stored::Four([errors, slow, very_slow, feedback]) => {
            [errors, slow, very_slow, feedback, 0.0]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_into_which_five_outages_hardly_fit_is_warned_of() {
        const HOUR: i64 = 3_600_000;
        let warned = |outage_period_ms, outage_calm_ms| {
            let plan = EvidencePlan {
                outage_period_ms,
                outage_calm_ms,
                ..EvidencePlan::default()
            };
            plan.short_outage_period()
        };
        let calm = EvidencePlan::default().outage_calm_ms;
        for hours in [1, 2, 3] {
            assert!(warned(hours * HOUR, calm).is_some(), "{hours} h");
        }
        for hours in [4, 24] {
            assert_eq!(warned(hours * HOUR, calm), None, "{hours} h");
        }
        assert_eq!(warned(0, calm), None, "the first one is final");
        assert_eq!(warned(HOUR, 60_000), None, "each is waited for a minute");
        let words = warned(2 * HOUR, calm).expect("a warning");
        assert!(words.starts_with("`outage_period` is 2h, "), "{words}");
        assert!(words.contains("waited for 30m (`outage_calm`)"), "{words}");
        assert!(words.ends_with("such as 1day"), "{words}");
    }
}
