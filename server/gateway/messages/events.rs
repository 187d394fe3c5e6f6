//! The chunks of a chat completion as events of Anthropic's API.

use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::AnswerWriter,
        refusal::{Dialect, Refusal},
        sequence::{Block, BlockStep, Sequence},
        thinking::Thoughts,
    },
    reply::{self, Asked},
    request,
};
use crate::providers::Delta;

/// The events of one answer.
pub(super) struct Events {
    asked: Asked,
    input_tokens: usize,
    model: String,
    sequence: Sequence,
    has_begun: bool,
    /// Blocks that have begun, and what the last one holds.
    blocks: usize,
    open: Block,
}

impl Events {
    pub(super) fn new(asked: &Map<String, Value>) -> Self {
        Self {
            asked: Asked::of(asked),
            input_tokens: request::tokens(asked),
            model: String::new(),
            sequence: Sequence::default(),
            has_begun: false,
            blocks: 0,
            open: Block::Text,
        }
    }

    fn write(&mut self, steps: Vec<BlockStep>) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            out += &self.start();
        }
        for step in steps {
            out += &match step {
                BlockStep::Begin(block) => self.begin_block(block),
                BlockStep::Piece(piece) => self.piece(&piece),
                BlockStep::End(thoughts) => self.end_block(&thoughts),
            };
        }
        out
    }

    fn start(&self) -> String {
        let usage = json!({
            "input_tokens": self.input_tokens, "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0, "output_tokens": 1,
        });
        let message = json!({
            "id": reply::id(&self.sequence.id), "type": "message", "role": "assistant",
            "model": self.asked.model, "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": usage,
        });
        event(&json!({"type": "message_start", "message": message})) + PING
    }

    fn begin_block(&mut self, block: Block) -> String {
        let content = match &block {
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::Text | Block::Refusal => json!({"type": "text", "text": ""}),
            Block::Call { id, name } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": {}})
            }
        };
        self.open = block;
        self.blocks += 1;
        let index = self.blocks - 1;
        event(&json!({"type": "content_block_start", "index": index, "content_block": content}))
    }

    fn piece(&self, piece: &str) -> String {
        self.delta(&match self.open {
            Block::Thinking => json!({"type": "thinking_delta", "thinking": piece}),
            Block::Text | Block::Refusal => json!({"type": "text_delta", "text": piece}),
            Block::Call { .. } => json!({"type": "input_json_delta", "partial_json": piece}),
        })
    }

    fn end_block(&self, thoughts: &Thoughts) -> String {
        let mut out = String::new();
        if self.open == Block::Thinking {
            let signature = thoughts.pack(&self.model);
            out += &self.delta(&json!({"type": "signature_delta", "signature": signature}));
        }
        let index = self.blocks.saturating_sub(1);
        out + &event(&json!({"type": "content_block_stop", "index": index}))
    }

    fn delta(&self, delta: &Value) -> String {
        let index = self.blocks.saturating_sub(1);
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }
}

impl AnswerWriter for Events {
    fn whole(self, raw: String, model: &str) -> Result<String, Refusal> {
        reply::message(&raw, model, &self.asked)
    }

    fn begin(&mut self, model: &str) -> String {
        model.clone_into(&mut self.model);
        String::new()
    }

    fn push(&mut self, step: Delta) -> String {
        let steps = self.sequence.push(step);
        self.write(steps)
    }

    fn finish(&mut self) -> String {
        let steps = self.sequence.finish();
        let mut out = self.write(steps);
        let sequence = &self.sequence;
        let finish = sequence.finish_reason.as_deref();
        let (has_calls, refuses) = (sequence.has_calls, sequence.refuses);
        let (reason, stop) = self.asked.end(&sequence.last, finish, has_calls, refuses);
        let usage = match &sequence.usage {
            Value::Null => json!({"input_tokens": self.input_tokens, "output_tokens": 0}),
            usage => reply::usage(usage),
        };
        out += &event(&json!({
            "type": "message_delta", "usage": usage,
            "delta": {"stop_reason": reason, "stop_sequence": stop},
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
