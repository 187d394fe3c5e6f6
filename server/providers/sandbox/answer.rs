//! What a model of the sandbox answers, before it is known how that gets to the client.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::FaultMode;
use crate::providers::ChatMessage;

/// What the sandbox reads of a request.
#[derive(Deserialize)]
pub(super) struct SandboxRequest {
    pub(super) model: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    tools: Option<Value>,
    #[serde(default)]
    tool_choice: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl SandboxRequest {
    /// The tool that must be called, if one must: the one that is named, else the first.
    fn wanted_tool(&self) -> Option<&str> {
        let choice = self.tool_choice.as_ref()?;
        match choice.pointer("/function/name") {
            Some(name) => name.as_str(),
            None if choice == "required" => {
                self.tools.as_ref()?.pointer("/0/function/name")?.as_str()
            }
            None => None,
        }
    }

    /// The user's last words, cut to 200 characters.
    fn question(&self) -> String {
        let mut messages = self.messages.iter().rev();
        let asked = messages.find(|message| message.role == "user");
        let asked = asked.map(|message| match &message.content {
            Value::String(text) => text.clone(),
            parts => parts.to_string(),
        });
        let asked = asked.unwrap_or_default();
        let short: String = asked.chars().take(200).collect();
        let more = if short.len() < asked.len() { "…" } else { "" };
        short + more
    }
}

/// What would be answered, if all of it arrived.
pub(super) struct SandboxAnswer {
    model: String,
    /// A message's fields but for its role.
    message: Map<String, Value>,
    finish: &'static str,
    /// Where it is to be sent.
    usage: Option<Value>,
}

impl SandboxAnswer {
    /// The same question always gets the same answer.
    pub(super) fn to(asked: &SandboxRequest, fault: Option<FaultMode>) -> Self {
        let model = format!("sandbox/{}", asked.model);
        let question = asked.question();
        let text =
            format!("[{model}] This is the sandbox, no language model. You asked: {question}");
        let usage = usage(&asked.messages, &text);
        let (message, finish) = match fault.and_then(|fault| odd(fault, &text)) {
            Some(odd) => odd,
            None => match asked.wanted_tool() {
                Some(tool) => {
                    let arguments = json!({ "question": question }).to_string();
                    (call(tool, &arguments), "tool_calls")
                }
                None => (json!({ "content": text }), "stop"),
            },
        };
        let is_told = match &asked.stream_options {
            Some(options) => options.include_usage == Some(true),
            None => !asked.stream,
        };
        Self {
            model,
            message: match message {
                Value::Object(fields) => fields,
                _ => Map::new(),
            },
            finish,
            usage: Some(usage).filter(|_| is_told && fault != Some(FaultMode::NoUsage)),
        }
    }

    /// As the body of an answer that is not streamed.
    pub(super) fn body(&self, has_choice: bool) -> Value {
        let mut message = Map::from_iter([("role".to_owned(), json!("assistant"))]);
        message.extend(self.message.clone());
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish});
        let choices = if has_choice { vec![choice] } else { vec![] };
        let mut body = json!({
            "id": "sandbox",
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": choices,
        });
        self.tell_usage(&mut body);
        body
    }

    /// A step of a stream.
    pub(super) fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        json!({
            "id": "sandbox",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    }

    /// The steps of a stream that say something, a word each.
    pub(super) fn deltas(&self) -> Vec<Value> {
        let fields = self.message.iter();
        let steps = fields.flat_map(|(field, value)| match (field.as_str(), value) {
            ("tool_calls", Value::Array(calls)) => calls.iter().flat_map(of_call).collect(),
            (_, Value::String(text)) if !text.is_empty() => {
                let words = text.split_inclusive(' ');
                words.map(|word| json!({ field: word })).collect()
            }
            (_, value) => vec![json!({ field: value })],
        });
        steps.collect()
    }

    /// The step that ends the model's words.
    pub(super) fn last(&self) -> Value {
        self.chunk(&json!({}), Some(self.finish))
    }

    /// The step after it, where the usage is to be sent.
    pub(super) fn usage(&self) -> Option<Value> {
        self.usage.as_ref()?;
        let mut chunk = self.chunk(&Value::Null, None);
        if let Some(chunk) = chunk.as_object_mut() {
            chunk.insert("choices".to_owned(), json!([]));
        }
        self.tell_usage(&mut chunk);
        Some(chunk)
    }

    fn tell_usage(&self, body: &mut Value) {
        if let (Some(usage), Some(body)) = (&self.usage, body.as_object_mut()) {
            body.insert("usage".to_owned(), usage.clone());
        }
    }
}

/// What such a fault puts in the place of the answer, and the finish reason with it.
fn odd(fault: FaultMode, text: &str) -> Option<(Value, &'static str)> {
    let content = |content: Value| json!({ "content": content });
    Some(match fault {
        FaultMode::Empty => (content(json!("")), "stop"),
        FaultMode::EmptyNull => (content(Value::Null), "stop"),
        FaultMode::EmptyBlank => (content(json!(" \n\u{200b}\u{feff}")), "stop"),
        FaultMode::EmptyParts => (content(json!([])), "stop"),
        FaultMode::EmptyReasoning => (
            json!({"content": null, "reasoning": "Let me think about that."}),
            "stop",
        ),
        FaultMode::EmptyFiltered => (content(json!("")), "content_filter"),
        FaultMode::EmptyLength => (content(json!("")), "length"),
        FaultMode::ToolCall => (call("search", "{}"), "tool_calls"),
        FaultMode::Refusal => (
            json!({"content": null, "refusal": "The sandbox will not answer that."}),
            "stop",
        ),
        FaultMode::Length => (content(json!(half(text))), "length"),
        FaultMode::ContentFilter => (content(json!(half(text))), "content_filter"),
        FaultMode::WrongLanguage => (
            content(json!(
                "Hier antwortet der Sandkasten und kein Sprachmodell. Was Sie gefragt haben, wird nicht \
                 beantwortet, aber dafür bekommen Sie sehr schnell einen freundlichen deutschen Text."
            )),
            "stop",
        ),
        _ => return None,
    })
}

fn call(tool: &str, arguments: &str) -> Value {
    let function = json!({"name": tool, "arguments": arguments});
    let call = json!({"index": 0, "id": "call-1", "type": "function", "function": function});
    json!({"content": null, "tool_calls": [call]})
}

/// A call of a tool in steps: its name, then its arguments.
fn of_call(call: &Value) -> Vec<Value> {
    let mut first = call.clone();
    let mut arguments = Value::Null;
    if let Some(field) = first.pointer_mut("/function/arguments") {
        arguments = std::mem::replace(field, json!(""));
    }
    let step = |call: Value| json!({"tool_calls": [call]});
    let words = arguments.as_str().unwrap_or_default().split_inclusive(' ');
    let rest =
        words.map(|word| step(json!({"index": call["index"], "function": {"arguments": word}})));
    std::iter::once(step(first)).chain(rest).collect()
}

/// The first half of a text.
pub(super) fn half(text: &str) -> &str {
    text.get(..text.floor_char_boundary(text.len() / 2))
        .unwrap_or_default()
}

/// A word counts as a token.
fn usage(messages: &[ChatMessage], answer: &str) -> Value {
    let words = |text: &str| text.split_whitespace().count();
    let prompt: usize = messages
        .iter()
        .map(|message| message.content.as_str().map_or(1, words))
        .sum();
    let completion = words(answer);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
