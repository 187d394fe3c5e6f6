//! Rollouts as a process judges them alone, while the store is away.

use crate::{
    recording::{Batch, Event, Log},
    rollout::rollout::Rollout,
};

/// Rollouts as this process sees them alone.
pub(super) struct Guard {
    pub(super) rollouts: Vec<Rollout>,
    /// Events that were ever appended to the log, when it was looked at last.
    appended: u64,
}

/// Until when the candidate stays away that this process took from its users.
#[derive(Default)]
pub(super) struct Guarded {
    /// This process's last batch of that time, once it is stored.
    pub(super) batch: Option<i64>,
    /// Whether the process that leads has judged all of them.
    pub(super) is_judged: bool,
}

impl Guard {
    /// Goes on from the evidence of these rollouts, with the batches that the store has not got.
    pub(super) fn over<'a>(
        rollouts: &[Rollout],
        unsent: impl IntoIterator<Item = &'a Batch>,
        log: &Log,
    ) -> Self {
        let live = rollouts.iter().filter(|it| it.is_live());
        let mut guard = Self {
            rollouts: live.cloned().collect(),
            appended: 0,
        };
        for batch in unsent {
            guard.fold(batch.events.to_vec());
        }
        guard.take_up(log);
        guard
    }

    pub(super) fn take_up(&mut self, log: &Log) {
        let (appended, events) = log.after(self.appended);
        self.appended = appended;
        self.fold(events);
    }

    fn fold(&mut self, events: Vec<Event>) {
        for mut event in events {
            for rollout in &mut self.rollouts {
                event.seq = rollout.cursor + 1;
                rollout.fold(&event);
            }
        }
    }
}
