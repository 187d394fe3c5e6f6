//! The chunks of a chat completion as events of Anthropic's API.
//!
//! There, blocks follow each other and never overlap: what the model thinks, its text, each call of a
//! tool. Fragments of a second call that come before the first is over are held back.

use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::Writer,
        chunks::Chunks,
        refusal::{Dialect, Refusal},
        thinking::Thoughts,
    },
    reply, request,
};

/// The events of one answer.
pub(super) struct Events {
    /// The name that the caller gave the model.
    asked_as: String,
    input_tokens: usize,
    /// Mends the chunks, so that each fragment says which call it belongs to.
    chunks: Chunks,
    model: String,
    id: Option<String>,
    open: Option<Open>,
    /// Blocks that have begun.
    blocks: usize,
    thoughts: Thoughts,
    /// Calls whose block has not begun, and text that came behind a call.
    waiting: Vec<Waiting>,
    text_behind: String,
    finish_reason: Option<String>,
    has_calls: bool,
    refuses: bool,
    usage: Value,
}

/// The block that is open.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Thinking,
    Text,
    /// The call of this number.
    Call(u64),
}

/// A call that waits for its turn.
struct Waiting {
    index: u64,
    id: Value,
    name: Value,
    arguments: String,
}

impl Events {
    pub(super) fn new(asked: &Map<String, Value>) -> Self {
        let name = asked.get("model").and_then(Value::as_str);
        Self {
            asked_as: name.unwrap_or_default().to_owned(),
            input_tokens: request::tokens(asked),
            chunks: Chunks::new(true),
            model: String::new(),
            id: None,
            open: None,
            blocks: 0,
            thoughts: Thoughts::default(),
            waiting: Vec::new(),
            text_behind: String::new(),
            finish_reason: None,
            has_calls: false,
            refuses: false,
            usage: Value::Null,
        }
    }

    fn read(&mut self, chunk: &Value) -> String {
        let mut out = String::new();
        if self.id.is_none() {
            out += &self.start(reply::id(&chunk["id"]));
        }
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        // Here one choice is all that can be said.
        let choices = chunk["choices"].as_array();
        let choice =
            choices.and_then(|all| all.iter().find(|it| it["index"].as_u64().unwrap_or(0) == 0));
        let Some(choice) = choice else {
            return out;
        };
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        let Some(delta) = choice["delta"].as_object() else {
            return out;
        };
        let thought = self.thoughts.add(delta);
        if !thought.is_empty() {
            out += &self.enter(
                Open::Thinking,
                &json!({"type": "thinking", "thinking": "", "signature": ""}),
            );
            out += &self.delta(&json!({"type": "thinking_delta", "thinking": thought}));
        }
        self.refuses |= delta.get("refusal").is_some_and(Value::is_string);
        let text = reply::text(delta);
        if !text.is_empty() {
            if matches!(self.open, Some(Open::Call(_))) {
                self.text_behind += &text;
            } else {
                out += &self.enter(Open::Text, &json!({"type": "text", "text": ""}));
                out += &self.delta(&json!({"type": "text_delta", "text": text}));
            }
        }
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            out += &self.fragment(call);
        }
        out
    }

    fn start(&mut self, id: String) -> String {
        let usage = json!({
            "input_tokens": self.input_tokens, "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0, "output_tokens": 1,
        });
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": self.asked_as, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        });
        self.id = Some(id);
        event(&json!({"type": "message_start", "message": message})) + PING
    }

    /// Opens this block, unless it is open.
    fn enter(&mut self, block: Open, content: &Value) -> String {
        if self.open == Some(block) {
            return String::new();
        }
        let mut out = self.close();
        self.open = Some(block);
        self.blocks += 1;
        let start = json!({
            "type": "content_block_start", "index": self.blocks - 1, "content_block": content,
        });
        out += &event(&start);
        out
    }

    fn close(&mut self) -> String {
        let mut out = String::new();
        let Some(open) = self.open.take() else {
            return out;
        };
        if open == Open::Thinking {
            let signature = self.thoughts.pack(&self.model);
            out += &self.delta(&json!({"type": "signature_delta", "signature": signature}));
        }
        out += &event(&json!({"type": "content_block_stop", "index": self.blocks - 1}));
        out
    }

    fn delta(&self, delta: &Value) -> String {
        let index = self.blocks.saturating_sub(1);
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    fn fragment(&mut self, call: &Value) -> String {
        self.has_calls = true;
        let index = call["index"].as_u64().unwrap_or(0);
        let arguments = call["function"]["arguments"].as_str().unwrap_or("");
        if self.open == Some(Open::Call(index)) {
            return self.arguments(arguments);
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|it| it.index == index) {
            waiting.arguments += arguments;
            return String::new();
        }
        let waiting = Waiting {
            index,
            id: call["id"].clone(),
            name: call["function"]["name"].clone(),
            arguments: arguments.to_owned(),
        };
        if matches!(self.open, Some(Open::Call(_))) {
            self.waiting.push(waiting);
            return String::new();
        }
        self.begin_call(&waiting)
    }

    fn begin_call(&mut self, call: &Waiting) -> String {
        let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
        let mut out = self.enter(Open::Call(call.index), &block);
        out += &self.arguments(&call.arguments);
        out
    }

    fn arguments(&self, arguments: &str) -> String {
        if arguments.is_empty() {
            return String::new();
        }
        self.delta(&json!({"type": "input_json_delta", "partial_json": arguments}))
    }
}

impl Writer for Events {
    const DIALECT: Dialect = Dialect::Messages;

    fn whole(self, raw: String, model: &str) -> Result<String, Refusal> {
        reply::message(&raw, model, &self.asked_as)
    }

    fn begin(&mut self, model: &str) -> String {
        model.clone_into(&mut self.model);
        String::new()
    }

    fn push(&mut self, raw: String) -> String {
        let chunk = self.chunks.push(raw);
        let chunk = chunk.and_then(|chunk| serde_json::from_str(&chunk).ok());
        chunk
            .map(|chunk: Value| self.read(&chunk))
            .unwrap_or_default()
    }

    fn finish(&mut self) -> String {
        let mut out = String::new();
        if let Some(usage) = self.chunks.finish()
            && let Ok(chunk) = serde_json::from_str(&usage)
        {
            out += &self.read(&chunk);
        }
        if self.id.is_none() {
            out += &self.start(reply::id(&Value::Null));
        }
        for call in std::mem::take(&mut self.waiting) {
            out += &self.begin_call(&call);
        }
        let behind = std::mem::take(&mut self.text_behind);
        if !behind.is_empty() {
            out += &self.enter(Open::Text, &json!({"type": "text", "text": ""}));
            out += &self.delta(&json!({"type": "text_delta", "text": behind}));
        }
        out += &self.close();
        let reason =
            reply::stop_reason(self.finish_reason.as_deref(), self.has_calls, self.refuses);
        let usage = match &self.usage {
            Value::Null => json!({"input_tokens": self.input_tokens, "output_tokens": 0}),
            usage => reply::usage(usage),
        };
        out += &event(&json!({
            "type": "message_delta", "usage": usage,
            "delta": {"stop_reason": reason, "stop_sequence": null},
        }));
        out + &event(&json!({"type": "message_stop"}))
    }

    fn fail(&mut self, refusal: &Refusal, request_id: &str) -> String {
        let json = refusal.to_json(Dialect::Messages, request_id);
        format!("event: error\ndata: {json}\n\n")
    }

    fn idle(&self) -> &'static str {
        PING
    }
}

const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// An event is named by its type: clients pass over one without a name.
fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or("");
    format!("event: {name}\ndata: {data}\n\n")
}
