//! Whether the figures are good enough.
//!
//! Thresholds and texts are the original's; docs/compatibility.md says where the verdict differs (C6: no
//! data is not healthy data).

use schemars::JsonSchema;
use serde::Serialize;

use super::numbers::{number, one_decimal};

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
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
    pub status: HealthStatus,
    /// Texts of exceeded warning thresholds: error rate, P95, average.
    pub warnings: Vec<String>,
    /// Texts of exceeded critical thresholds, in the same order.
    pub critical: Vec<String>,
}

/// The figures that are judged.
#[derive(Clone, Copy, Debug)]
pub struct HealthFigures {
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
    pub fn of(figures: &HealthFigures) -> Self {
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
            HealthStatus::NoData
        } else if !critical.is_empty() {
            HealthStatus::Critical
        } else if !warnings.is_empty() {
            HealthStatus::Warning
        } else {
            HealthStatus::Healthy
        };
        Self {
            healthy: critical.is_empty(),
            status,
            warnings,
            critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_itself_is_not_exceeded() {
        let health = Health::of(&HealthFigures {
            requests: 1,
            error_rate: 1.0,
            p95_ms: 5_000.0,
            average_ms: 3_000.0,
        });
        assert_eq!(health.status, HealthStatus::Healthy);
    }

    #[test]
    fn what_is_exceeded_is_listed_in_order() {
        let health = Health::of(&HealthFigures {
            requests: 1,
            error_rate: 5.25,
            p95_ms: 5_000.5,
            average_ms: 5_001.0,
        });
        assert_eq!(
            health,
            Health {
                healthy: false,
                status: HealthStatus::Critical,
                warnings: vec!["P95 response time elevated: 5000.5ms (threshold: 5s)".into()],
                critical: vec![
                    "Error rate too high: 5.3% (threshold: 5%)".into(),
                    "Average response time too high: 5001ms (threshold: 5s)".into(),
                ],
            }
        );
    }
}
