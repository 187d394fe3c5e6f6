//! A process's way to the database in memory: cut, or so slow that a write arrives when it was given up.

use std::collections::VecDeque;

use super::*;
use crate::{recording::Batch, rollout::store::Commit};

/// A write that was given up and arrives later.
#[derive(Clone)]
pub(super) enum Late {
    Commit(Fence, Commit),
    Append(String, i64, i64, Batch),
}

#[derive(Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Default)]
struct State {
    is_cut: bool,
    /// After so many writes more it is cut.
    writes: Option<u32>,
    /// So many writes are late.
    slow: u32,
    late: VecDeque<Late>,
    /// How long a batch is under way.
    takes: Duration,
}

impl Link {
    pub(super) fn cut(&self) {
        self.0.lock().is_cut = true;
    }

    /// So many writes go through, and then nothing.
    pub(super) fn cut_after(&self, writes: u32) {
        self.0.lock().writes = Some(writes);
    }

    /// The next writes arrive after their process has given them up.
    pub(super) fn slow(&self, writes: u32) {
        self.0.lock().slow = writes;
    }

    /// Whatever is stored takes so long.
    pub(super) fn is_long(&self, takes: Duration) {
        self.0.lock().takes = takes;
    }

    pub(super) fn takes(&self) -> Duration {
        self.0.lock().takes
    }

    /// What is under way arrives all the same.
    pub(super) fn mend(&self) {
        let mut state = self.0.lock();
        (state.is_cut, state.writes, state.slow) = (false, None, 0);
    }

    /// What is under way is gone with the server that it was under way to.
    pub(super) fn lose(&self) {
        self.0.lock().late.clear();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().is_cut
    }

    pub(super) fn take(&self, is_doubled: bool) -> Option<Late> {
        let mut state = self.0.lock();
        match is_doubled {
            true => state.late.front().cloned(),
            false => state.late.pop_front(),
        }
    }

    /// A write comes by.
    pub(super) fn pass(&self, write: impl FnOnce() -> Late) -> anyhow::Result<()> {
        let mut state = self.0.lock();
        anyhow::ensure!(!state.is_cut, "there is no way to the database");
        if state.slow > 0 {
            state.slow -= 1;
            state.late.push_back(write());
            anyhow::bail!("the database does not answer in time");
        }
        if let Some(writes) = &mut state.writes {
            match writes.checked_sub(1) {
                Some(left) => *writes = left,
                None => {
                    (state.is_cut, state.writes) = (true, None);
                    anyhow::bail!("the way to the database was cut");
                }
            }
        }
        Ok(())
    }
}
