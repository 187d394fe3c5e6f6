//! Takes a message, gets it answered, and stores both.
//!
//! The message is stored before a model is asked, so nothing a user wrote is lost when no model
//! answers. A request to a model ends with the message it answers: of two sends to one
//! conversation at the same time neither sees what was stored after its own message, and messages
//! stand in the order in which they were stored. A conversation that is deleted meanwhile stays so:
//! the answer then has nowhere to go, and the send ends well.
//!
//! A message whose answer failed can be tried again: [`Chat::retry`] answers what is stored, so that it is
//! neither stored nor sent twice. A message has one answer at most, and is answered by one call at a time.
//! The same text sent again while the first send is under way is the same message (`twins`).
//!
//! Any signed-in user may ask for a model of the catalog, as the front end's model menu did.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Chat, ChatError,
    history::{History, estimate_tokens},
    prompt::{ChatContext, system_message},
    store::{Message, MessageRole, Origin},
};
use crate::{
    _core::{assignment::Subject, blank::is_blank, caller::User, context::Context},
    model_router::{Call, Route, Trail, Urgency},
    providers::{self, ChatRequest, roles},
};

/// The catalog's task that answers a chat message.
pub const TASK: &str = "chat";
/// Messages that are read from the store at once while a history is gathered.
const PAGE: i64 = 50;

/// What a user sends.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub conversation_id: i64,
    /// The text.
    pub content: String,
    /// A model of the catalog to answer it, instead of the one that the route prefers.
    pub model: Option<String>,
    /// What the user is looking at.
    pub context: Option<ChatContext>,
}

/// A message to try again.
#[derive(Clone, Debug)]
pub struct Again {
    /// What a user sent before.
    pub message_id: i64,
    /// As in [`Outgoing`].
    pub model: Option<String>,
    /// As in [`Outgoing`].
    pub context: Option<ChatContext>,
}

impl Chat {
    /// Stores the message and its answer; returns the stored message, as the original did.
    pub async fn send(
        &self,
        user: &User,
        context: &Context,
        mut outgoing: Outgoing,
    ) -> Result<Message, ChatError> {
        let started = Instant::now();
        let now = context.received_at;
        // What the user looks at may be large: it is dropped here, as the answer takes its time.
        let instructions = system_message(outgoing.context.take().as_ref(), now);
        self.check_owner(user, outgoing.conversation_id).await?;
        let (id, content) = (outgoing.conversation_id, &outgoing.content);
        let model = outgoing.model.as_deref();
        let twin = self.twins.join(id, content, model);
        let mut stored = twin.turn().await;
        if let Some(message) = &*stored
            && self.store.is_answered(message).await?
        {
            return Ok(message.clone());
        }
        // Only now: a twin may have taken its time, and a share may have been lowered meanwhile.
        let route = self.select(user, model)?;
        self.take_quota(user, now)?;
        let message = match &*stored {
            Some(message) => message.clone(),
            None => {
                let role = MessageRole::User;
                let message = self.store.add_message(id, role, content, now).await?;
                stored.insert(message.ok_or(ChatError::NotFound)?).clone()
            }
        };
        let _turn = self.begin_turn(message.id)?;
        self.answer(context, &message, route, instructions, started)
            .await?;
        Ok(message)
    }

    /// Gets a message of the user's answered that has no answer yet, and returns it. Where it has one,
    /// nothing happens.
    pub async fn retry(
        &self,
        user: &User,
        context: &Context,
        again: Again,
    ) -> Result<Message, ChatError> {
        let started = Instant::now();
        let id = again.message_id;
        let now = context.received_at;
        let instructions = system_message(again.context.as_ref(), now);
        let (message, _) = self.message_of(user, id).await?;
        if message.role != MessageRole::User || is_blank(&message.content) {
            return Err(ChatError::NothingToAnswer { id });
        }
        let _turn = self.begin_turn(id)?;
        if self.store.is_answered(&message).await? {
            return Ok(message);
        }
        let route = self.select(user, again.model.as_deref())?;
        self.take_quota(user, now)?;
        self.answer(context, &message, route, instructions, started)
            .await?;
        Ok(message)
    }

    /// Asks a model, and stores what it answers.
    async fn answer(
        &self,
        context: &Context,
        message: &Message,
        route: Route,
        instructions: providers::Message,
        started: Instant,
    ) -> Result<(), ChatError> {
        let now = context.received_at;
        let budget = self.history_budget(&instructions, route.context_tokens());
        let history = self.history(message, budget).await?;
        let call = Call {
            request_id: context.request_id.clone(),
            request: ChatRequest::new(in_turns(instructions, history)),
            deadline: started + self.config.deadline,
            stream_deadline: None,
            urgency: Urgency::default(),
            trail: Trail::default(),
        };
        let answer = self.answerer.complete(&route, call).await;
        let answer = answer.map_err(|error| ChatError::NoAnswer {
            message_id: message.id,
            now,
            error,
        })?;

        let answered_at = now + TimeDelta::from_std(started.elapsed()).unwrap_or_default();
        let origin = Origin {
            request_id: context.request_id.clone(),
            model: answer.model,
            task: TASK.into(),
            variant: route.variant,
            rollout: route.counted_by(),
            subject: route.subject.as_ref().map(Subject::key).unwrap_or_default(),
        };
        let content = &answer.completion.content;
        self.store
            .add_answer(message, content, &origin, answered_at)
            .await?;
        Ok(())
    }

    /// The models that a message of this user is put to.
    fn select(&self, user: &User, model: Option<&str>) -> Result<Route, ChatError> {
        let model = model.filter(|model| !model.trim().is_empty());
        self.answerer
            .select(TASK, &Subject::User(user.id), model)
            .map_err(ChatError::Unroutable)
    }

    fn take_quota(&self, user: &User, now: DateTime<Utc>) -> Result<(), ChatError> {
        let taken = self.limiter.take(user.id, now);
        taken.map(drop).map_err(|quota| ChatError::RateLimited {
            now,
            frees_at: quota.resets_at,
        })
    }

    /// Makes this call the one that gets the message answered, until the turn is dropped.
    fn begin_turn(&self, message_id: i64) -> Result<Turn<'_>, ChatError> {
        let turns = &self.turns;
        if turns.lock().insert(message_id) {
            Ok(Turn { turns, message_id })
        } else {
            Err(ChatError::UnderWay { id: message_id })
        }
    }

    /// Tokens for the conversation: what is configured, or what the smallest model on the route has
    /// left once the instructions are in and a quarter is kept for the answer.
    fn history_budget(&self, instructions: &providers::Message, model_tokens: u32) -> usize {
        let readable = usize::try_from(model_tokens - model_tokens / 4).unwrap_or(usize::MAX);
        let taken = instructions.content.as_str().map_or(0, estimate_tokens);
        self.config
            .history_tokens
            .min(readable.saturating_sub(taken))
    }

    /// As much of the conversation before `last` as fits, in pages from its end.
    async fn history(&self, last: &Message, budget: usize) -> anyhow::Result<History> {
        let mut history = History::ending_with(last, budget);
        let mut before = last.id;
        loop {
            let page = self
                .store
                .messages_before(last.conversation_id, before, PAGE)
                .await?;
            let Some(oldest) = page.last().map(|message| message.id) else {
                return Ok(history);
            };
            before = oldest;
            for message in page {
                if !history.prepend(message) {
                    return Ok(history);
                }
            }
        }
    }
}

/// A message that is being answered.
struct Turn<'a> {
    turns: &'a Mutex<HashSet<i64>>,
    message_id: i64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.message_id);
    }
}

/// A request that every template takes: one system message, then the user and the model in turns,
/// beginning with the user.
fn in_turns(instructions: providers::Message, history: History) -> Vec<providers::Message> {
    let is_system = |message: &providers::Message| message.role == "system";
    let (system, talk): (Vec<_>, Vec<_>) = history.into_messages().partition(is_system);
    let talk = talk
        .into_iter()
        .skip_while(|message| message.role == "assistant");
    let mut messages = vec![instructions];
    messages.extend(system);
    messages.extend(talk);
    roles::joined(messages)
}
