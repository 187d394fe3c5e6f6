//! What was used, as it is kept over restarts.

use std::time::Duration;

use tokio::time::Instant;

use super::{Clocks, MINUTE, Schedule};
use crate::model_router::quota::used::Used;

impl Schedule {
    /// At least so many requests of this day were made, by whomever.
    pub(in crate::model_router::quota) fn used_at_least(&mut self, used: u32, now: Clocks) {
        self.advance(now);
        self.used = self.used.max(used.saturating_add(self.taken));
    }

    /// What was used so far; a slot that is taken counts as used now.
    pub(in crate::model_router::quota) fn used(&mut self, now: Clocks) -> Used {
        self.advance(now);
        let at_ms = |sent: Instant| {
            let ago = now.at.saturating_duration_since(sent).as_millis() as i64;
            now.utc_ms.saturating_sub(ago)
        };
        let sent = self.sent.iter().map(|sent| at_ms(*sent));
        let taken = std::iter::repeat_n(now.utc_ms, self.taken as usize);
        let tokens = self.tokens.sent().map(|(at, tokens)| (at_ms(at), tokens));
        // Of a slot that is taken they are used as soon as its request is sent, of which nothing is stored.
        let tokens_taken = self.tokens.taken().filter(|_| self.limits.tokens.is_some());
        let tokens_taken = tokens_taken.map(|tokens| (now.utc_ms, tokens));
        Used {
            day: self.day,
            requests: self.used,
            sent_ms: sent.chain(taken).collect(),
            tokens: tokens.chain(tokens_taken).collect(),
            ..Used::default()
        }
    }

    /// What was used before, by an earlier process.
    pub(in crate::model_router::quota) fn restore(&mut self, used: &Used, now: Clocks) {
        self.advance(now);
        if used.day >= self.day {
            self.used = self.used.saturating_add(used.requests);
        }
        if used.day == self.day + 1 {
            self.day = used.day;
        }
        let at = |ms: i64| {
            let ago = u64::try_from(now.utc_ms.saturating_sub(ms)).unwrap_or(0);
            let ago = Duration::from_millis(ago);
            now.at.checked_sub(ago).unwrap_or(now.at)
        };
        let is_new = |sent: &Instant| now.at.saturating_duration_since(*sent) < MINUTE;
        let mut sent: Vec<_> = used
            .sent_ms
            .iter()
            .map(|ms| at(*ms))
            .filter(is_new)
            .chain(self.sent.iter().copied())
            .collect();
        sent.sort_unstable();
        self.sent = sent.into();
        let tokens = used.tokens.iter().map(|(ms, tokens)| (at(*ms), *tokens));
        self.tokens.restore(tokens.filter(|(at, _)| is_new(at)));
    }
}
