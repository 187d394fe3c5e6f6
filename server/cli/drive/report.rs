//! What a drive saw, as a table.

use std::fmt::Write as _;

use super::traffic::DriveTally;
use crate::_core::units::counted;

/// A row for each variant and outcome, with percentiles of the latency in milliseconds.
pub(super) fn table(tally: &DriveTally) -> String {
    let mut text = format!(
        "{:<10} {:<24} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8}\n",
        "variant", "outcome", "requests", "share", "p50 ms", "p95 ms", "p99 ms", "max ms"
    );
    let all = tally.requests().max(1) as f64;
    for ((variant, outcome), latencies) in &tally.outcomes {
        let mut sorted = latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let share = count as f64 / all * 100.0;
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|rank| percentile(&sorted, rank));
        // A String takes whatever is written.
        let _ = writeln!(
            text,
            "{variant:<10} {outcome:<24} {count:>8} {share:>5.1} % {p50:>8.0} {p95:>8.0} {p99:>8.0} {max:>8.0}"
        );
    }
    if tally.left_out > 0 {
        let _ = writeln!(
            text,
            "not sent, as too many were open: {}",
            counted(tally.left_out, "request")
        );
    }
    text
}

/// The least value that at least this share of the sorted ones does not exceed.
fn percentile(sorted: &[f64], rank: f64) -> f64 {
    let index = (rank * sorted.len() as f64).ceil() as usize;
    sorted
        .get(index.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        for (rank, value) in [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(percentile(&sorted, rank), value);
        }
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
