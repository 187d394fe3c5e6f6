//! The request as the model takes it that is asked next.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Value, value::RawValue};

use super::{Asks, Walk};
use crate::{
    model_router::{Call, catalog::Model, quota::schedule::ConversationTurn, reasoning_state},
    providers::{
        ChatRequest, Reading, estimate,
        instructions::{self, InstructionPlace},
        openrouter, roles,
    },
};

/// Tokens of an answer of which nobody says how long it may be, until it is known.
const USUAL_ANSWER: u64 = 1_024;

/// How a call belongs to a conversation with tools: its last message is what a tool said, or it offers tools
/// and is the first of as many requests as the caller, or `usual`, says.
pub(super) fn turn(call: &Call, usual: impl FnOnce() -> Option<u32>) -> ConversationTurn {
    if !call.request.offers_tools() {
        return ConversationTurn::Alone;
    }
    if call.request.ends_with_tool() {
        return ConversationTurn::GoesOn;
    }
    call.urgency
        .calls
        .or_else(usual)
        .map_or(ConversationTurn::Alone, ConversationTurn::Begins)
}

/// Fields in which OpenRouter and other gateways are told further models.
const FURTHER_MODELS: [&str; 2] = ["models", "fallbacks"];

/// Leaves out what would let another model answer: a key may not be allowed to ask it, and evidence would take its
/// answer for that of the model which the route names.
fn keep_to_model(request: &mut ChatRequest) {
    if let Some(given) = &mut request.given {
        FURTHER_MODELS.iter().for_each(|name| given.remove(name));
    }
}

/// How long an answer may be, as most servers name it, and as those do that refuse this name.
const LIMIT: &str = "max_tokens";
const NEW_LIMIT: &str = "max_completion_tokens";

/// Says how long the answer may be by the name that newer models take.
fn limit_by_new_name(request: &mut ChatRequest) {
    if let Some(limit) = request.max_tokens.take() {
        let named = request.rest.entry(NEW_LIMIT).or_insert(Value::Null);
        if named.is_null() {
            *named = limit.into();
        }
    }
    if let Some(given) = &mut request.given
        && let Some(limit) = given.get(LIMIT).map(RawValue::to_owned)
    {
        given.remove(LIMIT);
        // Some clients write each field that they know, and null where they say nothing.
        if given.get(NEW_LIMIT).is_none_or(|it| it.get() == "null") {
            // A value that was read can be written.
            let _ = given.set(NEW_LIMIT, &limit);
        }
    }
}

/// Joins runs of messages of one role.
fn take_turns(request: &mut ChatRequest) {
    request.messages = roles::joined(std::mem::take(&mut request.messages));
    if let Some(given) = &mut request.given
        && let Some(messages) = given.get("messages")
        && let Ok(messages) = serde_json::from_str(messages.get())
    {
        // Messages that were read can be written.
        let _ = given.set("messages", &roles::joined(messages));
    }
}

impl Walk<'_> {
    /// Tokens that this model may take for it, about; 0 where nobody counts them.
    pub(super) fn tokens_of(&mut self, model: &Model) -> u32 {
        if !self.in_use.quotas.counts_tokens() {
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
        let prompt = self
            .prompt_of(model)
            .map_or(0, |it| estimate::tokens_of(&it));
        let written = match self.asks {
            Asks::Embeddings => 0,
            Asks::Answer | Asks::Stream => {
                let asked = self.given.as_ref().and_then(estimate::asked_length);
                let asked = asked.or(self.max_tokens.or(model.max_tokens).map(u64::from));
                asked.unwrap_or(USUAL_ANSWER)
            }
        };
        u32::try_from(read.saturating_add(prompt).saturating_add(written)).unwrap_or(u32::MAX)
    }

    /// What a model is told first: by its bundle, by the task, or by whoever asks.
    fn prompt_of(&self, model: &Model) -> Option<Cow<'static, str>> {
        if self.asks == Asks::Embeddings {
            return None;
        }
        let own = self
            .route
            .prompt_of(model)
            .map(|it| Cow::from(it.to_string()));
        own.or(self.call.request.instructions.map(Cow::from))
    }

    /// Makes the request one for this model.
    pub(super) fn prepare(&mut self, model: &Model) {
        let prompt = self.prompt_of(model);
        let request = &mut self.call.request;
        request.model.clone_from(&model.id);
        request.max_tokens = self.max_tokens.or(model.max_tokens);
        let messages = self.messages.clone();
        request.messages = messages;
        request.given.clone_from(&self.given);
        request.rest.clone_from(&self.rest);
        keep_to_model(request);
        if model.provider != openrouter::NAME
            && let (Some(elsewhere), Some(given)) = (&request.elsewhere, &mut request.given)
        {
            // Messages that were read can be written.
            let _ = elsewhere.apply(given);
        }
        let are_of_another = |of: &Arc<str>| **of != *model.name;
        if request.thoughts_of.as_ref().is_some_and(are_of_another)
            && let Some(without) = request
                .given
                .as_ref()
                .and_then(reasoning_state::without_thoughts)
        {
            request.given = Some(without);
        }
        if let Some(prompt) = prompt {
            instructions::tell(request, &prompt, InstructionPlace::First);
        }
        if model.strict_roles {
            take_turns(request);
        }
        if self.asks != Asks::Embeddings
            && let Some(bundle) = &model.bundle
        {
            bundle.complete(request);
        }
        let catalog = self.in_use.catalog.clone();
        if let Some(provider) = catalog.provider(&model.provider) {
            self.route.privacy.apply(provider, request);
            if provider.limits_by_new_name {
                limit_by_new_name(request);
            }
        }
        let task = catalog.task(&self.route.task);
        request.reading = Reading {
            max_bytes: task.map_or(Reading::MAX_BYTES, |task| task.max_reply_bytes),
            reasoning_tag: model.reasoning_tag.clone(),
            context: Some(model.context),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::RawObject;

    #[test]
    fn a_limit_goes_out_by_the_name_that_the_server_takes() {
        let mut request = ChatRequest::new(Vec::new());
        request.max_tokens = Some(9);
        limit_by_new_name(&mut request);
        assert_eq!(
            (request.max_tokens, &request.rest[NEW_LIMIT]),
            (None, &9.into())
        );
        request.max_tokens = Some(8);
        request.rest.insert(NEW_LIMIT.into(), Value::Null);
        limit_by_new_name(&mut request);
        assert_eq!(request.rest[NEW_LIMIT], 8);
        for (came, goes) in [
            (
                r#"{"max_tokens":5,"n":1}"#,
                r#"{"n":1,"max_completion_tokens":5}"#,
            ),
            (
                r#"{"max_tokens":5,"max_completion_tokens":4}"#,
                r#"{"max_completion_tokens":4}"#,
            ),
            (
                r#"{"max_tokens":5,"max_completion_tokens":null}"#,
                r#"{"max_completion_tokens":5}"#,
            ),
            (r#"{"n":1}"#, r#"{"n":1}"#),
        ] {
            request.given = Some(RawObject::parse(came.as_bytes()).unwrap());
            limit_by_new_name(&mut request);
            let sent = request.given.as_ref().map(RawObject::to_json);
            assert_eq!(sent.as_deref(), Some(goes));
        }
    }
}
