//! What an error says, gathered from every place where servers put it.
//!
//! OpenAI has `error: {message, type, code}`; vLLM the same without `error` around it; Google a list of
//! one; FastAPI `detail`, a text or a list of `{msg}`; Bedrock and Cohere a bare `message`; OpenRouter
//! repeats the words of the provider behind it in `metadata.raw`, as JSON in a text. So the words are
//! gathered first, whatever stands around them, and judged afterwards.

use serde_json::Value;

/// Nested deeper, nothing is looked at.
const MAX_DEPTH: usize = 8;
/// Characters of one text that are looked at.
const MAX_TEXT: usize = 4_000;
/// Texts that are looked at.
const MAX_WORDS: usize = 64;

/// A text of an error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ErrorText {
    /// In lower case, on one line, without quotes; `_` and `-` are spaces.
    pub(super) text: String,
    /// Whether a provider behind the one that we call said it: it does not speak of our account.
    pub(super) is_relayed: bool,
}

/// Everything that an error says.
#[derive(Debug, Default)]
pub(super) struct ErrorContents {
    /// Names for programs, such as `context_length_exceeded`; as they are, in lower case.
    pub(super) names: Vec<ErrorText>,
    /// Texts for people.
    pub(super) texts: Vec<ErrorText>,
    /// The first number that is a status.
    pub(super) status: Option<u16>,
    /// The first text as it was written.
    pub(super) message: String,
}

impl ErrorContents {
    /// What a body, or the error inside one, says.
    pub(super) fn by(body: &Value) -> Self {
        let mut said = Self::default();
        said.read(body, false, 0);
        said
    }

    /// What a body that is no JSON says.
    pub(super) fn by_text(text: &str) -> Self {
        let mut said = Self::default();
        said.add_words(text, false);
        said
    }

    fn read(&mut self, value: &Value, is_relayed: bool, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => {
                    self.read(&inner, is_relayed, depth + 1);
                }
                _ => self.add_words(text, is_relayed),
            },
            Value::Array(list) => {
                for item in list {
                    self.read(item, is_relayed, depth + 1);
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.read_field(key, value, is_relayed, depth);
                }
            }
            _ => {}
        }
    }

    fn read_field(&mut self, key: &str, value: &Value, is_relayed: bool, depth: usize) {
        match key.to_ascii_lowercase().as_str() {
            "code" | "type" | "status" | "reason" | "error_type" | "errortype" | "error_code"
            | "errorcode" | "__type" | "statuscode" | "status_code" => {
                if let Some(name) = value.as_str() {
                    self.add_name(name, is_relayed);
                }
                if !is_relayed {
                    self.status = self.status.or(as_status(value));
                }
            }
            "raw" | "provider_error" | "upstream_error" => self.read(value, true, depth + 1),
            "error" | "errors" | "message" | "msg" | "detail" | "details" | "description"
            | "error_description" | "error_message" | "errormessage" | "error_msg" | "errormsg"
            | "title" | "metadata" | "innererror" | "inner_error" | "cause" | "body" | "data"
            | "response" => self.read(value, is_relayed, depth + 1),
            _ => {}
        }
    }

    fn add_name(&mut self, name: &str, is_relayed: bool) {
        if self.names.len() < MAX_WORDS && name.len() < 200 {
            self.names.push(ErrorText {
                text: name.to_ascii_lowercase().replace('-', "_"),
                is_relayed,
            });
        }
    }

    /// A page for people speaks of whatever runs in front of the server, not of our account.
    fn add_words(&mut self, text: &str, is_relayed: bool) {
        self.add_text(text, is_relayed || text.trim_start().starts_with('<'));
    }

    fn add_text(&mut self, text: &str, is_relayed: bool) {
        if self.message.is_empty() {
            text.clone_into(&mut self.message);
        }
        if self.texts.len() < MAX_WORDS {
            let text = plain(text);
            self.texts.push(ErrorText { text, is_relayed });
        }
    }
}

/// As [`ErrorText::text`] has it.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().take(MAX_TEXT) {
        match character {
            '"' | '\'' | '`' | '’' => {}
            '_' | '-' => plain.push(' '),
            other if other.is_whitespace() => {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            other => plain.extend(other.to_lowercase()),
        }
    }
    // It says that the request is wrong, not that its input is.
    plain.replace("input validation error", "")
}

/// `429` or `"429"`.
fn as_status(code: &Value) -> Option<u16> {
    let number = match code {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|status| (300..=599).contains(status))
}
