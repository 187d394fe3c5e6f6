//! What a process does while another one leads: it serves what that one has decided.
//!
//! A share rises here only with a greater version of its rollout than this process has seen. Whatever else
//! is read, a database that went back to an older state above all, leaves the smaller share in force.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{
    Change, Controller,
    alone::Guarded,
    lowering::Lowering,
    memory::{Followed, Memory},
};
use crate::{
    _core::units::Percent,
    rollout::{
        rollout::{Cap, Command, CommandKind, Rollout},
        status::{RunState, Status},
    },
};

/// Between two looks at what the one that leads has decided.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// After so long evidence is read again, for those who ask this process how a rollout stands.
const REFRESH: Duration = Duration::from_secs(5);
/// The version of a cap that keeps a smaller share in force until it is answered, and a rollback until it is seen to be
/// stored, whatever is stored before.
const UNTIL_SETTLED: i64 = i64::MAX;

impl Controller {
    /// Serves what the process in control has decided.
    pub(super) async fn follow(&self) -> anyhow::Result<()> {
        // First: what changes after it is read at the next look, if not now.
        let mark = self.store.mark().await?;
        let at = self.world.now().monotonic;
        let (last, is_judged) = {
            let mut inner = self.inner.lock();
            // A store that reads and does not write is silent: what this process saw nobody else knows.
            if inner.unsent.is_empty() || inner.heard_at.is_none() {
                inner.heard_at = Some(at);
            }
            let is_judged = inner.guarded.as_ref().is_some_and(|it| it.is_judged);
            (inner.followed, is_judged)
        };
        let is_fresh = |last: Followed| last.mark == mark && at.saturating_sub(last.at) < REFRESH;
        if !is_judged && last.is_some_and(is_fresh) {
            return Ok(());
        }
        let is_same = last.is_some_and(|last| last.mark == mark);
        let stored = match is_same {
            true => self.under_way().await?,
            false => match Memory::load(&*self.store).await {
                Ok(memory) => memory.rollouts,
                Err(error) => {
                    self.follow_known().await?;
                    return Err(error);
                }
            },
        };
        let changes = self.changes_to(&stored).await?;
        let mut inner = self.inner.lock();
        inner.adopt(stored, is_same, self.world.now().wall);
        inner.followed = Some(Followed { mark, at });
        inner.stored_at = None;
        self.publish(&inner);
        // Not one that has just begun.
        if is_judged && inner.guarded.as_ref().is_some_and(|it| it.is_judged) {
            self.lift_guard(&mut inner);
        }
        drop(inner);
        self.send_changes(changes);
        Ok(())
    }

    /// The rollouts under way that this process knows of, as they are stored. Where none has begun or changed, only their
    /// evidence is new. One that is rolled back here is read as well: a database that went back may have another change
    /// under the same version.
    async fn under_way(&self) -> anyhow::Result<Vec<Rollout>> {
        let ids: Vec<_> = {
            let inner = self.inner.lock();
            let is_read = |it: &&Rollout| it.status.state != RunState::Completed;
            let read = inner.rollouts.iter().filter(is_read);
            read.map(|it| it.status.id.clone()).collect()
        };
        let stored = self.store.rollouts(&ids).await?;
        stored.iter().map(Rollout::from_stored).collect()
    }

    /// Where one rollout that is stored is damaged: serves what was decided of the others that this process knows, or
    /// nobody here would hear that one of them was taken back. Of the damaged one what is known stays in force, and nothing
    /// new begins.
    async fn follow_known(&self) -> anyhow::Result<()> {
        let ids: Vec<_> = {
            let inner = self.inner.lock();
            let known = inner.rollouts.iter();
            known.map(|it| it.status.id.clone()).collect()
        };
        let mut readable = Vec::new();
        for id in ids {
            if let Ok(Some(stored)) = self.store.rollout(&id).await {
                readable.extend(Rollout::from_stored(&stored).ok());
            }
        }
        let changes = self.changes_to(&readable).await?;
        let mut inner = self.inner.lock();
        inner.adopt(readable, true, self.world.now().wall);
        self.publish(&inner);
        drop(inner);
        self.send_changes(changes);
        Ok(())
    }

    /// Announces to whoever listens what other processes did.
    pub(super) fn send_changes(&self, changes: Vec<Change>) {
        for change in changes {
            // Nobody needs to listen.
            let _ = self.changes.send(Arc::new(change));
        }
    }

    /// Whether another process leads, to which changes are to be handed over.
    pub fn hands_over(&self) -> bool {
        self.store.is_shared() && !self.leads()
    }

    /// Takes the candidate from users here: down to a share, until the process that leads has answered, or from
    /// everybody, until that is seen to be stored; whatever else is stored meanwhile. Waits for nothing. `None` where the
    /// command takes it from nobody, or is not for this process to do.
    pub fn cap(&self, command: Command) -> Option<Lowering> {
        let share = match command.kind {
            CommandKind::RollBack => Percent::ZERO,
            CommandKind::SetShare(share) => share,
            _ => return None,
        };
        // Without a reason it is refused, by whichever process.
        command.author().ok()?;
        let is_back = command.kind == CommandKind::RollBack;
        let id = command.id.to_ascii_lowercase();
        let mut inner = self.inner.lock();
        let number = inner.lowerings + 1;
        if inner.is_numbering || id.is_empty() {
            return None;
        }
        let mut found = inner.rollouts.iter_mut();
        let rollout = found.find(|it| it.status.id.starts_with(&id))?;
        let is_one = found.all(|it| !it.status.id.starts_with(&id));
        let lowers = is_back || share < rollout.status.share;
        let is_newest = rollout.status.version == command.based_on;
        // One that is complete goes on deciding, and can be rolled back until it is let go.
        let status = &rollout.status;
        let is_complete = status.state == RunState::Completed && status.released_at.is_none();
        let decides = rollout.is_live() || is_back && is_complete;
        if !is_one || !decides || !is_newest || !lowers {
            return None;
        }
        let lowering = Lowering {
            rollout: rollout.status.id.clone(),
            based_on: command.based_on,
            number,
            kind: command.kind,
            actor: command.actor,
            reason: command.reason,
            at: self.world.now().wall,
        };
        rollout.caps.push(lowering.cap(UNTIL_SETTLED));
        inner.lowerings = number;
        self.publish(&inner);
        Some(lowering)
    }

    /// Lowerings that were not stored when another process took the lease; they stay in force here until they are
    /// answered. Each is given once.
    pub fn take_lost(&self) -> Vec<Lowering> {
        std::mem::take(&mut self.inner.lock().lost)
    }

    /// The process that leads has answered a lowering that it was handed: what is stored counts again, from a version
    /// above this one on. Not so a rollback that is not seen to be stored, as who answered may have lost it since, or
    /// made another change before: then `false`, and it is to be handed over again. One that was let go decides nothing any
    /// more, and cannot be rolled back. Other lowerings of the rollout hold as before.
    pub fn lift(&self, lowering: &Lowering, above: i64) -> bool {
        let mut inner = self.inner.lock();
        let Some(rollout) = inner.get_mut(&lowering.rollout) else {
            return true;
        };
        let status = &rollout.status;
        let is_over = status.state == RunState::RolledBack || status.released_at.is_some();
        if lowering.kind == CommandKind::RollBack && !is_over {
            return false;
        }
        let mut caps = rollout.caps.iter_mut();
        if let Some(cap) = caps.find(|it| it.number == lowering.number) {
            cap.version = above;
            self.publish(&inner);
        }
        true
    }

    /// A lowering was refused, and whoever asked for it knows: what is stored counts again.
    pub fn let_go(&self, lowering: &Lowering) {
        let mut inner = self.inner.lock();
        if let Some(rollout) = inner.get_mut(&lowering.rollout) {
            rollout.caps.retain(|it| it.number != lowering.number);
            self.publish(&inner);
        }
    }

    /// Whether a lowering of this rollout is in force here and not stored yet.
    pub fn owes(&self, id: &str) -> bool {
        let inner = self.inner.lock();
        inner.get(id).is_some_and(|it| !it.owed.is_empty())
    }

    /// What others did since the versions that memory holds, oldest first.
    pub(super) async fn changes_to(&self, stored: &[Rollout]) -> anyhow::Result<Vec<Change>> {
        let held: Vec<_> = {
            let inner = self.inner.lock();
            if inner.followed.is_none() {
                return Ok(Vec::new());
            }
            let version = |id: &str| inner.remembered(id).map_or(0, |it| it.status.version);
            let versions = stored.iter().map(|it| (it, version(&it.status.id)));
            versions.collect()
        };
        let mut changes = Vec::new();
        for (rollout, held) in held {
            if rollout.status.version <= held {
                continue;
            }
            for row in self.store.audit(&rollout.status.id).await? {
                if row.version > held {
                    changes.push(Change::of(&row, &rollout.status));
                }
            }
        }
        changes.sort_by_key(|change| (change.at, change.status.version));
        Ok(changes)
    }
}

impl Memory {
    /// Takes over what is stored: all there is, or (`is_part`) those of them that are under way.
    fn adopt(&mut self, mut stored: Vec<Rollout>, is_part: bool, now: DateTime<Utc>) {
        let mut lost = Vec::new();
        let mut has_withdrawn = false;
        for new in &mut stored {
            new.is_open = true;
            let Some(old) = self.remembered(&new.status.id) else {
                continue;
            };
            new.is_guarded = old.is_guarded;
            if old.has_withdrawn_alone(&new.status) {
                new.is_guarded = true;
                has_withdrawn = true;
            }
            new.keep_caps_of(old);
            let number = self.lowerings + 1 + lost.len() as u64;
            if let Some((lowering, until)) = old.lowering_of(&new.status, number, now) {
                new.caps.push(lowering.cap(until));
                lost.push(lowering);
            }
        }
        match is_part {
            false => self.go_on_with(stored),
            true => {
                for new in stored {
                    if let Some(old) = self.get_mut(&new.status.id) {
                        *old = new;
                    }
                }
            }
        }
        self.lowerings += lost.len() as u64;
        self.lost.extend(lost);
        if has_withdrawn {
            self.guarded = Some(Guarded::default());
        }
    }
}

impl Rollout {
    /// Whether nobody gets the candidate here for an outage of which the store has nothing. An outage passes, and whoever
    /// leads waits for its end: it is no smaller share to be handed over, which nobody would take back. The candidate
    /// stays away from the users of this process until the one that leads has judged all that was seen here.
    fn has_withdrawn_alone(&self, stored: &Status) -> bool {
        let is_ahead = !self.owed.is_empty() || self.was_stored_and_is_not(stored);
        let is_new = self.status.outage.is_some() && stored.outage.is_none();
        is_ahead && is_new && !stored.state.is_final()
    }

    /// What is in force here, where it lowers what is stored, and the version that its cap holds against: it is owed, or
    /// was stored in a database that went back.
    pub(super) fn lowering_of(
        &self,
        stored: &Status,
        number: u64,
        now: DateTime<Utc>,
    ) -> Option<(Lowering, i64)> {
        let went_back = self.was_stored_and_is_not(stored);
        if self.owed.is_empty() && !went_back || stored.state == RunState::RolledBack {
            return None;
        }
        let share = self.status.share_without_outage();
        let kind = match self.status.state {
            RunState::RolledBack => CommandKind::RollBack,
            _ if stored.state.is_final() => return None,
            _ if self.has_lowered_share() && share < stored.share_without_outage() => {
                CommandKind::SetShare(share)
            }
            _ => return None,
        };
        let until = match went_back && kind != CommandKind::RollBack {
            true => self.base_version().max(stored.version),
            // Owed, as by a follower that was asked: whatever version another process has stored meanwhile.
            false => UNTIL_SETTLED,
        };
        let lowering = Lowering {
            rollout: stored.id.clone(),
            based_on: stored.version,
            number,
            kind,
            actor: self.status.changed_by.clone(),
            reason: self.status.reason.clone(),
            at: self.owed.first().map_or(now, |it| it.audit.at),
        };
        Some((lowering, until))
    }

    /// Whether the store had what is in force here, and went back since. Others may have changed the rollout in the
    /// meantime, under the same version or a greater one.
    pub(super) fn was_stored_and_is_not(&self, stored: &Status) -> bool {
        let (held, is) = (self.base_version(), stored.version);
        // Nothing follows a rollback.
        let is_undone =
            self.status.state == RunState::RolledBack && stored.state != RunState::RolledBack;
        is < held
            || self.owed.is_empty() && (is_undone || is == held && stored.share > self.status.share)
    }

    /// Keeps the share down as another state of it does here.
    pub(super) fn keep_caps_of(&mut self, other: &Self) {
        let still = |it: &&Cap| self.status.version <= it.version;
        self.caps = other.caps.iter().filter(still).copied().collect();
    }
}
