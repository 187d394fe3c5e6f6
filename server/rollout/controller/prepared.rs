//! A write: what of memory goes to the store, and what comes into force with it.

use super::{World, memory::Memory};
use crate::{
    alerting::Alert,
    rollout::{rollout::Transition, status::Moment, store::Commit},
};

/// A write that has been put together.
pub(super) struct Prepared {
    pub(super) commit: Commit,
    pub(super) written: Vec<Written>,
    /// Changes that come into force when they are written.
    pub(super) transitions: Vec<Transition>,
}

/// How much of a rollout is in it.
pub(super) struct Written {
    pub(super) id: String,
    pub(super) owed: usize,
    pub(super) alerts: usize,
}

/// What a write is for.
pub(super) enum Intent {
    /// What follows by itself.
    Tick,
    /// What a person wants; all else waits for the next tick.
    Change(Box<Transition>),
    /// What is owed.
    Flush,
}

impl Memory {
    /// Puts a write together.
    pub(super) fn prepare(&mut self, intent: Intent, now: Moment, world: &World) -> Prepared {
        let mut prepared = Prepared {
            commit: Commit {
                head: self.head,
                batches: self.pending.clone(),
                rollouts: Vec::new(),
            },
            written: Vec::new(),
            transitions: Vec::new(),
        };
        let is_tick = matches!(intent, Intent::Tick);
        let passed = match self.last_tick {
            Some(last) if is_tick => now.since(last),
            _ => Default::default(),
        };
        if is_tick {
            self.last_tick = Some(now);
        }
        for rollout in &mut self.rollouts {
            let may_step =
                is_tick && rollout.is_live() && rollout.is_open && rollout.owed.is_empty();
            let transition = may_step.then(|| rollout.step(passed, now, world)).flatten();
            if transition.is_none() && !rollout.is_due(now, is_tick) {
                continue;
            }
            prepared.written.push(Written {
                id: rollout.status.id.clone(),
                owed: rollout.owed.len(),
                alerts: rollout.alerts.len(),
            });
            match transition {
                // One change of the rollout holds the alerts about it as well.
                Some(transition) => prepared.add(transition, rollout.alerts.clone()),
                None => prepared.commit.rollouts.extend(rollout.changes()),
            }
        }
        if let Intent::Change(transition) = intent {
            prepared.add(*transition, Vec::new());
        }
        prepared
    }
}

impl Prepared {
    fn add(&mut self, transition: Transition, alerts: Vec<Alert>) {
        self.commit.rollouts.push(transition.change(alerts));
        self.transitions.push(transition);
    }
}
