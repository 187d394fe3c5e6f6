//! How much of a conversation fits into a request.
//!
//! Tokens are estimated, since every model counts differently: one per three bytes of UTF-8, and four
//! around each message. That is more than English and Danish need (about four bytes a token) and
//! about what Chinese or Japanese do (three bytes a character, about one token each), so the
//! estimate errs towards sending less.

use super::store::{Message, MessageRole};
use crate::providers;

/// UTF-8 bytes that are counted as one token.
const BYTES_PER_TOKEN: usize = 3;
/// Tokens around each message: its role and its bounds.
const TOKENS_PER_MESSAGE: usize = 4;

/// The tokens that a text will take as a message, estimated from above.
pub fn estimate_tokens(content: &str) -> usize {
    content.len().div_ceil(BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE
}

/// The newest part of a conversation within a budget, gathered from its end.
#[derive(Debug)]
pub struct History {
    remaining: usize,
    newest_first: Vec<(MessageRole, String)>,
}

impl History {
    /// Begins with the message to be answered, which is always sent, whatever it takes.
    pub fn ending_with(last: &Message, budget_tokens: usize) -> Self {
        Self {
            remaining: budget_tokens.saturating_sub(estimate_tokens(&last.content)),
            newest_first: vec![(last.role, last.content.clone())],
        }
    }

    /// Puts an older message in front; `false` where it does not fit, which ends the history: a
    /// conversation with a hole would mislead.
    pub fn prepend(&mut self, message: Message) -> bool {
        // An empty answer says nothing, and some models refuse empty messages.
        if message.content.is_empty() {
            return true;
        }
        match self
            .remaining
            .checked_sub(estimate_tokens(&message.content))
        {
            Some(remaining) => {
                self.remaining = remaining;
                self.newest_first.push((message.role, message.content));
                true
            }
            None => {
                self.remaining = 0;
                false
            }
        }
    }

    /// The messages as a model gets them, oldest first.
    pub fn into_messages(self) -> impl Iterator<Item = providers::Message> {
        self.newest_first
            .into_iter()
            .rev()
            .map(|(role, content)| providers::Message::text(role.name(), content))
    }
}
