//! Those who wait for a slot, of one priority: users have their turns, and of one user the most urgent call goes first.

use std::collections::VecDeque;

use tokio::time::Instant;

/// One who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) number: u64,
    pub(super) deadline: Instant,
    pub(super) since: Instant,
    /// Requests that it needs room for; at least 1.
    pub(super) calls: u32,
    /// Tokens that it takes, about.
    pub(super) tokens: u32,
}

/// Those of one priority, by user; the users have their turns. As small as `MAX_WAITING` keeps it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    users: VecDeque<(Option<u64>, Vec<Waiter>)>,
    pub(super) len: usize,
    /// What all of them take.
    pub(super) tokens: u64,
}

impl Queue {
    pub(super) fn push(&mut self, user: Option<u64>, waiter: Waiter) {
        self.len += 1;
        self.tokens += u64::from(waiter.tokens);
        match self.users.iter_mut().find(|(known, _)| *known == user) {
            Some((_, waiters)) => waiters.push(waiter),
            None => self.users.push_back((user, vec![waiter])),
        }
    }

    /// The next user's most urgent call.
    pub(super) fn next(&self) -> Option<&Waiter> {
        let (_, waiters) = self.users.front()?;
        waiters.iter().min_by_key(|it| (it.deadline, it.number))
    }

    /// Takes it out.
    pub(super) fn pop(&mut self) -> Option<(Option<u64>, Waiter)> {
        let number = self.next()?.number;
        let (user, mut waiters) = self.users.pop_front()?;
        let place = waiters.iter().position(|it| it.number == number)?;
        let waiter = waiters.remove(place);
        if !waiters.is_empty() {
            self.users.push_back((user, waiters));
        }
        self.len -= 1;
        self.tokens -= u64::from(waiter.tokens);
        Some((user, waiter))
    }

    pub(super) fn len_of(&self, user: Option<u64>) -> usize {
        let mut users = self.users.iter();
        let own = users.find(|(known, _)| *known == user);
        own.map_or(0, |(_, waiters)| waiters.len())
    }

    /// How many come before another call of this user.
    pub(super) fn ahead_of(&self, user: Option<u64>) -> usize {
        let own = self.len_of(user);
        let turns = |(known, waiters): &(Option<u64>, Vec<Waiter>)| {
            if *known == user {
                own
            } else {
                waiters.len().min(own + 1)
            }
        };
        self.users.iter().map(turns).sum()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        let all = self.users.iter().flat_map(|(_, waiters)| waiters);
        all.map(|waiter| waiter.since).min()
    }

    pub(super) fn forget_late(&mut self, now: Instant) {
        self.retain(|waiter| waiter.deadline > now);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Waiter) -> bool) {
        for (_, waiters) in &mut self.users {
            waiters.retain(&keep);
        }
        self.users.retain(|(_, waiters)| !waiters.is_empty());
        let all = || self.users.iter().flat_map(|(_, waiters)| waiters);
        (self.len, self.tokens) = (all().count(), all().map(|it| u64::from(it.tokens)).sum());
    }
}
