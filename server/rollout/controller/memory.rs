//! What the controller holds in memory, and how it is put right from the store.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{
    World,
    alone::{Guard, Guarded},
    kept::KeptBatches,
    lowering::Lowering,
};
use crate::{
    recording::{Batch, Log, Ordered},
    rollout::{
        rollout::Rollout,
        status::{Moment, RunState, Status},
        store::{RolloutStore, RolloutsMark},
    },
};

/// Rollouts that were rolled back and that newer ones cover: so many are remembered.
const MOST_GONE: usize = 8;
/// Events that are read at once to catch up.
const PAGE: usize = 10_000;

/// The batches of this process that the store has.
#[derive(Default)]
pub(super) struct OwnBatches {
    /// The number of the last one.
    pub(super) last_batch: i64,
    /// Those without a place.
    pub(super) unplaced: Vec<Batch>,
}

/// What a process that follows has read.
#[derive(Clone, Copy)]
pub(super) struct Followed {
    pub(super) mark: RolloutsMark,
    /// On the monotonic clock.
    pub(super) at: Duration,
}

/// Rollouts and events in memory.
#[derive(Default)]
pub(super) struct Memory {
    /// The newest first: live ones, and those whose end still decides what is served.
    pub(super) rollouts: Vec<Rollout>,
    /// Those that were rolled back and decide about nothing any more, the newest last: a database that goes back may have
    /// them in force again.
    pub(super) gone: VecDeque<Rollout>,
    /// In their place, folded, and not yet stored; in order.
    pub(super) pending: Vec<Ordered>,
    /// Batches of this process that have no place and may not be stored, while it does not lead; in order.
    pub(super) unsent: VecDeque<Batch>,
    /// Batches of this process that are stored, for a database that goes back; none where it is no other process's.
    pub(super) kept: Option<KeptBatches>,
    /// The number of the last batch of this process that is stored.
    pub(super) last_stored: i64,
    /// The last batch of each other writer that has its place, where this process gave it one.
    pub(super) placed: HashMap<i64, i64>,
    /// The last batch of each other writer that the windows hold.
    pub(super) seen: HashMap<i64, i64>,
    /// What was in force here and not stored when another process took the lease; to be handed over.
    pub(super) lost: Vec<Lowering>,
    /// The number of the last lowering that is in force here alone.
    pub(super) lowerings: u64,
    /// The number of the last event that is stored.
    pub(super) head: i64,
    /// Whether this process is the one that gives numbers.
    pub(super) is_numbering: bool,
    /// What was read last while another process leads.
    pub(super) followed: Option<Followed>,
    /// When the store answered last, while another process leads; on the monotonic clock.
    pub(super) heard_at: Option<Duration>,
    /// What this process judges alone while the store is away.
    pub(super) guard: Option<Guard>,
    /// Whether it took a candidate from its users.
    pub(super) guarded: Option<Guarded>,
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

    /// The same, also where it decides about nothing any more.
    pub(super) fn remembered(&self, id: &str) -> Option<&Rollout> {
        let gone = || self.gone.iter().rfind(|it| it.status.id == id);
        self.get(id).or_else(gone)
    }

    /// Adds a new rollout, and lets go of ended ones that it covers.
    pub(super) fn add(&mut self, rollout: Rollout) {
        self.rollouts.insert(0, rollout);
        let mut covered = Covered::default();
        let rollouts = std::mem::take(&mut self.rollouts);
        let (stay, go) = rollouts.into_iter().partition(|rollout| {
            let stays = rollout.is_live() || covered.leaves_some(&rollout.status.tasks);
            covered.add(&rollout.status.tasks);
            stays
        });
        self.rollouts = stay;
        self.remember(go);
    }

    /// From now on these are its rollouts; those that are not among them are remembered.
    pub(super) fn go_on_with(&mut self, rollouts: Vec<Rollout>) {
        let before = std::mem::replace(&mut self.rollouts, rollouts);
        let is_gone = |it: &Rollout| self.get(&it.status.id).is_none();
        let gone = before.into_iter().filter(is_gone).collect();
        self.remember(gone);
    }

    fn remember(&mut self, gone: Vec<Rollout>) {
        let is_back = |it: &Rollout| it.status.state == RunState::RolledBack;
        self.gone.extend(gone.into_iter().filter(is_back));
        let many = self.gone.len().saturating_sub(MOST_GONE);
        self.gone.drain(..many);
    }

    /// The last number given.
    pub(super) fn last_seq(&self) -> i64 {
        self.pending.last().map_or(self.head, Ordered::last_seq)
    }

    /// Takes up what was recorded: gives it its place and folds it.
    pub(super) fn gather(&mut self, log: &Log) {
        while let Some(batch) = log.freeze() {
            self.place(batch);
        }
    }

    /// Gives a batch the next place in the log, and folds it.
    pub(super) fn place(&mut self, batch: Batch) {
        let batch = Ordered::after(self.last_seq(), batch);
        for event in batch.events() {
            for rollout in &mut self.rollouts {
                rollout.fold(event);
            }
        }
        self.pending.push(batch);
    }

    /// Another process leads: what this one has not stored it stores from now on as its own.
    fn step_down(&mut self) {
        self.is_numbering = false;
        let pending = std::mem::take(&mut self.pending).into_iter();
        let own = pending.filter(|batch| batch.writer().is_none());
        self.unsent.extend(own.map(Ordered::into_batch));
        self.placed.clear();
    }

    /// It leads no more, as the database said at this time; from now on its silence counts.
    pub(super) fn stepped_down(&mut self, at: Duration) {
        self.step_down();
        self.heard_at = Some(at);
    }

    /// Folds what is not stored into a rollout that may not hold it.
    pub(super) fn fold_pending(&self, rollout: &mut Rollout) {
        for event in self.pending.iter().flat_map(Ordered::events) {
            rollout.fold(event);
        }
    }

    /// Forgets what is stored in its place, up to the event of this number.
    pub(super) fn forget(&mut self, head: i64, log: &Log, at: Duration) {
        let stored = self.pending.partition_point(|it| it.last_seq() <= head);
        let stored: Vec<_> = self.pending.drain(..stored).collect();
        for batch in stored {
            self.head = batch.last_seq();
            if batch.writer().is_none() {
                self.is_stored(batch.into_batch(), log, at);
            }
        }
    }

    /// The store refuses these events of a batch of this process, by their places: they are in the log of nobody. Only while
    /// the batch has no place in it.
    pub(super) fn set_aside(&mut self, number: i64, refused: &[usize], log: &Log) {
        let Some(batch) = self.unsent.iter_mut().find(|it| it.number == number) else {
            return;
        };
        let (refused, events): (Vec<_>, Vec<_>) = (batch.events.iter().cloned().enumerate())
            .partition(|(place, _)| refused.contains(place));
        batch.events = events.into_iter().map(|(_, event)| event).collect();
        for (_, event) in &refused {
            log.set_aside(event);
        }
        self.unsent.retain(|it| !it.events.is_empty());
    }

    /// A batch of this process is stored.
    pub(super) fn is_stored(&mut self, batch: Batch, log: &Log, at: Duration) {
        log.stored(batch.events.len());
        self.last_stored = batch.number;
        if let Some(kept) = &mut self.kept {
            kept.add(batch, at);
        }
    }

    /// The last batch that the store has of this process has this number: what it lacks is to be stored again.
    pub(super) fn goes_on_from(&mut self, last_batch: i64, log: &Log, at: Duration) {
        let before = std::mem::replace(&mut self.last_stored, last_batch);
        let kept = self.kept.as_mut().map(|it| it.take_after(last_batch, at));
        let lacks = kept.unwrap_or_default();
        if before > last_batch {
            let first = lacks.first().map_or(before + 1, |it| it.number);
            let (again, lost) = (lacks.len(), first - last_batch - 1);
            tracing::warn!(
                before,
                last_batch,
                again,
                lost,
                "the log went back, as after a failover; this process stores its last batches again"
            );
        }
        log.lacks(lacks.iter().map(|it| it.events.len()).sum());
        for batch in lacks.into_iter().rev() {
            self.unsent.push_front(batch);
        }
    }

    /// Gives what is not stored its places anew, behind the end of the log that is stored.
    fn place_anew(&mut self, head: i64, own: OwnBatches, log: &Log, at: Duration) {
        self.step_down();
        self.head = head;
        // They are stored, and so come before the others of this process.
        let unplaced = own.unplaced;
        let (stored, unsent): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.unsent)
            .into_iter()
            .partition(|batch| batch.number <= own.last_batch);
        self.unsent = unsent;
        self.goes_on_from(own.last_batch, log, at);
        for batch in stored {
            self.is_stored(batch, log, at);
        }
        self.last_stored = own.last_batch;
        let unsent = std::mem::take(&mut self.unsent);
        for batch in unplaced.into_iter().chain(unsent) {
            let batch = Ordered::after(self.last_seq(), batch);
            self.pending.push(batch);
        }
    }

    /// Puts memory right after a write in doubt, or (`is_new`) when this process begins to write.
    /// `stored` is what the store has, caught up with its own log; `own` are this process's batches in it.
    pub(super) fn merge(
        &mut self,
        mut stored: Self,
        own: OwnBatches,
        is_new: bool,
        log: &Log,
        now: Moment,
        world: &World,
    ) {
        if !is_new {
            self.forget(stored.head, log, now.monotonic);
        }
        // A log that ends elsewhere than memory believes is new to it as well.
        let is_new = is_new || self.head != stored.head;
        if is_new {
            self.place_anew(stored.head, own, log, now.monotonic);
        }
        self.is_numbering = true;
        self.followed = None;
        self.heard_at = None;
        self.guard = None;
        let mut lost = Vec::new();
        for new in &mut stored.rollouts {
            let number = self.lowerings + 1 + lost.len() as u64;
            let old = self
                .rollouts
                .iter()
                .position(|it| it.status.id == new.status.id);
            let old = match old {
                Some(place) => Some(self.rollouts.swap_remove(place)),
                None => self.remembered(&new.status.id).cloned(),
            };
            if let Some(old) = &old {
                new.is_open = old.is_open;
                new.is_guarded = old.is_guarded;
                new.keep_caps_of(old);
            }
            match old {
                Some(mut old) if !is_new && old.base_version() == new.status.version => {
                    // Nothing moved, so memory is ahead. What was announced is announced only once.
                    if old.status.told == new.status.told {
                        old.alerts.clear();
                    }
                    old.is_urgent = true;
                    *new = old;
                }
                old => {
                    self.fold_pending(new);
                    // What is in force and not stored, or was stored in a database that went back.
                    let is_ahead = |old: &Rollout| {
                        !old.owed.is_empty() || old.was_stored_and_is_not(&new.status)
                    };
                    if let Some(old) = old.filter(is_ahead) {
                        // No share moves while an outage is waited for, so this process asks itself for a smaller one,
                        // until it can be made.
                        if new.status.outage.is_some()
                            && old.status.state != RunState::RolledBack
                            && let Some((lowering, until)) =
                                old.lowering_of(&new.status, number, now.wall)
                        {
                            new.caps.push(lowering.cap(until));
                            lost.push(lowering);
                        }
                        new.lower_again(&old, now, world);
                    }
                }
            }
        }
        self.go_on_with(stored.rollouts);
        self.lowerings += lost.len() as u64;
        self.lost.extend(lost);
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
        let own = OwnBatches {
            last_batch: 1,
            ..OwnBatches::default()
        };
        memory.merge(stored, own, true, &log, world.now(), &world);
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
        memory.merge(
            stored,
            OwnBatches::default(),
            false,
            &log,
            world.now(),
            &world,
        );
        assert_eq!((memory.head, memory.last_seq()), (5, 6));
    }
}
