//! What is written, and what is read back: raising, what is owed, what other processes wrote.

use super::{
    FlagError, FlagInForce, LiveFlags, check,
    memory::FlagRequest,
    notices,
    store::{FlagChange, FlagCommitError, StoredFlag},
};
use crate::_core::{errors::in_full, failure_edge::FailureEdge};

/// Lines of the history that are read at once where something is looked for.
const PAGE: u32 = 100;

#[derive(Default)]
pub(super) struct FlagWriter {
    /// Of the store.
    outage: FailureEdge,
}

/// While it lives, a change is being written.
struct Writing<'a>(&'a LiveFlags);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().writing = None;
    }
}

impl LiveFlags {
    /// Writes a change, then brings it into force; `None` where it turns out to lower, because another
    /// process has raised meanwhile.
    pub(super) async fn raise(
        &self,
        writer: &mut FlagWriter,
        asked: &FlagRequest,
        based_on: Option<i64>,
    ) -> Result<Option<FlagInForce>, FlagError> {
        loop {
            self.settle(writer).await.map_err(FlagError::NotWritten)?;
            let _writing = Writing(self);
            let flag = {
                let mut inner = self.inner.lock();
                check(&inner, based_on)?;
                if !inner.owed.is_empty() {
                    // Lowered while the store was waited for; that goes first.
                    continue;
                }
                if asked.wish.lowers(inner.in_force().position) {
                    return Ok(None);
                }
                let flag = inner.raised(asked);
                // Checked and announced in one step, so that of two at once one is refused.
                inner.writing = Some(flag.clone());
                flag
            };
            match self.commit(flag).await {
                Ok(()) => return Ok(Some(self.state())),
                Err(FlagCommitError::Stale) => {}
                Err(FlagCommitError::Store(error)) => {
                    return Err(FlagError::NotWritten(self.failed(writer, error)));
                }
            }
        }
    }

    /// Takes up what the store has, then writes what is owed.
    pub(super) async fn settle(&self, writer: &mut FlagWriter) -> anyhow::Result<()> {
        loop {
            if let Err(error) = self.look().await {
                return Err(self.failed(writer, error));
            }
            let _writing = Writing(self);
            let due = {
                let mut inner = self.inner.lock();
                inner.writing = inner.due();
                inner.writing.clone()
            };
            let Some(flag) = due else { break };
            match self.commit(flag).await {
                Ok(()) | Err(FlagCommitError::Stale) => {}
                Err(FlagCommitError::Store(error)) => return Err(self.failed(writer, error)),
            }
        }
        if writer.outage.ends() {
            tracing::info!("the kill switch and the live share are stored again");
        }
        Ok(())
    }

    /// Reads the flag, and adopts it.
    async fn look(&self) -> anyhow::Result<()> {
        let found = self.store.flag().await?;
        let held = self.inner.lock().stored.version;
        let missed = self.changes(held + 1, found.version).await?;
        let mut inner = self.inner.lock();
        if found.is_same(&inner.stored) {
            return Ok(());
        }
        let mut news: Vec<_> = (missed.iter().filter(|change| !inner.owes(&change.id)))
            .cloned()
            .map(Some)
            .collect();
        if news.is_empty() {
            news.push(None);
        }
        inner.adopt(found, &missed);
        self.publish(&inner);
        for change in news {
            self.announce(&inner, change);
        }
        Ok(())
    }

    /// All changes with versions from `from` to `to`, oldest first.
    async fn changes(&self, from: i64, mut to: i64) -> anyhow::Result<Vec<FlagChange>> {
        let mut changes = Vec::new();
        while from <= to {
            let mut page = self.store.flag_history(from, to, PAGE).await?;
            let Some(first) = page.first() else { break };
            to = first.version - 1;
            page.append(&mut changes);
            changes = page;
        }
        Ok(changes)
    }

    /// Writes one change, and adopts it.
    async fn commit(&self, flag: StoredFlag) -> Result<(), FlagCommitError> {
        let Some(change) = flag.last.clone() else {
            return Ok(());
        };
        let killed_by = if change.before.killed && !change.after.killed {
            self.killed_by().await.map_err(FlagCommitError::Store)?
        } else {
            None
        };
        let alert = notices::of_change(&change, killed_by.as_deref());
        self.store.commit_flag(&flag, alert.as_ref()).await?;
        let mut inner = self.inner.lock();
        let was_owed = inner.owes(&change.id);
        inner.adopt(flag, std::slice::from_ref(&change));
        self.publish(&inner);
        self.announce(&inner, (!was_owed).then_some(change));
        Ok(())
    }

    /// The change that turned the kill switch on, whose alert is still open.
    async fn killed_by(&self) -> anyhow::Result<Option<String>> {
        let mut to = i64::MAX;
        loop {
            let changes = self.store.flag_history(1, to, PAGE).await?;
            let kill = |change: &&FlagChange| change.after.killed && !change.before.killed;
            if let Some(kill) = changes.iter().rev().find(kill) {
                return Ok(Some(kill.id.clone()));
            }
            match changes.first() {
                Some(first) if first.version > 1 => to = first.version - 1,
                _ => return Ok(None),
            }
        }
    }

    fn failed(&self, writer: &mut FlagWriter, error: anyhow::Error) -> anyhow::Error {
        self.failures.send_modify(|count| *count += 1);
        if writer.outage.begins() {
            let owed = !self.state().is_stored;
            let error = in_full(error.as_ref());
            tracing::error!(
                error,
                owed,
                "the kill switch and the live share cannot be read or written; it is tried again"
            );
        }
        error
    }
}
