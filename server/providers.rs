//! Speaks to language models over HTTP, and says what kind of fault it was when that fails.
//!
//! There is one dialect, OpenAI's `chat/completions`; whatever speaks it is a provider. A request
//! goes through [`request`], a reply through [`reply`], and every way to fail ends in a [`fault`].

pub mod fault;
pub mod openai_compatible;
pub mod openrouter;
mod reply;
pub mod request;
pub mod sandbox;
pub mod sse;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::_core::units::Microdollars;

/// One message of a conversation, as the OpenAI API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text, or a list of parts; null where an assistant only called tools.
    #[serde(default)]
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

/// One step of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The text it adds; often empty.
    pub content: String,
    /// Parts of tool calls, as the provider sent them.
    pub tool_calls: Option<Value>,
    /// Set towards the end.
    pub finish_reason: Option<String>,
    /// Set at the end, where the provider says.
    pub usage: Option<Usage>,
    /// The model that answers, as the provider names it.
    pub model: Option<String>,
    /// Whether it brings part of the answer: text, reasoning or a tool call. Until the first such
    /// step nothing of the answer has been seen.
    pub is_token: bool,
    /// The step as it was received.
    pub raw: Value,
}
