//! The schedule of an account that several processes use: what they have used together stands in the database, which
//! gives the slots. Here it is known as of the last report, so that calls wait by it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Claim, Clocks, Schedule, SlotRefusal, start::Need};
use crate::model_router::quota::{
    rest::Rest,
    used::{Most, Used},
};

impl Schedule {
    /// What all processes together may use.
    pub(in crate::model_router::quota) fn most(&self) -> Most {
        Most {
            minute: self.minute(),
            day: self.limits.day,
            tokens: self.token_minute(),
        }
    }

    /// All that was used is what stands in the database at its time `now_ms`, and the slots that were taken here
    /// and not given yet.
    pub(in crate::model_router::quota) fn adopt(&mut self, used: &Used, now_ms: i64, now: Clocks) {
        self.day = used.day;
        self.used = used.requests.saturating_add(self.taken);
        let at = |ms: i64| {
            let span = Duration::from_millis(ms.abs_diff(now_ms));
            match ms <= now_ms {
                true => now.at.checked_sub(span).unwrap_or(now.at),
                false => now.at + span,
            }
        };
        let mut sent: Vec<_> = used.slots().map(at).collect();
        sent.sort_unstable();
        self.sent = sent.into();
        let tokens = used.tokens.iter();
        let mut tokens: Vec<_> = tokens.map(|(ms, tokens)| (at(*ms), *tokens)).collect();
        tokens.sort_unstable();
        self.tokens.replace(tokens);
        let rests = used.rests();
        // Also one whose end is past: who learns of it late lets no more go at once.
        if !rests.is_over(now_ms) {
            self.know(Rest::new(at(rests.until_ms), rests.span()), now.at);
        }
        if let Some(rest) = self.rest.as_mut().filter(|it| it.until <= now.at) {
            rest.have_gone(used.gone());
        }
    }

    /// What a call for so many tokens is told whose time is over, as what all have used left nothing for it.
    pub(in crate::model_router::quota) fn in_vain(
        &mut self,
        tokens: u32,
        now: Clocks,
    ) -> SlotRefusal {
        self.advance(now);
        let (start, reason) = self.start_of(Need::of(1, tokens), now);
        let after = start.saturating_duration_since(now.at);
        SlotRefusal {
            after: after.max(Duration::from_secs(1)),
            reason,
        }
    }

    /// A slot that was taken here was given, and counts among those of all from now on.
    pub(in crate::model_router::quota) fn given(&mut self, claim: Claim) {
        self.taken = self.taken.saturating_sub(1);
        self.used = self.used.saturating_sub(1);
        self.tokens.give_back(claim.tokens);
    }

    /// A request is sent with a slot that was given.
    pub(in crate::model_router::quota) fn send_given(&mut self, tokens: u32) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.tokens.fly(tokens);
    }

    /// A slot that was given is not used, and neither is what was kept for the conversation that it was to begin.
    pub(in crate::model_router::quota) fn forgo_given(&mut self, claim: Claim) {
        if let Some(user) = claim.conversation() {
            self.forgo(user);
        }
        if let Some(rest) = &mut self.rest {
            rest.stay();
        }
        self.give_allowance_back(claim.tokens);
    }

    /// Something was used while the database could not be reached.
    pub(in crate::model_router::quota) fn note(&mut self, at: Instant, tokens: u32) {
        self.sent.push_back(at);
        self.used = self.used.saturating_add(1);
        self.tokens.note(at, tokens);
    }
}
