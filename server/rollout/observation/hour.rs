//! The original's fixed thresholds over the candidate's last hour.
//!
//! A quantile is above a threshold exactly if so many latencies are, so counting those above the two
//! thresholds of P95 decides as the sorted list would. The hour's edge is a full minute.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{_core::units::counted, rollout::evidence::Level};

const MINUTE_MS: i64 = 60_000;
const MINUTES: i64 = 60;
/// Fewer requests than this say nothing.
const ENOUGH: u64 = 10;

/// The last hour by minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hour {
    minutes: VecDeque<Minute>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Minute {
    minute: i64,
    requests: u64,
    errors: u64,
    latency_ms: f64,
    above_5_s: u64,
    above_10_s: u64,
}

/// What the thresholds say.
pub(super) struct HourJudged {
    pub(super) level: Level,
    pub(super) is_healthy: bool,
    pub(super) why: String,
}

impl Hour {
    pub(super) fn count(&mut self, at_ms: i64, error: bool, latency_ms: f64) {
        let newest = self.minutes.back().map_or(i64::MIN, |it| it.minute);
        // An event that comes late counts in the newest minute.
        let minute = at_ms.div_euclid(MINUTE_MS).max(newest);
        if minute > newest {
            self.minutes.push_back(Minute {
                minute,
                ..Minute::default()
            });
            self.minutes.retain(|it| it.minute > minute - MINUTES);
        }
        if let Some(it) = self.minutes.back_mut() {
            it.requests += 1;
            it.errors += u64::from(error);
            it.latency_ms += latency_ms;
            it.above_5_s += u64::from(latency_ms > 5_000.0);
            it.above_10_s += u64::from(latency_ms > 10_000.0);
        }
    }

    pub(super) fn judge(&self, now_ms: i64) -> HourJudged {
        let first = now_ms.div_euclid(MINUTE_MS) - MINUTES;
        let mut sum = Minute::default();
        for it in self.minutes.iter().filter(|it| it.minute > first) {
            sum.requests += it.requests;
            sum.errors += it.errors;
            sum.latency_ms += it.latency_ms;
            sum.above_5_s += it.above_5_s;
            sum.above_10_s += it.above_10_s;
        }
        if sum.requests < ENOUGH {
            return HourJudged {
                level: Level::Clear,
                is_healthy: false,
                why: format!(
                    "{} in the last hour; {ENOUGH} are needed",
                    counted(sum.requests, "request")
                ),
            };
        }
        let requests = sum.requests as f64;
        let rate = sum.errors as f64 / requests;
        let average = sum.latency_ms / requests;
        // Sorted, P95 is at the index ⌊.95 n⌋: it is above if no more than that are not.
        let is_p95_above = |above: u64| sum.requests - above <= sum.requests * 95 / 100;
        let (p95_warns, p95_fails) = (is_p95_above(sum.above_5_s), is_p95_above(sum.above_10_s));
        let p95 = match (p95_warns, p95_fails) {
            (_, true) => "above 10 s",
            (true, _) => "above 5 s",
            _ => "up to 5 s",
        };
        let why = format!(
            "in the last hour {:.1} % of {} requests failed, P95 is {p95}, the average {average:.0} ms",
            rate * 100.0,
            sum.requests
        );
        let level = if rate > 0.05 || p95_fails || average > 5_000.0 {
            Level::Rollback
        } else if rate > 0.01 || p95_warns || average > 3_000.0 {
            Level::Watch
        } else {
            Level::Clear
        };
        HourJudged {
            level,
            is_healthy: level == Level::Clear,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(latencies: &[f64], errors: usize) -> Level {
        let mut hour = Hour::default();
        for (n, latency) in latencies.iter().enumerate() {
            hour.count(0, n < errors, *latency);
        }
        hour.judge(0).level
    }

    #[test]
    fn thresholds_are_the_originals() {
        assert_eq!(
            level(&[100.0; 9], 9),
            Level::Clear,
            "too few to say anything"
        );
        assert_eq!(
            level(&[100.0; 100], 1),
            Level::Clear,
            "1 % is not above 1 %"
        );
        assert_eq!(level(&[100.0; 100], 2), Level::Watch);
        assert_eq!(level(&[100.0; 100], 5), Level::Watch);
        assert_eq!(level(&[100.0; 100], 6), Level::Rollback);
        assert_eq!(level(&[3_001.0; 10], 0), Level::Watch);
        assert_eq!(level(&[5_001.0; 10], 0), Level::Rollback);
    }

    #[test]
    fn the_95th_is_the_original_list_index() {
        for slow in 1..=20 {
            let mut latencies = vec![1.0; 100 - slow];
            latencies.extend(vec![10_001.0; slow]);
            let is_above = latencies[95] > 10_000.0;
            assert_eq!(level(&latencies, 0) == Level::Rollback, is_above, "{slow}");
        }
    }

    #[test]
    fn an_hour_later_it_is_forgotten() {
        let mut hour = Hour::default();
        for _ in 0..20 {
            hour.count(0, true, 1.0);
        }
        assert_eq!(hour.judge(59 * MINUTE_MS).level, Level::Rollback);
        assert_eq!(hour.judge(60 * MINUTE_MS).level, Level::Clear);
    }
}
