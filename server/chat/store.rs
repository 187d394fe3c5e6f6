//! What a conversation consists of, and what a place to keep it must be able to do.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::_core::{assignment::Variant, iso_text};

/// A conversation of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Never used twice.
    pub id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// As given when it was created.
    pub title: Option<String>,
    /// When it was created, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed, as ISO 8601 text; sending a message is no change.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    pub updated_at: DateTime<Utc>,
}

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationSummary {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// The first 40 characters of the newest message; `null` in an empty conversation.
    pub last_message: Option<String>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Grows with the order in which messages were stored.
    pub id: i64,
    /// Where it belongs.
    pub conversation_id: i64,
    /// Who wrote it.
    pub role: MessageRole,
    /// The text.
    pub content: String,
    /// When it was stored, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    pub created_at: DateTime<Utc>,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// The user.
    User,
    /// A model.
    Assistant,
    /// The application.
    System,
}

impl MessageRole {
    /// As in the database, on the wire, and in the OpenAI API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

/// What wrote an answer, and for whom: what a rating of it speaks about.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerOrigin {
    /// Finds the attempts in the events.
    pub request_id: Arc<str>,
    /// The catalog's name of the model.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The variant it was for.
    pub variant: Variant,
    /// The rollout that counts the call, where one does.
    pub rollout: Option<Arc<str>>,
    /// [`Subject::key`](crate::_core::assignment::Subject::key) of whom it was decided for.
    pub subject: u64,
}

/// What a user thinks of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rating {
    /// It helped.
    Good,
    /// It did not.
    Bad,
}

impl Rating {
    /// As in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// What became of a rating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatingOutcome {
    /// It is this user's first of this message.
    First,
    /// It replaced an earlier one.
    Again,
    /// The message does not exist, or no longer.
    Gone,
}

/// Where conversations are kept. Nothing here checks whose they are.
#[async_trait]
pub trait ConversationStore: Send + Sync {
    /// A user's conversations, by their last change, the latest first.
    async fn conversations_of(&self, user_id: i64) -> anyhow::Result<Vec<ConversationSummary>>;

    /// One conversation.
    async fn conversation(&self, id: i64) -> anyhow::Result<Option<Conversation>>;

    /// Adds a conversation.
    async fn create_conversation(
        &self,
        user_id: i64,
        title: Option<&str>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Conversation>;

    /// Deletes a conversation and its messages; nothing happens where there is none.
    async fn delete_conversation(&self, id: i64) -> anyhow::Result<()>;

    /// Up to `limit` messages after the first `skip`, oldest first.
    async fn messages(
        &self,
        conversation_id: i64,
        skip: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<Message>>;

    /// Up to `limit` messages that were stored before message `before`, newest first.
    async fn messages_before(
        &self,
        conversation_id: i64,
        before: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<Message>>;

    /// Adds a message; `None` where the conversation does not exist, or no longer.
    async fn add_message(
        &self,
        conversation_id: i64,
        role: MessageRole,
        content: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>>;

    /// The answer to a message of a user, and what wrote it where that was kept; `None` where it has none.
    async fn answer_to(
        &self,
        question: &Message,
    ) -> anyhow::Result<Option<(Message, Option<AnswerOrigin>)>>;

    /// Adds an answer with what wrote it; `None` where the conversation does not exist, or no longer, or
    /// where the question has its answer already.
    async fn add_answer(
        &self,
        question: &Message,
        content: &str,
        origin: &AnswerOrigin,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>>;

    /// One message, and what wrote it where that was kept.
    async fn message(&self, id: i64) -> anyhow::Result<Option<(Message, Option<AnswerOrigin>)>>;

    /// Keeps what a user thinks of a message; the last rating counts.
    async fn rate_message(
        &self,
        message_id: i64,
        user_id: i64,
        rating: Rating,
        now: DateTime<Utc>,
    ) -> anyhow::Result<RatingOutcome>;
}
