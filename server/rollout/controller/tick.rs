//! The tick: take up events, decide, write, publish.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Change, Controller, Writer,
    entry::{Author, Entry, Next, Turn},
    memory::{self, Memory},
    notices, probe,
};
use crate::{
    _core::{actor::Actor, feature_flags::LiveRollout},
    alerting::{AlertKind, Severity},
    rollout::{
        decision::{Decision, decide},
        evidence::Level,
        record::Action,
        status::{Moment, State, Status},
        store::{Commit, CommitError, RolloutChange},
    },
};

/// How often a lease is renewed.
const RENEW_MS: u128 = 5_000;
/// How often evidence is stored where nothing else asks for it. Events are stored with every tick,
/// and evidence that is behind them catches up from them.
const EVIDENCE_MS: u128 = 5_000;

/// A write that has been put together.
pub(super) struct Prepared {
    commit: Commit,
    /// The last event in it.
    through: i64,
    written: Vec<Written>,
    /// Changes that come into force when they are written.
    nexts: Vec<Next>,
}

struct Written {
    id: String,
    owed: usize,
    alerts: usize,
}

/// What a write is for.
pub(super) enum Wish {
    /// What follows by itself.
    Tick,
    /// What a person wants; all else waits for the next tick.
    Next(Box<Next>),
    /// What is owed.
    Flush,
}

impl Controller {
    /// One tick; whether all that had to be written is. [`Controller::run`] calls it every second,
    /// tests by hand.
    pub async fn tick(&self) -> bool {
        let mut writer = self.writer.lock().await;
        self.look();
        if !self.is_in_control(&mut writer).await {
            return false;
        }
        self.look();
        let now = self.world.now();
        let prepared = self.inner.lock().prepare(Wish::Tick, now, &self.world);
        self.write(&mut writer, prepared, now).await.is_ok()
    }

    /// Takes up new events and takes back what has to be, in memory; whether it did. Waits for
    /// nothing.
    pub fn look(&self) -> bool {
        let now = self.world.now();
        let mut inner = self.inner.lock();
        if !inner.is_numbering {
            return false;
        }
        self.tell_late(&inner, now);
        inner.gather(&self.metrics);
        let mut lowered = Vec::new();
        for entry in &mut inner.entries {
            if !entry.is_live() || !entry.is_open {
                continue;
            }
            let (finding, _) = entry.judge(now);
            let decision = decide(&entry.plan, &entry.status, &finding, now.wall);
            let Decision::RollBack(cause) = decision else {
                continue;
            };
            let before = entry.clone();
            let reason = match finding.not_counted() {
                Some(why) => why.to_owned(),
                None => cause.to_string(),
            };
            let by = Author {
                actor: &Actor::Controller,
                reason: &reason,
            };
            entry.lower(Turn::RollBack, by, Vec::new(), now, &self.world);
            let alert = notices::of_change(&before, &entry.status, &finding, now, &self.world);
            if let Some(owed) = entry.owed.last_mut() {
                owed.alerts.extend(alert);
            }
            lowered.push(entry.status.id.clone());
        }
        for id in &lowered {
            self.in_force(&mut inner, id, Action::RolledBack, now);
        }
        !lowered.is_empty()
    }

    /// Has the requests told that are open although they are slow.
    fn tell_late(&self, inner: &Memory, now: Moment) {
        for entry in inner.entries.iter().filter(|entry| entry.is_live()) {
            if let Some(limit_ms) = entry.ledger.late_after_ms() {
                let (id, at_ms) = (&entry.status.id, now.wall.timestamp_millis());
                self.metrics.tell_late(id, limit_ms, at_ms, Instant::now());
            }
        }
    }

    /// Publishes a change that is in force in memory, checks it, and tells who listens.
    pub(super) fn in_force(&self, inner: &mut Memory, id: &str, action: Action, now: Moment) {
        self.publish(inner);
        let Some(entry) = inner.get_mut(id) else {
            return;
        };
        let mismatch = probe::mismatch(&self.flags, &entry.live(), &self.world);
        if let Some(mismatch) = &mismatch {
            tracing::error!(
                rollout = id,
                mismatch,
                "what is served is not what was decided"
            );
        }
        if notices::begins(&mut entry.status.told.not_converged, mismatch.is_some()) {
            let words = ("Not converged", mismatch.unwrap_or_default());
            let (kind, severity) = (AlertKind::NotConverged, Severity::Critical);
            let status = &entry.status;
            let alert = notices::alert(kind, severity, status, None, words, now, &self.world);
            entry.alerts.push(alert);
        }
        let Status { share, state, .. } = &entry.status;
        let (share, state) = (share.get(), state.name());
        let reason = &entry.status.reason;
        if matches!(action, Action::RolledBack | Action::Held) {
            tracing::warn!(
                rollout = id,
                %action,
                share,
                state,
                reason,
                "a rollout has changed"
            );
        } else {
            tracing::info!(
                rollout = id,
                %action,
                share,
                state,
                reason,
                "a rollout has changed"
            );
        }
        // Nobody needs to listen.
        let _ = self.changes.send(Arc::new(Change {
            action,
            at: now.wall,
            status: entry.status.clone(),
        }));
    }

    /// Publishes what memory holds: live rollouts first, then the newest.
    pub(super) fn publish(&self, inner: &Memory) {
        let (live, ended): (Vec<_>, Vec<_>) = inner.entries.iter().partition(|it| it.is_live());
        let rollouts: Vec<Arc<LiveRollout>> =
            live.into_iter().chain(ended).map(Entry::live).collect();
        self.flags.publish(&rollouts);
    }

    /// Whether this process may write, and knows what is stored.
    pub(super) async fn is_in_control(&self, writer: &mut Writer) -> bool {
        match self.take_control(writer).await {
            Ok(is_in_control) => is_in_control,
            Err(error) => {
                writer.fails(&error);
                false
            }
        }
    }

    async fn take_control(&self, writer: &mut Writer) -> anyhow::Result<bool> {
        let now = self.world.now();
        let is_new = !self.inner.lock().is_numbering;
        if let Some(fence) = writer.fence {
            let age = writer
                .renewed_at
                .map(|at| now.monotonic.saturating_sub(at.monotonic));
            if age.is_none_or(|age| age.as_millis() >= RENEW_MS) {
                if !self.store.renew(fence, now.wall).await? {
                    tracing::error!("another process has taken control of the rollouts");
                    writer.fence = None;
                    self.inner.lock().is_numbering = false;
                    return Ok(false);
                }
                writer.renewed_at = Some(now);
            }
        } else {
            writer.fence = self.store.acquire(&self.holder, now.wall).await?;
            writer.renewed_at = Some(now);
            writer.in_doubt = true;
            if writer.fence.is_none() {
                return self.follow().await;
            }
        }
        if writer.in_doubt {
            let (stored, last_seq) = memory::read(&*self.store).await?;
            let mut inner = self.inner.lock();
            inner.merge(stored, last_seq, is_new, now, &self.world);
            self.publish(&inner);
            writer.in_doubt = false;
        }
        Ok(true)
    }

    /// Serves what the process in control has decided.
    async fn follow(&self) -> anyhow::Result<bool> {
        let mut stored = Memory::load(&*self.store).await?;
        for entry in &mut stored.entries {
            entry.is_open = true;
        }
        let mut inner = self.inner.lock();
        inner.entries = stored.entries;
        self.publish(&inner);
        Ok(false)
    }

    /// Writes, and brings into force what waited for it.
    pub(super) async fn write(
        &self,
        writer: &mut Writer,
        prepared: Prepared,
        now: Moment,
    ) -> Result<(), CommitError> {
        let fence = writer.fence.ok_or(CommitError::Fenced)?;
        if prepared.commit.events.is_empty() && prepared.commit.rollouts.is_empty() {
            return Ok(());
        }
        match self.store.commit(fence, &prepared.commit).await {
            Ok(()) => {
                if std::mem::take(&mut writer.is_failing) {
                    tracing::info!("events and rollouts are stored again");
                }
                self.adopt(prepared, now);
                Ok(())
            }
            Err(error) => {
                writer.in_doubt = true;
                if matches!(error, CommitError::Fenced) {
                    writer.fence = None;
                    self.inner.lock().is_numbering = false;
                }
                writer.fails(&error);
                // The sooner it is known what is stored, the fewer requests are decided by a share
                // that may be an old one.
                let _ = self.is_in_control(writer).await;
                Err(error)
            }
        }
    }

    /// After a write: forgets what is stored, opens what was closed, and brings changes into force.
    fn adopt(&self, prepared: Prepared, now: Moment) {
        let mut inner = self.inner.lock();
        inner.pending.retain(|event| event.seq > prepared.through);
        let mut is_opened = false;
        for Written { id, owed, alerts } in &prepared.written {
            if let Some(entry) = inner.get_mut(id) {
                entry.owed.drain(..(*owed).min(entry.owed.len()));
                entry.alerts.drain(..(*alerts).min(entry.alerts.len()));
                entry.is_urgent = false;
                entry.stored_at = Some(now);
                is_opened |= !std::mem::replace(&mut entry.is_open, true);
            }
        }
        if is_opened {
            self.publish(&inner);
        }
        for mut next in prepared.nexts {
            let id = next.entry.status.id.clone();
            next.entry.stored_at = Some(now);
            next.entry.is_urgent = false;
            for event in &inner.pending {
                next.entry.fold(event);
            }
            match inner.get_mut(&id) {
                Some(entry) => {
                    let alerts = std::mem::take(&mut entry.alerts);
                    next.entry.alerts = alerts;
                    next.entry.owed.clear();
                    if !entry.owed.is_empty() {
                        // It was lowered while the change was written: that stays in force.
                        next.entry.lower_again(entry, now, &self.world);
                    }
                    *entry = next.entry;
                }
                None => inner.add(next.entry),
            }
            self.in_force(&mut inner, &id, next.audit.action, now);
        }
    }
}

impl Writer {
    fn fails(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                "rollouts and events cannot be stored; it is tried again"
            );
        }
    }
}

impl Memory {
    /// Puts a write together.
    pub(super) fn prepare(&mut self, wish: Wish, now: Moment, world: &super::World) -> Prepared {
        let mut prepared = Prepared {
            commit: Commit {
                events: self.pending.clone(),
                rollouts: Vec::new(),
            },
            through: self.last_seq,
            written: Vec::new(),
            nexts: Vec::new(),
        };
        let is_tick = matches!(wish, Wish::Tick);
        let passed = match self.last_tick {
            Some(last) if is_tick => now.since(last),
            _ => Default::default(),
        };
        if is_tick {
            self.last_tick = Some(now);
        }
        for entry in &mut self.entries {
            let next = (is_tick && entry.is_live() && entry.is_open && entry.owed.is_empty())
                .then(|| entry.step(passed, now, world))
                .flatten();
            match next {
                Some(next) => {
                    // One change of the rollout holds what is to be told of it as well.
                    let mut alerts = entry.alerts.clone();
                    alerts.extend(next.alerts.iter().cloned());
                    prepared.written.push(Written {
                        id: entry.status.id.clone(),
                        owed: 0,
                        alerts: entry.alerts.len(),
                    });
                    prepared.add(next, Some(entry.status.version), alerts);
                }
                None if entry.is_due(now, is_tick) => {
                    prepared.written.push(Written {
                        id: entry.status.id.clone(),
                        owed: entry.owed.len(),
                        alerts: entry.alerts.len(),
                    });
                    prepared.commit.rollouts.extend(entry.changes());
                }
                None => {}
            }
        }
        if let Wish::Next(next) = wish {
            let based_on = (next.audit.version > 1).then(|| next.audit.version - 1);
            let alerts = next.alerts.clone();
            prepared.add(*next, based_on, alerts);
        }
        prepared
    }
}

impl Prepared {
    fn add(&mut self, next: Next, based_on: Option<i64>, alerts: Vec<crate::alerting::Alert>) {
        self.commit.rollouts.push(RolloutChange {
            rollout: next.entry.stored(&next.entry.status),
            based_on,
            audit: Some(next.audit.clone()),
            alerts,
        });
        self.nexts.push(next);
    }
}

impl Entry {
    fn is_due(&self, now: Moment, is_tick: bool) -> bool {
        let age = self
            .stored_at
            .map(|at| now.monotonic.saturating_sub(at.monotonic).as_millis());
        !self.owed.is_empty()
            || is_tick
                && (self.is_urgent
                    || !self.alerts.is_empty()
                    || !self.is_open
                    || self.is_live() && age.is_none_or(|age| age >= EVIDENCE_MS))
    }

    /// Lets time pass, tells what is to be told, and works out what follows.
    fn step(
        &mut self,
        passed: std::time::Duration,
        now: Moment,
        world: &super::World,
    ) -> Option<Next> {
        self.status.soak(passed);
        let (finding, _) = self.judge(now);
        if finding.level >= Level::Watch {
            self.status.clear_since = None;
        } else if self.status.clear_since.is_none() {
            self.status.clear_since = Some(now.wall);
        }
        let alerts = notices::of_conditions(self, &finding, now, world);
        self.alerts.extend(alerts);
        let decision = decide(&self.plan, &self.status, &finding, now.wall);
        let (turn, reason) = match decision {
            // Looks take back.
            Decision::Stay(_) | Decision::RollBack(_) => return None,
            Decision::Hold(because) => {
                (Turn::State(State::Holding { because }), because.to_string())
            }
            Decision::Resume => (
                Turn::State(State::Running),
                "the cause of the hold is gone".into(),
            ),
            Decision::Ask { recommended } => {
                let reason = if recommended {
                    "the stage is over, and evidence recommends the next one"
                } else {
                    "the stage is over, and evidence is inconclusive"
                };
                (
                    Turn::State(State::WaitingAtGate { recommended }),
                    reason.into(),
                )
            }
            Decision::Advance(stage) => {
                (Turn::Stage(stage), "the stage is over, and proven".into())
            }
            Decision::Complete => (Turn::Complete, "the last stage is over".into()),
        };
        let by = Author {
            actor: &Actor::Controller,
            reason: &reason,
        };
        let mut next = self.turn(turn, by, now, world);
        let alert = notices::of_change(self, &next.entry.status, &finding, now, world);
        next.alerts.extend(alert);
        Some(next)
    }
}
