//! Room that is kept for the rest of a conversation that has begun.

use std::time::Duration;

use tokio::time::Instant;

use super::{Clocks, ConversationTurn, Schedule};

/// How long room for the rest of a conversation is kept.
const HOLD: Duration = Duration::from_secs(60);

/// Room that is kept for the rest of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptRoom {
    user: Option<u64>,
    /// At least 1.
    pub(super) rest: u32,
    pub(super) until: Instant,
}

impl KeptRoom {
    /// Whether it is kept for this user.
    pub(super) fn is_of(&self, user: Option<u64>) -> bool {
        self.user == user
    }
}

impl Schedule {
    /// Requests that a call needs room for, itself among them.
    pub(super) fn calls(&self, turn: ConversationTurn) -> u32 {
        match turn {
            ConversationTurn::Begins(calls) => self.fitting(calls),
            ConversationTurn::Alone | ConversationTurn::GoesOn => 1,
        }
    }

    /// So many of a conversation's requests as there can be room for: no more than a minute has, than the day has
    /// left, and than the provider says is left; at least 1.
    pub(super) fn fitting(&self, calls: u32) -> u32 {
        let told = self
            .allowed
            .map(|it| u32::try_from(it.left).unwrap_or(u32::MAX));
        let most = [self.minute(), self.free().1, told];
        let most = most.into_iter().flatten().min();
        calls.min(most.unwrap_or(u32::MAX)).max(1)
    }

    /// A call starts, and room for the rest of its conversation is kept.
    pub(super) fn start(&mut self, user: Option<u64>, calls: u32, tokens: u32, now: Instant) {
        self.take(tokens);
        if let Some(rest) = &mut self.rest {
            rest.go(now);
        }
        let rest = calls - 1;
        if rest > 0 {
            self.held = self.held.saturating_add(rest);
            let until = now + HOLD;
            self.holds.push_back(KeptRoom { user, rest, until });
        }
    }

    /// Room for one request is kept for this user, with what is kept for its conversation: the end of that frees both.
    pub(in crate::model_router::quota) fn keep_one(&mut self, user: Option<u64>, now: Instant) {
        self.held = self.held.saturating_add(1);
        if let Some(hold) = self.holds.iter_mut().find(|hold| hold.user == user) {
            hold.rest += 1;
            return;
        }
        let (rest, until) = (1, now + HOLD);
        self.holds.push_back(KeptRoom { user, rest, until });
    }

    /// Whether room is kept for this user.
    pub(in crate::model_router::quota) fn has_room(
        &mut self,
        user: Option<u64>,
        now: Clocks,
    ) -> bool {
        self.advance(now);
        self.holds.iter().any(|hold| hold.is_of(user))
    }

    /// Room for one request that was kept for this user is free. Whether any was.
    pub(super) fn release(&mut self, user: Option<u64>) -> bool {
        let hold = self.holds.iter_mut().find(|hold| hold.user == user);
        let is_kept = hold.is_some();
        if let Some(hold) = hold {
            hold.rest -= 1;
            self.held -= 1;
        }
        self.holds.retain(|hold| hold.rest > 0);
        is_kept
    }

    /// A conversation of this user has come to its end: what was kept for it is free.
    pub(in crate::model_router::quota) fn end(&mut self, user: Option<u64>) {
        if let Some(place) = self.holds.iter().position(|hold| hold.user == user)
            && let Some(hold) = self.holds.remove(place)
        {
            self.held = self.held.saturating_sub(hold.rest);
        }
    }

    /// The newest conversation of this user does not begin: what was kept for it is free.
    pub(super) fn forgo(&mut self, user: Option<u64>) {
        if let Some(place) = self.holds.iter().rposition(|hold| hold.user == user)
            && let Some(hold) = self.holds.remove(place)
        {
            self.held = self.held.saturating_sub(hold.rest);
        }
    }
}
