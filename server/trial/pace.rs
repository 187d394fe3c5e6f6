//! When the next request of a trial may go, within the requests of a minute and a day that it was given.
//!
//! It counts what the file of results holds, so that a trial that goes on after it was killed keeps to the same
//! day. What our account may do at the provider is the server's to keep.

use std::{collections::VecDeque, time::Duration};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// No question is sent more often.
const MOST_SENT: u32 = 100;

/// Requests that a trial may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceLimits {
    /// In any 60 seconds.
    pub minute: Option<u32>,
    /// From midnight to midnight, UTC.
    pub day: Option<u32>,
}

/// When a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceTurn {
    /// Now; it is counted.
    Now,
    /// After this long.
    After(Duration),
    /// Not today: the day's are used up, and the next begins after this long.
    Tomorrow(Duration),
}

/// Counts requests.
#[derive(Debug)]
pub struct TrialPace {
    limits: PaceLimits,
    /// Those of the last minute, in milliseconds since 1970, the oldest first.
    sent: VecDeque<i64>,
    day: i64,
    today: u32,
}

impl TrialPace {
    /// Goes on after requests that were made at these times, in milliseconds since 1970.
    pub fn new(limits: PaceLimits, sent_ms: impl IntoIterator<Item = i64>, now_ms: i64) -> Self {
        let day = now_ms.div_euclid(DAY_MS);
        let mut sent: Vec<_> = sent_ms.into_iter().collect();
        sent.sort_unstable();
        let today = sent.iter().filter(|at| at.div_euclid(DAY_MS) == day);
        let today = u32::try_from(today.count()).unwrap_or(u32::MAX);
        sent.retain(|at| at + MINUTE_MS > now_ms);
        Self {
            limits,
            sent: sent.into(),
            day,
            today,
        }
    }

    /// Takes up how many requests the last that [`Self::next`] let go became: none where it waited in vain for a slot,
    /// several where one was refused and another key was used.
    pub fn sent(&mut self, requests: u32, now_ms: i64) {
        match requests.checked_sub(1) {
            None => {
                self.sent.pop_back();
                self.today = self.today.saturating_sub(1);
            }
            Some(more) => {
                let more = more.min(MOST_SENT);
                self.sent.extend((0..more).map(|_| now_ms));
                self.today = self.today.saturating_add(more);
            }
        }
    }

    /// Whether the next may go.
    pub fn next(&mut self, now_ms: i64) -> PaceTurn {
        let day = now_ms.div_euclid(DAY_MS);
        if day > self.day {
            (self.day, self.today) = (day, 0);
        }
        while self.sent.front().is_some_and(|at| at + MINUTE_MS <= now_ms) {
            self.sent.pop_front();
        }
        if self.limits.day.is_some_and(|most| self.today >= most) {
            return PaceTurn::Tomorrow(millis((self.day + 1) * DAY_MS - now_ms));
        }
        let most = self.limits.minute.map_or(usize::MAX, |most| most as usize);
        if self.sent.len() >= most
            && let Some(at) = self.sent.get(self.sent.len() - most.max(1))
        {
            return PaceTurn::After(millis(at + MINUTE_MS - now_ms));
        }
        self.sent.push_back(now_ms);
        self.today = self.today.saturating_add(1);
        PaceTurn::Now
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_and_no_day_has_more_than_it_may() {
        let limits = PaceLimits {
            minute: Some(3),
            day: Some(50),
        };
        let mut now = DAY_MS - 5 * MINUTE_MS;
        let mut pace = TrialPace::new(limits, [], now);
        let mut sent: Vec<i64> = Vec::new();
        while sent.len() < 60 {
            match pace.next(now) {
                PaceTurn::Now => sent.push(now),
                PaceTurn::After(wait) | PaceTurn::Tomorrow(wait) => now += wait.as_millis() as i64,
            }
        }
        for (i, at) in sent.iter().enumerate() {
            let within = sent[i..].iter().filter(|it| **it < at + MINUTE_MS).count();
            assert!(within <= 3, "{within} from {at}");
        }
        assert_eq!(sent.iter().filter(|at| **at < DAY_MS).count(), 15);
        let second = sent.iter().filter(|at| (DAY_MS..2 * DAY_MS).contains(at));
        assert_eq!(second.count(), 45, "the rest of 60, of 50 that it may");
    }

    #[test]
    fn what_was_not_sent_is_given_back_and_what_was_sent_twice_counts_twice() {
        let limits = PaceLimits {
            minute: Some(3),
            day: Some(5),
        };
        let mut pace = TrialPace::new(limits, [], 0);
        for (requests, now) in [(0, 0), (0, 1), (1, 2), (2, 3)] {
            assert_eq!(pace.next(now), PaceTurn::Now, "{now}");
            pace.sent(requests, now);
        }
        assert!(
            matches!(pace.next(4), PaceTurn::After(_)),
            "three in a minute"
        );
        let later = MINUTE_MS + 3;
        assert_eq!(pace.next(later), PaceTurn::Now);
        pace.sent(2, later);
        assert!(matches!(
            pace.next(2 * MINUTE_MS + 4),
            PaceTurn::Tomorrow(_)
        ));
    }

    #[test]
    fn one_that_goes_on_counts_what_was_sent_today() {
        let limits = PaceLimits {
            minute: None,
            day: Some(3),
        };
        let now = 10 * DAY_MS + 1_000;
        let sent = [9 * DAY_MS + 5, 10 * DAY_MS + 1, 10 * DAY_MS + 2];
        let mut pace = TrialPace::new(limits, sent, now);
        assert_eq!(pace.next(now), PaceTurn::Now);
        let PaceTurn::Tomorrow(wait) = pace.next(now) else {
            panic!("a fourth");
        };
        assert_eq!(wait.as_millis() as i64, DAY_MS - 1_000);
        assert_eq!(
            TrialPace::new(PaceLimits::default(), sent, now).next(now),
            PaceTurn::Now
        );
    }
}
