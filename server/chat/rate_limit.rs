//! Counts accepted messages per user in a sliding window.
//!
//! The window includes its far edge: a message exactly one window old still counts. Refused ones
//! do not count, so waiting as long as the refusal says is always enough. The counts are this
//! process's own; several replicas allow that many times more.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

/// Users are swept out of the map when it has grown past this, and past twice what the last sweep left.
const SWEEP_FROM: usize = 1024;

/// What is left of a user's allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Further messages that would be accepted now.
    pub remaining: usize,
    /// When a full window has passed: since this message if it was accepted, else since the oldest
    /// that counts.
    pub resets_at: DateTime<Utc>,
}

/// A limit for each of many users.
#[derive(Debug)]
pub struct RateLimiter {
    limit: usize,
    window: TimeDelta,
    users: Mutex<Users>,
}

#[derive(Debug)]
struct Users {
    accepted: HashMap<i64, VecDeque<DateTime<Utc>>>,
    sweep_at: usize,
}

impl RateLimiter {
    /// At most `limit` messages per user in any `window`; with 0, none.
    pub fn new(limit: usize, window: TimeDelta) -> Self {
        Self {
            limit,
            window,
            users: Mutex::new(Users {
                accepted: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
        }
    }

    /// At most `limit` messages per user in any 60 seconds.
    pub fn per_minute(limit: usize) -> Self {
        Self::new(limit, TimeDelta::minutes(1))
    }

    /// Counts one message; `Err` where it is one too many.
    pub fn take(&self, user_id: i64, now: DateTime<Utc>) -> Result<Quota, Quota> {
        let from = now - self.window;
        let mut users = self.users.lock();
        users.sweep(from);
        let accepted = users.accepted.entry(user_id).or_default();
        accepted.retain(|at| *at >= from);
        if accepted.len() >= self.limit {
            let oldest = accepted.front().copied().unwrap_or(now);
            return Err(Quota {
                remaining: 0,
                resets_at: oldest + self.window,
            });
        }
        accepted.push_back(now);
        Ok(Quota {
            remaining: self.limit - accepted.len(),
            resets_at: now + self.window,
        })
    }
}

impl Users {
    /// Forgets users who sent nothing lately, now and then, so that the map follows who is active.
    fn sweep(&mut self, from: DateTime<Utc>) {
        if self.accepted.len() < self.sweep_at {
            return;
        }
        self.accepted
            .retain(|_, accepted| accepted.back().is_some_and(|at| *at >= from));
        self.sweep_at = SWEEP_FROM.max(2 * self.accepted.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    #[test]
    fn users_do_not_share_an_allowance() {
        let limiter = RateLimiter::per_minute(1);
        assert!(limiter.take(1, at(0)).is_ok());
        assert!(limiter.take(1, at(1)).is_err());
        assert!(limiter.take(2, at(1)).is_ok());
    }

    #[test]
    fn users_who_sent_nothing_lately_are_forgotten() {
        let limiter = RateLimiter::per_minute(1);
        for user in 0..SWEEP_FROM as i64 {
            limiter.take(user, at(0)).unwrap();
        }
        limiter.take(-1, at(60_001)).unwrap();
        assert_eq!(limiter.users.lock().accepted.len(), 1);
    }
}
