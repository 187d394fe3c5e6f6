//! The request as the model takes it that is asked next.

use super::{Asks, Walk};
use crate::{
    model_router::{Call, catalog::Model, quota::schedule::Turn},
    providers::{RawObject, Reading, estimate, roles},
};

/// Tokens of an answer of which nobody says how long it may be, until it is known.
const USUAL_ANSWER: u64 = 1_024;

/// How a call belongs to a conversation with tools: its last message is what a tool said, or it offers tools
/// and is the first of as many requests as the caller, or `usual`, says.
pub(super) fn turn(call: &Call, usual: impl FnOnce() -> Option<u32>) -> Turn {
    if !call.request.offers_tools() {
        return Turn::Alone;
    }
    if call.request.ends_with_tool() {
        return Turn::GoesOn;
    }
    call.urgency
        .calls
        .or_else(usual)
        .map_or(Turn::Alone, Turn::Begins)
}

/// A caller's body as this model takes it.
fn given_to(model: &Model, given: &RawObject) -> RawObject {
    let mut given = given.clone();
    if model.strict_roles
        && let Some(messages) = given.get("messages")
        && let Ok(messages) = serde_json::from_str(messages.get())
    {
        // Messages that were read can be written.
        let _ = given.set("messages", &roles::joined(messages));
    }
    given
}

impl Walk<'_> {
    /// Tokens that this model may take for it, about; 0 where nobody counts them.
    pub(super) fn tokens_of(&mut self, model: &Model) -> u32 {
        if !self.fleet.quotas.counts_tokens() {
            return 0;
        }
        let read = *self.prompt_tokens.get_or_insert_with(|| {
            match (&self.given, serde_json::to_string(&self.messages)) {
                (Some(given), _) => estimate::prompt_tokens(given),
                (None, Ok(messages)) => estimate::tokens_of(&messages),
                // Messages that were read can be written.
                (None, Err(_)) => 0,
            }
        });
        let written = match self.asks {
            Asks::Embeddings => 0,
            Asks::Answer | Asks::Stream => {
                let asked = self.given.as_ref().and_then(estimate::asked_length);
                let asked = asked.or(self.max_tokens.or(model.max_tokens).map(u64::from));
                asked.unwrap_or(USUAL_ANSWER)
            }
        };
        u32::try_from(read.saturating_add(written)).unwrap_or(u32::MAX)
    }

    /// Makes the request one for this model.
    pub(super) fn prepare(&mut self, model: &Model) {
        let request = &mut self.call.request;
        request.model.clone_from(&model.id);
        request.max_tokens = self.max_tokens.or(model.max_tokens);
        let messages = self.messages.clone();
        request.messages = if model.strict_roles {
            roles::joined(messages)
        } else {
            messages
        };
        if let Some(given) = &self.given {
            request.given = Some(given_to(model, given));
        }
        let catalog = self.fleet.catalog.clone();
        if let Some(provider) = catalog.provider(&model.provider) {
            self.route.privacy.apply(provider, request);
        }
        let task = catalog.task(&self.route.task);
        request.reading = Reading {
            max_bytes: task.map_or(Reading::MAX_BYTES, |task| task.max_reply_bytes),
            reasoning_tag: model.reasoning_tag.clone(),
            context: Some(model.context),
        };
    }
}
