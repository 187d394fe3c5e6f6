//! What is wrong with an answer that came, as far as the answer itself shows it.
//!
//! It costs nothing where nothing is asked of a task's answers: whether an answer was cut off or says no is
//! known anyway. A text is only kept where a [`Checks`] has to read it.

mod language;
mod schema;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

pub use self::schema::{InvalidSchema, Schema};
use super::{
    ChatRequest, Completion, Delta,
    fields::{each, fields, text},
};

/// A longer answer is not held against a schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// What is read of a text to tell its language, in bytes.
const LANGUAGE_BYTES: usize = 4 * 1024;

/// What an answer is: good as far as can be seen, or what is wrong with it. Where several things are, it
/// is the first of them here, so that one cause is never counted twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Quality {
    /// Nothing is seen to be wrong.
    Good,
    /// The model, or its host, says that it will not answer.
    Refused,
    /// A limit of tokens cut it off.
    Truncated,
    /// It is not JSON of the task's schema.
    SchemaInvalid,
    /// It is in another language than the question.
    WrongLanguage,
}

impl Quality {
    /// Everything that may be wrong.
    pub const FLAWS: [Self; 4] = [
        Self::Refused,
        Self::Truncated,
        Self::SchemaInvalid,
        Self::WrongLanguage,
    ];

    /// Whether something is wrong.
    pub const fn is_flawed(self) -> bool {
        !matches!(self, Self::Good)
    }

    /// As it is stored and sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Refused => "refused",
            Self::Truncated => "truncated",
            Self::SchemaInvalid => "schema-invalid",
            Self::WrongLanguage => "wrong-language",
        }
    }
}

/// What a task asks of its answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    /// They are JSON of this schema.
    pub schema: Option<Schema>,
    /// They are in the language of the question.
    pub language: bool,
}

/// Reads an answer as it comes.
#[derive(Debug)]
pub struct Inspection {
    checks: Arc<Checks>,
    /// The beginning of the question, where its language counts.
    question: String,
    /// The answer, as far as it is needed.
    answer: String,
    is_whole: bool,
    chars: u32,
    has_calls: bool,
    is_refusal: bool,
    finish_reason: Option<String>,
}

impl Inspection {
    /// For the answer to a request.
    pub fn new(checks: &Arc<Checks>, request: &ChatRequest) -> Self {
        Self {
            question: if checks.language {
                question(request)
            } else {
                String::new()
            },
            checks: checks.clone(),
            answer: String::new(),
            is_whole: true,
            chars: 0,
            has_calls: false,
            is_refusal: false,
            finish_reason: None,
        }
    }

    /// Reads a whole answer.
    pub fn read(&mut self, answer: &Completion) {
        self.add(&answer.content);
        self.has_calls = answer.tool_calls.is_some();
        self.is_refusal = answer.is_refusal;
        self.finish_reason.clone_from(&answer.finish_reason);
    }

    /// Reads a step of a streamed one.
    pub fn read_step(&mut self, step: &Delta) {
        self.add(&step.content);
        self.has_calls |= step.tool_calls.is_some();
        self.is_refusal |= step.is_refusal;
        if step.finish_reason.is_some() {
            self.finish_reason.clone_from(&step.finish_reason);
        }
    }

    fn add(&mut self, text: &str) {
        let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        self.chars = self.chars.saturating_add(chars);
        let most = match &*self.checks {
            Checks {
                schema: Some(_), ..
            } => MAX_SCHEMA_BYTES,
            Checks { language: true, .. } => LANGUAGE_BYTES,
            Checks { .. } => return,
        };
        let room = most.saturating_sub(self.answer.len());
        self.is_whole &= text.len() <= room;
        self.answer += beginning(text, room);
    }

    /// Characters of the answer's text.
    pub fn chars(&self) -> u32 {
        self.chars
    }

    /// What the answer is, once it is over.
    pub fn quality(&self) -> Quality {
        let reason = self.finish_reason.as_deref().unwrap_or_default();
        if self.is_refusal || reason == "content_filter" {
            return Quality::Refused;
        }
        if matches!(reason, "length" | "max_tokens") {
            return Quality::Truncated;
        }
        // What is said beside the call of a tool is no answer yet.
        if self.has_calls {
            return Quality::Good;
        }
        if let Some(schema) = &self.checks.schema
            && self.is_whole
            && !schema.accepts(&self.answer)
        {
            return Quality::SchemaInvalid;
        }
        if self.checks.language && language::differ(&self.question, &self.answer) {
            return Quality::WrongLanguage;
        }
        Quality::Good
    }
}

/// The beginning of what the user said last.
fn question(request: &ChatRequest) -> String {
    let mut last = String::new();
    if let Some(given) = &request.given {
        let messages = given.get("messages").map(|messages| {
            let mut found: Option<&RawValue> = None;
            each(messages, |message| {
                let [role, content] = fields(message, ["role", "content"]);
                if text(role).as_deref() == Some("user") {
                    found = content;
                }
            });
            found
        });
        if let Some(content) = messages.flatten() {
            match text(Some(content)) {
                Some(words) => last += beginning(&words, LANGUAGE_BYTES),
                None => each(content, |part| {
                    let [words] = fields(part, ["text"]);
                    let words = text(words).unwrap_or_default();
                    last += beginning(&words, LANGUAGE_BYTES.saturating_sub(last.len()));
                }),
            }
        }
        return last;
    }
    let said = request.messages.iter().rev().find(|it| it.role == "user");
    let parts = match said.map(|message| &message.content) {
        Some(Value::Array(parts)) => parts.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for part in parts {
        let words = part.as_str().or_else(|| part.get("text")?.as_str());
        let room = LANGUAGE_BYTES.saturating_sub(last.len());
        last += beginning(words.unwrap_or_default(), room);
    }
    last
}

/// At most so many bytes of a text, whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
