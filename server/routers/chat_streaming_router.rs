//! `chatStreaming.*`: the same conversations as `chat.*`, with answers that are sent while they are written.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chat_router::{SENDING, SENT};
use crate::{
    _core::{
        assignment::Subject,
        context::Context,
        errors::{ErrorCode, RpcError},
        feature_flags::{FeatureFlags, Flags},
        procedure::Untracked,
        registry::Registry,
    },
    chat::{
        Chat, ChatError, CutBy, NoAnswer, TokensUsed, prompt::ChatContext, send::Outgoing,
        stream::AnswerProgress,
    },
    procedures,
};

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    /// Conversations.
    pub chat: Arc<Chat>,
    /// Who may use which procedure.
    pub flags: Arc<FeatureFlags>,
}

/// Registers `chatStreaming.*`.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("chatStreaming", state.into());
        /// The flags as they are for the caller.
        query SignedIn getFeatureFlags = get_feature_flags;
        /// Sends a message, waits until its answer is stored, and returns the answer. It is stored and
        /// limited as by `chat.sendMessage`. Only for users with the flag `useServerSideChat`.
        mutation SignedIn sendMessageStreaming = send_message_streaming, errors SENDING;
        /// Sends a message and streams its answer while a model writes it: `start`, `chunk` for each piece,
        /// then `complete` once the answer is stored. Until the first chunk another model takes over from
        /// one that fails. `error` ends an answer that broke off or that no model could give; the message
        /// stays, nothing of the answer is stored, and `chat.retry` gets it answered. The same text sent again
        /// within ten minutes, as the newest message and without an answer, is the same message: a client
        /// that reconnects gets it answered anew. It is limited as by
        /// `chat.sendMessage`. Only for users with the flag `enableStreaming`.
        subscription SignedIn sendMessageStream = send_message_stream, errors SENT;
    );
    registry.end_themselves(&["chatStreaming.sendMessageStream"]);
}

/// A message to send.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MessageToAnswer {
    /// Where to.
    conversation_id: i64,
    /// The text, 1 to 10,000 characters. White space and characters without width alone are as good as
    /// empty.
    #[schemars(length(min = 1, max = 10_000), extend("x-blank-is-empty" = true, "x-messages" = {
        "tooSmall": "Message cannot be empty",
        "tooBig": "Message too long (max 10,000 characters)"
    }))]
    content: String,
    /// What the user is looking at.
    #[serde(default)]
    context: Option<ChatContext>,
}

impl From<MessageToAnswer> for Outgoing {
    fn from(input: MessageToAnswer) -> Self {
        Self {
            conversation_id: input.conversation_id,
            content: input.content,
            model: None,
            context: input.context,
        }
    }
}

/// A message that was answered.
#[derive(Serialize, JsonSchema)]
struct AnsweredMessage {
    /// Always `true`.
    success: bool,
    /// The answer.
    response: GivenAnswer,
}

/// An answer.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GivenAnswer {
    /// What the model wrote.
    content: String,
    /// The catalog's name of the model.
    model: Arc<str>,
    /// Tokens of the request and the answer, where the provider says.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<TokensUsed>,
    /// What cut the answer short; left out where it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_by: Option<CutBy>,
    /// Always `null`: nothing acts on what a message says.
    pending_action: Option<()>,
}

/// What is sent of an answer.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum AnswerEvent {
    /// The message is stored, and a model is asked.
    Start(AnswerStart),
    /// A piece of the answer.
    Chunk(AnswerChunk),
    /// The answer is stored.
    Complete(AnswerComplete),
    /// There is no answer, or none that is whole.
    Error(AnswerError),
}

/// That a model is asked.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AnswerStart {
    /// For people.
    message: &'static str,
    /// The message that was sent.
    message_id: i64,
}

/// A piece of an answer.
#[derive(Serialize, JsonSchema)]
struct AnswerChunk {
    /// What the answer goes on with.
    content: String,
}

/// That an answer is stored.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AnswerComplete {
    /// For people.
    message: &'static str,
    /// The answer, as `chat.rateMessage` takes it; `null` where the conversation was deleted meanwhile.
    message_id: Option<i64>,
    /// The catalog's name of the model.
    model: Arc<str>,
    /// Tokens of the request and the answer, where the provider says.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<TokensUsed>,
    /// What cut the answer short; left out where it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_by: Option<CutBy>,
}

/// Why there is no whole answer.
#[derive(Serialize, JsonSchema)]
struct AnswerError {
    /// For people.
    error: String,
    /// For programs.
    details: NoAnswer,
}

impl From<AnswerProgress> for AnswerEvent {
    fn from(progress: AnswerProgress) -> Self {
        match progress {
            AnswerProgress::Begun(message_id) => Self::Start(AnswerStart {
                message: "Starting response...",
                message_id,
            }),
            AnswerProgress::Words(content) => Self::Chunk(AnswerChunk { content }),
            AnswerProgress::Done(answered) => Self::Complete(AnswerComplete {
                message: "Response complete",
                message_id: answered.answer_id,
                model: answered.model,
                usage: answered.usage,
                cut_by: answered.cut_by,
            }),
        }
    }
}

async fn get_feature_flags(state: State, context: Context) -> Result<Flags, RpcError> {
    let subject = Subject::User(context.user()?.id);
    Ok(state.flags.flags(Some(&subject)))
}

/// Fails as the TypeScript server did where a flag is off for the caller.
fn check_flag(
    state: &State,
    context: &Context,
    flag: &str,
    off: &'static str,
) -> Result<(), RpcError> {
    let subject = Subject::User(context.user()?.id);
    match state.flags.is_enabled(flag, Some(&subject)) {
        true => Ok(()),
        false => Err(RpcError::new(ErrorCode::InternalServerError, off)),
    }
}

async fn send_message_streaming(
    state: State,
    context: Context,
    input: MessageToAnswer,
) -> Result<AnsweredMessage, RpcError> {
    let off = "Server-side chat is not enabled for this user";
    check_flag(&state, &context, "useServerSideChat", off)?;
    let sent = state
        .chat
        .send(context.user()?, &context, input.into())
        .await;
    let answered = sent.map_err(|error| {
        let is_unanswered = matches!(error, ChatError::NoAnswer { .. });
        let mut error = RpcError::from(error);
        if is_unanswered {
            error.code = ErrorCode::InternalServerError;
            error.message = format!("Failed to process message: {}", error.message).into();
        }
        error
    })?;
    Ok(AnsweredMessage {
        success: true,
        response: GivenAnswer {
            content: answered.content,
            model: answered.model,
            usage: answered.usage,
            cut_by: answered.cut_by,
            pending_action: None,
        },
    })
}

async fn send_message_stream(
    state: State,
    context: Context,
    input: MessageToAnswer,
) -> Result<impl Stream<Item = Result<Untracked<AnswerEvent>, RpcError>>, RpcError> {
    let off = "Streaming is not enabled for this user";
    check_flag(&state, &context, "enableStreaming", off)?;
    let user = context.user()?.clone();
    let mut told = Box::pin(state.chat.stream(user, context, input.into()));
    // What is wrong with the message is an error of the call.
    let first = told.next().await.transpose()?;
    let rest = told.map(|progress| match progress {
        Ok(progress) => Ok(progress.into()),
        Err(error) => of_error(error),
    });
    let first = first.map(|begun| Ok(begun.into()));
    Ok(stream::iter(first)
        .chain(rest)
        .map(|told| told.map(Untracked)))
}

/// That no model answered is an event; a fault of ours is an error.
fn of_error(error: ChatError) -> Result<AnswerEvent, RpcError> {
    let details = error.no_answer();
    let error = RpcError::from(error);
    match details {
        Some(details) => Ok(AnswerEvent::Error(AnswerError {
            error: error.message.into_owned(),
            details,
        })),
        None => Err(error),
    }
}
