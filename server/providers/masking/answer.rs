//! What placeholders of a streamed answer stand for, put back step by step.
//!
//! A placeholder may be cut anywhere, so of each text (the content of a choice, the arguments of a call)
//! what may be the beginning of one is held back until the next piece of that text, another text, or the
//! end.

use std::sync::Arc;

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::Vault;
use crate::providers::{Delta, RawObject, finish};

/// Texts that come in pieces.
const PIECES: [&str; 10] = [
    "content",
    "text",
    "refusal",
    "reasoning",
    "reasoning_content",
    "thinking",
    "summary",
    "arguments",
    "input",
    "transcript",
];
/// Where several texts are under way at once.
const CALLS: &str = "tool_calls";
/// Texts of which something is held back at once; of further ones nothing is.
const MOST_HELD: usize = 256;

/// The steps of an answer to a masked request, as the caller would have got them without.
pub fn restored<E: Send + 'static>(
    mut deltas: BoxStream<'static, Result<Delta, E>>,
    vault: Arc<Vault>,
) -> BoxStream<'static, Result<Delta, E>> {
    stream! {
        let mut answer = Answer::new(vault);
        while let Some(step) = deltas.next().await {
            match step {
                Ok(mut delta) => {
                    answer.push(&mut delta);
                    yield Ok(delta);
                }
                Err(fault) => {
                    if let Some(rest) = answer.finish() {
                        yield Ok(rest);
                    }
                    yield Err(fault);
                    return;
                }
            }
        }
        if let Some(rest) = answer.finish() {
            yield Ok(rest);
        }
    }
    .boxed()
}

/// One answer.
pub(super) struct Answer {
    vault: Arc<Vault>,
    held: Vec<Held>,
    /// The same of the texts that are read out of the steps.
    content: String,
    reasoning: String,
    /// The last step that had choices.
    last: RawObject,
}

/// What of a text is held back.
struct Held {
    choice: u64,
    path: Path,
    text: String,
}

/// Where a text is in what a step says of its choice.
type Path = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// An item of a list, by its own index, else its place, and its type.
    Item(Value, Value),
}

impl Answer {
    pub(super) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            held: Vec::new(),
            content: String::new(),
            reasoning: String::new(),
            last: RawObject::default(),
        }
    }

    pub(super) fn push(&mut self, delta: &mut Delta) {
        let is_end = delta.finish_reason.is_some();
        delta.content = piece(&self.vault, &mut self.content, &delta.content, is_end);
        delta.reasoning = piece(&self.vault, &mut self.reasoning, &delta.reasoning, is_end);
        let raw = RawObject::parse(delta.raw.as_bytes()).ok();
        let choices = raw.as_ref().and_then(|raw| raw.get("choices"));
        let choices = choices.and_then(|it| serde_json::from_str(it.get()).ok());
        let (Some(mut raw), Some(Value::Array(mut choices))) = (raw, choices) else {
            return;
        };
        let before = choices.clone();
        for choice in &mut choices {
            self.choice(choice);
        }
        if choices != before {
            if delta.tool_calls.is_some() {
                let calls = |choice: &Value| choice.pointer("/delta/tool_calls").cloned();
                delta.tool_calls = choices.first().and_then(calls).or(delta.tool_calls.take());
            }
            // Values that were read can be written.
            let _ = raw.set("choices", &choices);
            delta.raw = raw.to_json();
            // Something else may have been put back as well.
            delta.is_plain = false;
        }
        if !choices.is_empty() {
            self.last = raw;
        }
    }

    /// What is still held, as a step of its own.
    pub(super) fn finish(&mut self) -> Option<Delta> {
        let content = piece(&self.vault, &mut self.content, "", true);
        let reasoning = piece(&self.vault, &mut self.reasoning, "", true);
        let mut choices = Vec::new();
        while let Some(Held { choice: index, .. }) = self.held.first() {
            let mut choice = json!({"index": index, "delta": {}, "finish_reason": null});
            let index = *index;
            self.flush(index, &mut choice["delta"], |_| true);
            choices.push(choice);
        }
        if choices.is_empty() && content.is_empty() && reasoning.is_empty() {
            return None;
        }
        let mut raw = std::mem::take(&mut self.last);
        raw.remove("usage");
        let _ = raw.set("choices", &choices);
        Some(Delta {
            is_token: true,
            is_answer: !content.is_empty(),
            content,
            reasoning,
            raw: if choices.is_empty() {
                String::new()
            } else {
                raw.to_json()
            },
            ..Delta::default()
        })
    }

    fn choice(&mut self, choice: &mut Value) {
        let index = choice["index"].as_u64().unwrap_or(0);
        let is_whole = choice["message"].is_object();
        let is_end = is_whole || finish::reason_of(choice).is_some();
        let name = if is_whole { "message" } else { "delta" };
        let mut said = Vec::new();
        if !choice[name].is_null() {
            self.walk(index, &mut choice[name], &mut Vec::new(), &mut said);
        }
        if is_end {
            self.flush(index, &mut choice[name], |_| true);
        } else if !said.is_empty() {
            // Another text has begun. Calls may come side by side.
            let is_call = |path: &Path| path.first() == Some(&Step::Field(CALLS.into()));
            self.flush(index, &mut choice[name], |path| {
                !is_call(path) && !said.contains(path)
            });
        }
    }

    /// Puts back what the texts below `value` hold; `said` are those that say something.
    fn walk(&mut self, choice: u64, value: &mut Value, path: &mut Path, said: &mut Vec<Path>) {
        match value {
            Value::String(text) => {
                let name = path.iter().rev().find_map(|step| match step {
                    Step::Field(name) => Some(name.as_str()),
                    Step::Item(..) => None,
                });
                if name.is_some_and(|name| PIECES.contains(&name)) {
                    if !text.is_empty() && said.len() < MOST_HELD {
                        said.push(path.clone());
                    }
                    *text = self.piece(choice, path, text);
                } else {
                    *text = self.vault.whole(text);
                }
            }
            Value::Array(items) => {
                for (place, item) in items.iter_mut().enumerate() {
                    let index = item.get("index").cloned().unwrap_or_else(|| place.into());
                    let kind = item.get("type").cloned().unwrap_or_default();
                    path.push(Step::Item(index, kind));
                    self.walk(choice, item, path, said);
                    path.pop();
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    path.push(Step::Field(name.clone()));
                    self.walk(choice, value, path, said);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn piece(&mut self, choice: u64, path: &Path, text: &str) -> String {
        let mut all = self.held.iter();
        let place = all.position(|held| held.choice == choice && held.path == *path);
        let mut held = place.map_or_else(String::new, |place| self.held.remove(place).text);
        let is_end = self.held.len() >= MOST_HELD;
        let restored = piece(&self.vault, &mut held, text, is_end);
        if !held.is_empty() {
            self.held.push(Held {
                choice,
                path: path.clone(),
                text: held,
            });
        }
        restored
    }

    /// Ends texts of a choice: what is held of them is added to what is said of it.
    fn flush(&mut self, choice: u64, of: &mut Value, is_over: impl Fn(&Path) -> bool) {
        let is_due = |held: &mut Held| held.choice == choice && is_over(&held.path);
        let due: Vec<_> = self.held.extract_if(.., is_due).collect();
        for Held { path, text, .. } in due {
            add(of, &path, &self.vault.whole(&text));
        }
    }
}

/// A piece of a text, with what was held back of it before; what is to be held back now stays in `held`.
fn piece(vault: &Vault, held: &mut String, text: &str, is_end: bool) -> String {
    let whole = std::mem::take(held) + text;
    let (restored, rest) = vault.read(&whole, is_end);
    rest.clone_into(held);
    restored
}

/// Adds to the text at a path, which is made where it is not there.
fn add(to: &mut Value, path: &[Step], text: &str) {
    match path.split_first() {
        None => {
            let before = to.as_str().unwrap_or_default();
            *to = format!("{before}{text}").into();
        }
        Some((Step::Field(name), rest)) => {
            if !to.is_object() {
                *to = json!({});
            }
            add(&mut to[name.as_str()], rest, text);
        }
        Some((Step::Item(index, kind), rest)) => {
            let mut items = match to.take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            let same = |(place, item): (usize, &Value)| {
                let own = item.get("index").cloned().unwrap_or_else(|| place.into());
                own == *index && item.get("type").cloned().unwrap_or_default() == *kind
            };
            let place = items.iter().enumerate().position(same);
            let place = place.unwrap_or_else(|| {
                let mut item = json!({ "index": index });
                if !kind.is_null() {
                    item["type"] = kind.clone();
                }
                items.push(item);
                items.len() - 1
            });
            if let Some(item) = items.get_mut(place) {
                add(item, rest, text);
            }
            *to = items.into();
        }
    }
}
