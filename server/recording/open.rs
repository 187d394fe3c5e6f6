//! Attempts that evidence counts and that have not ended, so that one that takes too long speaks
//! before it ends.
//!
//! Otherwise a candidate that hangs would look good for as long as a time limit is, and among the
//! requests that are known at any moment the fast ones would be too many.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Event;

/// Attempts that are kept at once; there are never more calls than connections.
const LIMIT: usize = 100_000;

/// All of them, by a number of their own.
#[derive(Default)]
pub(super) struct OpenAttempts {
    last: u64,
    attempts: BTreeMap<u64, OpenAttempt>,
}

struct OpenAttempt {
    event: Event,
    started: Instant,
    is_told: bool,
}

impl OpenAttempts {
    /// Keeps one, and returns its number; `None` for an attempt that no rollout counts.
    pub(super) fn begin(&mut self, event: &Event, started: Instant) -> Option<u64> {
        if !event.counted || event.rollout.is_none() || self.attempts.len() >= LIMIT {
            return None;
        }
        self.last += 1;
        let attempt = OpenAttempt {
            event: event.clone(),
            started,
            is_told: false,
        };
        self.attempts.insert(self.last, attempt);
        Some(self.last)
    }

    /// Forgets one. Returns whether [`OpenAttempts::late`] has returned it.
    pub(super) fn end(&mut self, number: u64) -> bool {
        let ended = self.attempts.remove(&number);
        ended.is_some_and(|attempt| attempt.is_told)
    }

    /// Those of a rollout that have taken longer than `limit_ms`, each once, as events of `at_ms`.
    pub(super) fn late(
        &mut self,
        rollout: &str,
        limit_ms: f64,
        at_ms: i64,
        now: Instant,
    ) -> Vec<Event> {
        let mut late = Vec::new();
        for attempt in self.attempts.values_mut() {
            let latency_ms = (now - attempt.started).as_secs_f64() * 1e3;
            if !attempt.is_told
                && latency_ms > limit_ms
                && attempt.event.rollout.as_deref() == Some(rollout)
            {
                attempt.is_told = true;
                late.push(attempt.event.late(at_ms, latency_ms));
            }
        }
        late.sort_by(|a, b| b.latency_ms.total_cmp(&a.latency_ms));
        late
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::recording::{Outcome, event::tests::event};

    fn counted(rollout: &str) -> Event {
        Event {
            counted: true,
            rollout: Some(rollout.into()),
            ..event(0, "m", 0.0)
        }
    }

    #[test]
    fn what_takes_too_long_is_told_once_and_remembered_until_it_ends() {
        let mut open = OpenAttempts::default();
        let started = Instant::now();
        let after = |ms| started + Duration::from_millis(ms);
        let slow = open.begin(&counted("a"), started).unwrap();
        let quick = open.begin(&counted("a"), after(400)).unwrap();
        let other = open.begin(&counted("b"), started).unwrap();
        assert!(open.late("a", 500.0, 7, after(500)).is_empty());
        let late = open.late("a", 500.0, 7, after(501));
        let told: Vec<_> = late.iter().map(|it| (it.at_ms, it.outcome)).collect();
        assert_eq!(told, [(7, Outcome::Open)]);
        assert_eq!(late[0].latency_ms, 501.0);
        assert!(open.late("a", 500.0, 8, after(502)).is_empty());
        assert_eq!(
            [slow, quick, other].map(|it| open.end(it)),
            [true, false, false]
        );
        assert!(open.late("a", 0.0, 9, after(9_000)).is_empty());
    }

    #[test]
    fn what_no_rollout_counts_is_not_kept() {
        let mut open = OpenAttempts::default();
        assert_eq!(open.begin(&event(0, "m", 0.0), Instant::now()), None);
        let mut uncounted = counted("a");
        uncounted.counted = false;
        assert_eq!(open.begin(&uncounted, Instant::now()), None);
    }
}
