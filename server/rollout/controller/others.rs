//! What several processes do with one log: each stores its own events, and the one that leads gives all of
//! them their places.
//!
//! A process that follows stores its batches one after the other and counts the next only when the last is
//! stored. The one that leads reads on from the last batch of each that has its place, folds it, and stores
//! the place with all else that a tick writes. Both put what others stored into their windows, each batch
//! once, so that figures are those of all processes, whichever is asked.

use tokio::time::Instant;

use super::{Controller, WriteLease, following::LOOK};
use crate::recording::Batch;

impl Controller {
    /// Looks at what the other processes did. Returns whether a tick is due.
    pub(super) async fn look_at_others(&self) -> bool {
        if !self.leads() {
            return true;
        }
        // Whoever writes looks at it as well.
        if let Ok(writer) = self.writer.try_lock() {
            self.take_up_others(&writer).await;
        }
        self.look()
    }

    /// Gives batches of other processes their places, and folds them; what fails is tried again.
    pub(super) async fn take_up_others(&self, writer: &WriteLease) {
        if let Err(error) = self.read_others(writer).await {
            writer.fails(&error);
        }
    }

    /// Reads what other processes stored: into the windows, and where this process leads, into the log.
    async fn read_others(&self, writer: &WriteLease) -> anyhow::Result<()> {
        let Some(own) = writer.id.filter(|_| self.store.is_shared()) else {
            return Ok(());
        };
        let (_, positions) = self.store.positions().await?;
        for position in positions {
            let id = position.writer;
            if id == own {
                let mut inner = self.inner.lock();
                if !inner.is_numbering && position.stored < inner.last_stored {
                    let at = self.world.now().monotonic;
                    inner.goes_on_from(position.stored, &self.log, at);
                }
                if let Some(guarded) = &mut inner.guarded {
                    guarded.is_judged = guarded.batch.is_some_and(|it| it <= position.ordered);
                }
                continue;
            }
            loop {
                let (placed, seen) = {
                    let inner = self.inner.lock();
                    let placed = match inner.is_numbering {
                        true => inner.placed.get(&id).copied().unwrap_or(position.ordered),
                        false => i64::MAX,
                    };
                    (placed, inner.seen.get(&id).copied().unwrap_or(0))
                };
                let after = placed.min(seen);
                if after >= position.stored {
                    break;
                }
                let batches = self.store.batches(id, after).await?;
                if batches.is_empty() {
                    // Deleted by now.
                    self.note(id, position.stored);
                    break;
                }
                self.take_up(batches, placed, seen);
            }
        }
        Ok(())
    }

    fn take_up(&self, batches: Vec<Batch>, placed: i64, seen: i64) {
        let mut inner = self.inner.lock();
        for batch in batches {
            let Some(id) = batch.writer else { continue };
            let number = batch.number;
            if number > seen {
                self.metrics.restore(batch.events.iter().cloned());
                inner.seen.insert(id, number);
            }
            if number > placed && inner.is_numbering {
                inner.place(batch);
                inner.placed.insert(id, number);
            }
        }
    }

    /// There is nothing of a writer up to this batch.
    fn note(&self, id: i64, number: i64) {
        let mut inner = self.inner.lock();
        inner.seen.insert(id, number);
        if inner.is_numbering {
            inner.placed.insert(id, number);
        }
    }

    /// Stores what was recorded here while another process leads. Returns whether nothing is left of what was there when it
    /// began.
    pub(super) async fn pass_on(&self, writer: &mut WriteLease) -> bool {
        match self.try_pass_on(writer).await {
            Ok(is_all) => {
                if is_all && writer.outage.ends() {
                    tracing::info!("events and rollouts are stored again");
                }
                is_all
            }
            Err(error) => {
                writer.fails(&error);
                false
            }
        }
    }

    async fn try_pass_on(&self, writer: &mut WriteLease) -> anyhow::Result<bool> {
        if self.inner.lock().followed.is_none() {
            return Ok(false);
        }
        if writer.id.is_none() {
            writer.id = self
                .store
                .enter(&self.holder, self.world.now().wall)
                .await?;
        }
        let Some(id) = writer.id.filter(|_| self.store.is_shared()) else {
            return Ok(false);
        };
        // What is recorded meanwhile is the next round's, and what waited through an outage takes several: after each this
        // process looks at what is decided. A batch takes long where the way to the database does.
        let begun = Instant::now();
        let mut left = self.log.waiting();
        while left > 0 {
            if begun.elapsed() >= LOOK {
                return self.read_others(writer).await.map(|()| false);
            }
            let Some(batch) = self.next_unsent() else {
                break;
            };
            let after = self.inner.lock().last_stored;
            let stored = self.store.append(&self.holder, id, after, &batch);
            let last_batch = match stored.await {
                Ok(last_batch) => last_batch,
                Err(error) if self.store.refuses(&error) && self.set_aside(&batch).await? => {
                    continue;
                }
                Err(error) => {
                    // It may have been silent for so long that the store has forgotten it.
                    writer.id = None;
                    return Err(error);
                }
            };
            left = left.saturating_sub(batch.events.len());
            let at = self.world.now().monotonic;
            let mut inner = self.inner.lock();
            // One that is stored already is one whose answer was lost.
            while let Some(batch) = inner.unsent.pop_front_if(|it| it.number <= last_batch) {
                inner.is_stored(batch, &self.log, at);
            }
            if last_batch < batch.number {
                inner.goes_on_from(last_batch, &self.log, at);
            }
        }
        let is_all = {
            let mut inner = self.inner.lock();
            // A database that went back may lack what was stored before.
            let (is_all, last_stored) = (inner.unsent.is_empty(), inner.last_stored);
            if let Some(guarded) = inner.guarded.as_mut().filter(|_| is_all) {
                guarded.batch.get_or_insert(last_stored);
            }
            is_all
        };
        self.read_others(writer).await?;
        Ok(is_all)
    }

    /// Sets aside which events of a batch the store refuses, so that they do not hold up all others for ever. Returns
    /// whether there are such.
    async fn set_aside(&self, batch: &Batch) -> anyhow::Result<bool> {
        let refused = self.store.refused(&batch.events).await?;
        (self.inner.lock()).set_aside(batch.number, &refused, &self.log);
        Ok(!refused.is_empty())
    }

    /// The same of all that this process has not stored while it leads. Their places, and what was folded, are made anew.
    pub(super) async fn set_pending_aside(&self, writer: &mut WriteLease) -> anyhow::Result<()> {
        let own: Vec<Batch> = {
            let mut inner = self.inner.lock();
            // What is folded holds events that will not be in the log.
            inner.stepped_down(self.world.now().monotonic);
            inner.unsent.iter().cloned().collect()
        };
        writer.in_doubt = true;
        for batch in own {
            self.set_aside(&batch).await?;
        }
        Ok(())
    }

    /// The batch that is to be stored next. A new one is made when the last is stored, and so is as large as
    /// it can be.
    fn next_unsent(&self) -> Option<Batch> {
        let mut inner = self.inner.lock();
        if inner.unsent.is_empty() {
            inner.unsent.extend(self.log.freeze());
        }
        inner.unsent.front().cloned()
    }

    /// This process's batches that are stored and have no place.
    pub(super) async fn unplaced_of(&self, own: i64) -> anyhow::Result<Vec<Batch>> {
        if !self.store.is_shared() {
            return Ok(Vec::new());
        }
        let (_, positions) = self.store.positions().await?;
        let mut unplaced: Vec<Batch> = Vec::new();
        let Some(position) = positions.into_iter().find(|it| it.writer == own) else {
            return Ok(unplaced);
        };
        loop {
            let after = unplaced.last().map_or(position.ordered, |it| it.number);
            let mut batches = self.store.batches(own, after).await?;
            if batches.is_empty() {
                return Ok(unplaced);
            }
            unplaced.append(&mut batches);
        }
    }
}
