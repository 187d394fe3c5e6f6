//! Evidence as a number that JSON knows.

use serde::{Deserialize, Deserializer};

/// Evidence beyond all numbers is the greatest of them: JSON knows no infinity, and nothing times
/// infinity is no number.
pub(super) fn finite(e: f64) -> f64 {
    e.min(f64::MAX)
}

/// Reads what was [`finite`]; an earlier release wrote null for what was beyond all numbers.
pub(in crate::rollout) fn read_finite<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|e| e.unwrap_or(f64::MAX))
}
