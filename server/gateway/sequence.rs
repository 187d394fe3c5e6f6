//! The chunks of a chat completion as blocks that follow each other and never overlap: what the model
//! thinks, its text, its refusal, each call of a tool.
//!
//! Fragments of a second call that come before the first is over are held back, and so is text that comes
//! behind a call. A call is over when its arguments are whole and another begins, so that a long second call is told
//! while it is written.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{chunks::Chunks, content::text, thinking::Thoughts};
use crate::providers::{Delta, finish};

/// What one block holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    /// What the model thinks.
    Thinking,
    /// Its text.
    Text,
    /// Why it will not answer.
    Refusal,
    /// A call of a tool; its pieces are arguments.
    Call {
        /// By which the result names it.
        id: String,
        /// The tool.
        name: String,
    },
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum BlockStep {
    /// A block begins.
    Begin(Block),
    /// More of it; never empty.
    Piece(String),
    /// It is over; with what was thought, where it is a block of that.
    End(Thoughts),
}

/// One answer.
pub(super) struct Sequence {
    /// Mends the chunks, so that each fragment says which call it belongs to.
    chunks: Chunks,
    open: Option<Open>,
    /// The arguments of the call that is open, and the calls that are over.
    arguments: String,
    over: Vec<u64>,
    /// Calls whose block has not begun, and text that came behind a call.
    waiting: Vec<Waiting>,
    behind: String,
    /// What the model thought and no block has yet.
    thoughts: Thoughts,
    /// The id of the chat completion.
    pub(super) id: Value,
    pub(super) finish_reason: Option<String>,
    /// The choice that said it.
    pub(super) last: Value,
    pub(super) has_calls: bool,
    pub(super) refuses: bool,
    /// Null where none was given.
    pub(super) usage: Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Thinking,
    Text,
    Refusal,
    /// The call of this number.
    Call(u64),
}

struct Waiting {
    index: u64,
    block: Block,
    arguments: String,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            chunks: Chunks::new(true),
            open: None,
            arguments: String::new(),
            over: Vec::new(),
            waiting: Vec::new(),
            behind: String::new(),
            thoughts: Thoughts::default(),
            id: Value::Null,
            finish_reason: None,
            last: Value::Null,
            has_calls: false,
            refuses: false,
            usage: Value::Null,
        }
    }
}

impl Sequence {
    /// The steps that a chunk brings.
    pub(super) fn push(&mut self, step: Delta) -> Vec<BlockStep> {
        let mut steps = Vec::new();
        let chunk = self.chunks.push(step);
        if let Some(chunk) = chunk.and_then(|chunk| serde_json::from_str(&chunk).ok()) {
            self.read(&chunk, &mut steps);
        }
        steps
    }

    /// What was held back.
    pub(super) fn finish(&mut self) -> Vec<BlockStep> {
        let mut steps = Vec::new();
        if let Some(usage) = self.chunks.finish()
            && let Ok(chunk) = serde_json::from_str(&usage)
        {
            self.read(&chunk, &mut steps);
        }
        for call in std::mem::take(&mut self.waiting) {
            self.enter(Open::Call(call.index), call.block, &mut steps);
            add(call.arguments, &mut steps);
        }
        let behind = std::mem::take(&mut self.behind);
        if !behind.is_empty() {
            self.enter(Open::Text, Block::Text, &mut steps);
            add(behind, &mut steps);
        }
        self.close(&mut steps);
        self.begin_thinking(&mut steps);
        self.close(&mut steps);
        steps
    }

    fn read(&mut self, chunk: &Value, steps: &mut Vec<BlockStep>) {
        if self.id.is_null() {
            self.id = chunk["id"].clone();
        }
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        // Where blocks follow each other, one choice is all that can be said.
        let is_first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        let choices = chunk["choices"].as_array();
        let Some(choice) = choices.and_then(|all| all.iter().find(is_first)) else {
            return;
        };
        if let Some(reason) = finish::reason_of(choice) {
            self.finish_reason = Some(reason.to_owned());
            self.last = choice.clone();
        }
        if let Some(delta) = choice["delta"].as_object() {
            self.read_delta(delta, steps);
        }
    }

    fn read_delta(&mut self, delta: &Map<String, Value>, steps: &mut Vec<BlockStep>) {
        let thought = self.thoughts.add(delta);
        let (text, refusal) = (text(delta.get("content")), text(delta.get("refusal")));
        self.refuses |= !refusal.is_empty();
        for (piece, open, block) in [
            (thought, Open::Thinking, Block::Thinking),
            (text, Open::Text, Block::Text),
            (refusal, Open::Refusal, Block::Refusal),
        ] {
            if piece.is_empty() {
                continue;
            }
            if matches!(self.open, Some(Open::Call(_))) {
                if open != Open::Thinking {
                    self.behind += &piece;
                }
                continue;
            }
            // Beside a text that goes on, it waits for that to end.
            if open != Open::Thinking && self.open != Some(open) {
                self.begin_thinking(steps);
            }
            self.enter(open, block, steps);
            add(piece, steps);
        }
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.fragment(call, steps);
        }
    }

    fn fragment(&mut self, call: &Value, steps: &mut Vec<BlockStep>) {
        self.has_calls = true;
        let index = call["index"].as_u64().unwrap_or(0);
        let of = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let function = &call["function"];
        let arguments = arguments(&function["arguments"]);
        if self.open == Some(Open::Call(index)) {
            self.arguments += &arguments;
            add(arguments, steps);
            return;
        }
        // Behind whole arguments nothing but white space can come.
        if self.over.contains(&index) {
            return;
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|it| it.index == index) {
            waiting.arguments += &arguments;
            return;
        }
        let block = Block::Call {
            id: call_id(&call["id"]),
            name: of(&function["name"]),
        };
        match self.open {
            Some(Open::Call(open)) if self.waiting.is_empty() && self.is_whole() => {
                self.over.push(open);
            }
            Some(Open::Call(_)) => {
                self.waiting.push(Waiting {
                    index,
                    block,
                    arguments,
                });
                return;
            }
            _ => self.begin_thinking(steps),
        }
        self.enter(Open::Call(index), block, steps);
        self.arguments.clone_from(&arguments);
        add(arguments, steps);
    }

    /// Whether the open call has all of its arguments: an object.
    fn is_whole(&self) -> bool {
        self.arguments.trim_start().starts_with('{')
            && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }

    /// A block for what was thought without a word, such as a signature that belongs to a call.
    fn begin_thinking(&mut self, steps: &mut Vec<BlockStep>) {
        if !self.thoughts.is_empty() {
            self.enter(Open::Thinking, Block::Thinking, steps);
        }
    }

    fn enter(&mut self, open: Open, block: Block, steps: &mut Vec<BlockStep>) {
        if self.open == Some(open) {
            return;
        }
        self.close(steps);
        self.open = Some(open);
        steps.push(BlockStep::Begin(block));
    }

    fn close(&mut self, steps: &mut Vec<BlockStep>) {
        if let Some(open) = self.open.take() {
            let thoughts = match open {
                Open::Thinking => std::mem::take(&mut self.thoughts),
                _ => Thoughts::default(),
            };
            steps.push(BlockStep::End(thoughts));
        }
    }
}

fn add(piece: String, steps: &mut Vec<BlockStep>) {
    if !piece.is_empty() {
        steps.push(BlockStep::Piece(piece));
    }
}

/// The arguments of a call: a text of JSON, which some servers send as the JSON itself.
pub(super) fn arguments(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        json => json.to_string(),
    }
}

/// The id of a call; one of ours where its server gave none, so that its result finds it.
pub(super) fn call_id(value: &Value) -> String {
    match value.as_str() {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("call_{}", Uuid::now_v7().simple()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What each fragment of a call brings at once, and what the end brings.
    fn told(fragments: &[(u64, &str)]) -> Vec<String> {
        let mut sequence = Sequence::default();
        let mut told = Vec::new();
        for (place, (index, arguments)) in fragments.iter().enumerate() {
            let mut call = json!({"index": index, "function": {"arguments": arguments}});
            if fragments.iter().position(|(known, _)| known == index) == Some(place) {
                call["id"] = format!("c{index}").into();
                call["function"]["name"] = "f".into();
            }
            let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
            let raw = chunk.to_string();
            told.push(words(sequence.push(Delta {
                raw,
                ..Delta::default()
            })));
        }
        told.push(words(sequence.finish()));
        told
    }

    fn words(steps: Vec<BlockStep>) -> String {
        let word = |step| match step {
            BlockStep::Begin(Block::Call { id, .. }) => format!("<{id}>"),
            BlockStep::Begin(_) => "<>".to_owned(),
            BlockStep::Piece(piece) => piece,
            BlockStep::End(_) => "</>".to_owned(),
        };
        steps.into_iter().map(word).collect()
    }

    #[test]
    fn a_reason_to_finish_stays_when_what_follows_names_none() {
        let mut sequence = Sequence::default();
        for reason in [json!(""), json!("length"), json!(""), json!("null")] {
            let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": reason});
            sequence.push(Delta {
                raw: json!({ "choices": [choice] }).to_string(),
                ..Delta::default()
            });
        }
        assert_eq!(sequence.finish_reason.as_deref(), Some("length"));
    }

    #[test]
    fn a_call_is_told_while_it_is_written_where_the_one_before_is_whole() {
        let calls = [
            (0, ""),
            (0, "{}"),
            (1, "{\"a\""),
            (1, ":1}"),
            (2, "{"),
            (0, "\n"),
            (2, "}"),
        ];
        let at_once = [
            "<c0>",
            "{}",
            "</><c1>{\"a\"",
            ":1}",
            "</><c2>{",
            "",
            "}",
            "</>",
        ];
        assert_eq!(told(&calls), at_once);
        let mixed = [(0, "{"), (1, "{"), (0, "}"), (1, "}"), (2, "{}")];
        let at_the_end = ["<c0>{", "", "}", "", "", "</><c1>{}</><c2>{}</>"];
        assert_eq!(told(&mixed), at_the_end);
        // Without arguments nobody knows yet that there are none.
        assert_eq!(told(&[(0, ""), (1, "{}")]), ["<c0>", "", "</><c1>{}</>"]);
    }
}
