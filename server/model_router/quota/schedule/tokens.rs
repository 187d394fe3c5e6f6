//! Tokens of a minute: counted as a request is thought to take them, and settled when that is known.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::MINUTE;

/// Tokens of the requests of one account.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Those of the last minute, the oldest first.
    sent: VecDeque<Lot>,
    /// All of these together.
    of_sent: u64,
    /// Those of slots that were taken and not used yet.
    taken: u64,
    /// Those of requests that were sent and not answered.
    in_flight: u64,
    last: u64,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug)]
struct Lot {
    number: u64,
    at: Instant,
    tokens: u32,
}

impl Tokens {
    /// Those of requests that were not answered, sent or not.
    pub(super) fn under_way(&self) -> u64 {
        self.in_flight + self.taken
    }

    /// Those of the last minute, and those that are taken now.
    pub(super) fn of_the_minute(&self) -> u64 {
        self.of_sent + self.taken
    }

    pub(super) fn take(&mut self, tokens: u32) {
        self.taken += u64::from(tokens);
    }

    pub(super) fn give_back(&mut self, tokens: u32) {
        self.taken = self.taken.saturating_sub(tokens.into());
    }

    /// Tokens that were taken are sent; they are remembered where a minute is limited. The number by which they
    /// are settled.
    pub(super) fn send(&mut self, tokens: u32, at: Instant, is_limited: bool) -> u64 {
        self.give_back(tokens);
        self.in_flight += u64::from(tokens);
        self.last += 1;
        if is_limited {
            self.add(self.last, at, tokens);
        }
        self.last
    }

    /// Those of a request that is sent and counts elsewhere.
    pub(super) fn fly(&mut self, tokens: u32) {
        self.in_flight += u64::from(tokens);
    }

    /// All that was sent, the oldest first. Nobody settles it here.
    pub(super) fn replace(&mut self, sent: Vec<(Instant, u32)>) {
        self.sent.clear();
        self.of_sent = 0;
        for (at, tokens) in sent {
            self.add(0, at, tokens);
        }
    }

    /// More was sent.
    pub(super) fn note(&mut self, at: Instant, tokens: u32) {
        self.add(0, at, tokens);
    }

    fn add(&mut self, number: u64, at: Instant, tokens: u32) {
        self.of_sent += u64::from(tokens);
        self.sent.push_back(Lot { number, at, tokens });
    }

    pub(super) fn answered(&mut self, tokens: u32) {
        self.in_flight = self.in_flight.saturating_sub(tokens.into());
    }

    /// It is known what a request took. One of an earlier minute is past.
    pub(super) fn settle(&mut self, number: u64, tokens: u32) {
        if let Ok(place) = self.sent.binary_search_by_key(&number, |lot| lot.number)
            && let Some(lot) = self.sent.get_mut(place)
        {
            self.of_sent = self.of_sent - u64::from(lot.tokens) + u64::from(tokens);
            lot.tokens = tokens;
        }
    }

    pub(super) fn forget(&mut self, now: Instant) {
        let is_old = |lot: &Lot| now.saturating_duration_since(lot.at) >= MINUTE;
        while let Some(lot) = self.sent.pop_front_if(|lot| is_old(lot)) {
            self.of_sent -= u64::from(lot.tokens);
        }
    }

    /// When no more than so many are those of the minute.
    pub(super) fn below(&self, most: u64, now: Instant) -> Instant {
        let mut left = self.of_the_minute();
        if left <= most {
            return now;
        }
        for lot in &self.sent {
            left -= u64::from(lot.tokens);
            if left <= most {
                return lot.at + MINUTE;
            }
        }
        now + MINUTE
    }

    /// Those of slots that were taken and not used yet, if there are any.
    pub(super) fn taken(&self) -> Option<u32> {
        let tokens = u32::try_from(self.taken).unwrap_or(u32::MAX);
        Some(tokens).filter(|tokens| *tokens > 0)
    }

    /// When each was sent, and how many.
    pub(super) fn sent(&self) -> impl Iterator<Item = (Instant, u32)> {
        self.sent.iter().map(|lot| (lot.at, lot.tokens))
    }

    /// What an earlier process sent, the oldest first.
    pub(super) fn restore(&mut self, before: impl Iterator<Item = (Instant, u32)>) {
        let own: Vec<_> = self.sent.drain(..).collect();
        self.of_sent = 0;
        for (at, tokens) in before {
            // Nobody settles these.
            self.add(0, at, tokens);
        }
        for Lot { number, at, tokens } in own {
            self.add(number, at, tokens);
        }
    }
}
