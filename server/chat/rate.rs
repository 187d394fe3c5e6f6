//! What users think of answers: stored, and appended to the log for the rollout that is judged by it.
//!
//! A user may change a rating. The last one is what is kept, and only the first is appended: what judges
//! candidates must not be moved by one person who clicks many times.

use chrono::{DateTime, Utc};

use super::{
    Chat, ChatError,
    store::{MessageRole, Rating, RatingOutcome},
};
use crate::{
    _core::caller::User,
    recording::{self, Event},
};

impl Chat {
    /// Keeps what a user thinks of an answer in a conversation of theirs.
    pub async fn rate(
        &self,
        user: &User,
        message_id: i64,
        rating: Rating,
        now: DateTime<Utc>,
    ) -> Result<(), ChatError> {
        let (message, origin) = self.message_of(user, message_id).await?;
        if message.role != MessageRole::Assistant {
            return Err(ChatError::NoAnswerToRate { id: message_id });
        }
        let rated = self.store.rate_message(message_id, user.id, rating, now);
        match (rated.await?, origin) {
            (RatingOutcome::Gone, _) => Err(ChatError::NoMessage),
            (RatingOutcome::First, Some(origin)) => {
                if let Some(rollout) = origin.rollout {
                    self.log.append(Event::rated(recording::RatedAnswer {
                        at_ms: now.timestamp_millis(),
                        request_id: origin.request_id,
                        subject: origin.subject,
                        rollout,
                        model: origin.model,
                        task: origin.task,
                        variant: origin.variant,
                        good: rating == Rating::Good,
                    }));
                }
                Ok(())
            }
            (RatingOutcome::First | RatingOutcome::Again, _) => Ok(()),
        }
    }
}
