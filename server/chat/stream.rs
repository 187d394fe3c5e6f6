//! A message whose answer is sent while a model writes it.
//!
//! What is stored is as for [`Chat::send`]: the message first, the answer when it is whole. Until a
//! model's first word another one takes over where it fails; after that a fault ends the stream. A caller
//! who leaves cancels the request to the model. In both cases nothing of the answer is stored, and
//! [`Chat::retry`] gets the message answered. So does the same text, streamed again as long as it is the
//! newest message and an answer to it could still be under way: it is taken for that message.

use std::{sync::Arc, time::Duration};

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::{
    Answered, Chat, ChatError, CutBy,
    prompt::system_message,
    send::{Accepted, ModelAnswer, Outgoing},
    store::{Message, MessageRole},
};
use crate::_core::{caller::User, context::Context};

/// A streamed answer ends after this, whatever it still has to say.
const LONGEST: Duration = Duration::from_secs(600);

/// How far an answer has come.
#[derive(Debug)]
pub enum AnswerProgress {
    /// The message is stored under this id, and a model is asked.
    Begun(i64),
    /// What the answer goes on with.
    Words(String),
    /// The answer is whole and stored.
    Done(Answered),
}

impl Chat {
    /// Stores the message, and its answer, which is sent while it comes. An error before
    /// [`AnswerProgress::Begun`] is one of the message. The last item is [`AnswerProgress::Done`] or an error.
    pub fn stream(
        self: Arc<Self>,
        user: Arc<User>,
        context: Context,
        mut outgoing: Outgoing,
    ) -> impl Stream<Item = Result<AnswerProgress, ChatError>> + Send + 'static {
        try_stream! {
            let started = Instant::now();
            let instructions = system_message(outgoing.context.take().as_ref(), context.received_at);
            self.check_owner(&user, outgoing.conversation_id).await?;
            let twin = self.join(&outgoing);
            let mut stored = twin.turn().await;
            if stored.is_none() {
                *stored = self.unanswered(&outgoing, context.received_at).await?;
            }
            match self.accept(&user, &context, &outgoing, &mut stored).await? {
                Accepted::Answered(answered) => {
                    yield AnswerProgress::Begun(answered.message.id);
                    yield AnswerProgress::Words(answered.content.clone());
                    yield AnswerProgress::Done(answered);
                }
                Accepted::Open(question) => {
                    let _turn = self.begin_turn(question.message.id)?;
                    yield AnswerProgress::Begun(question.message.id);
                    let mut call = self.call(&context, &question, instructions, started).await?;
                    call.stream_deadline = Some(started + LONGEST);
                    let answer = self.answerer.stream(&question.route, call).await;
                    let mut answer = answer.map_err(|error| question.unanswered(&context, error))?;
                    let mut written = ModelAnswer {
                        content: String::new(),
                        model: answer.model.clone(),
                        usage: None,
                        cut_by: None,
                    };
                    while let Some(delta) = answer.deltas.next().await {
                        let delta = delta.map_err(|error| question.unanswered(&context, error))?;
                        written.usage = delta.usage.or(written.usage);
                        written.cut_by =
                            CutBy::of(delta.finish_reason.as_deref()).or(written.cut_by);
                        if !delta.content.is_empty() {
                            written.content.push_str(&delta.content);
                            yield AnswerProgress::Words(delta.content);
                        }
                    }
                    yield AnswerProgress::Done(self.keep(&context, question, written, started).await?);
                }
            }
        }
    }

    /// The newest message of the conversation, where it is this text and has no answer: what a client
    /// sends again that lost its connection, as clients of subscriptions do by themselves.
    async fn unanswered(
        &self,
        outgoing: &Outgoing,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>> {
        let id = outgoing.conversation_id;
        let newest = self.store.messages_before(id, i64::MAX, 1).await?.pop();
        let oldest = now - TimeDelta::from_std(LONGEST).unwrap_or_default();
        Ok(newest.filter(|message| {
            message.role == MessageRole::User
                && message.content == outgoing.content
                && message.created_at >= oldest
        }))
    }
}
