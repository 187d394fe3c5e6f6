//! What a process does while another one leads: it serves what that one has decided.
//!
//! A share rises here only with a greater version of its rollout than this process has seen. Whatever else
//! is read, a database that went back to an older state above all, leaves the smaller share in force.

use std::{sync::Arc, time::Duration};

use super::{Change, Controller, memory::Memory};
use crate::rollout::{
    rollout::{Cap, Rollout},
    status::State,
    store::Mark,
};

/// Between two looks at what the one that leads has decided.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// After so long evidence is read again, for those who ask this process how a rollout stands.
const REFRESH: Duration = Duration::from_secs(5);

/// What a process that follows has read.
#[derive(Clone, Copy)]
pub(super) struct Followed {
    mark: Mark,
    /// On the monotonic clock.
    at: Duration,
}

impl Controller {
    /// Serves what the process in control has decided.
    pub(super) async fn follow(&self) -> anyhow::Result<()> {
        // First: what changes after it is read at the next look, if not now.
        let mark = self.store.mark().await?;
        let at = self.world.now().monotonic;
        let last = self.inner.lock().followed;
        if last.is_some_and(|last| last.mark == mark && at.saturating_sub(last.at) < REFRESH) {
            return Ok(());
        }
        let stored = Memory::load(&*self.store).await?;
        let changes = self.changes_to(&stored.rollouts).await?;
        let mut inner = self.inner.lock();
        inner.adopt(stored.rollouts);
        inner.followed = Some(Followed { mark, at });
        inner.stored_at = None;
        self.publish(&inner);
        drop(inner);
        for change in changes {
            // Nobody needs to listen.
            let _ = self.changes.send(Arc::new(change));
        }
        Ok(())
    }

    /// What others did since the versions that memory holds, oldest first.
    async fn changes_to(&self, stored: &[Rollout]) -> anyhow::Result<Vec<Change>> {
        let held: Vec<_> = {
            let inner = self.inner.lock();
            if inner.followed.is_none() {
                return Ok(Vec::new());
            }
            let version = |id: &str| inner.get(id).map_or(0, |it| it.status.version);
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
    /// Takes over what is stored.
    fn adopt(&mut self, mut stored: Vec<Rollout>) {
        for new in &mut stored {
            new.is_open = true;
            let Some(old) = self.get(&new.status.id) else {
                continue;
            };
            let lowered = old.owed.last().map(|_| old.cap_at(old.base_version()));
            let went_back = (new.status.version < old.status.version
                || new.status.version == old.status.version && new.status.share > old.status.share)
                .then(|| old.cap_at(old.status.version));
            let caps = [old.cap, lowered, went_back].into_iter().flatten();
            new.cap = caps
                .filter(|cap| new.status.version <= cap.version)
                .reduce(Cap::and);
        }
        self.rollouts = stored;
    }
}

impl Rollout {
    /// Keeps what is served from rising until there is a greater version than this one.
    fn cap_at(&self, version: i64) -> Cap {
        Cap {
            version,
            share: self.status.share,
            is_back: self.status.state == State::RolledBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::_core::units::Percent;

    fn share(percent: f64) -> Percent {
        Percent::new(percent).expect("a percentage")
    }

    fn cap(version: i64, percent: f64, is_back: bool) -> Cap {
        Cap {
            version,
            share: share(percent),
            is_back,
        }
    }

    #[test]
    fn of_two_caps_the_smaller_share_and_the_greater_version_hold() {
        let both = cap(3, 20.0, false).and(cap(5, 40.0, true));
        assert_eq!(both, cap(5, 20.0, true));
    }
}
