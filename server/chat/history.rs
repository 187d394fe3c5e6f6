//! How much of a conversation fits into a request.
//!
//! Tokens are estimated, since every model counts differently: one per three bytes of UTF-8, and four
//! around each message. That is more than English and Danish need (about four bytes a token) and
//! about what Chinese or Japanese do (three bytes a character, about one token each), so the
//! estimate errs towards sending less.

use super::store::{Message, MessageRole};
use crate::{_core::blank::is_blank, providers};

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
pub struct RecentMessages {
    remaining: usize,
    newest_first: Vec<(MessageRole, String)>,
}

impl RecentMessages {
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
        // A blank message says nothing, and some models refuse the request for its sake.
        if is_blank(&message.content) {
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
    pub fn into_messages(self) -> impl Iterator<Item = providers::ChatMessage> {
        self.newest_first
            .into_iter()
            .rev()
            .map(|(role, content)| providers::ChatMessage::text(role.name(), content))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn message(id: i64, content: String) -> Message {
        Message {
            id,
            conversation_id: 1,
            role: MessageRole::User,
            content,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    proptest! {
        #[test]
        fn a_history_is_the_longest_end_of_the_conversation_that_fits(
            contents in proptest::collection::vec("[a-zæ€😀]{1,40}", 1..30),
            budget in 0_usize..400,
        ) {
            let messages: Vec<_> = contents.iter().cloned().zip(0..).map(|(c, id)| message(id, c)).collect();
            let (last, older) = messages.split_last().unwrap();
            let mut history = RecentMessages::ending_with(last, budget);
            let mut older = older.iter().rev().cloned();
            while older.next().is_some_and(|message| history.prepend(message)) {}
            let sent: Vec<_> = history
                .into_messages()
                .map(|message| message.content.as_str().unwrap().to_owned())
                .collect();

            let tokens = |texts: &[String]| texts.iter().map(|t| estimate_tokens(t)).sum::<usize>();
            let left_out = contents.len() - sent.len();
            prop_assert_eq!(&sent[..], &contents[left_out..]);
            prop_assert!(sent.len() == 1 || tokens(&sent) <= budget);
            if left_out > 0 {
                prop_assert!(tokens(&contents[left_out - 1..]) > budget);
            }
        }
    }

    #[test]
    fn nothing_is_put_before_a_message_that_did_not_fit() {
        let mut history = RecentMessages::ending_with(&message(3, "abc".into()), 5 + 6);
        assert!(history.prepend(message(2, " \u{200b}\n".into())));
        assert!(!history.prepend(message(1, "a long one that does not fit".into())));
        assert!(!history.prepend(message(0, "a".into())));
        assert_eq!(history.into_messages().count(), 1);
    }
}
