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
use sha2::{Digest as _, Sha256};

pub use self::{
    language::{Language, language_of},
    schema::{InvalidSchema, Schema},
};
use super::{
    ChatRequest, Completion, Delta,
    fields::{each, fields, text},
};

/// A longer answer is not held against a schema, and the language of longer JSON is not looked at; in bytes.
const MAX_JSON_BYTES: usize = 256 * 1024;
/// What is read of another text to find its language, in bytes.
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
    /// They are in this language.
    pub language: Language,
}

impl Checks {
    /// Distinguishes them from others: 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        let schema = self.schema.as_ref().map(Schema::text);
        let hash = Sha256::digest(serde_json::json!([schema, self.language.name()]).to_string());
        hex::encode(&hash[..8])
    }
}

/// Reads an answer as it comes.
#[derive(Debug)]
pub struct Inspection {
    checks: Arc<Checks>,
    /// What was asked, where a language counts.
    asked: Asked,
    /// Tokens that the caller itself lets the answer have.
    limit: Option<u32>,
    /// The answer, as far as it is needed.
    answer: String,
    is_whole: bool,
    chars: u32,
    has_calls: bool,
    is_refusal: bool,
    finish_reason: Option<String>,
}

impl Inspection {
    /// For the answer to a request, to which its caller lets it have so many tokens at most.
    pub fn new(checks: &Arc<Checks>, request: &ChatRequest, limit: Option<u32>) -> Self {
        Self {
            asked: match checks.language {
                Language::Any => Asked::default(),
                _ => Asked::of(request),
            },
            limit,
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
            } => MAX_JSON_BYTES,
            Checks {
                language: Language::Any,
                ..
            } => return,
            _ if language::is_like_json(&self.answer) => MAX_JSON_BYTES,
            // The first piece of it says what it is.
            _ if self.answer.is_empty() && language::is_like_json(text) => MAX_JSON_BYTES,
            _ => LANGUAGE_BYTES,
        };
        let room = most.saturating_sub(self.answer.len());
        self.is_whole &= text.len() <= room;
        self.answer += beginning(text, room);
    }

    /// Characters of the answer's text.
    pub fn chars(&self) -> u32 {
        self.chars
    }

    /// What the answer is, once it is over and took so many tokens, where that is known. None where the caller's
    /// own limit cut it off, which says nothing of the model.
    pub fn quality(&self, tokens: Option<u32>) -> Option<Quality> {
        let quality = self.seen();
        let is_callers = self
            .limit
            .is_some_and(|limit| tokens.is_none_or(|took| took >= limit));
        (quality != Quality::Truncated || !is_callers).then_some(quality)
    }

    fn seen(&self) -> Quality {
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
        let Asked {
            question,
            instructions,
        } = &self.asked;
        let language = self.checks.language;
        if language.is_missed(question, instructions, &self.answer) {
            return Quality::WrongLanguage;
        }
        Quality::Good
    }
}

/// The beginnings of what was asked.
#[derive(Debug, Default)]
struct Asked {
    /// What the user said last.
    question: String,
    /// What the model was told about how to answer.
    instructions: String,
}

impl Asked {
    fn of(request: &ChatRequest) -> Self {
        let mut asked = Self::default();
        if let Some(given) = &request.given {
            let mut question = None;
            if let Some(messages) = given.get("messages") {
                each(messages, |message| {
                    let [role, content] = fields(message, ["role", "content"]);
                    match text(role).as_deref() {
                        Some("user") => question = content,
                        Some(role) if is_instruction(role) => {
                            hear_raw(content, &mut asked.instructions);
                        }
                        _ => {}
                    }
                });
            }
            hear_raw(question, &mut asked.question);
            return asked;
        }
        let said = request.messages.iter().rev().find(|it| it.role == "user");
        said.inspect(|message| hear(&message.content, &mut asked.question));
        let told = request
            .messages
            .iter()
            .filter(|it| is_instruction(&it.role));
        told.for_each(|message| hear(&message.content, &mut asked.instructions));
        asked
    }
}

fn is_instruction(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

/// Adds a message's text, or those of its parts.
fn hear(content: &Value, to: &mut String) {
    let parts = match content {
        Value::Array(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    for part in parts {
        let words = part.as_str().or_else(|| part.get("text")?.as_str());
        add(words.unwrap_or_default(), to);
    }
}

/// The same of one that was not read yet.
fn hear_raw(content: Option<&RawValue>, to: &mut String) {
    let Some(content) = content else {
        return;
    };
    match text(Some(content)) {
        Some(words) => add(&words, to),
        None => each(content, |part| {
            let [words] = fields(part, ["text"]);
            add(&text(words).unwrap_or_default(), to);
        }),
    }
}

fn add(words: &str, to: &mut String) {
    let room = LANGUAGE_BYTES.saturating_sub(to.len());
    *to += beginning(words, room);
}

/// At most so many bytes of a text, whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
