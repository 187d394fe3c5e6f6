//! The tick: take up events, decide, write, announce.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Change, Controller, WriteLease,
    memory::Memory,
    prepared::{Intent, Prepared, Written},
    probe,
};
use crate::{
    _core::feature_flags::LiveRollout,
    alerting::{AlertKind, Severity},
    rollout::{
        notices,
        record::Action,
        rollout::Rollout,
        status::{Moment, Status},
        store::CommitError,
    },
};

impl Controller {
    /// One tick. Returns whether nothing is left to write. [`Controller::run`] calls it every second,
    /// tests by hand.
    pub async fn tick(&self) -> bool {
        let mut writer = self.writer.lock().await;
        let begun = self.world.now().monotonic;
        self.look();
        match self.try_control(&mut writer).await {
            Ok(true) => {}
            Ok(false) => return self.pass_on(&mut writer).await,
            Err(error) => {
                writer.fails(&error);
                // A store that is away is away for others too.
                match writer.renewed_at.is_some_and(|at| at.monotonic >= begun) {
                    true => self.let_others_try(&mut writer).await,
                    false => writer.failing_since = None,
                }
                if !self.leads() {
                    // What this process saw is stored all the same, where the store can.
                    self.pass_on(&mut writer).await;
                }
                return false;
            }
        }
        self.take_up_others(&writer).await;
        self.look();
        let now = self.world.now();
        let prepared = self.inner.lock().prepare(Intent::Tick, now, &self.world);
        let is_written = self.write(&mut writer, prepared, now).await.is_ok();
        if is_written {
            self.inner.lock().stored_at = Some(now.monotonic);
            writer.failing_since = None;
        } else {
            self.let_others_try(&mut writer).await;
        }
        is_written
    }

    /// Takes up new events, and takes candidates from users where it must, in memory. Returns whether it
    /// took one. Waits for nothing.
    pub fn look(&self) -> bool {
        let now = self.world.now();
        let mut inner = self.inner.lock();
        if inner.is_numbering || inner.followed.is_some() {
            self.report_late(&inner, now);
        }
        if !inner.is_numbering {
            self.guard(&mut inner, now);
            return false;
        }
        inner.gather(&self.log);
        let mut lowered = Vec::new();
        for rollout in &mut inner.rollouts {
            if let Some(action) = rollout.look(now, &self.world) {
                lowered.push((rollout.status.id.clone(), action));
            }
        }
        for (id, action) in &lowered {
            self.announce(&mut inner, id, *action, now);
        }
        // It leads now, and has judged what it saw itself with all else.
        self.lift_guard(&mut inner);
        !lowered.is_empty()
    }

    /// Records requests that are still open although they are slow already.
    fn report_late(&self, inner: &Memory, now: Moment) {
        for rollout in inner.rollouts.iter().filter(|rollout| rollout.is_live()) {
            if let Some(limit_ms) = rollout.ledger.late_after_ms() {
                let (id, at_ms) = (&rollout.status.id, now.wall.timestamp_millis());
                self.log.report_late(id, limit_ms, at_ms, Instant::now());
            }
        }
    }

    /// Publishes a change that is in force in memory, checks what is served, and sends it to whoever listens.
    pub(super) fn announce(&self, inner: &mut Memory, id: &str, action: Action, now: Moment) {
        self.publish(inner);
        let Some(rollout) = inner.get_mut(id) else {
            return;
        };
        let mismatch = probe::mismatch(&self.flags, &rollout.live(), &self.world);
        if let Some(mismatch) = &mismatch {
            tracing::error!(
                rollout = id,
                mismatch,
                "what is served is not what was decided"
            );
        }
        if notices::begins(
            &mut rollout.status.told.not_converged,
            mismatch.is_some(),
            true,
        ) && let Some(mismatch) = mismatch
        {
            let words = ("Not converged", mismatch);
            let (kind, severity) = (AlertKind::NotConverged, Severity::Critical);
            let status = &rollout.status;
            let alert = notices::alert(kind, severity, status, None, words, now, &self.world);
            rollout.alerts.push(alert);
        }
        let Status { share, state, .. } = &rollout.status;
        let (share, state) = (share.get(), state.name());
        let reason = &rollout.status.reason;
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
            status: rollout.status.clone(),
        }));
    }

    /// Publishes what memory holds: live rollouts first, then the newest.
    pub(super) fn publish(&self, inner: &Memory) {
        let (live, ended): (Vec<_>, Vec<_>) = inner.rollouts.iter().partition(|it| it.is_live());
        let rollouts: Vec<Arc<LiveRollout>> =
            live.into_iter().chain(ended).map(Rollout::live).collect();
        self.flags.publish(&rollouts);
    }

    /// Writes, and brings into force what waited for it.
    pub(super) async fn write(
        &self,
        writer: &mut WriteLease,
        prepared: Prepared,
        now: Moment,
    ) -> Result<(), CommitError> {
        let fence = writer.fence.as_ref().ok_or(CommitError::Fenced)?;
        if prepared.commit.batches.is_empty() && prepared.commit.rollouts.is_empty() {
            return Ok(());
        }
        match self.store.commit(fence, &prepared.commit).await {
            Ok(()) => {
                if writer.outage.ends() {
                    tracing::info!("events and rollouts are stored again");
                }
                writer.mark = writer.mark.map(|mark| prepared.commit.moves(mark));
                self.has_lease_at(now.monotonic);
                self.adopt(prepared, now);
                Ok(())
            }
            Err(error) => {
                writer.in_doubt = true;
                if matches!(error, CommitError::Fenced) {
                    writer.fence = None;
                    self.inner.lock().stepped_down(self.world.now().monotonic);
                }
                writer.fails(&error);
                if let CommitError::Store(error) = &error
                    && self.store.refuses(error)
                    && let Err(error) = self.set_pending_aside(writer).await
                {
                    writer.fails(&error);
                }
                // The sooner it is known what is stored, the fewer requests are decided by a share
                // that may be an old one.
                let _ = self.take_control(writer).await;
                Err(error)
            }
        }
    }

    /// After a write: forgets what is stored, opens what was closed, and brings changes into force.
    fn adopt(&self, prepared: Prepared, now: Moment) {
        let mut inner = self.inner.lock();
        inner.forget(prepared.commit.new_head(), &self.log, now.monotonic);
        let mut is_opened = false;
        for Written { id, owed, alerts } in &prepared.written {
            if let Some(rollout) = inner.get_mut(id) {
                rollout.owed.drain(..(*owed).min(rollout.owed.len()));
                rollout.alerts.drain(..(*alerts).min(rollout.alerts.len()));
                rollout.is_urgent = false;
                rollout.stored_at = Some(now);
                is_opened |= !std::mem::replace(&mut rollout.is_open, true);
            }
        }
        if is_opened {
            self.publish(&inner);
        }
        for transition in prepared.transitions {
            let (id, action) = (transition.audit.rollout_id, transition.audit.action);
            let mut new = transition.rollout;
            new.stored_at = Some(now);
            new.is_urgent = false;
            inner.fold_pending(&mut new);
            match inner.get_mut(&id) {
                Some(old) => {
                    new.alerts = std::mem::take(&mut old.alerts);
                    new.owed.clear();
                    if !old.owed.is_empty() {
                        // It was lowered while the change was written: that stays in force.
                        new.lower_again(old, now, &self.world);
                    }
                    *old = new;
                }
                None => inner.add(new),
            }
            self.announce(&mut inner, &id, action, now);
        }
    }
}
