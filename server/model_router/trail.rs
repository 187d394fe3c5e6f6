//! What became of the attempts of a call, for whoever has to tell the caller.

use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog::Model;
use crate::providers::fault::Fault;

/// The attempts of one call that have ended, in order; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Vec<Tried>>>);

/// An attempt that has ended, or that answers.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The model that was asked.
    pub model: Arc<Model>,
    /// Why there is no answer; `None` where there is one.
    pub fault: Option<Fault>,
}

impl Trail {
    pub(super) fn add(&self, model: &Arc<Model>, fault: Option<Fault>) {
        let model = model.clone();
        self.0.lock().push(Tried { model, fault });
    }

    /// The attempts so far.
    pub fn attempts(&self) -> Vec<Tried> {
        self.0.lock().clone()
    }
}
