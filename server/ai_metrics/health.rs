//! Whether the figures are good enough, and what they advise for the rollout.
//!
//! Thresholds, texts and the ladder are the original's; docs/compatibility.md says where the advice
//! differs (C6: no data is not healthy data; C8: a rollback goes to the rung below).

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::summary::{Summary, number, one_decimal};
use crate::_core::units::Percent;

/// Fewer requests than this advise nothing.
const ENOUGH_REQUESTS: u64 = 10;
/// The rungs of the ladder.
const RUNGS: [f64; 3] = [0.0, 10.0, 50.0];

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing happened, so nothing is known; never a reason to promote.
    NoData,
    /// No threshold is exceeded.
    Healthy,
    /// Worth watching.
    Warning,
    /// Bad enough to go back.
    Critical,
}

/// Which thresholds the figures exceed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Nothing is critical; also true without data, which `status` tells apart.
    pub healthy: bool,
    /// The verdict in one word.
    pub status: Status,
    /// Texts of exceeded warning thresholds: error rate, P95, average.
    pub warnings: Vec<String>,
    /// Texts of exceeded critical thresholds, in the same order.
    pub critical: Vec<String>,
}

/// The figures that are judged.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How many requests there were.
    pub requests: u64,
    /// In percent.
    pub error_rate: f64,
    /// In milliseconds.
    pub p95_ms: f64,
    /// In milliseconds.
    pub average_ms: f64,
}

impl Health {
    /// Compares with the thresholds; a figure equal to one, or not a number, does not exceed it.
    pub fn of(figures: &Figures) -> Self {
        let mut warnings = Vec::new();
        let mut critical = Vec::new();

        let rate = figures.error_rate;
        if rate > 5.0 {
            critical.push(format!(
                "Error rate too high: {}% (threshold: 5%)",
                one_decimal(rate)
            ));
        } else if rate > 1.0 {
            warnings.push(format!(
                "Error rate elevated: {}% (threshold: 1%)",
                one_decimal(rate)
            ));
        }

        let p95 = figures.p95_ms;
        if p95 > 10_000.0 {
            critical.push(format!(
                "P95 response time too high: {}ms (threshold: 10s)",
                number(p95)
            ));
        } else if p95 > 5_000.0 {
            warnings.push(format!(
                "P95 response time elevated: {}ms (threshold: 5s)",
                number(p95)
            ));
        }

        let average = figures.average_ms;
        if average > 5_000.0 {
            critical.push(format!(
                "Average response time too high: {}ms (threshold: 5s)",
                number(average)
            ));
        } else if average > 3_000.0 {
            warnings.push(format!(
                "Average response time elevated: {}ms (threshold: 3s)",
                number(average)
            ));
        }

        let status = if figures.requests == 0 {
            Status::NoData
        } else if !critical.is_empty() {
            Status::Critical
        } else if !warnings.is_empty() {
            Status::Warning
        } else {
            Status::Healthy
        };
        Self {
            healthy: critical.is_empty(),
            status,
            warnings,
            critical,
        }
    }
}

/// What the last hour advises.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// Whether to raise the share now.
    pub should_proceed: bool,
    /// The share to set; the present one to wait.
    pub recommended_percentage: Percent,
    /// Why, for people.
    pub reason: String,
}

impl Recommendation {
    /// The advice at a live share; the first that applies.
    pub fn of(summary: &Summary, current: Percent) -> Self {
        let Health {
            warnings, critical, ..
        } = &summary.health;
        if summary.total_requests < ENOUGH_REQUESTS {
            return Self::stay(current, "Not enough data yet (need 10+ requests)");
        }
        if !critical.is_empty() {
            return Self::stay(
                rung_below(current),
                format_args!(
                    "Critical issues detected: {}. Recommend rollback.",
                    critical.join(", ")
                ),
            );
        }
        if !warnings.is_empty() {
            return Self::stay(
                current,
                format_args!(
                    "Warnings detected: {}. Monitor before proceeding.",
                    warnings.join(", ")
                ),
            );
        }
        match rung_above(current) {
            Some(next) => Self {
                should_proceed: true,
                recommended_percentage: next,
                reason: format!("Metrics healthy. Proceed to {next}% rollout."),
            },
            None => Self::stay(Percent::FULL, "Already at 100% rollout."),
        }
    }

    /// The advice while the kill switch is on: nothing is raised.
    pub fn killed() -> Self {
        Self::stay(
            Percent::ZERO,
            "The kill switch is on: everybody gets the control models. Turn it off before proceeding.",
        )
    }

    fn stay(recommended_percentage: Percent, reason: impl fmt::Display) -> Self {
        Self {
            should_proceed: false,
            recommended_percentage,
            reason: reason.to_string(),
        }
    }
}

/// The largest rung below; the lowest has none, and is its own.
fn rung_below(current: Percent) -> Percent {
    let mut below = RUNGS.into_iter().rev().filter(|rung| *rung < current.get());
    below.next().and_then(Percent::new).unwrap_or(Percent::ZERO)
}

fn rung_above(current: Percent) -> Option<Percent> {
    let mut above = RUNGS.into_iter().filter(|rung| *rung > current.get());
    match above.next() {
        Some(rung) => Percent::new(rung),
        None => (current < Percent::FULL).then_some(Percent::FULL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(value: f64) -> Percent {
        Percent::new(value).unwrap()
    }

    #[test]
    fn a_threshold_itself_is_not_exceeded() {
        let health = Health::of(&Figures {
            requests: 1,
            error_rate: 1.0,
            p95_ms: 5_000.0,
            average_ms: 3_000.0,
        });
        assert_eq!(health.status, Status::Healthy);
    }

    #[test]
    fn what_is_exceeded_is_listed_in_order() {
        let health = Health::of(&Figures {
            requests: 1,
            error_rate: 5.25,
            p95_ms: 5_000.5,
            average_ms: 5_001.0,
        });
        assert_eq!(
            health,
            Health {
                healthy: false,
                status: Status::Critical,
                warnings: vec!["P95 response time elevated: 5000.5ms (threshold: 5s)".into()],
                critical: vec![
                    "Error rate too high: 5.3% (threshold: 5%)".into(),
                    "Average response time too high: 5001ms (threshold: 5s)".into(),
                ],
            }
        );
    }

    #[test]
    fn a_rollback_goes_to_the_rung_below() {
        for (current, below) in [
            (100.0, 50.0),
            (50.0, 10.0),
            (10.0, 0.0),
            (9.5, 0.0),
            (0.0, 0.0),
        ] {
            assert_eq!(rung_below(percent(current)), percent(below));
        }
    }

    #[test]
    fn a_promotion_goes_to_the_rung_above() {
        for (current, above) in [(0.0, 10.0), (9.9, 10.0), (10.0, 50.0), (50.0, 100.0)] {
            assert_eq!(rung_above(percent(current)), Some(percent(above)));
        }
        assert_eq!(rung_above(Percent::FULL), None);
    }
}
