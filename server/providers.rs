//! Speaks to language models over HTTP, and says what kind of fault it was when that fails.
//!
//! There is one dialect, OpenAI's `chat/completions`; whatever speaks it is a provider. A request
//! goes out through [`openai_compatible`], a reply comes in through [`reply`], and every way to fail ends
//! in a [`fault`].

mod allowance;
pub mod connection;
pub mod estimate;
pub mod fault;
pub(crate) mod fields;
pub mod finish;
pub mod instructions;
mod joined;
pub mod listing;
mod marks;
pub mod masking;
pub mod openai_compatible;
pub mod openrouter;
mod plain;
pub mod quality;
mod raw_object;
mod reasoning;
mod reply;
mod request_body;
pub mod retry_after;
pub mod roles;
pub mod sandbox;
pub mod sse;
mod stream;
pub mod transcript;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::OwnedSemaphorePermit;

pub use self::{
    allowance::{Allowance, Left},
    raw_object::RawObject,
};
use self::{openrouter::elsewhere::Elsewhere, request_body::RequestBody};
use crate::_core::{trace_parent::TraceParent, units::Microdollars};

/// One message of a conversation, as the OpenAI API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text, or a list of parts; null where an assistant only called tools.
    #[serde(default)]
    pub content: Value,
    /// Whatever else came with it (`name`, `tool_calls`, `tool_call_id`), passed on as it is.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl ChatMessage {
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
    pub messages: Vec<ChatMessage>,
    /// Tokens the answer may have; the model's own limit where `None`.
    pub max_tokens: Option<u32>,
    /// Further fields of the body (`temperature`, `tools`, …), passed on as they are.
    pub rest: Map<String, Value>,
    /// A caller's own body, which is passed on as it is instead of the fields above: only the model, and
    /// what asks for a stream, are others.
    pub given: Option<RawObject>,
    /// What other providers get of that body than OpenRouter, where this server wrote it.
    pub elsewhere: Option<Elsewhere>,
    /// The model, by its name in the catalog, whose thoughts of earlier turns that body carries. No other model is shown
    /// them: its server may refuse what it does not know.
    pub thoughts_of: Option<Arc<str>>,
    /// What the model is told first, where neither its bundle nor the task has a prompt.
    pub instructions: Option<&'static str>,
    /// Its span, in a trace of the caller's; a header.
    pub trace: Option<TraceParent>,
    /// How the reply is read; this is not sent.
    pub reading: Reading,
}

impl ChatRequest {
    /// A request with these messages, for whichever model is named later.
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self {
            model: String::new(),
            messages,
            max_tokens: None,
            rest: Map::new(),
            given: None,
            elsewhere: None,
            thoughts_of: None,
            instructions: None,
            trace: None,
            reading: Reading::default(),
        }
    }

    /// A request that passes a caller's own body on.
    pub fn passing_on(given: RawObject) -> Self {
        Self {
            given: Some(given),
            ..Self::new(Vec::new())
        }
    }

    /// Whether the model may call a tool, so that a call is an answer.
    pub fn offers_tools(&self) -> bool {
        ["tools", "functions"].iter().any(|key| match &self.given {
            Some(given) => given.get(key).is_some_and(|it| fields::first(it).is_some()),
            None => {
                let offered = self.rest.get(*key).and_then(Value::as_array);
                offered.is_some_and(|tools| !tools.is_empty())
            }
        })
    }

    /// Whether the last message is what a tool said, so that it goes on with a conversation.
    pub fn ends_with_tool(&self) -> bool {
        let is_tool = |role: &str| matches!(role, "tool" | "function");
        let Some(given) = &self.given else {
            return self.messages.last().is_some_and(|it| is_tool(&it.role));
        };
        let mut last = None;
        if let Some(messages) = given.get("messages") {
            fields::each(messages, |message| last = Some(message));
        }
        let role = last.and_then(|it| RawObject::parse(it.get().as_bytes()).ok());
        let role = role.and_then(|it| fields::text(it.get("role")));
        role.is_some_and(|role| is_tool(&role))
    }

    /// Of how many inputs vectors are wanted; `None` where that cannot be told.
    fn inputs(&self) -> Option<usize> {
        let input = self.given.as_ref()?.get("input")?;
        if input.get().starts_with('"') {
            return Some(1);
        }
        let is_input = |item: &RawValue| item.get().starts_with(['"', '[', '{']);
        let mut inputs = 0;
        fields::each(input, |item| inputs += usize::from(is_input(item)));
        // A list of numbers is one input, by its tokens.
        let first = fields::first(input)?;
        Some(if is_input(first) { inputs } else { 1 })
    }

    /// Whether more than one answer is asked for.
    fn wants_more_choices(&self) -> bool {
        let Some(given) = &self.given else {
            return self
                .rest
                .get("n")
                .is_some_and(|count| *count != 1 && !count.is_null());
        };
        let count = given.get("n").map(|count| count.get());
        count.is_some_and(|count| !matches!(count, "1" | "null"))
    }

    /// Tokens that the caller itself lets the answer have, in its own body; one that the limit cut is what it
    /// asked for. 0 where the limit cannot be read.
    pub(crate) fn callers_limit(&self) -> Option<u32> {
        let given = self.given.as_ref()?;
        let limits = ["max_tokens", "max_completion_tokens"].map(|name| given.get(name));
        let limits = limits.into_iter().flatten().filter(|it| it.get() != "null");
        limits.map(|it| it.get().parse().unwrap_or_default()).min()
    }

    /// Whether the caller itself limits the answer, so that one that the limit cut to nothing is what
    /// it asked for.
    fn limits_answer(&self) -> bool {
        self.callers_limit().is_some()
    }

    /// The body for the provider; plain and streamed ones differ only in what asks for the stream.
    fn body(&self, stream: bool) -> serde_json::Result<RequestBody> {
        let Some(given) = &self.given else {
            let body = serde_json::to_vec(&self.built(stream))?;
            return Ok(RequestBody::of(vec![body.into()]));
        };
        let mut body = given.clone();
        body.set("model", &self.model)?;
        if stream {
            let options = body.get("stream_options");
            let options = options.and_then(|it| RawObject::parse(it.get().as_bytes()).ok());
            let mut options = options.unwrap_or_default();
            options.set("include_usage", &true)?;
            body.set("stream", &true)?;
            body.set("stream_options", &RawValue::from_string(options.to_json())?)?;
        } else {
            body.remove("stream_options");
        }
        Ok(RequestBody::of(body.to_parts()))
    }

    fn built(&self, stream: bool) -> Map<String, Value> {
        let mut body = self.rest.clone();
        body.insert("model".into(), json!(self.model));
        body.insert("messages".into(), json!(self.messages));
        if let Some(max_tokens) = self.max_tokens {
            body.insert("max_tokens".into(), json!(max_tokens));
        }
        if stream {
            body.insert("stream".into(), json!(true));
            // Without it most servers do not say how many tokens a streamed answer took.
            match body.get_mut("stream_options") {
                Some(Value::Object(options)) => {
                    options.insert("include_usage".into(), json!(true));
                }
                _ => {
                    body.insert("stream_options".into(), json!({"include_usage": true}));
                }
            }
        } else {
            body.shift_remove("stream");
            body.shift_remove("stream_options");
        }
        body
    }
}

/// How a reply is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The longest reply, in bytes of its body; of a stream, what its steps bring.
    pub max_bytes: usize,
    /// The tag (`think`) in which the model begins its text with what it thinks, if it does.
    pub reasoning_tag: Option<Arc<str>>,
    /// Tokens that the model takes, as far as is known.
    pub context: Option<u32>,
}

impl Reading {
    /// 1 MiB: more than any model writes as an answer.
    pub const MAX_BYTES: usize = 1024 * 1024;
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            max_bytes: Self::MAX_BYTES,
            reasoning_tag: None,
            context: None,
        }
    }
}

/// A model's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The text of the first choice, or the words of its refusal; empty where the model only called
    /// tools.
    pub content: String,
    /// What the model thought before; often empty.
    pub reasoning: String,
    /// Whether the model says that it will not answer.
    pub is_refusal: bool,
    /// Calls of tools, as the provider sent them; never an empty list.
    pub tool_calls: Option<Value>,
    /// Sound and pictures that it brings.
    pub media: Media,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// `stop`, `length`, `tool_calls`, …
    pub finish_reason: Option<String>,
    /// Tokens and cost, where the provider says.
    pub usage: Option<Usage>,
    /// The reply as it was received: JSON.
    pub raw: String,
    /// What a large one takes of the room for such, as long as it lives.
    pub held: ReplyPlace,
}

/// Vectors for texts.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The reply as it was received: JSON.
    pub raw: String,
    /// Tokens and cost, where the provider says.
    pub usage: Option<Usage>,
    /// As in [`Completion`].
    pub held: ReplyPlace,
}

/// The place of a large reply, whoever has a copy of it.
#[derive(Clone, Debug, Default)]
pub struct ReplyPlace(Option<Arc<OwnedSemaphorePermit>>);

impl PartialEq for ReplyPlace {
    /// Says nothing about the answer.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Tokens, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// Of the tokens read, those that the provider had kept from an earlier request.
    pub cached_tokens: u32,
    /// Of the tokens read, those that the provider keeps for later requests.
    pub cache_write_tokens: u32,
    /// Of the tokens written, those that the model only thought.
    pub reasoning_tokens: u32,
    /// What the provider says it charges; `None` where it does not say.
    pub cost: Option<Microdollars>,
}

/// Sound and pictures that a model made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// How many pictures.
    pub pictures: usize,
    /// Sound, in letters of base64.
    pub sound: usize,
}

/// One step of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The text it adds; often empty.
    pub content: String,
    /// What the model thinks before it answers; often empty.
    pub reasoning: String,
    /// Parts of tool calls, as the provider sent them.
    pub tool_calls: Option<Value>,
    /// Sound and pictures that it brings.
    pub media: Media,
    /// Set towards the end.
    pub finish_reason: Option<String>,
    /// Set at the end, where the provider says.
    pub usage: Option<Usage>,
    /// The model that answers, as the provider names it.
    pub model: Option<String>,
    /// Whether it brings anything that the model wrote: text, reasoning or a tool call.
    pub is_token: bool,
    /// Whether it brings part of the answer: text that can be seen, or the call of an offered tool.
    /// Until the first such step another model can take over.
    pub is_answer: bool,
    /// Whether its text is the model's refusal to answer.
    pub is_refusal: bool,
    /// Whether what was received is one choice that brings text, and nothing else.
    pub is_plain: bool,
    /// The step as it was received: JSON, or empty where nothing was received for it.
    pub raw: String,
}

impl Delta {
    /// What the model wrote in this step: text, what it thinks, and the names and arguments of tool calls.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let words = [&*self.content, &*self.reasoning];
        words.into_iter().chain(self.calls())
    }

    /// The names and arguments of tool calls that the model wrote in this step.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        calls_in(self.tool_calls.as_ref())
    }
}

impl Completion {
    /// What the model wrote, as [`Delta::written`] has it.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let words = [&*self.content, &*self.reasoning];
        words.into_iter().chain(calls_in(self.tool_calls.as_ref()))
    }
}

fn calls_in(tool_calls: Option<&Value>) -> impl Iterator<Item = &str> {
    const PARTS: [&str; 4] = [
        "/function/name",
        "/function/arguments",
        "/custom/name",
        "/custom/input",
    ];
    let calls = tool_calls.and_then(Value::as_array).into_iter().flatten();
    calls.flat_map(|call| PARTS.iter().filter_map(|part| call.pointer(part)?.as_str()))
}
