//! What the controller holds in memory, and how it is put right from the store.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::{
    World,
    entry::{Author, Entry, Owed, Turn},
};
use crate::{
    ai_metrics::{AiMetrics, Event},
    rollout::{
        status::{Moment, State, Status},
        store::RolloutStore,
    },
};

/// Events that may wait for a store that fails; about 15 MB. More wait in [`AiMetrics`].
const PENDING_LIMIT: usize = 100_000;
/// Events that are read at once to catch up.
const PAGE: usize = 10_000;

/// Rollouts and events in memory.
#[derive(Default)]
pub(super) struct Memory {
    /// The newest first: live ones, and those whose end still decides what is served.
    pub(super) entries: Vec<Entry>,
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
        let mut entries = Vec::new();
        let mut covered = Covered::default();
        for stored in store.statuses().await? {
            let tasks = status(&stored.status, stored.version)?.tasks;
            if (stored.is_live || covered.leaves_some(&tasks))
                && let Some(stored) = store.rollout(&stored.id).await?
            {
                entries.push(Entry::from_stored(&stored)?);
            }
            covered.add(&tasks);
        }
        Ok(Self {
            entries,
            ..Self::default()
        })
    }

    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.status.id == id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.status.id == id)
    }

    /// Adds a new rollout, and lets go of ended ones that it covers.
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.insert(0, entry);
        let mut covered = Covered::default();
        self.entries.retain(|entry| {
            let stays = entry.is_live() || covered.leaves_some(&entry.status.tasks);
            covered.add(&entry.status.tasks);
            stays
        });
    }

    /// Takes up what was recorded: numbers it and folds it.
    pub(super) fn gather(&mut self, metrics: &AiMetrics) {
        if self.pending.len() < PENDING_LIMIT {
            for mut event in metrics.drain() {
                self.last_seq += 1;
                event.seq = self.last_seq;
                for entry in &mut self.entries {
                    entry.fold(&event);
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
        for new in &mut stored.entries {
            let old = self
                .entries
                .iter()
                .position(|it| it.status.id == new.status.id);
            let old = old.map(|place| self.entries.swap_remove(place));
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
        self.entries = stored.entries;
    }
}

impl Entry {
    /// The version that the store has, as far as is known.
    fn base_version(&self) -> i64 {
        let owed = i64::try_from(self.owed.len()).unwrap_or(i64::MAX);
        self.status.version.saturating_sub(owed)
    }

    /// Applies a lowering that is in force to what the store turned out to have.
    pub(super) fn lower_again(&mut self, lowered: &Self, now: Moment, world: &World) {
        let status = &lowered.status;
        let turn = match status.state {
            State::RolledBack => Turn::RollBack,
            _ if status.share < self.status.share => Turn::Share(status.share),
            _ => return,
        };
        if self.status.state == State::RolledBack {
            return;
        }
        let by = Author {
            actor: &status.changed_by,
            reason: &status.reason,
        };
        let alerts = lowered.owed.iter().flat_map(|owed| owed.alerts.clone());
        let alerts = alerts.collect();
        self.lower(turn, by, alerts, now, world);
    }

    /// Brings a lowering into force; it is owed to the store.
    pub(super) fn lower(
        &mut self,
        turn: Turn,
        by: Author<'_>,
        alerts: Vec<crate::alerting::Alert>,
        now: Moment,
        world: &World,
    ) {
        let next = self.turn(turn, by, now, world);
        *self = next.entry;
        self.owed.push(Owed {
            status: self.status.clone(),
            audit: next.audit,
            alerts,
        });
    }
}

/// Reads the rollouts, and folds what their evidence has not seen.
pub(super) async fn read(store: &dyn RolloutStore) -> anyhow::Result<(Memory, i64)> {
    let last_seq = store.last_event().await?;
    let mut memory = Memory::load(store).await?;
    for entry in memory.entries.iter_mut().filter(|entry| entry.is_live()) {
        let id = entry.status.id.clone();
        loop {
            let events = store.events_of(&id, entry.cursor, PAGE).await?;
            for event in &events {
                entry.fold(event);
            }
            if events.len() < PAGE {
                break;
            }
        }
        entry.cursor = entry.cursor.max(last_seq);
    }
    Ok((memory, last_seq))
}

/// A stored status.
pub(super) fn status(status: &Value, version: i64) -> anyhow::Result<Status> {
    let mut status = Status::deserialize(status)?;
    status.version = version;
    Ok(status)
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
