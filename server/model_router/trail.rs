//! What became of the attempts of a call, for whoever answers the caller.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{catalog::Model, quota::schedule::SlotRefusalReason};
use crate::{
    _core::amount::Amount,
    providers::fault::{Cause, Fault},
};

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
    sent: u32,
    last_sent: Option<Instant>,
    used: Amount,
}

/// An attempt that has ended, or that answers, or that was not made.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The model that was asked.
    pub model: Arc<Model>,
    /// What became of it.
    pub end: AttemptEnd,
    /// How long it waited for its slot of the account's quota.
    pub queued: Duration,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum AttemptEnd {
    /// The model answers.
    Answered,
    /// Why there is no answer.
    Failed(Fault),
    /// The model was not asked, as its breaker is open.
    Skipped,
    /// The model was not asked, as our account has no slot in time.
    OverQuota(SlotRefusalReason),
}

impl Tried {
    /// Why there is no answer, where the model was asked.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.end {
            AttemptEnd::Failed(fault) => Some(fault),
            AttemptEnd::Answered | AttemptEnd::Skipped | AttemptEnd::OverQuota(_) => None,
        }
    }

    /// The cause of the fault; `ok` where it answers, `breaker-open` or `ours-quota` where it was not asked, and
    /// `account-limit` also where it was not asked as our account rests.
    pub fn word(&self) -> &'static str {
        match &self.end {
            AttemptEnd::Answered => "ok",
            AttemptEnd::Failed(fault) => fault.cause.name(),
            AttemptEnd::Skipped => "breaker-open",
            // The provider's own word, as it was when it gave it.
            AttemptEnd::OverQuota(SlotRefusalReason::Rest) => Cause::AccountLimit.name(),
            AttemptEnd::OverQuota(_) => "ours-quota",
        }
    }
}

impl Trail {
    pub(super) fn add(&self, model: &Arc<Model>, end: AttemptEnd, queued: Duration) {
        let model = model.clone();
        self.noted
            .lock()
            .attempts
            .push(Tried { model, end, queued });
    }

    pub(super) fn send(&self) {
        let mut noted = self.noted.lock();
        noted.sent += 1;
        noted.last_sent = Some(Instant::now());
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

    /// How many requests were sent to models, whatever became of them.
    pub fn sent(&self) -> u32 {
        self.noted.lock().sent
    }

    /// When the last of them was sent: it had waited for its slot and its place before.
    pub fn last_sent(&self) -> Option<Instant> {
        self.noted.lock().last_sent
    }

    /// The attempts so far.
    pub fn attempts(&self) -> Vec<Tried> {
        self.noted.lock().attempts.clone()
    }
}
