//! Counts accepted messages per user in a sliding window.
//!
//! The window includes its far edge: a message exactly one window old still counts. Refused ones
//! do not count, so waiting as long as the refusal says is always enough. What other processes let
//! through counts as soon as they say so; what was too much takes the places of later messages.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use super::takings::Takings;

/// Messages above the limit that are kept in mind, as a multiple of it.
const MOST_TOO_MANY: usize = 2;

/// Users are swept out of the map when it has grown past this, and past twice what the last sweep left.
const SWEEP_FROM: usize = 1024;

/// What is left of a user's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
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
    users: Mutex<RecentUse>,
    /// Who else lets messages of the same users through, and under which kind.
    shared: OnceLock<(&'static str, Arc<Takings>)>,
}

#[derive(Debug)]
struct RecentUse {
    accepted: HashMap<i64, VecDeque<DateTime<Utc>>>,
    sweep_at: usize,
}

impl RateLimiter {
    /// At most `limit` messages per user in any `window`; with 0, none.
    pub fn new(limit: usize, window: TimeDelta) -> Self {
        Self {
            limit,
            window,
            users: Mutex::new(RecentUse {
                accepted: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
            shared: OnceLock::new(),
        }
    }

    /// At most `limit` messages per user in any 60 seconds.
    pub fn per_minute(limit: usize) -> Self {
        Self::new(limit, TimeDelta::minutes(1))
    }

    /// Keeps the limit together with the other processes.
    pub fn share(self: &Arc<Self>, kind: &'static str, takings: &Arc<Takings>) {
        let _ = self.shared.set((kind, takings.clone()));
        let limiter = Arc::downgrade(self);
        takings.share(kind, move |user, count, now| {
            if let (Some(limiter), Ok(user)) = (limiter.upgrade(), user.parse()) {
                limiter.others_took(user, count, now);
            }
        });
    }

    /// Another process accepted so many messages of a user.
    fn others_took(&self, user_id: i64, count: u32, now: DateTime<Utc>) {
        let from = now - self.window;
        let mut users = self.users.lock();
        users.sweep(from);
        let accepted = users.accepted.entry(user_id).or_default();
        // Nothing lies further ahead; a clock that was set back would else lock a user out for as long.
        accepted.retain(|at| (from..=now + self.window).contains(at));
        for _ in 0..count {
            if accepted.len() >= self.limit.saturating_mul(MOST_TOO_MANY) {
                return;
            }
            // One too many takes the place that becomes free next.
            let before = accepted
                .len()
                .checked_sub(self.limit)
                .and_then(|it| accepted.get(it));
            let frees_at = before.map_or(now, |at| (*at + self.window).max(now));
            accepted.push_back(frees_at);
        }
    }

    /// Counts one message; `Err` where it is one too many.
    pub fn take(&self, user_id: i64, now: DateTime<Utc>) -> Result<Remaining, Remaining> {
        let from = now - self.window;
        let mut users = self.users.lock();
        users.sweep(from);
        let accepted = users.accepted.entry(user_id).or_default();
        // Nothing lies further ahead; a clock that was set back would else lock a user out for as long.
        accepted.retain(|at| (from..=now + self.window).contains(at));
        if accepted.len() >= self.limit {
            let last = accepted.len() - self.limit;
            let oldest = accepted.get(last).copied().unwrap_or(now);
            return Err(Remaining {
                remaining: 0,
                resets_at: oldest + self.window,
            });
        }
        accepted.push_back(now);
        if let Some((kind, takings)) = self.shared.get() {
            takings.took(kind, &user_id.to_string(), 1, now);
        }
        Ok(Remaining {
            remaining: self.limit - accepted.len(),
            resets_at: now + self.window,
        })
    }
}

impl RecentUse {
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
    fn what_another_process_accepts_counts_and_too_much_counts_later() {
        let takings: [Arc<Takings>; 2] = Default::default();
        let limiters = [0, 1].map(|it| {
            let limiter = Arc::new(RateLimiter::per_minute(2));
            limiter.share("chat", &takings[it]);
            limiter
        });
        let tell = |from: usize, to: usize, ms| {
            let taken = takings[from].take_new().into_iter();
            takings[to].add_others(taken.collect(), false, at(ms));
        };
        // Both let all through before they hear of each other.
        for limiter in &limiters {
            assert!(limiter.take(1, at(0)).is_ok() && limiter.take(1, at(0)).is_ok());
        }
        tell(0, 1, 0);
        tell(1, 0, 0);
        for limiter in &limiters {
            assert!(
                limiter.take(1, at(60_001)).is_err(),
                "the next minute is used up"
            );
            let refused = limiter.take(1, at(60_001)).unwrap_err();
            assert_eq!(refused.resets_at, at(120_000));
        }
        assert!(limiters[0].take(1, at(120_001)).is_ok());
        tell(0, 1, 120_001);
        assert!(limiters[1].take(1, at(120_001)).is_ok());
        assert!(limiters[1].take(1, at(120_001)).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limiter = RateLimiter::per_minute(1);
        let hour = 3_600_000;
        assert!(limiter.take(1, at(hour)).is_ok());
        assert!(limiter.take(1, at(0)).is_ok());
        assert!(limiter.take(1, at(1)).is_err());
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
