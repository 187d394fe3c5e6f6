//! Who may write: one process leads, the others follow.

use std::time::Duration;

use super::{
    Controller, RolloutsMark, WriteLease,
    memory::{self, OwnBatches},
};

/// How long writes of a process that leads may fail.
const STUCK: Duration = Duration::from_secs(10);
/// How often a lease is renewed.
const RENEW_MS: u128 = 2_500;
/// After so long without a word of the database another process may have the lease.
const LEASE: Duration = Duration::from_secs(10);

impl Controller {
    /// Takes or prolongs the lease. Reads what is stored where that is in doubt. Returns whether this process
    /// may write now.
    pub(super) async fn take_control(&self, writer: &mut WriteLease) -> bool {
        match self.try_control(writer).await {
            Ok(is_in_control) => is_in_control,
            Err(error) => {
                writer.fails(&error);
                false
            }
        }
    }

    /// The same, with why it could not be seen.
    pub(super) async fn try_control(&self, writer: &mut WriteLease) -> anyhow::Result<bool> {
        let now = self.world.now();
        let is_new = !self.inner.lock().is_numbering;
        if let Some(fence) = &writer.fence {
            let age = writer
                .renewed_at
                .map(|at| now.monotonic.saturating_sub(at.monotonic));
            // In doubt, an end of the log that moved is taken for this process's own work, so nobody else may
            // have led meanwhile.
            if writer.in_doubt || age.is_none_or(|age| age.as_millis() >= RENEW_MS) {
                if !self.store.renew(fence).await? {
                    tracing::error!("another process has taken control of the rollouts");
                    writer.fence = None;
                    self.inner.lock().stepped_down(self.world.now().monotonic);
                    return Ok(false);
                }
                writer.renewed_at = Some(now);
                self.has_lease_at(now.monotonic);
                writer.in_doubt |= self.went_back(writer.mark).await?;
            }
        } else {
            writer.fence = self.store.acquire(&self.holder, now.wall).await?;
            if let Some(fence) = &writer.fence {
                writer.id = Some(fence.writer);
                self.has_lease_at(now.monotonic);
                if self.store.is_shared() {
                    tracing::info!(fence = fence.number, "this process leads the rollouts now");
                }
            }
            writer.renewed_at = Some(now);
            writer.in_doubt = true;
            if writer.fence.is_none() {
                self.follow().await?;
                return Ok(false);
            }
        }
        if writer.in_doubt
            && let Some(fence) = &writer.fence
        {
            let read = async {
                // The end first: a write that comes late is then seen whole, or refuses the next.
                let stored = memory::read(&*self.store).await?;
                let last_batch = self.store.last_batch(fence.writer).await?;
                let unplaced = self.unplaced_of(fence.writer).await?;
                let mark = self.store.mark().await?;
                // The last that another process did before it was gone.
                let changes = self.changes_to(&stored.rollouts).await?;
                anyhow::Ok((stored, last_batch, unplaced, changes, mark))
            };
            let (stored, last_batch, unplaced, changes, mark) = match read.await {
                Ok(read) => read,
                Err(error) if is_new => {
                    // A newer release may have stored what this one cannot read, and then lead.
                    if let Some(fence) = writer.fence.take() {
                        let _ = self.store.release(&fence, now.wall).await;
                    }
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            let mut inner = self.inner.lock();
            let own = OwnBatches {
                last_batch,
                unplaced,
            };
            inner.merge(stored, own, is_new, &self.log, now, &self.world);
            self.publish(&inner);
            drop(inner);
            self.send_changes(changes);
            writer.in_doubt = false;
            writer.mark = Some(mark);
        }
        Ok(true)
    }

    /// Notes that this process has the lease, for some seconds from this time on.
    pub(super) fn has_lease_at(&self, at: Duration) {
        *self.lease_at.lock() = Some(at);
    }

    /// Whether no other process can have the lease that this one took.
    pub(super) fn has_lease(&self) -> bool {
        let now = self.world.now().monotonic;
        let lasts = |at| now.saturating_sub(at) < LEASE;
        !self.store.is_shared() || self.lease_at.lock().is_some_and(lasts)
    }

    /// A process that leads, whose lease the database prolongs and whose writes fail all the same, gives the lease back after
    /// some seconds: another one may be able to write, and this one begins anew from what is stored if none is.
    pub(super) async fn let_others_try(&self, writer: &mut WriteLease) {
        let now = self.world.now();
        let Some(fence) = writer.fence.clone().filter(|_| self.store.is_shared()) else {
            return;
        };
        let since = *writer.failing_since.get_or_insert(now.monotonic);
        if now.monotonic.saturating_sub(since) < STUCK {
            return;
        }
        tracing::error!("this process leads and cannot write, so it gives the lease back");
        writer.failing_since = None;
        writer.fence = None;
        self.inner.lock().stepped_down(now.monotonic);
        if let Err(error) = self.store.release(&fence, now.wall).await {
            writer.fails(&error);
        }
    }

    /// Whether the database is not as this process left it, although nobody else has led: another one has taken
    /// its place, which lacks its last commits.
    async fn went_back(&self, mark: Option<RolloutsMark>) -> anyhow::Result<bool> {
        if !self.store.is_shared() {
            return Ok(false);
        }
        let (head, is) = (self.store.head().await?, self.store.mark().await?);
        Ok(head != self.inner.lock().head || mark.is_some_and(|mark| mark != is))
    }
}

impl WriteLease {
    /// Logs that writes fail, once until they do not.
    pub(super) fn fails(&self, error: &dyn std::fmt::Display) {
        if self.outage.begins() {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                "rollouts and events cannot be stored; it is tried again"
            );
        }
    }
}
