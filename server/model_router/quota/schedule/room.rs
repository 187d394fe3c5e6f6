//! Room that is kept: for the rest of a conversation that has begun, and for control while a rollout runs.

use std::time::Duration;

use tokio::time::Instant;

use super::{Moment, Reason, Refused, Schedule, TENTH, Turn};

/// How long room for the rest of a conversation is kept.
const HOLD: Duration = Duration::from_secs(60);

/// Room that is kept for the rest of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    user: Option<u64>,
    /// At least 1.
    pub(super) rest: u32,
    pub(super) until: Instant,
}

impl Schedule {
    /// Requests that a call needs room for, itself among them; no more than a minute has.
    pub(super) fn calls(&self, turn: Turn) -> u32 {
        match turn {
            Turn::Begins(calls) => calls.clamp(1, self.minute().unwrap_or(u32::MAX)),
            Turn::Alone | Turn::GoesOn => 1,
        }
    }

    /// A call starts, and room for the rest of its conversation is kept.
    pub(super) fn start(&mut self, user: Option<u64>, calls: u32, now: Instant) {
        self.take();
        let rest = calls - 1;
        if rest > 0 {
            self.held = self.held.saturating_add(rest);
            let until = now + HOLD;
            self.holds.push_back(Hold { user, rest, until });
        }
    }

    /// Room for one request that was kept for this user is free.
    pub(super) fn release(&mut self, user: Option<u64>) {
        if let Some(hold) = self.holds.iter_mut().find(|hold| hold.user == user) {
            hold.rest -= 1;
            self.held -= 1;
        }
        self.holds.retain(|hold| hold.rest > 0);
    }

    /// What is told to a call that may not have the last tenth of the minute or of the day; `None` where more
    /// is left.
    pub(super) fn keeps(&self, now: Moment) -> Option<Refused> {
        let (minute, day) = self.free();
        let is_kept = |free: Option<u32>, of: Option<u32>| {
            free.zip(of)
                .is_some_and(|(free, of)| free <= of.div_ceil(TENTH))
        };
        let reason = match (
            is_kept(day, self.limits.day),
            is_kept(minute, self.minute()),
        ) {
            (true, _) => Reason::Day,
            (false, true) => Reason::Minute,
            (false, false) => return None,
        };
        let beyond = day
            .filter(|_| reason == Reason::Day)
            .or(minute)
            .unwrap_or(0);
        let start = self.start_of(beyond as usize, now).0;
        let after = start
            .saturating_duration_since(now.at)
            .max(Duration::from_secs(1));
        Some(Refused { after, reason })
    }
}
