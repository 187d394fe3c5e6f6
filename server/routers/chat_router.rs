//! `chat`: conversations with a model, each open to its owner only.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        js::UndefinedOr,
        registry::Registry,
    },
    chat::{
        Chat, NoAnswer,
        prompt::ChatContext,
        send::{Outgoing, SendAgain},
        store::{Conversation, ConversationSummary, Message, Rating},
    },
    procedures,
};

/// Registers `chat.*`.
pub fn register(registry: &mut Registry, chat: impl Into<Option<Arc<Chat>>>) {
    procedures!(registry.outline("chat", chat.into());
        /// The caller's conversations, the latest first, each with the beginning of its newest message.
        query SignedIn getConversations = get_conversations;
        /// Messages of a conversation, oldest first, a page at a time.
        query SignedIn getMessages = get_messages, errors CONVERSATION;
        /// Begins a conversation.
        mutation SignedIn createConversation = create_conversation;
        /// Sends a message and waits until its answer is stored; returns the message that was sent.
        ///
        /// The message stays when no model answers, and `retry` gets it answered. At most ten a minute
        /// are accepted from one user.
        mutation SignedIn sendMessage = send_message, errors SENDING;
        /// Gets a message answered that was sent before and has no answer, and returns it. It is neither
        /// stored nor sent twice; where it has its answer already, nothing happens.
        mutation SignedIn retry = retry, errors RETRYING;
        /// Keeps what the caller thinks of an answer; it speaks for or against the model that wrote
        /// it. A later rating replaces an earlier one.
        mutation SignedIn rateMessage = rate_message, errors MESSAGE;
        /// Deletes a conversation with all its messages.
        mutation SignedIn deleteConversation = delete_conversation, errors CONVERSATION;
    );
}

/// Somebody else's conversations and messages are as unknown as those that do not exist.
const CONVERSATION: &[Declared] = &[Declared::new(
    ErrorCode::NotFound,
    "The caller has no such conversation.",
)];
const MESSAGE: &[Declared] = &[Declared::new(
    ErrorCode::NotFound,
    "The caller has no such message.",
)];
const TOO_MANY: Declared = Declared::rate_limited(
    "The caller sent ten messages within a minute; `retryAfter` says when to go on.",
);
/// What a message without an answer can mean; it is stored, and `details` say whether `retry` can help.
const NO_ANSWER: [Declared; 4] = [
    Declared::with::<NoAnswer>(
        ErrorCode::InternalServerError,
        "No model could answer; trying again may help.",
    ),
    Declared::with::<NoAnswer>(
        ErrorCode::UnprocessableContent,
        "The models do not accept the message as it is.",
    ),
    Declared::with::<NoAnswer>(
        ErrorCode::PayloadTooLarge,
        "The conversation is too long for the models.",
    ),
    Declared::with::<NoAnswer>(
        ErrorCode::ServiceUnavailable,
        "Too many requests wait, or the account with the models' provider does not work.",
    ),
];
const UNDER_WAY: Declared = Declared::new(
    ErrorCode::Conflict,
    "Another call is getting the message answered.",
);
/// What a message that cannot be sent can mean.
pub(super) const SENT: &[Declared] = &[CONVERSATION[0], TOO_MANY, UNDER_WAY];
pub(super) const SENDING: &[Declared] = &[
    CONVERSATION[0],
    TOO_MANY,
    UNDER_WAY,
    NO_ANSWER[0],
    NO_ANSWER[1],
    NO_ANSWER[2],
    NO_ANSWER[3],
];
const RETRYING: &[Declared] = &[
    MESSAGE[0],
    TOO_MANY,
    UNDER_WAY,
    NO_ANSWER[0],
    NO_ANSWER[1],
    NO_ANSWER[2],
    NO_ANSWER[3],
];

async fn get_conversations(
    chat: Arc<Chat>,
    context: Context,
) -> Result<Vec<ConversationSummary>, RpcError> {
    Ok(chat.conversations(context.user()?).await?)
}

/// Which messages.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GetMessages {
    /// The conversation.
    pub(crate) conversation_id: i64,
    /// How many messages to skip: `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub(crate) cursor: Option<i64>,
    /// Messages of a page.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 50))]
    pub(crate) limit: i64,
}

fn default_limit() -> i64 {
    20
}

/// A page of messages.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessagePage {
    /// Oldest first.
    messages: Vec<Message>,
    /// Whether another page follows.
    has_more: bool,
    /// The cursor of the next page, where there is one.
    next_cursor: UndefinedOr<i64>,
}

async fn get_messages(
    chat: Arc<Chat>,
    context: Context,
    input: GetMessages,
) -> Result<MessagePage, RpcError> {
    let skip = input.cursor.unwrap_or(0);
    let (messages, has_more) = chat
        .messages(context.user()?, input.conversation_id, skip, input.limit)
        .await?;
    Ok(MessagePage {
        messages,
        has_more,
        next_cursor: UndefinedOr(has_more.then(|| skip.saturating_add(input.limit))),
    })
}

/// A conversation to begin.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-required" = true))]
pub(crate) struct CreateConversation {
    /// Up to 255 characters.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub(crate) title: Option<String>,
}

async fn create_conversation(
    chat: Arc<Chat>,
    context: Context,
    input: CreateConversation,
) -> Result<Conversation, RpcError> {
    Ok(chat
        .create(context.user()?, input.title.as_deref(), context.received_at)
        .await?)
}

/// A message to send.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendMessage {
    /// Where to.
    pub(crate) conversation_id: i64,
    /// The text, 1 to 10,000 characters. White space and characters without width alone are as good as
    /// empty.
    #[schemars(length(min = 1, max = 10_000), extend("x-blank-is-empty" = true, "x-messages" = {
        "tooSmall": "Message cannot be empty",
        "tooBig": "Message too long (max 10,000 characters)"
    }))]
    pub(crate) content: String,
    /// A model of the catalog to answer it; empty is the same as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// What the user is looking at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<ChatContext>,
}

async fn send_message(
    chat: Arc<Chat>,
    context: Context,
    input: SendMessage,
) -> Result<Message, RpcError> {
    let outgoing = Outgoing {
        conversation_id: input.conversation_id,
        content: input.content,
        model: input.model,
        context: input.context,
    };
    let answered = chat.send(context.user()?, &context, outgoing).await?;
    Ok(answered.message)
}

/// A message to get answered.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RetryMessage {
    /// A message of the caller's: `details.messageId` of the error that sending it gave.
    message_id: i64,
    /// A model of the catalog to answer it; empty is the same as absent.
    #[serde(default)]
    model: Option<String>,
    /// What the user is looking at.
    #[serde(default)]
    context: Option<ChatContext>,
}

async fn retry(
    chat: Arc<Chat>,
    context: Context,
    input: RetryMessage,
) -> Result<Message, RpcError> {
    let again = SendAgain {
        message_id: input.message_id,
        model: input.model,
        context: input.context,
    };
    Ok(chat.retry(context.user()?, &context, again).await?)
}

/// What the caller thinks of an answer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RateMessage {
    /// An answer in a conversation of the caller's.
    message_id: i64,
    /// Whether it helped.
    verdict: Rating,
}

/// That it was kept.
#[derive(Serialize, JsonSchema)]
struct Kept {
    /// Always `true`.
    success: bool,
}

async fn rate_message(
    chat: Arc<Chat>,
    context: Context,
    input: RateMessage,
) -> Result<Kept, RpcError> {
    let user = context.user()?;
    chat.rate(user, input.message_id, input.verdict, context.received_at)
        .await?;
    Ok(Kept { success: true })
}

/// Which conversation.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteConversation {
    /// The conversation.
    pub(crate) conversation_id: i64,
}

/// That it was done.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Deleted {
    /// Always `true`.
    pub(crate) success: bool,
}

async fn delete_conversation(
    chat: Arc<Chat>,
    context: Context,
    input: DeleteConversation,
) -> Result<Deleted, RpcError> {
    chat.delete(context.user()?, input.conversation_id).await?;
    Ok(Deleted { success: true })
}
