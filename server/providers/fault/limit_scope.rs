//! What a limit of our account is about, which is what rests until it is over.

use serde_json::Value;

use super::said::ErrorContents;

/// What a limit of our account at a provider is about, as far as its words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// All that the account asks for, or nothing else is said.
    Account,
    /// What costs nothing; what is paid for has no such limit.
    Free,
    /// The model that was asked: each has a limit of its own.
    Model,
}

impl LimitScope {
    /// What an error says: OpenAI and Groq name the model, Google and OpenRouter the kind of the limit.
    pub(super) fn by(body: Option<&Value>, said: &ErrorContents) -> Self {
        let mut own = said.texts.iter().filter(|word| !word.is_relayed);
        let per_model = |body: &Value| body.to_string().to_ascii_lowercase().contains("permodel");
        if own
            .clone()
            .any(|word| word.text.contains("free models per "))
        {
            Self::Free
        } else if own.any(|word| names_model(&word.text)) || body.is_some_and(per_model) {
            Self::Model
        } else {
            Self::Account
        }
    }
}

fn names_model(text: &str) -> bool {
    let of = text.split_once("rate limit reached for ");
    of.is_some_and(|(_, rest)| rest.contains(" in organization "))
}
