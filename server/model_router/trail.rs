//! What became of the attempts of a call, for whoever has to tell the caller.

use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog::Model;
use crate::{_core::amount::Amount, providers::fault::Fault};

/// The attempts of one call that have ended, in order, and what they used; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// About how many tokens a model reads; 0 where nobody asked.
    prompt_tokens: u64,
    noted: Arc<Mutex<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    attempts: Vec<Tried>,
    used: Amount,
}

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
        self.noted.lock().attempts.push(Tried { model, fault });
    }

    pub(super) fn use_up(&self, used: Amount) {
        self.noted.lock().used += used;
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// A trail that also tells what attempts used whose models do not say: the prompt is about as long
    /// as this.
    pub fn of_prompt(tokens: u64) -> Self {
        Self {
            prompt_tokens: tokens,
            noted: Arc::default(),
        }
    }

    /// What the attempts that have ended used, together.
    pub fn used(&self) -> Amount {
        self.noted.lock().used
    }

    /// The attempts so far.
    pub fn attempts(&self) -> Vec<Tried> {
        self.noted.lock().attempts.clone()
    }
}
