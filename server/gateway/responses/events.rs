//! The chunks of a chat completion as events of the Responses API, and a whole one as an answer.

use std::collections::HashMap;

use chrono::Utc;
use serde_json::{Map, Value, json};

use super::{
    super::{
        answer::AnswerWriter,
        refusal::{Dialect, Refusal},
        sequence::{Block, BlockStep, Sequence},
        thinking::Thoughts,
    },
    items::{self, ResponseEnd},
    tools::OfferedTool,
};
use crate::{providers::Delta, transport::bounds::BudgetShare};

/// The events of one answer.
pub(super) struct Events {
    asked: Map<String, Value>,
    /// The room for it.
    _held: BudgetShare,
    tools: HashMap<String, OfferedTool>,
    /// Whether the caller carries what a model thought to the next turn.
    carries_thoughts: bool,
    id: String,
    created_at: i64,
    model: String,
    sequence: Sequence,
    /// The number of the next event.
    number: u64,
    open: Option<Item>,
    output: Vec<Value>,
}

/// The item that is being written.
struct Item {
    block: Block,
    id: String,
    text: String,
}

impl Events {
    #[expect(clippy::disallowed_methods, reason = "an answer is made now")]
    pub(super) fn new(
        asked: Map<String, Value>,
        tools: HashMap<String, OfferedTool>,
        held: BudgetShare,
    ) -> Self {
        let include = asked.get("include").and_then(Value::as_array);
        let carries = "reasoning.encrypted_content";
        let carries_thoughts = include.is_some_and(|all| all.iter().any(|it| it == carries));
        Self {
            asked,
            _held: held,
            tools,
            carries_thoughts,
            id: format!("resp_{}", uuid::Uuid::now_v7().simple()),
            created_at: Utc::now().timestamp(),
            model: String::new(),
            sequence: Sequence::default(),
            number: 0,
            open: None,
            output: Vec::new(),
        }
    }

    fn response(&self, end: Option<&ResponseEnd<'_>>) -> Value {
        items::response(&self.asked, &self.id, self.created_at, &self.output, end)
    }

    /// An event: named by its type, and numbered.
    fn event(&mut self, name: &str, mut data: Value) -> String {
        let name = format!("response.{name}");
        data["type"] = name.as_str().into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        format!("event: {name}\ndata: {data}\n\n")
    }

    fn write(&mut self, steps: Vec<BlockStep>) -> String {
        let mut out = String::new();
        for step in steps {
            out += &match step {
                BlockStep::Begin(block) => self.begin_item(block),
                BlockStep::Piece(piece) => self.piece(&piece),
                BlockStep::End(thoughts) => self.end_item(&thoughts),
            };
        }
        out
    }

    fn begin_item(&mut self, block: Block) -> String {
        let (place, id) = (self.output.len(), uuid::Uuid::now_v7().simple().to_string());
        let id = format!("{}_{id}", items::prefix(&block));
        let item = items::item(&block, &id, "", &self.tools, None, false);
        let added = json!({"output_index": place, "item": item});
        let mut out = self.event("output_item.added", added);
        let part = json!({"item_id": id, "output_index": place});
        match &block {
            Block::Thinking => {
                let mut part = part;
                part["summary_index"] = 0.into();
                part["part"] = json!({"type": "summary_text", "text": ""});
                out += &self.event("reasoning_summary_part.added", part);
            }
            Block::Text | Block::Refusal => {
                let mut added = part;
                added["content_index"] = 0.into();
                added["part"] = items::part(&block, "");
                out += &self.event("content_part.added", added);
            }
            Block::Call { .. } => {}
        }
        self.open = Some(Item {
            block,
            id,
            text: String::new(),
        });
        out
    }

    fn piece(&mut self, piece: &str) -> String {
        let place = self.output.len();
        let Some(open) = &mut self.open else {
            return String::new();
        };
        open.text += piece;
        let mut data = json!({"item_id": open.id, "output_index": place, "delta": piece});
        let name = match &open.block {
            Block::Thinking => {
                data["summary_index"] = 0.into();
                "reasoning_summary_text.delta"
            }
            Block::Text => {
                data["content_index"] = 0.into();
                data["logprobs"] = json!([]);
                "output_text.delta"
            }
            Block::Refusal => {
                data["content_index"] = 0.into();
                "refusal.delta"
            }
            // Its text is known only when the arguments are whole.
            Block::Call { name, .. } if self.tools.get(name).is_some_and(|it| it.is_custom) => {
                return String::new();
            }
            Block::Call { .. } => "function_call_arguments.delta",
        };
        self.event(name, data)
    }

    fn end_item(&mut self, thoughts: &Thoughts) -> String {
        let place = self.output.len();
        let Some(Item { block, id, text }) = self.open.take() else {
            return String::new();
        };
        let at = |more: Value| {
            let mut data = json!({"item_id": id, "output_index": place});
            if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
                data.extend(more);
            }
            data
        };
        let mut out = String::new();
        match &block {
            Block::Thinking => {
                let done = at(json!({"summary_index": 0, "text": text}));
                out += &self.event("reasoning_summary_text.done", done);
                let part = json!({"type": "summary_text", "text": text});
                let done = at(json!({"summary_index": 0, "part": part}));
                out += &self.event("reasoning_summary_part.done", done);
            }
            Block::Text | Block::Refusal => {
                let (name, done) = if block == Block::Text {
                    (
                        "output_text.done",
                        json!({"content_index": 0, "text": text, "logprobs": []}),
                    )
                } else {
                    ("refusal.done", json!({"content_index": 0, "refusal": text}))
                };
                out += &self.event(name, at(done));
                let part = items::part(&block, &text);
                let done = at(json!({"content_index": 0, "part": part}));
                out += &self.event("content_part.done", done);
            }
            Block::Call { name, .. } => {
                if self.tools.get(name).is_some_and(|tool| tool.is_custom) {
                    let input = items::free_text(&text);
                    let delta = at(json!({ "delta": input }));
                    out += &self.event("custom_tool_call_input.delta", delta);
                    let done = at(json!({ "input": input }));
                    out += &self.event("custom_tool_call_input.done", done);
                } else {
                    let name = self.tools.get(name).map_or(name, |tool| &tool.name);
                    let done = at(json!({"name": name, "arguments": text}));
                    out += &self.event("function_call_arguments.done", done);
                }
            }
        }
        let packed =
            (block == Block::Thinking && self.carries_thoughts).then(|| thoughts.pack(&self.model));
        let item = items::item(&block, &id, &text, &self.tools, packed, true);
        self.output.push(item.clone());
        out + &self.event(
            "output_item.done",
            json!({"output_index": place, "item": item}),
        )
    }
}

impl AnswerWriter for Events {
    /// A whole answer is what its one chunk brings.
    fn whole(mut self, raw: String, model: &str) -> Result<String, Refusal> {
        model.clone_into(&mut self.model);
        self.push(Delta {
            raw,
            ..Delta::default()
        });
        self.finish();
        let end = ResponseEnd {
            finish_reason: self.sequence.finish_reason.as_deref(),
            usage: &self.sequence.usage,
        };
        Ok(self.response(Some(&end)).to_string())
    }

    fn begin(&mut self, model: &str) -> String {
        model.clone_into(&mut self.model);
        let response = self.response(None);
        let out = self.event("created", json!({"response": response.clone()}));
        out + &self.event("in_progress", json!({ "response": response }))
    }

    fn push(&mut self, step: Delta) -> String {
        let steps = self.sequence.push(step);
        self.write(steps)
    }

    fn finish(&mut self) -> String {
        let steps = self.sequence.finish();
        let out = self.write(steps);
        let end = ResponseEnd {
            finish_reason: self.sequence.finish_reason.as_deref(),
            usage: &self.sequence.usage,
        };
        let response = self.response(Some(&end));
        let name = if response["status"] == "incomplete" {
            "incomplete"
        } else {
            "completed"
        };
        out + &self.event(name, json!({ "response": response }))
    }

    fn fail(&mut self, refusal: &Refusal, request_id: &str) -> String {
        let told = refusal.to_json(Dialect::Responses, request_id);
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        let mut response = self.response(None);
        response["status"] = "failed".into();
        let code = match &told["error"]["code"] {
            Value::Null => "server_error".into(),
            code => code.clone(),
        };
        response["error"] = json!({"code": code, "message": told["error"]["message"]});
        self.event("failed", json!({ "response": response }))
    }
}
