//! The kill switch and the live share: changed by people, kept over restarts, announced.
//!
//! The rules are those of a rollout's share:
//!
//! - *Lowering* (kill on, a smaller share) is in force at once, in memory, and needs no database. It is
//!   *owed* to the store until it is written, and laid over whatever another process writes meanwhile:
//!   `killed` by or, shares by the smaller.
//! - *Raising* (kill off, a greater share) is written first. Where that fails, nothing has changed.
//!
//! `inner` is held only to read and change memory, `writer` for as long as the store takes; whoever
//! needs both takes `writer` first. A write that fails is in doubt, so the flag is read before every
//! write, and a change is known again by its id. Several processes may write: versions give the order,
//! and each process adopts greater ones once a second.

mod memory;
mod notices;
pub mod store;
mod writing;

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, timeout},
};
use uuid::Uuid;

use self::{
    memory::{FlagMemory, FlagRequest, FlagWish},
    store::{FlagChange, FlagStore, StoredFlag},
    writing::FlagWriter,
};
use crate::_core::{actor::Actor, feature_flags::FeatureFlags, settling, units::Percent};

/// Between two looks at what other processes wrote, and two tries to write what is owed.
const LOOK: Duration = Duration::from_millis(500);
/// How long a change may be in force and not stored before the process is not well: every change is,
/// for the moment that its write takes.
const OWED_PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer to a lowering, which is in force, waits for the store.
const LOWERED_PATIENCE: Duration = Duration::from_secs(2);
/// How long a listener waits who has seen more than this process.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);
/// How long a raising waits for the store.
const RAISED_PATIENCE: Duration = Duration::from_secs(10);
/// Lowerings that may wait for the store: one more smaller share is refused, which nothing but a
/// script does while the database is away. The kill switch is never refused.
const MOST_OWED: usize = 256;
/// Changes that a slow listener may be behind.
const CHANGES: usize = 256;

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// The change was based on another version.
    #[error("the flag is at version {}, not {based_on}", current.flag.version)]
    Stale {
        /// What it was based on.
        based_on: i64,
        /// Where the flag is.
        current: Box<FlagInForce>,
    },
    /// What raises is written first, and that failed. It is not in force.
    #[error("the change cannot be written: {0:#}")]
    NotWritten(anyhow::Error),
    /// It is not known whether the change was written; if it was, it comes into force.
    #[error("the database did not answer within {} s", RAISED_PATIENCE.as_secs())]
    Late,
    /// Too many lowerings wait for the store.
    #[error("{MOST_OWED} changes of the share wait for the database")]
    TooManyOwed,
}

/// The flag in force.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagInForce {
    /// What is in force, its version and its last change.
    pub flag: StoredFlag,
    /// Whether all of it is stored; false while a lowering is owed.
    pub is_stored: bool,
}

/// What listeners get.
#[derive(Clone, Debug)]
pub struct FlagNotice {
    /// The flag in force after it.
    pub state: FlagInForce,
    /// What changed; `None` where what was owed has been stored.
    pub change: Option<FlagChange>,
}

/// A person's change.
#[derive(Clone, Debug)]
pub struct FlagSteering<'a> {
    /// The version it is based on; without one, the last change wins.
    pub based_on: Option<i64>,
    /// Why; not blank.
    pub reason: &'a str,
    /// `user:7`.
    pub actor: &'a Actor,
    /// When it was asked.
    pub at: DateTime<Utc>,
}

/// Steers the flag; shared by all who change it or ask.
pub struct LiveFlags {
    store: Arc<dyn FlagStore>,
    flags: Arc<FeatureFlags>,
    inner: Mutex<FlagMemory>,
    /// Since when something has been owed.
    owed_since: Mutex<Option<Instant>>,
    writer: tokio::sync::Mutex<FlagWriter>,
    /// Counts what the store has failed at.
    failures: watch::Sender<u64>,
    changes: broadcast::Sender<Arc<FlagNotice>>,
    /// Asks for a write before its time.
    hurry: Notify,
}

impl LiveFlags {
    /// Reads the flag and brings it into force. The share of the settings is only the first value; if
    /// it is another than at the last start, that is a change by [`Actor::Settings`].
    pub async fn open(
        store: Arc<dyn FlagStore>,
        flags: Arc<FeatureFlags>,
        configured: Percent,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Arc<Self>> {
        let stored = store.open_flag(configured).await?;
        let (was, killed) = (stored.configured, stored.position.killed);
        let this = Arc::new(Self {
            store,
            flags,
            inner: Mutex::new(FlagMemory {
                stored,
                owed: Vec::new(),
                settings: None,
                writing: None,
            }),
            owed_since: Mutex::default(),
            writer: tokio::sync::Mutex::default(),
            failures: watch::Sender::new(0),
            changes: broadcast::Sender::new(CHANGES),
            hurry: Notify::new(),
        });
        this.publish(&this.inner.lock());
        if killed {
            tracing::warn!("the kill switch is on, as it was: everybody gets the control models");
        }
        if was != configured {
            let asked = FlagRequest {
                id: Uuid::now_v7().to_string(),
                at: now,
                actor: Actor::Settings,
                reason: format!(
                    "OPENROUTER_ROLLOUT_PERCENTAGE is {configured} % now; it was {was} % at the last \
                     start"
                ),
                wish: FlagWish::Share(configured),
                configured: Some(configured),
            };
            {
                let mut inner = this.inner.lock();
                if asked.wish.lowers(inner.in_force().position) {
                    this.owe(&mut inner, asked);
                } else {
                    inner.settings = Some(asked);
                }
            }
            // What fails is logged, and tried again while the server runs.
            this.settle_now().await;
        }
        Ok(this)
    }

    /// What is in force.
    pub fn state(&self) -> FlagInForce {
        FlagInForce::of(&self.inner.lock())
    }

    /// Why the process is not well, as a reason for `/readyz`.
    pub fn trouble(&self) -> Option<String> {
        let since = *self.owed_since.lock();
        let is_late = since.is_some_and(|since| since.elapsed() >= OWED_PATIENCE);
        is_late.then(|| {
            "a change of the kill switch or the live share is in force and not stored yet, so a \
             restart would forget it"
                .to_owned()
        })
    }

    /// Turns the kill switch on, which is in force at once, or off. The share stays what it is.
    pub async fn kill(&self, on: bool, ask: FlagSteering<'_>) -> Result<FlagInForce, FlagError> {
        self.change(FlagWish::Kill(on), ask).await
    }

    /// Moves the live share; down at once, up when it is written.
    pub async fn set_share(
        &self,
        share: Percent,
        ask: FlagSteering<'_>,
    ) -> Result<FlagInForce, FlagError> {
        self.change(FlagWish::Share(share), ask).await
    }

    /// Changes before a version, or the newest; at most `limit`, oldest first, and how many of them are
    /// not stored yet.
    pub async fn history(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> anyhow::Result<(Vec<FlagChange>, usize)> {
        let owed = if before.is_none() {
            self.inner.lock().owed_changes()
        } else {
            Vec::new()
        };
        let to = before.unwrap_or(i64::MAX).saturating_sub(1);
        let mut changes = self.store.flag_history(1, to, limit).await?;
        // One that was stored meanwhile is in both.
        let owed: Vec<_> = (owed.into_iter())
            .filter(|owed| changes.iter().all(|change| change.id != owed.id))
            .collect();
        let count = owed.len();
        changes.extend(owed);
        Ok((changes, count))
    }

    /// Changes after a version, oldest first, those that are not stored included; of very many the
    /// newest.
    pub async fn since(&self, version: i64, limit: u32) -> anyhow::Result<Vec<FlagChange>> {
        let owed = self.inner.lock().owed_changes();
        let mut changes = (self.store)
            .flag_history(version.saturating_add(1), i64::MAX, limit)
            .await?;
        let owed = owed.into_iter().filter(|owed| owed.version > version);
        for owed in owed {
            if changes.iter().all(|change| change.id != owed.id) {
                changes.push(owed);
            }
        }
        Ok(changes)
    }

    /// Whether this version was reached, here or by another process: then it is reached here as well.
    pub async fn catches_up(&self, version: i64) -> bool {
        if self.state().flag.version < version {
            // Late or failed, it is seen below.
            let _ = timeout(CATCH_UP_PATIENCE, self.settle_now()).await;
        }
        self.state().flag.version >= version
    }

    /// Whether a change that was announced is stored.
    pub fn is_stored(&self, id: &str) -> bool {
        !self.inner.lock().owes(id)
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<FlagNotice>> {
        self.changes.subscribe()
    }

    /// Writes what is owed and adopts what other processes wrote, until `stop` resolves; then writes
    /// the rest. Belongs to `Tasks` that are shut down after those of the calls.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        settling::until(stop, &self.hurry, LOOK, || self.settle_now()).await;
        let is_settled = settling::at_last(|| self.settle_now()).await;
        if !is_settled && !self.state().is_stored {
            tracing::error!(
                "a change of the kill switch or the live share could not be stored before the stop"
            );
        }
    }

    /// One turn of [`LiveFlags::run`]. Returns whether nothing is owed any more. Tests call it by hand.
    pub async fn settle_now(&self) -> bool {
        let mut writer = self.writer.lock().await;
        self.settle(&mut writer).await.is_ok()
    }

    async fn change(
        &self,
        wish: FlagWish,
        ask: FlagSteering<'_>,
    ) -> Result<FlagInForce, FlagError> {
        let asked = FlagRequest {
            id: Uuid::now_v7().to_string(),
            at: ask.at,
            actor: ask.actor.clone(),
            reason: ask.reason.to_owned(),
            wish,
            configured: None,
        };
        loop {
            if let Some(state) = self.lower(&asked, ask.based_on)? {
                return Ok(state.await);
            }
            let raise = async {
                let mut writer = self.writer.lock().await;
                self.raise(&mut writer, &asked, ask.based_on).await
            };
            let raised = timeout(RAISED_PATIENCE, raise).await;
            if let Some(state) = raised.unwrap_or(Err(FlagError::Late))? {
                return Ok(state);
            }
        }
    }

    /// Brings a change into force if it lowers; the future waits a moment for the store.
    fn lower(
        &self,
        asked: &FlagRequest,
        based_on: Option<i64>,
    ) -> Result<Option<impl Future<Output = FlagInForce>>, FlagError> {
        let failures = {
            let mut inner = self.inner.lock();
            check(&inner, based_on)?;
            let before = inner.in_force().position;
            if !asked.wish.lowers(before) {
                return Ok(None);
            }
            let failures = self.failures.subscribe();
            if inner.owed.len() < MOST_OWED || asked.wish == FlagWish::Kill(true) && !before.killed
            {
                self.owe(&mut inner, asked.clone());
            } else if asked.wish.apply(before) != before {
                return Err(FlagError::TooManyOwed);
            }
            failures
        };
        self.hurry.notify_one();
        let id = asked.id.clone();
        Ok(Some(async move {
            let (mut failures, mut stored) = (failures, self.changes.subscribe());
            let settled = async {
                while self.inner.lock().owes(&id) {
                    tokio::select! {
                        _ = failures.changed() => return,
                        _ = stored.recv() => {}
                    }
                }
            };
            // Late or failed, it is owed, and the answer says so.
            let _ = timeout(LOWERED_PATIENCE, settled).await;
            self.state()
        }))
    }

    /// Brings a lowering into force, and announces it.
    fn owe(&self, inner: &mut FlagMemory, asked: FlagRequest) {
        // A newer decision than theirs, which the next start makes again.
        inner.settings = None;
        inner.owed.push(asked);
        self.publish(inner);
        let change = inner.in_force().last;
        self.announce(inner, change);
    }

    fn publish(&self, inner: &FlagMemory) {
        self.flags.steer(&inner.steered());
        let mut since = self.owed_since.lock();
        *since = if inner.owed.is_empty() {
            None
        } else {
            since.or_else(|| Some(Instant::now()))
        };
    }

    fn announce(&self, inner: &FlagMemory, change: Option<FlagChange>) {
        let state = FlagInForce::of(inner);
        if let Some(FlagChange {
            actor,
            reason,
            version,
            after,
            ..
        }) = &change
        {
            let (share, killed) = (after.share.get(), after.killed);
            let stored = state.is_stored;
            tracing::warn!(
                %actor,
                share,
                killed,
                version,
                stored,
                reason,
                "live flags changed"
            );
        }
        // Nobody needs to listen.
        let _ = self.changes.send(Arc::new(FlagNotice { state, change }));
    }
}

impl FlagInForce {
    fn of(inner: &FlagMemory) -> Self {
        Self {
            flag: inner.in_force(),
            is_stored: inner.owed.is_empty(),
        }
    }
}

/// Refuses what is based on another version than the newest, which may still be on its way.
fn check(inner: &FlagMemory, based_on: Option<i64>) -> Result<(), FlagError> {
    let newest = inner.newest();
    let current = FlagInForce {
        is_stored: newest.version == inner.stored.version,
        flag: newest,
    };
    match based_on {
        Some(based_on) if based_on != current.flag.version => Err(FlagError::Stale {
            based_on,
            current: Box::new(current),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
