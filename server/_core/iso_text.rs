//! Times that JavaScript gets as text rather than as a `Date`: `#[serde(serialize_with = "iso_text::serialize")]`.
//!
//! The original's database driver returned rows with times as text, so rows carry text on the wire;
//! everything computed carries a `Date`. Together with `#[schemars(with = "String")]` the contract says so.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Writes `2025-11-08T21:30:00.000Z`, as `Date.prototype.toISOString` does.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
