//! What a process that follows does while the database is away: it judges what it sees itself, and takes a
//! candidate from its users where that speaks against it.
//!
//! It goes on from the evidence that it read last, with its own requests alone: each process so stakes once more what
//! the plan stakes once, and only for such a time. It changes no rollout. Once the process that leads has judged all that
//! this one saw, what is stored counts again: as a rule a rollback.

use std::time::Duration;

use super::{
    Controller,
    alone::{Guard, Guarded},
    memory::Memory,
};
use crate::rollout::status::Moment;

/// After so long without an answer of the database.
const BLIND: Duration = Duration::from_secs(2);

impl Controller {
    /// Takes candidates from the users of this process where it sees that it must. Waits for nothing.
    pub(super) fn guard(&self, inner: &mut Memory, now: Moment) {
        let silent_for = inner.heard_at.map(|at| now.monotonic.saturating_sub(at));
        if silent_for.is_none_or(|silent_for| silent_for < BLIND) {
            inner.guard = None;
            return;
        }
        let mut guard = match inner.guard.take() {
            Some(mut guard) => {
                guard.take_up(&self.log);
                guard
            }
            None => Guard::over(&inner.rollouts, &inner.unsent, &self.log),
        };
        let mut is_lowered = false;
        for rollout in &mut guard.rollouts {
            if rollout.look(now, &self.world).is_none() {
                continue;
            }
            if let Some(served) = inner.get_mut(&rollout.status.id) {
                served.is_guarded = true;
                is_lowered = true;
                tracing::warn!(
                    rollout = rollout.status.id,
                    reason = rollout.status.reason,
                    "the database is away, and by what this process sees itself its users get the candidate no more"
                );
            }
        }
        inner.guard = Some(guard);
        if is_lowered {
            inner.guarded = Some(Guarded::default());
            self.publish(inner);
        }
    }

    /// All that this process saw is judged: what is stored counts again.
    pub(super) fn lift_guard(&self, inner: &mut Memory) {
        if inner.guarded.take().is_some() {
            for rollout in &mut inner.rollouts {
                rollout.is_guarded = false;
            }
            self.publish(inner);
        }
    }
}
