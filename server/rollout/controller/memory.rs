//! What the controller holds in memory, and how it is put right from the store.

use std::{collections::HashSet, time::Duration};

use super::{World, following::Followed};
use crate::{
    recording::{Log, Ordered},
    rollout::{
        rollout::{Cap, Rollout},
        status::{Moment, Status},
        store::RolloutStore,
    },
};

/// Events that are read at once to catch up.
const PAGE: usize = 10_000;

/// Rollouts and events in memory.
#[derive(Default)]
pub(super) struct Memory {
    /// The newest first: live ones, and those whose end still decides what is served.
    pub(super) rollouts: Vec<Rollout>,
    /// In their place, folded, and not yet stored; in order.
    pub(super) pending: Vec<Ordered>,
    /// The number of the last event that is stored.
    pub(super) head: i64,
    /// Whether this process is the one that gives numbers.
    pub(super) is_numbering: bool,
    /// What was read last while another process leads.
    pub(super) followed: Option<Followed>,
    /// When all was stored last, on the monotonic clock; `None` where this process does not store.
    pub(super) stored_at: Option<Duration>,
    pub(super) last_tick: Option<Moment>,
    /// A rollout as a person's change that is being written will leave it: of two at once the second is
    /// refused, also where the first is not in force yet.
    pub(super) writing: Option<Status>,
}

impl Memory {
    /// Rollouts as stored, the newest first; all closed.
    pub(super) async fn load(store: &dyn RolloutStore) -> anyhow::Result<Self> {
        let mut rollouts = Vec::new();
        let mut covered = Covered::default();
        for stored in store.statuses().await? {
            let tasks = stored.read()?.tasks;
            if (stored.is_live || covered.leaves_some(&tasks))
                && let Some(stored) = store.rollout(&stored.id).await?
            {
                rollouts.push(Rollout::from_stored(&stored)?);
            }
            covered.add(&tasks);
        }
        Ok(Self {
            rollouts,
            ..Self::default()
        })
    }

    pub(super) fn get(&self, id: &str) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.status.id == id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Rollout> {
        self.rollouts
            .iter_mut()
            .find(|rollout| rollout.status.id == id)
    }

    /// Adds a new rollout, and lets go of ended ones that it covers.
    pub(super) fn add(&mut self, rollout: Rollout) {
        self.rollouts.insert(0, rollout);
        let mut covered = Covered::default();
        self.rollouts.retain(|rollout| {
            let stays = rollout.is_live() || covered.leaves_some(&rollout.status.tasks);
            covered.add(&rollout.status.tasks);
            stays
        });
    }

    /// The last number given.
    pub(super) fn last_seq(&self) -> i64 {
        self.pending.last().map_or(self.head, Ordered::last_seq)
    }

    /// Takes up what was recorded: gives it its place and folds it.
    pub(super) fn gather(&mut self, log: &Log) {
        while let Some(batch) = log.freeze() {
            let batch = Ordered::after(self.last_seq(), batch);
            for event in batch.events() {
                for rollout in &mut self.rollouts {
                    rollout.fold(event);
                }
            }
            self.pending.push(batch);
        }
    }

    /// Folds what is not stored into a rollout that may not hold it.
    pub(super) fn fold_pending(&self, rollout: &mut Rollout) {
        for event in self.pending.iter().flat_map(Ordered::events) {
            rollout.fold(event);
        }
    }

    /// Forgets the batches that are stored, up to this one.
    pub(super) fn forget(&mut self, last_batch: i64, log: &Log) {
        let stored = self.pending.partition_point(|it| it.number() <= last_batch);
        for batch in self.pending.drain(..stored) {
            log.stored(batch.events().len());
            self.head = batch.last_seq();
        }
    }

    /// Puts memory right after a write in doubt, or (`is_new`) when this process begins to write.
    /// `stored` is what the store has, caught up with its own log; `last_batch` is the last one of this
    /// process in it.
    pub(super) fn merge(
        &mut self,
        mut stored: Self,
        last_batch: i64,
        is_new: bool,
        log: &Log,
        now: Moment,
        world: &World,
    ) {
        self.forget(last_batch, log);
        // A log that ends elsewhere than memory believes is new to it as well.
        let is_new = is_new || self.head != stored.head;
        if is_new {
            self.head = stored.head;
            for batch in std::mem::take(&mut self.pending) {
                let batch = Ordered::after(self.last_seq(), batch.into_batch());
                self.pending.push(batch);
            }
        }
        self.is_numbering = true;
        self.followed = None;
        for new in &mut stored.rollouts {
            let old = self
                .rollouts
                .iter()
                .position(|it| it.status.id == new.status.id);
            let old = old.map(|place| self.rollouts.swap_remove(place));
            if let Some(old) = &old {
                new.is_open = old.is_open;
                let still = |cap: &Cap| new.status.version <= cap.version;
                new.cap = old.cap.filter(still);
            }
            match old {
                Some(mut old) if !is_new && old.base_version() == new.status.version => {
                    // Nothing moved, so memory is ahead; what was told is told only once.
                    if old.status.told == new.status.told {
                        old.alerts.clear();
                    }
                    old.is_urgent = true;
                    *new = old;
                }
                old => {
                    self.fold_pending(new);
                    if let Some(old) = old.filter(|old| !old.owed.is_empty()) {
                        new.lower_again(&old, now, world);
                    }
                }
            }
        }
        self.rollouts = stored.rollouts;
    }
}

/// Reads the rollouts, and folds what their evidence has not seen.
pub(super) async fn read(store: &dyn RolloutStore) -> anyhow::Result<Memory> {
    let head = store.head().await?;
    let mut memory = Memory {
        head,
        ..Memory::load(store).await?
    };
    for rollout in memory
        .rollouts
        .iter_mut()
        .filter(|rollout| rollout.is_live())
    {
        let id = rollout.status.id.clone();
        loop {
            let events = store.events_of(&id, rollout.cursor, PAGE).await?;
            for event in &events {
                rollout.fold(event);
            }
            if events.len() < PAGE {
                break;
            }
        }
        rollout.cursor = rollout.cursor.max(head);
    }
    Ok(memory)
}

/// Tasks that newer rollouts decide about.
#[derive(Default)]
struct Covered {
    all: bool,
    tasks: HashSet<String>,
}

impl Covered {
    fn add(&mut self, tasks: &[String]) {
        self.all |= tasks.is_empty();
        self.tasks.extend(tasks.iter().cloned());
    }

    fn leaves_some(&self, tasks: &[String]) -> bool {
        !self.all && (tasks.is_empty() || tasks.iter().any(|task| !self.tasks.contains(task)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::tests::event;

    #[test]
    fn a_batch_that_is_stored_is_not_stored_again_by_who_leads_anew() {
        let (log, world) = (Log::default(), World::real());
        let mut memory = Memory::default();
        for at_ms in 0..3 {
            log.append(event(at_ms, "m", 1.0));
            memory.gather(&log);
        }
        // Others led meanwhile; of this process the first batch was stored.
        let stored = Memory {
            head: 70,
            ..Memory::default()
        };
        memory.merge(stored, 1, true, &log, world.now(), &world);
        let places = memory
            .pending
            .iter()
            .map(|it| (it.number(), it.first_seq()));
        assert_eq!(places.collect::<Vec<_>>(), [(2, 71), (3, 72)]);
        assert_eq!((memory.head, memory.last_seq(), log.waiting()), (70, 72, 2));
    }

    #[test]
    fn a_log_that_went_back_is_gone_on_from_where_it_ends() {
        let (log, world) = (Log::default(), World::real());
        let mut memory = Memory {
            head: 9,
            ..Memory::default()
        };
        log.append(event(1, "m", 1.0));
        memory.gather(&log);
        let stored = Memory {
            head: 5,
            ..Memory::default()
        };
        memory.merge(stored, 0, false, &log, world.now(), &world);
        assert_eq!((memory.head, memory.last_seq()), (5, 6));
    }
}
