//! What people change, what is written, and what is read back.

use std::{collections::BTreeMap, future::Future, mem, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use tokio::time::{Instant, timeout};

use super::{Move, Moves, OwedMoveBack, covers, table::put};
use crate::{
    _core::{clock, errors::in_full, failure_edge::FailureEdge, settling},
    migration::store::BetsHeld,
};

/// Between two looks at what other processes wrote, and two tries to write what is owed.
const LOOK: Duration = Duration::from_secs(1);
/// Between two times that reports are written.
const REPORTS: Duration = Duration::from_secs(5);
/// How long what a process bets with is its own after it was kept: longer than it takes until it is kept again.
const HELD: TimeDelta = TimeDelta::seconds(20);
/// How long the answer to a change that is in force waits for the store.
const BACK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a change that has to be stored first waits for it.
const AWAY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a change may be owed before the process is not well.
const OWED_PATIENCE: Duration = Duration::from_secs(2);

/// Why a move was not made.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// What leads away from the old server is written first, and that failed. It is not in force.
    #[error("the move cannot be written: {0:#}")]
    NotWritten(anyhow::Error),
    /// It is not known whether it was written; if it was, it comes into force.
    #[error("the database did not answer within {} s", AWAY_PATIENCE.as_secs())]
    Late,
}

#[derive(Default)]
pub(super) struct MoveWriter {
    outage: FailureEdge,
    reported: Option<Instant>,
    /// Whether the process ends after this.
    is_last: bool,
}

impl Moves {
    /// Makes a move. One back to the old server is in force at once, whatever the store does.
    pub async fn set(&self, change: Move) -> Result<(), MoveError> {
        let change = Arc::new(change);
        if change.mode.is_old() {
            {
                let mut inner = self.inner.lock();
                let owed = OwedMoveBack {
                    change: change.clone(),
                    taken: None,
                };
                self.owe(&mut inner, owed);
            }
            // Late or failed, it is owed, and the answer says so.
            let _ = timeout(BACK_PATIENCE, self.settle_now()).await;
            return Ok(());
        }
        let write = async {
            // One write after another, so that no older look undoes what this one did.
            let _writer = self.writer.lock().await;
            self.store.set_move(&change).await?;
            self.adopt(&change);
            // Where that fails, it is done with the next look.
            let _ = self.keep_bets(false, false).await;
            anyhow::Ok(())
        };
        let written = timeout(AWAY_PATIENCE, write).await;
        written
            .map_err(|_| MoveError::Late)?
            .map_err(MoveError::NotWritten)
    }

    /// Takes up a person's move that is stored: what is owed of it is done, and its reports begin anew.
    fn adopt(&self, change: &Arc<Move>) {
        let mut inner = self.inner.lock();
        inner
            .owed
            .retain(|name, owed| !covers(&change.name, name) || owed.change.at > change.at);
        inner
            .reports
            .retain(|procedure, _| !covers(&change.name, procedure));
        inner
            .seen
            .retain(|procedure, _| !covers(&change.name, procedure));
        put(&mut inner.stored, change.clone());
        self.publish(&mut inner);
    }

    /// Why the process is not well, as a reason for `/readyz`.
    pub fn trouble(&self) -> Option<String> {
        let since = self.inner.lock().owed_since;
        let is_late = since.is_some_and(|since| since.elapsed() >= OWED_PATIENCE);
        is_late.then(|| {
            "a procedure that went back to the old server is not stored there yet, so a restart would \
             forget it"
                .to_owned()
        })
    }

    /// Writes what is owed and seen, and adopts what other processes wrote, until `stop` resolves; then
    /// writes the rest. Belongs to `Tasks` that are shut down after those of the calls.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        settling::until(stop, &self.hurry, LOOK, || self.settle_now()).await;
        {
            let mut writer = self.writer.lock().await;
            writer.reported = None;
            writer.is_last = true;
        }
        let is_settled = settling::at_last(|| self.settle_now()).await;
        if !is_settled && !self.inner.lock().owed.is_empty() {
            tracing::error!(
                "a procedure that went back to the old server could not be stored before the stop, so it is not \
                 there after a start"
            );
        }
    }

    /// One turn of [`Moves::run`]; whether nothing is owed any more.
    pub async fn settle_now(&self) -> bool {
        let mut writer = self.writer.lock().await;
        let settled = self.settle(&mut writer).await;
        let is_settled = settled.is_ok();
        match settled {
            Ok(()) => {
                if writer.outage.ends() {
                    tracing::info!("the moves of procedures are stored again");
                }
            }
            Err(error) => {
                if writer.outage.begins() {
                    tracing::error!(
                        error = in_full(error.as_ref()),
                        "the moves of procedures cannot be read or written; it is tried again"
                    );
                }
            }
        }
        is_settled
    }

    async fn settle(&self, writer: &mut MoveWriter) -> anyhow::Result<()> {
        let owed: Vec<OwedMoveBack> = self.inner.lock().owed.values().cloned().collect();
        for OwedMoveBack { change, taken } in owed {
            let Some((replaced, alert)) = taken else {
                self.store.set_move(&change).await?;
                self.adopt(&change);
                continue;
            };
            let is_taken = self.store.take_back(&change, &replaced, &alert).await?;
            let mut inner = self.inner.lock();
            if is_taken {
                put(&mut inner.stored, change.clone());
            }
            // Otherwise somebody else has changed it, which the next look shows.
            inner.owed.retain(|_, owed| owed.change.id != change.id);
            self.publish(&mut inner);
        }
        let is_due = writer.reported.is_none_or(|at| at.elapsed() >= REPORTS);
        self.keep_bets(is_due, writer.is_last).await?;
        if is_due {
            let seen = mem::take(&mut self.inner.lock().seen);
            if let Err(error) = self.add(&seen).await {
                let mut inner = self.inner.lock();
                for (procedure, tally) in seen {
                    inner.seen.entry(procedure).or_default().add(&tally);
                }
                return Err(error);
            }
            writer.reported = Some(Instant::now());
        }
        self.read(is_due).await
    }

    /// Keeps what this process bets with, and takes what others left behind; of moves whose bets have no place yet, at
    /// once.
    #[expect(
        clippy::disallowed_methods,
        reason = "others go by the clock of the wall"
    )]
    async fn keep_bets(&self, is_due: bool, is_last: bool) -> anyhow::Result<()> {
        let held: Vec<_> = {
            let inner = self.inner.lock();
            let guards = inner.guards.iter();
            let guards = guards.filter(|(_, guard)| is_due || guard.stakes.place.is_none());
            let held =
                guards.map(|(id, guard)| (id.clone(), guard.stakes.place, guard.stakes.kept()));
            held.collect()
        };
        let now = clock::now();
        let until = match is_last {
            true => DateTime::UNIX_EPOCH,
            false => now + HELD,
        };
        for (id, place, bets) in held {
            let held = place.map(|place| (place, &*bets));
            let kept = self.store.hold_bets(&id, &self.holder, held, now, until);
            let BetsHeld { place: at, left } = kept.await?;
            let bets = {
                let mut inner = self.inner.lock();
                let Some(guard) = inner.guards.get_mut(&id) else {
                    continue;
                };
                if let Some(at) = at {
                    guard.stakes.take(at);
                }
                left.iter().for_each(|left| guard.stakes.join(left));
                guard.stakes.kept()
            };
            // What came with the place, or from others, is kept as well, or it would be lost with this process.
            if let Some(at) = at.filter(|at| place != Some(*at) || !left.is_empty()) {
                let held = Some((at, &*bets));
                let kept = self.store.hold_bets(&id, &self.holder, held, now, until);
                let more = kept.await?.left;
                if let Some(guard) = self.inner.lock().guards.get_mut(&id) {
                    more.iter().for_each(|left| guard.stakes.join(left));
                }
            }
        }
        Ok(())
    }

    async fn add(&self, seen: &BTreeMap<String, super::MoveTally>) -> anyhow::Result<()> {
        if seen.is_empty() {
            return Ok(());
        }
        self.store.add_reports(seen).await
    }

    /// Reads what is stored, and brings it into force.
    pub(super) async fn read(&self, with_reports: bool) -> anyhow::Result<()> {
        let stored = self.store.moves().await?;
        let reports = match with_reports {
            true => Some(self.store.reports().await?),
            false => None,
        };
        let mut inner = self.inner.lock();
        inner.stored = stored
            .into_iter()
            .map(|it| (it.name.clone(), Arc::new(it)))
            .collect();
        if let Some(reports) = reports {
            inner.reports = reports;
        }
        self.publish(&mut inner);
        Ok(())
    }
}
