//! What a summary advises for the live share.
//!
//! Texts and the ladder are the original's, but for C8 of docs/compatibility.md: a rollback goes to the rung
//! below.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{health::Health, summary::Summary};
use crate::_core::units::Percent;

/// Fewer requests than this advise nothing.
const ENOUGH_REQUESTS: u64 = 10;
/// The rungs of the ladder.
const RUNGS: [f64; 3] = [0.0, 10.0, 50.0];

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
