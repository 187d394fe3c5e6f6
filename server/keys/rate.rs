//! Requests a minute: a bucket of as many tokens, filled again within a minute.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The requests of one key, by the time at which its bucket would be full again (the generic cell rate
/// algorithm).
#[derive(Debug)]
pub(super) struct Rate {
    full_at: Instant,
}

/// What is left of a rate, for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLeft {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that may come now.
    pub remaining: u32,
    /// When as many as `limit` may come again.
    pub full_in: Duration,
}

/// Too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// What is left.
    pub left: RateLeft,
    /// When the next may come.
    pub after: Duration,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether as many as may come at all may come now.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When they may.
    pub(super) fn full_at(&self) -> Instant {
        self.full_at
    }

    /// What a request takes of a minute, in microseconds.
    pub(super) fn micros(limit: u32) -> u32 {
        (MINUTE / limit.max(1)).as_micros() as u32
    }

    /// Another process took so many microseconds of it, whatever was left. At most a minute too much is
    /// remembered, so that processes which could not reach each other for long lock nobody out.
    pub(super) fn others_took(&mut self, micros: u32, now: Instant) {
        let full_at = self.full_at.max(now) + Duration::from_micros(micros.into());
        self.full_at = full_at.min(now + 2 * MINUTE);
    }

    /// Takes a request, of at most `limit` a minute.
    pub(super) fn take(&mut self, limit: u32, now: Instant) -> Result<RateLeft, TooFast> {
        let each = MINUTE / limit.max(1);
        let full_in = self.full_at.saturating_duration_since(now) + each;
        let left = |full_in: Duration| RateLeft {
            limit,
            remaining: (MINUTE.saturating_sub(full_in).as_nanos() / each.as_nanos().max(1)) as u32,
            full_in,
        };
        if full_in > MINUTE {
            return Err(TooFast {
                left: left(full_in - each),
                after: full_in - MINUTE,
            });
        }
        self.full_at = now + full_in;
        Ok(left(full_in))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_missing_here_and_too_much_is_missing_later() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.others_took(19 * Rate::micros(20), start);
        assert_eq!(rate.take(20, start).unwrap().remaining, 0);
        // Both let a whole minute's requests through before they heard of each other.
        rate.others_took(20 * Rate::micros(20), start);
        assert_eq!(rate.take(20, start).unwrap_err().after.as_secs(), 63);
    }

    #[test]
    fn a_minutes_requests_may_come_at_once_and_then_one_by_one() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for taken in 1..=20 {
            let left = rate.take(20, start).unwrap();
            assert_eq!(
                (left.remaining, left.full_in.as_secs()),
                (20 - taken, 3 * u64::from(taken))
            );
        }
        let refused = rate.take(20, start).unwrap_err();
        assert_eq!((refused.after.as_secs(), refused.left.remaining), (3, 0));
        let later = start + Duration::from_secs(3);
        assert!(rate.take(20, later).is_ok() && rate.take(20, later).is_err());
        let idle = later + Duration::from_secs(3600);
        assert_eq!(rate.take(20, idle).unwrap().remaining, 19);
        // A limit that is lowered meanwhile.
        assert_eq!(rate.take(1, idle).unwrap_err().left.remaining, 0);
        // No clock, however wrong, lets more through or panics.
        assert!(Rate::new(idle).take(u32::MAX, start).is_err());
    }
}
