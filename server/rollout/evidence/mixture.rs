//! An e-process that is a mixture over what may be true and over the hour in which it began.
//!
//! For each alternative j the log evidence Cⱼ only ever adds up. A component that starts at hour k
//! with prior weight πₖ is worth exp(Cⱼ − Cⱼ at hour k), so all of them together are
//! exp(Cⱼ + Sⱼ) with Sⱼ = log Σₖ πₖ·exp(−Cⱼ at hour k): one more number per alternative, whatever the
//! number of hours. Components that have not started are worth 1 each, so the whole is one e-process.

use serde::{Deserialize, Serialize};

/// What is written in place of an infinite evidence, which JSON cannot say.
pub(super) const MOST: f64 = 1e300;

/// When components start: half the weight at hour 0, the rest even over the planned hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Restarts {
    planned_hours: u32,
}

impl Restarts {
    /// Spread over this many hours, at least one.
    pub(super) fn over(planned_hours: u32) -> Self {
        Self {
            planned_hours: planned_hours.max(1),
        }
    }

    /// No restarts: a plain e-process.
    pub(super) const NEVER: Self = Self { planned_hours: 1 };

    /// The prior weight of starting at an hour.
    pub(super) fn weight(self, hour: u32) -> f64 {
        match (hour, self.planned_hours) {
            (0, 1) => 1.0,
            (0, _) => 0.5,
            (hour, planned) if hour < planned => 0.5 / f64::from(planned - 1),
            _ => 0.0,
        }
    }

    /// The weight of all hours after this one.
    pub(super) fn unstarted(self, hour: u32) -> f64 {
        let left = self.planned_hours.saturating_sub(1).saturating_sub(hour);
        f64::from(left) * self.weight(1)
    }

    /// The first hour at which nothing starts any more.
    pub(super) fn end(self) -> u32 {
        self.planned_hours
    }
}

/// The state: Cⱼ and Sⱼ of each alternative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mixture {
    restarts: Restarts,
    hour: u32,
    logs: Vec<f64>,
    starts: Vec<f64>,
}

impl Mixture {
    /// A mixture that begins at `hour`; components of hours before it start with it.
    pub(super) fn new(alternatives: usize, restarts: Restarts) -> Self {
        Self {
            restarts,
            hour: 0,
            logs: vec![0.0; alternatives],
            starts: vec![restarts.weight(0).ln(); alternatives],
        }
    }

    /// Adds log evidence, one number per alternative.
    pub(super) fn add(&mut self, evidence: impl IntoIterator<Item = f64>) {
        for (log, more) in self.logs.iter_mut().zip(evidence) {
            *log += more;
        }
    }

    /// The log evidence of each alternative so far.
    pub(super) fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// The evidence of what came after these logs, without restarts.
    pub(super) fn since(&self, before: &[f64], weights: impl IntoIterator<Item = f64>) -> f64 {
        let logs = self
            .logs
            .iter()
            .zip(before)
            .map(|(log, before)| log - before);
        let sum: f64 = weights
            .into_iter()
            .zip(logs)
            .map(|(weight, log)| weight * log.exp())
            .sum();
        sum.min(MOST)
    }

    /// Starts the components of all full hours up to this one.
    pub(super) fn reach(&mut self, hour: u32) {
        for started in self.hour + 1..=hour.min(self.restarts.end().saturating_sub(1)) {
            let weight = self.restarts.weight(started).ln();
            for (start, log) in self.starts.iter_mut().zip(&self.logs) {
                *start = log_sum(*start, weight - log);
            }
        }
        self.hour = self.hour.max(hour);
    }

    /// The evidence against the null hypothesis: its expectation is at most 1 under it, at every
    /// moment; finite.
    pub(super) fn value(&self, weights: impl IntoIterator<Item = f64>) -> f64 {
        let started: f64 = weights
            .into_iter()
            .zip(self.logs.iter().zip(&self.starts))
            .map(|(weight, (log, start))| weight * (log + start).exp())
            .sum();
        (started + self.restarts.unstarted(self.hour)).min(MOST)
    }
}

/// ln(eᵃ + eᵇ).
fn log_sum(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    large + (small - large).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_all_hours_sum_to_one() {
        for planned in [0, 1, 2, 3, 168, 264] {
            let restarts = Restarts::over(planned);
            let started: f64 = (0..=planned).map(|hour| restarts.weight(hour)).sum();
            assert!((started - 1.0).abs() < 1e-12, "{planned}");
            for hour in 0..=planned {
                let until: f64 = (0..=hour).map(|hour| restarts.weight(hour)).sum();
                assert!((until + restarts.unstarted(hour) - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_recursion_equals_the_sum_over_starting_hours() {
        let restarts = Restarts::over(48);
        let mut mixture = Mixture::new(2, restarts);
        let steps = |hour: u32| {
            let x = f64::from(hour);
            [(x * 0.7).sin() * 3.0, (x * 1.3).cos() * 5.0 - 0.5]
        };
        let weights = [0.25, 0.75];
        for hour in 0..60_u32 {
            mixture.reach(hour);
            mixture.add(steps(hour));
            let mut direct = 0.0;
            for start in 0..48 {
                for (j, weight) in weights.iter().enumerate() {
                    let log: f64 = (start..=hour).map(|hour| steps(hour)[j]).sum();
                    direct += weight * restarts.weight(start) * log.exp();
                }
            }
            let value = mixture.value(weights);
            assert!(
                (value / direct - 1.0).abs() < 1e-9,
                "{hour}: {value} {direct}"
            );
        }
    }

    #[test]
    fn evidence_beyond_all_bounds_stays_a_number() {
        let mut mixture = Mixture::new(1, Restarts::over(10));
        mixture.add([1e6]);
        assert_eq!(mixture.value([1.0]), MOST);
        mixture.reach(u32::MAX);
        mixture.add([-1e9]);
        assert!(mixture.value([1.0]).is_finite());
    }
}
