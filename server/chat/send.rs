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

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Answered, Chat, ChatError, CutBy,
    history::{RecentMessages, estimate_tokens},
    prompt::{ChatContext, INSTRUCTIONS, system_message},
    store::{AnswerOrigin, Message, MessageRole},
    twins::Twin,
};
use crate::{
    _core::{assignment::Subject, blank::is_blank, caller::User, context::Context},
    model_router::{Call, Route, RouteError, Trail, Urgency},
    providers::{self, ChatRequest, Completion, Usage, roles},
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
pub struct SendAgain {
    /// What a user sent before.
    pub message_id: i64,
    /// As in [`Outgoing`].
    pub model: Option<String>,
    /// As in [`Outgoing`].
    pub context: Option<ChatContext>,
}

impl Chat {
    /// Stores the message and its answer.
    pub async fn send(
        &self,
        user: &User,
        context: &Context,
        mut outgoing: Outgoing,
    ) -> Result<Answered, ChatError> {
        let started = Instant::now();
        // What the user looks at may be large: it is dropped here, as the answer takes its time.
        let instructions = system_message(outgoing.context.take().as_ref(), context.received_at);
        self.check_owner(user, outgoing.conversation_id).await?;
        let twin = self.join(&outgoing);
        let mut stored = twin.turn().await;
        match self.accept(user, context, &outgoing, &mut stored).await? {
            Accepted::Answered(answered) => Ok(answered),
            Accepted::Open(question) => {
                let _turn = self.begin_turn(question.message.id)?;
                self.answer(context, question, instructions, started).await
            }
        }
    }

    /// Joins the other sends of the same message that are under way.
    pub(super) fn join(&self, outgoing: &Outgoing) -> Twin<'_> {
        let model = outgoing.model.as_deref();
        self.twins
            .join(outgoing.conversation_id, &outgoing.content, model)
    }

    /// Stores the message, unless a twin did and may have got it answered.
    pub(super) async fn accept(
        &self,
        user: &User,
        context: &Context,
        outgoing: &Outgoing,
        stored: &mut Option<Message>,
    ) -> Result<Accepted, ChatError> {
        let now = context.received_at;
        if let Some(message) = stored
            && let Some((answer, origin)) = self.store.answer_to(message).await?
        {
            return Ok(Accepted::Answered(Answered {
                message: message.clone(),
                answer_id: Some(answer.id),
                content: answer.content,
                model: origin.map_or_else(|| "".into(), |origin| origin.model),
                usage: None,
                cut_by: None,
            }));
        }
        // Only now: a twin may have taken its time, and a share may have been lowered meanwhile.
        let route = self.select(user, outgoing.model.as_deref())?;
        self.limit(user, now)?;
        let message = match stored {
            Some(message) => message.clone(),
            None => {
                let (id, content) = (outgoing.conversation_id, &outgoing.content);
                let role = MessageRole::User;
                let message = self.store.add_message(id, role, content, now).await?;
                stored.insert(message.ok_or(ChatError::NotFound)?).clone()
            }
        };
        Ok(Accepted::Open(SentMessage { message, route }))
    }

    /// Gets a message of the user's answered that has no answer yet, and returns it. Where it has one,
    /// nothing happens.
    pub async fn retry(
        &self,
        user: &User,
        context: &Context,
        again: SendAgain,
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
        if self.store.answer_to(&message).await?.is_some() {
            return Ok(message);
        }
        let route = self.select(user, again.model.as_deref())?;
        self.limit(user, now)?;
        let question = SentMessage { message, route };
        let answered = self.answer(context, question, instructions, started);
        Ok(answered.await?.message)
    }

    /// Asks a model, and stores what it answers.
    async fn answer(
        &self,
        context: &Context,
        question: SentMessage,
        instructions: providers::ChatMessage,
        started: Instant,
    ) -> Result<Answered, ChatError> {
        let call = self.call(context, &question, instructions, started).await?;
        let answer = self.answerer.complete(&question.route, call).await;
        let answer = answer.map_err(|error| question.unanswered(context, error))?;
        let Completion {
            content,
            usage,
            finish_reason,
            ..
        } = answer.completion;
        let cut_by = CutBy::of(finish_reason.as_deref());
        let written = ModelAnswer {
            content,
            model: answer.model,
            usage,
            cut_by,
        };
        self.keep(context, question, written, started).await
    }

    /// What a model is asked.
    pub(super) async fn call(
        &self,
        context: &Context,
        question: &SentMessage,
        instructions: providers::ChatMessage,
        started: Instant,
    ) -> Result<Call, ChatError> {
        let budget = self.history_budget(&instructions, &question.route);
        let history = self.history(&question.message, budget).await?;
        Ok(Call {
            request_id: context.request_id.clone(),
            request: ChatRequest {
                instructions: Some(INSTRUCTIONS),
                ..ChatRequest::new(in_turns(instructions, history))
            },
            deadline: started + self.config.deadline,
            stream_deadline: None,
            urgency: Urgency::default(),
            trail: Trail::default(),
        })
    }

    /// Stores what a model wrote.
    pub(super) async fn keep(
        &self,
        context: &Context,
        question: SentMessage,
        written: ModelAnswer,
        started: Instant,
    ) -> Result<Answered, ChatError> {
        let SentMessage { message, route } = question;
        let took = TimeDelta::from_std(started.elapsed()).unwrap_or_default();
        let origin = AnswerOrigin {
            request_id: context.request_id.clone(),
            model: written.model.clone(),
            task: TASK.into(),
            variant: route.variant,
            rollout: route.counted_by(),
            subject: route.subject.as_ref().map(Subject::key).unwrap_or_default(),
        };
        let content = written.content;
        let answered_at = context.received_at + took;
        let answer = self
            .store
            .add_answer(&message, &content, &origin, answered_at)
            .await?;
        Ok(Answered {
            message,
            answer_id: answer.map(|answer| answer.id),
            content,
            model: written.model,
            usage: written.usage.map(Into::into),
            cut_by: written.cut_by,
        })
    }

    /// The models that a message of this user is put to.
    fn select(&self, user: &User, model: Option<&str>) -> Result<Route, ChatError> {
        let model = model.filter(|model| !model.trim().is_empty());
        self.answerer
            .select(TASK, &Subject::User(user.id), model)
            .map_err(ChatError::Unroutable)
    }

    fn limit(&self, user: &User, now: DateTime<Utc>) -> Result<(), ChatError> {
        let taken = self.limiter.take(user.id, now);
        taken.map(drop).map_err(|left| ChatError::RateLimited {
            now,
            frees_at: left.resets_at,
        })
    }

    /// Makes this call the one that gets the message answered, until the turn is dropped.
    pub(super) fn begin_turn(&self, message_id: i64) -> Result<ReplyUnderWay<'_>, ChatError> {
        let turns = &self.turns;
        if turns.lock().insert(message_id) {
            Ok(ReplyUnderWay { turns, message_id })
        } else {
            Err(ChatError::UnderWay { id: message_id })
        }
    }

    /// Tokens for the conversation: what is configured, or what the smallest model on the route has
    /// left once the instructions are in and a quarter is kept for the answer.
    fn history_budget(&self, instructions: &providers::ChatMessage, route: &Route) -> usize {
        let model_tokens = route.context_tokens();
        let readable = usize::try_from(model_tokens - model_tokens / 4).unwrap_or(usize::MAX);
        let prompt = route.prompts(INSTRUCTIONS).map(estimate_tokens).max();
        let taken = instructions.content.as_str().map_or(0, estimate_tokens) + prompt.unwrap_or(0);
        self.config
            .history_tokens
            .min(readable.saturating_sub(taken))
    }

    /// As much of the conversation before `last` as fits, in pages from its end.
    async fn history(&self, last: &Message, budget: usize) -> anyhow::Result<RecentMessages> {
        let mut history = RecentMessages::ending_with(last, budget);
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

/// What became of a message that was sent.
pub(super) enum Accepted {
    /// A twin got it answered.
    Answered(Answered),
    /// It is stored, and its answer is to be got.
    Open(SentMessage),
}

/// A stored message, and the models that it is put to.
pub(super) struct SentMessage {
    pub(super) message: Message,
    pub(super) route: Route,
}

impl SentMessage {
    /// That no model answered it.
    pub(super) fn unanswered(&self, context: &Context, error: RouteError) -> ChatError {
        ChatError::NoAnswer {
            message_id: self.message.id,
            now: context.received_at,
            error,
        }
    }
}

/// What a model wrote.
pub(super) struct ModelAnswer {
    pub(super) content: String,
    pub(super) model: Arc<str>,
    pub(super) usage: Option<Usage>,
    pub(super) cut_by: Option<CutBy>,
}

/// A message that is being answered.
pub(super) struct ReplyUnderWay<'a> {
    turns: &'a Mutex<HashSet<i64>>,
    message_id: i64,
}

impl Drop for ReplyUnderWay<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.message_id);
    }
}

/// A request that every template takes: one system message, then the user and the model in turns,
/// beginning with the user.
fn in_turns(
    instructions: providers::ChatMessage,
    history: RecentMessages,
) -> Vec<providers::ChatMessage> {
    let is_system = |message: &providers::ChatMessage| message.role == "system";
    let (system, talk): (Vec<_>, Vec<_>) = history.into_messages().partition(is_system);
    let talk = talk
        .into_iter()
        .skip_while(|message| message.role == "assistant");
    let mut messages = vec![instructions];
    messages.extend(system);
    messages.extend(talk);
    roles::joined(messages)
}
