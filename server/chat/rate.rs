//! What users think of answers: stored, and told once to whoever judges models by it.
//!
//! A user may change a rating. The last one is what is kept, and only the first is told: what judges
//! candidates must not be moved by one person who clicks many times.

use chrono::{DateTime, Utc};

use super::{
    Chat, ChatError,
    store::{MessageRole, Origin, Rated, Rating},
};
use crate::_core::auth::User;

/// A user's first rating of an answer that a rollout's arm gave.
#[derive(Clone, Debug, PartialEq)]
pub struct RatedAnswer {
    /// What wrote the answer; its `rollout` is there.
    pub origin: Origin,
    /// What the user thinks.
    pub rating: Rating,
    /// When.
    pub at: DateTime<Utc>,
}

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
            (Rated::Gone, _) => Err(ChatError::NoMessage),
            (Rated::First, Some(origin)) => {
                if origin.rollout.is_some() {
                    (self.on_rating)(RatedAnswer {
                        origin,
                        rating,
                        at: now,
                    });
                }
                Ok(())
            }
            (Rated::First | Rated::Again, _) => Ok(()),
        }
    }
}
