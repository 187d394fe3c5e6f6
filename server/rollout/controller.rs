//! Reads, decides, applies, records.
//!
//! One loop takes the events out of the [`Log`], numbers and folds them, decides, and
//! writes all of it in one transaction: events, evidence, statuses, history, alerts. Two rules keep
//! people safe whatever the disk does:
//!
//! - *Lowering* is in force at once: it is applied in memory and published, then written, and written
//!   again until that succeeds; until then it is *owed*.
//! - *Raising* is written first and published when that has succeeded. A start, of a rollout or of the
//!   process, serves control until the first tick has written.
//!
//! There are two locks. `writer` is held for as long as something is written, so writes follow one
//! another. `inner` is held only to read and change memory, never while waiting, so a lowering gets
//! through while a write hangs. Whoever needs both takes `writer` first.
//!
//! A write that fails is in doubt: it may have happened. So before the next one the rollouts are read
//! again ([`memory`]), and events that are stored are not stored, nor folded, twice.

mod alone;
mod following;
mod guard;
mod judging;
mod kept;
mod lease;
mod lowering;
mod memory;
mod others;
mod prepared;
mod probe;
mod probes;
mod steering;
mod tick;
mod watching;

use std::{borrow::Cow, collections::HashMap, future::Future, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

pub use self::watching::WhoLeads;
use self::{kept::KeptBatches, memory::Memory};
pub use self::{lowering::Lowering, probes::DueProbe, steering::Wishes};
pub use super::world::World;
use super::{
    archive::Archive,
    errors::ControlError,
    plan::{KnownNames, Library, Plan},
    record::Action,
    status::{Moment, Status, TICK},
    store::{AuditRow, Fence, RolloutStore, RolloutsMark, StoredStatus},
    view::View,
};
use crate::{
    _core::{
        failure_edge::FailureEdge, feature_flags::FeatureFlags, toml_reader::TomlFaults,
        units::Percent,
    },
    ai_metrics::AiMetrics,
    recording::Log,
};

/// Between two looks at new events, at least.
const GAP: Duration = Duration::from_millis(100);
/// How long the last write is tried at a stop: a disk that is full stays so, and a server comes back.
const LAST_PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(8)];
/// Between two tries.
const LAST_ATTEMPTS_PAUSE: Duration = Duration::from_millis(200);
/// Changes that a slow listener may be behind.
const CHANGES: usize = 256;

/// Something changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// Where the rollout is now.
    pub status: Status,
}

impl Change {
    /// A line of the history, with where the rollout is by now.
    fn of(row: &AuditRow, status: &Status) -> Self {
        Self {
            action: row.action,
            at: row.at,
            status: status.clone(),
        }
    }
}

/// What a controller works with.
pub struct ControllerParts {
    /// Where rollouts and events are kept.
    pub store: Arc<dyn RolloutStore>,
    /// Where shares are published.
    pub flags: Arc<FeatureFlags>,
    /// What is settled once a second.
    pub metrics: Arc<AiMetrics>,
    /// Where events come from.
    pub log: Arc<Log>,
    /// Plans by name.
    pub library: Library,
    /// Names that plans may use.
    pub known: KnownNames,
    /// The clocks and the dice.
    pub world: World,
    /// Names this process to others that want to write.
    pub holder: String,
    /// The last batch of each writer that `metrics` hold or will be given by others.
    pub seen: HashMap<i64, i64>,
}

/// What follows from a catalog of models.
pub struct Plans {
    /// Plans by name.
    pub library: Library,
    /// Names that plans may use.
    pub known: KnownNames,
}

/// Moves rollouts; shared by all who steer or ask.
pub struct Controller {
    store: Arc<dyn RolloutStore>,
    archive: Archive,
    flags: Arc<FeatureFlags>,
    metrics: Arc<AiMetrics>,
    log: Arc<Log>,
    /// What plans may name, and those that can be started by name.
    plans: ArcSwap<Plans>,
    world: World,
    holder: String,
    inner: Mutex<Memory>,
    writer: tokio::sync::Mutex<WriteLease>,
    /// When the store last answered that this process has the lease, on the monotonic clock.
    lease_at: Mutex<Option<Duration>>,
    changes: broadcast::Sender<Arc<Change>>,
    /// Asks for a tick before its time.
    hurry: Notify,
}

/// The right to write, and what is known of the last one.
#[derive(Default)]
struct WriteLease {
    fence: Option<Fence>,
    /// The number of this process as a writer of the log, once it has one.
    id: Option<i64>,
    renewed_at: Option<Moment>,
    /// Since when writes fail while this process leads, on the monotonic clock.
    failing_since: Option<Duration>,
    /// The last write may or may not have happened.
    in_doubt: bool,
    /// What the store has of rollouts, as this process left it.
    mark: Option<RolloutsMark>,
    /// Of the store.
    outage: FailureEdge,
}

impl Controller {
    /// Reads the rollouts and publishes control for all that they cover. [`Controller::run`], or
    /// ticks, then open them.
    pub async fn open(parts: ControllerParts) -> anyhow::Result<Arc<Self>> {
        let memory = Memory::load(&*parts.store).await.context(
            "the rollouts cannot be read, so the server did not start: it would have to guess who gets which model",
        )?;
        let is_shared = parts.store.is_shared();
        let controller = Self {
            archive: Archive::new(parts.store.clone()),
            store: parts.store,
            flags: parts.flags,
            metrics: parts.metrics,
            log: parts.log,
            plans: ArcSwap::from_pointee(Plans {
                library: parts.library,
                known: parts.known,
            }),
            world: parts.world,
            holder: parts.holder,
            inner: Mutex::new(Memory {
                kept: is_shared.then(KeptBatches::default),
                seen: parts.seen,
                ..memory
            }),
            writer: tokio::sync::Mutex::default(),
            lease_at: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
            hurry: Notify::new(),
        };
        controller.publish(&controller.inner.lock());
        Ok(Arc::new(controller))
    }

    /// Ticks every second, and looks at events as they come, until `stop` resolves; then writes the
    /// rest. Nothing that is recorded later is stored, so this belongs to `Tasks` that are shut down
    /// after those of the calls.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        let mut ticks = interval_at(Instant::now(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval_at(Instant::now() + following::LOOK, following::LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_due = tokio::select! {
                // Events come all the time, and must not keep a tick that is due from its turn.
                biased;
                () = &mut stop => break,
                _ = ticks.tick() => true,
                // Who follows has to see soon what is decided, and that nobody leads any more; who leads,
                // what others have stored.
                _ = looks.tick() => self.watchfully(self.look_at_others()).await,
                () = self.hurry.notified() => true,
                () = self.log.appended() => false,
            };
            if is_due || self.look() {
                self.metrics.settle();
                self.watchfully(self.tick()).await;
            }
            tokio::select! {
                () = &mut stop => break,
                () = sleep(GAP) => {}
            }
        }
        self.end().await;
    }

    /// A clean stop: stores what is left, and lets another process lead.
    async fn end(&self) {
        // The lease is renewed first, which shows whether a failover has just lost what this process stored last: no
        // other process may know of that.
        self.writer.lock().await.renewed_at = None;
        self.write_the_last().await;
        let fence = self.writer.lock().await.fence.take();
        if let Some(fence) = fence
            && let Err(error) = self.store.release(&fence, self.world.now().wall).await
        {
            let error = format!("{error:#}");
            tracing::warn!(error, "the lease could not be given back");
        }
    }

    /// Writes what is left, at a stop. A write that has begun is waited for.
    async fn write_the_last(&self) {
        let patience = LAST_PATIENCE[usize::from(self.store.is_shared())];
        let begun = Instant::now();
        while !self.tick().await || self.log.waiting() > 0 {
            if !self.leads() && self.log.waiting() == 0 {
                return;
            }
            if begun.elapsed() >= patience {
                let lost = self.log.waiting();
                tracing::error!(lost, "events could not be stored before the stop");
                return;
            }
            sleep(LAST_ATTEMPTS_PAUSE).await;
        }
    }

    /// Goes on looking at events for as long as the database takes.
    async fn watchfully(&self, work: impl Future<Output = bool>) -> bool {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(GAP) => {
                    self.look();
                }
            }
        }
    }

    /// Checks a plan's text against the names that are known here.
    pub fn validate(&self, text: &str) -> Result<Plan, TomlFaults> {
        Plan::parse(text, "plan", &self.plans.load().known)
    }

    /// The plans that can be started by name, and the names that plans may use.
    pub fn plans(&self) -> Arc<Plans> {
        self.plans.load_full()
    }

    /// Goes on with these. Rollouts that have begun keep their models.
    pub fn go_by(&self, plans: Plans) {
        self.plans.store(Arc::new(plans));
    }

    /// The rollouts under way as they are in force, the newest first.
    pub fn live(&self) -> Vec<Status> {
        let inner = self.inner.lock();
        let live = inner.rollouts.iter().filter(|rollout| rollout.is_live());
        live.map(|rollout| rollout.status.clone()).collect()
    }

    /// The rollouts under way: the id, the version and the share that users get here, the newest first.
    pub fn in_force(&self) -> Vec<(String, i64, Percent)> {
        let inner = self.inner.lock();
        let live = inner.rollouts.iter().filter(|rollout| rollout.is_live());
        live.map(|it| (it.status.id.clone(), it.status.version, it.live().share))
            .collect()
    }

    /// Whether users get the shares that are decided: until the first tick has written, or has read what another process
    /// decided, they get control.
    pub fn is_open(&self) -> bool {
        let inner = self.inner.lock();
        let mut live = inner.rollouts.iter().filter(|rollout| rollout.is_live());
        live.all(|rollout| rollout.is_open)
    }

    /// Whether other processes may be on the database.
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// The time by which this controller goes.
    pub fn now(&self) -> DateTime<Utc> {
        self.world.now().wall
    }

    /// The name of this process, as the lease has it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    /// What the store keeps of rollouts.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// All rollouts as they are in force, the newest first. One that was damaged while the server ran, and that it does
    /// not have in memory, is missing among them, and logged.
    pub async fn list(&self) -> Result<Vec<Status>, ControlError> {
        let stored = self.archive.list().await?;
        let in_force: Vec<_> = {
            let inner = self.inner.lock();
            let status = |stored: &StoredStatus| Some(inner.get(&stored.id)?.status.clone());
            stored.iter().map(status).collect()
        };
        let statuses = stored
            .iter()
            .zip(in_force)
            .filter_map(|(stored, in_force)| {
                in_force.or_else(|| {
                    let read = stored.read();
                    read.inspect_err(|error| tracing::error!("{error:#}")).ok()
                })
            });
        Ok(statuses.collect())
    }

    /// One rollout as it is in force, with its plan and evidence.
    pub async fn get(&self, id: &str) -> Result<View, ControlError> {
        let id = &*self.id_of(id).await?;
        let at = self.world.now().wall;
        if let Some(rollout) = self.inner.lock().get(id) {
            return Ok(View::of(rollout, at));
        }
        self.archive.get(id, at).await
    }

    /// A whole id. One that memory knows is not looked for, so that a lowering needs no store.
    async fn id_of<'a>(&self, id: &'a str) -> Result<Cow<'a, str>, ControlError> {
        if self.inner.lock().get(id).is_some() {
            return Ok(id.into());
        }
        self.archive.whole_id(id).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
