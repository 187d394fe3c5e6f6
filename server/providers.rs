//! Speaks to language models over HTTP, and says what kind of fault it was when that fails.

pub mod fault;
pub mod openai_compatible;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::_core::units::Microdollars;

/// One message of a conversation, as the OpenAI API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text, or a list of parts.
    pub content: Value,
    /// Whatever else came with it (`name`, `tool_calls`, `tool_call_id`), passed on as it is.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Value::String(content.into()),
            rest: Map::new(),
        }
    }
}

/// A chat completion to ask for.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The model's id as the provider knows it.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Tokens the answer may have; the model's own limit where `None`.
    pub max_tokens: Option<u32>,
    /// Further fields of the body (`temperature`, `tools`, …), passed on as they are.
    pub rest: Map<String, Value>,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The text of the first choice; empty where the model only called tools.
    pub content: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// `stop`, `length`, `tool_calls`, …
    pub finish_reason: Option<String>,
    /// Tokens and cost, where the provider says.
    pub usage: Option<Usage>,
    /// The reply as it was received.
    pub raw: Value,
}

/// Tokens, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// What the provider says it charges; `None` where it does not say.
    pub cost: Option<Microdollars>,
}
