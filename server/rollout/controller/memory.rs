//! What the controller holds in memory, and how it is put right from the store.

use std::collections::HashSet;

use super::World;
use crate::{
    recording::{Event, Log},
    rollout::{
        rollout::Rollout,
        status::{Moment, Status},
        store::RolloutStore,
    },
};

/// Events that may wait for a store that fails; about 15 MB. More wait in the [`Log`].
const PENDING_LIMIT: usize = 100_000;
/// Events that are read at once to catch up.
const PAGE: usize = 10_000;

/// Rollouts and events in memory.
#[derive(Default)]
pub(super) struct Memory {
    /// The newest first: live ones, and those whose end still decides what is served.
    pub(super) rollouts: Vec<Rollout>,
    /// Numbered, folded, and not yet stored; in order.
    pub(super) pending: Vec<Event>,
    /// The last number given.
    pub(super) last_seq: i64,
    /// Whether this process is the one that gives numbers.
    pub(super) is_numbering: bool,
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

    /// Takes up what was recorded: numbers it and folds it.
    pub(super) fn gather(&mut self, log: &Log) {
        if self.pending.len() < PENDING_LIMIT {
            for mut event in log.take() {
                self.last_seq += 1;
                event.seq = self.last_seq;
                for rollout in &mut self.rollouts {
                    rollout.fold(&event);
                }
                self.pending.push(event);
            }
        }
    }

    /// Puts memory right after a write in doubt, or (`is_new`) when this process begins to write.
    /// `stored` is what the store has, caught up with its own log; `last_seq` its last event.
    pub(super) fn merge(
        &mut self,
        mut stored: Self,
        last_seq: i64,
        is_new: bool,
        now: Moment,
        world: &World,
    ) {
        if is_new {
            self.last_seq = last_seq;
            for event in &mut self.pending {
                self.last_seq += 1;
                event.seq = self.last_seq;
            }
        } else {
            self.pending.retain(|event| event.seq > last_seq);
            self.last_seq = self.last_seq.max(last_seq);
        }
        self.is_numbering = true;
        for new in &mut stored.rollouts {
            let old = self
                .rollouts
                .iter()
                .position(|it| it.status.id == new.status.id);
            let old = old.map(|place| self.rollouts.swap_remove(place));
            if let Some(old) = &old {
                new.is_open = old.is_open;
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
                    for event in &self.pending {
                        new.fold(event);
                    }
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
pub(super) async fn read(store: &dyn RolloutStore) -> anyhow::Result<(Memory, i64)> {
    let last_seq = store.last_event().await?;
    let mut memory = Memory::load(store).await?;
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
        rollout.cursor = rollout.cursor.max(last_seq);
    }
    Ok((memory, last_seq))
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
