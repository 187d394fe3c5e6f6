//! Takes a message, gets it answered, and stores both.
//!
//! The message is stored before a model is asked, so nothing a user wrote is lost when no model
//! answers. A request to a model ends with the message it answers: of two sends to one
//! conversation at the same time neither sees what was stored after its own message, and messages
//! stand in the order in which they were stored. A conversation that is deleted meanwhile stays so:
//! the answer then has nowhere to go, and the send ends well.
//!
//! Any signed-in user may ask for a model of the catalogue, as the front end's model menu did.

use chrono::TimeDelta;
use tokio::time::Instant;

use super::{
    Chat, ChatError,
    history::{History, estimate_tokens},
    prompt::{ChatContext, system_messages},
    store::{Message, MessageRole, Origin},
};
use crate::{
    _core::{assignment::Subject, auth::User, context::Context},
    model_router::Call,
    providers,
};

/// The catalogue's task that answers a chat message.
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
    /// A model of the catalogue to answer it, instead of the one that the route prefers.
    pub model: Option<String>,
    /// What the user is looking at.
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
        let model = outgoing
            .model
            .take()
            .filter(|model| !model.trim().is_empty());
        let subject = Subject::User(user.id);
        let subject_key = subject.key();
        let model_tokens = self
            .answerer
            .context_tokens(TASK, &subject, model.as_deref())
            .map_err(ChatError::Unroutable)?;
        self.check_owner(user, outgoing.conversation_id).await?;
        self.limiter
            .take(user.id, now)
            .map_err(|quota| ChatError::RateLimited {
                now,
                frees_at: quota.resets_at,
            })?;

        let message = self
            .store
            .add_message(
                outgoing.conversation_id,
                MessageRole::User,
                &outgoing.content,
                now,
            )
            .await?
            .ok_or(ChatError::NotFound)?;

        // Dropped here: it may be large, and the answer takes its time.
        let seen = outgoing.context.take();
        let mut messages = Vec::from(system_messages(seen.as_ref(), now));
        drop(seen);
        let budget = self.history_budget(&messages, model_tokens);
        messages.extend(self.history(&message, budget).await?.into_messages());
        let answer = self
            .answerer
            .complete(Call {
                task: TASK.into(),
                subject: Some(subject),
                request_id: context.request_id.clone(),
                messages,
                model,
                max_tokens: None,
                deadline: started + self.config.deadline,
            })
            .await
            .map_err(ChatError::NoAnswer)?;

        let answered_at = now + TimeDelta::from_std(started.elapsed()).unwrap_or_default();
        let origin = Origin {
            request_id: context.request_id.clone(),
            model: answer.model,
            task: TASK.into(),
            variant: answer.variant,
            rollout: answer.rollout,
            subject: subject_key,
        };
        self.store
            .add_answer(
                message.conversation_id,
                &answer.completion.content,
                &origin,
                answered_at,
            )
            .await?;
        Ok(message)
    }

    /// Tokens for the conversation: what is configured, or what the smallest model on the route has
    /// left once the instructions are in and a quarter is kept for the answer.
    fn history_budget(&self, instructions: &[providers::Message], model_tokens: u32) -> usize {
        let readable = usize::try_from(model_tokens - model_tokens / 4).unwrap_or(usize::MAX);
        let taken: usize = instructions
            .iter()
            .filter_map(|message| message.content.as_str())
            .map(estimate_tokens)
            .sum();
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
