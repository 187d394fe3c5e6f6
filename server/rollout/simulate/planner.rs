//! How long a stage needs to see a candidate that is worse, before anybody starts it.

use std::fmt;

/// Candidates that a stage is asked about: how many times as many errors as control.
pub const RATIOS: [f64; 3] = [2.0, 5.0, 10.0];
/// The evidence that takes a candidate back.
const ROLLBACK: f64 = 100.0;

/// The mean hours that the best possible test would need (Wald's bound) to find a candidate `ratio`
/// times as bad, against a tolerated `margin`, with a hundredth of false alarms. `share` and
/// `baseline` are 0 to 1. Infinite where nothing can be found.
pub fn wald_hours(
    requests_per_day: f64,
    baseline: f64,
    share: f64,
    ratio: f64,
    margin: f64,
) -> f64 {
    let falls_on_candidate = |ratio: f64| share * ratio / (share * ratio + 1.0 - share);
    let (worse, tolerated) = (falls_on_candidate(ratio), falls_on_candidate(margin));
    let per_error =
        worse * (worse / tolerated).ln() + (1.0 - worse) * ((1.0 - worse) / (1.0 - tolerated)).ln();
    let candidate_errors = share * (baseline * ratio).min(1.0);
    let errors_per_hour = requests_per_day / 24.0 * (candidate_errors + (1.0 - share) * baseline);
    let hours = ROLLBACK.ln() / (errors_per_hour * per_error);
    if ratio > margin && hours.is_finite() && hours > 0.0 {
        hours
    } else {
        f64::INFINITY
    }
}
