//! Conversations and their messages: where they are kept, and how much of one is sent to a model.
//!
//! Every call about a conversation first asks whose it is. Nothing here acts on what a message says:
//! a text is stored, sent to a model, and answered by a text.

pub mod history;
pub mod prompt;
mod rate;
pub mod send;
pub mod store;
pub mod stream;
mod twins;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use self::{
    store::{AnswerOrigin, Conversation, ConversationStore, ConversationSummary, Message},
    twins::Twins,
};
use crate::{
    _core::{
        assignment::Subject,
        caller::User,
        errors::{ErrorCode, RpcError},
        rate_limit::RateLimiter,
    },
    config::ChatConfig,
    model_router::{Answer, AnswerStream, Call, ModelRouter, Route, RouteError, told::FaultWords},
    providers::{Usage, fault::FaultKind},
    recording::Log,
};

/// Whoever finds a model and gets its answer.
#[async_trait]
pub trait Answerer: Send + Sync {
    /// The models that a message of this user is put to. Fails for a `model` that the catalog does not
    /// have, so that nothing is stored for its sake.
    fn select(
        &self,
        task: &str,
        subject: &Subject,
        model: Option<&str>,
    ) -> Result<Route, RouteError>;
    /// The answer of a model of the route, before the call's deadline.
    async fn complete(&self, route: &Route, call: Call) -> Result<Answer, RouteError>;
    /// The same answer from where it begins, as it comes.
    async fn stream(&self, route: &Route, call: Call) -> Result<AnswerStream, RouteError>;
}

#[async_trait]
impl Answerer for ModelRouter {
    fn select(
        &self,
        task: &str,
        subject: &Subject,
        model: Option<&str>,
    ) -> Result<Route, RouteError> {
        Self::select(self, task, Some(subject), model)
    }

    async fn complete(&self, route: &Route, call: Call) -> Result<Answer, RouteError> {
        Self::complete(self, route, call).await
    }

    async fn stream(&self, route: &Route, call: Call) -> Result<AnswerStream, RouteError> {
        Self::stream(self, route, call).await
    }
}

/// The chat procedures' work.
pub struct Chat {
    store: Arc<dyn ConversationStore>,
    answerer: Arc<dyn Answerer>,
    limiter: Arc<RateLimiter>,
    /// Messages that are being answered.
    turns: Mutex<HashSet<i64>>,
    twins: Twins,
    config: ChatConfig,
    log: Arc<Log>,
}

impl Chat {
    /// A chat over a store and a source of answers, which appends ratings to a log.
    pub fn new(
        store: Arc<dyn ConversationStore>,
        answerer: Arc<dyn Answerer>,
        config: ChatConfig,
        log: Arc<Log>,
    ) -> Self {
        Self {
            store,
            answerer,
            limiter: RateLimiter::per_minute(config.rate_limit).into(),
            turns: Mutex::default(),
            twins: Twins::default(),
            config,
            log,
        }
    }

    /// How many messages users may send.
    pub fn limiter(&self) -> &Arc<RateLimiter> {
        &self.limiter
    }

    /// A user's conversations, the latest first.
    pub async fn conversations(&self, user: &User) -> Result<Vec<ConversationSummary>, ChatError> {
        Ok(self.store.conversations_of(user.id).await?)
    }

    /// A new, empty conversation.
    pub async fn create(
        &self,
        user: &User,
        title: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Conversation, ChatError> {
        Ok(self.store.create_conversation(user.id, title, now).await?)
    }

    /// Up to `limit` messages after the first `skip`, oldest first, and whether there are more.
    pub async fn messages(
        &self,
        user: &User,
        conversation_id: i64,
        skip: i64,
        limit: i64,
    ) -> Result<(Vec<Message>, bool), ChatError> {
        self.check_owner(user, conversation_id).await?;
        let one_more = limit.saturating_add(1);
        let mut messages = self.store.messages(conversation_id, skip, one_more).await?;
        let wanted = usize::try_from(limit).unwrap_or(0);
        let has_more = messages.len() > wanted;
        messages.truncate(wanted);
        Ok((messages, has_more))
    }

    /// Deletes a conversation with its messages; a send that is under way there still ends well.
    pub async fn delete(&self, user: &User, conversation_id: i64) -> Result<(), ChatError> {
        self.check_owner(user, conversation_id).await?;
        Ok(self.store.delete_conversation(conversation_id).await?)
    }

    /// A message of a conversation of the user's, with what wrote it.
    async fn message_of(
        &self,
        user: &User,
        id: i64,
    ) -> Result<(Message, Option<AnswerOrigin>), ChatError> {
        let found = self.store.message(id).await?.ok_or(ChatError::NoMessage)?;
        match self.check_owner(user, found.0.conversation_id).await {
            // Somebody else's; a conversation was not asked for and is not spoken of.
            Err(ChatError::NotFound) => Err(ChatError::NoMessage),
            outcome => outcome.map(|()| found),
        }
    }

    async fn check_owner(&self, user: &User, conversation_id: i64) -> Result<(), ChatError> {
        match self.store.conversation(conversation_id).await? {
            Some(conversation) if conversation.user_id == user.id => Ok(()),
            // Somebody else's is answered as none is, so that nobody can find out what exists.
            Some(_) | None => Err(ChatError::NotFound),
        }
    }
}

/// A message with its answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the user wrote, as it is stored.
    pub message: Message,
    /// The id under which the answer is stored; `None` where the conversation was deleted meanwhile.
    pub answer_id: Option<i64>,
    /// What a model wrote.
    pub content: String,
    /// The catalog's name of the model; empty where an answer of an earlier release does not say.
    pub model: Arc<str>,
    /// What it used, where the provider says; absent for an answer of earlier.
    pub usage: Option<TokensUsed>,
    /// What cut it short; absent where it is whole, and for an answer of earlier.
    pub cut_by: Option<CutBy>,
}

/// What cut an answer short that is an answer all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutBy {
    /// It became as long as an answer may be.
    Length,
    /// A filter at the model's server ended it.
    ContentFilter,
}

impl CutBy {
    /// By the finish reason of a model's server.
    pub(crate) fn of(finish_reason: Option<&str>) -> Option<Self> {
        match finish_reason? {
            "length" | "max_tokens" => Some(Self::Length),
            "content_filter" => Some(Self::ContentFilter),
            _ => None,
        }
    }
}

/// Tokens of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokensUsed {
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
}

impl From<Usage> for TokensUsed {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}

/// Why a message got no answer, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoAnswer {
    /// What failed, such as `timeout`, `context-length` or `empty-reply`; absent where too many requests
    /// wait for a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FaultKind>,
    /// Whether `chat.retry` may succeed later. Where it cannot, the text says what else to do.
    pub retryable: bool,
    /// The message, which is stored: what `chat.retry` takes.
    pub message_id: i64,
}

impl NoAnswer {
    fn of(message_id: i64, error: &RouteError) -> Self {
        let kind = error.kind();
        let is_cut = matches!(error, RouteError::Interrupted { .. });
        let told = kind.map(FaultWords::about);
        Self {
            kind,
            retryable: is_cut || told.is_none_or(|told| told.retryable),
            message_id,
        }
    }
}

/// Why a chat procedure failed.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The user has no such conversation, or no longer.
    #[error("no such conversation")]
    NotFound,
    /// The user has no such message, or no longer.
    #[error("no such message")]
    NoMessage,
    /// Only what a model wrote is rated.
    #[error("message `{id}` is no answer")]
    NoAnswerToRate {
        /// What was asked for.
        id: i64,
    },
    /// Only what a user wrote is answered, and only if there is something to see.
    #[error("message `{id}` is nothing to answer")]
    NothingToAnswer {
        /// What was asked for.
        id: i64,
    },
    /// Another call is getting the message answered.
    #[error("message `{id}` is being answered")]
    UnderWay {
        /// What was asked for.
        id: i64,
    },
    /// Too many messages within a minute.
    #[error("too many messages; the window frees at {frees_at}")]
    RateLimited {
        /// When it was asked.
        now: DateTime<Utc>,
        /// When the oldest counted message leaves the window.
        frees_at: DateTime<Utc>,
    },
    /// Nothing was stored, because the catalog has nobody to answer it.
    #[error(transparent)]
    Unroutable(RouteError),
    /// The message is stored, but no model answered it.
    #[error("no answer to message `{message_id}`")]
    NoAnswer {
        /// The message.
        message_id: i64,
        /// When it was sent.
        now: DateTime<Utc>,
        /// Why no model answered.
        #[source]
        error: RouteError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

impl ChatError {
    /// What is known of a message that no model answered; `None` of other faults.
    pub fn no_answer(&self) -> Option<NoAnswer> {
        match self {
            Self::NoAnswer {
                message_id, error, ..
            } => Some(NoAnswer::of(*message_id, error)),
            _ => None,
        }
    }
}

impl From<ChatError> for RpcError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::NotFound => Self::not_found("Conversation not found"),
            ChatError::NoMessage => Self::not_found("Message not found"),
            ChatError::NoAnswerToRate { id } => Self::bad_request(format!(
                "Only answers of the assistant can be rated (ID: {id})"
            )),
            ChatError::RateLimited { now, frees_at } => {
                let wait_ms = (frees_at - now).num_milliseconds().max(1);
                let seconds = wait_ms.saturating_add(999) / 1000;
                // A message that is exactly a minute old still counts.
                let retry_after = frees_at + TimeDelta::milliseconds(1);
                Self::rate_limited(
                    format!(
                        "Rate limit exceeded. Please wait {seconds}s before sending more messages."
                    ),
                    retry_after,
                )
            }
            ChatError::Unroutable(
                error @ (RouteError::UnknownModel { .. } | RouteError::Private { .. }),
            ) => Self::bad_request(error.to_string()),
            ChatError::Unroutable(error) => Self::internal(error),
            ChatError::NothingToAnswer { id } => Self::bad_request(format!(
                "Only messages of a user that are not blank can be answered (ID: {id})"
            )),
            ChatError::UnderWay { id } => Self::new(
                ErrorCode::Conflict,
                format!("This message is being answered already (ID: {id})"),
            ),
            ChatError::NoAnswer {
                message_id,
                now,
                error,
            } => no_answer(NoAnswer::of(message_id, &error), now, error),
            ChatError::Store(error) => Self::internal(error),
        }
    }
}

/// The text promises nothing that trying again cannot bring.
fn no_answer(details: NoAnswer, now: DateTime<Utc>, error: RouteError) -> RpcError {
    let (code, text) = match details.kind.map(FaultWords::about) {
        _ if matches!(error, RouteError::Interrupted { .. }) => (
            ErrorCode::InternalServerError,
            "The answer broke off. The message was saved; please try again.".to_owned(),
        ),
        Some(told) if !told.retryable => {
            (told.code, format!("{} The message was saved.", told.text))
        }
        Some(_) => (
            ErrorCode::InternalServerError,
            "No model could answer. The message was saved; please try again.".to_owned(),
        ),
        None => (
            ErrorCode::ServiceUnavailable,
            "Too many requests wait for the language model. The message was saved; please try again in a moment.".to_owned(),
        ),
    };
    let error = match details.kind {
        Some(_) => RpcError::new(code, text),
        None => RpcError::unavailable(text, now),
    }
    .with_cause(error);
    // A struct of plain fields is always JSON.
    error.with_details(serde_json::to_value(details).unwrap_or_default())
}
