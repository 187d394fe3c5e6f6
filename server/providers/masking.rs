//! Mail addresses, phone numbers and Danish CPR numbers stay here: a placeholder leaves in the place of
//! each, and what stands for it comes back with the answer.
//!
//! The same request becomes the same text, so a conversation keeps the provider's cache. What stands for
//! what is known while the call is under way, and nowhere else.

mod answer;
mod cpr;
mod digits;
mod find;
mod phone;
mod placeholder;
mod strings;

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::answer::restored;
use self::{
    placeholder::PlaceholderAhead,
    strings::{What, edited},
};
use super::{
    ChatRequest, Completion,
    instructions::{self, InstructionPlace},
};

/// What can be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "Kind")]
#[serde(rename_all = "lowercase")]
pub enum MaskedKind {
    /// Mail addresses.
    Email,
    /// Phone numbers.
    Phone,
    /// Danish CPR numbers.
    Cpr,
}

impl MaskedKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Email, Self::Phone, Self::Cpr];

    /// Its word in a catalog.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Cpr => "cpr",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Cpr => "CPR",
        }
    }
}

/// What a model is told whose request has placeholders.
const NOTE: &str = "Marks in square brackets that begin with EMAIL, PHONE or CPR stand for real values. Where such a \
                    value belongs into your answer, repeat its mark exactly, brackets included.";

/// Fields of a body that hold no text of a user's: names of models, settings, and the schemas of tools.
const NO_TEXT: [&str; 9] = [
    "model",
    "models",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "response_format",
    "provider",
    "stream_options",
];
/// Keys of what programs made for programs.
const IDS: [&str; 4] = ["id", "tool_call_id", "call_id", "type"];
/// Keys of what may be bytes in the form of a text.
const BYTES: [&str; 7] = [
    "data",
    "file_data",
    "signature",
    "thought_signature",
    "encrypted_content",
    "url",
    "image_url",
];
/// A shorter text is never taken for bytes.
const SHORTEST_BYTES: usize = 64;
/// Texts that are JSON in texts that are JSON are looked into so far; deeper ones are plain texts.
const DEEPEST: usize = 3;

/// What stands for what, in one request.
pub struct Vault {
    kinds: Vec<MaskedKind>,
    tag: String,
    /// In the order of their numbers, which begin at 1.
    values: HashMap<MaskedKind, Vec<String>>,
    numbers: HashMap<(MaskedKind, String), usize>,
}

/// Puts placeholders in the place of what a request says; `None` where it says nothing of these kinds.
pub fn mask(request: &mut ChatRequest, kinds: &[MaskedKind]) -> Option<Vault> {
    if kinds.is_empty() {
        return None;
    }
    let mut vault = Vault {
        kinds: kinds.to_vec(),
        tag: String::new(),
        values: HashMap::new(),
        numbers: HashMap::new(),
    };
    let (mut taken, mut has_any) = (HashSet::new(), false);
    each_text(request, &mut |key, what, text| {
        if what == What::Text {
            placeholder::tags_of(text, &mut taken);
            has_any |= !has_any && vault.finds(key, text);
        }
        None
    });
    if !has_any {
        return None;
    }
    vault.tag = placeholder::free_tag(&taken);
    each_text(request, &mut |key, what, text| match what {
        What::Text => vault.masked(key, text, 0),
        What::Key | What::Number => None,
    });
    if vault.values.is_empty() {
        return None;
    }
    // Tells the model what the marks are.
    instructions::tell(request, NOTE, InstructionPlace::Last);
    for (kind, values) in &vault.values {
        metrics::counter!(MASKED, "kind" => kind.name()).increment(values.len() as u64);
    }
    Some(vault)
}

const MASKED: &str = "ai_masked_total";
const UNRESTORED: &str = "ai_mask_unrestored_total";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    metrics::describe_counter!(
        MASKED,
        "Values that placeholders stood for in requests to providers, by kind"
    );
    metrics::describe_counter!(UNRESTORED, "Placeholders in answers that stand for nothing");
}

/// Hands out all texts of a request, and puts others in their place.
fn each_text(request: &mut ChatRequest, edit: &mut dyn FnMut(&str, What, &str) -> Option<String>) {
    let edit = &mut |key: &str, what: What, text: &str| {
        let is_none = IDS.contains(&key) || (BYTES.contains(&key) && is_bytes(text));
        if is_none { None } else { edit(key, what, text) }
    };
    // What was read can be written, and what was edited can be read.
    if let Some(given) = &mut request.given {
        given.edit(|name, value| {
            let is_text = !NO_TEXT.contains(&name);
            let other = is_text.then(|| edited(value.get(), name, edit)).flatten();
            other.and_then(|json| RawValue::from_string(json).ok())
        });
    }
    let messages = serde_json::to_string(&request.messages).unwrap_or_default();
    if let Some(messages) = edited(&messages, "messages", edit) {
        request.messages = serde_json::from_str(&messages).unwrap_or_default();
    }
    for (name, value) in &mut request.rest {
        if !NO_TEXT.contains(&name.as_str())
            && let Some(json) = edited(&value.to_string(), name, edit)
        {
            *value = serde_json::from_str(&json).unwrap_or_default();
        }
    }
}

fn is_bytes(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    text.starts_with("data:") || (text.len() >= SHORTEST_BYTES && text.bytes().all(is_base64))
}

impl Vault {
    /// How many values placeholders stand for.
    pub fn count(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }

    fn finds(&self, key: &str, text: &str) -> bool {
        // An escape may hide anything.
        !find::find(text, key, &self.kinds).is_empty() || text.contains("\\u")
    }

    /// The text with placeholders; `None` where it stays as it is.
    fn masked(&mut self, key: &str, text: &str, depth: usize) -> Option<String> {
        if depth < DEEPEST && self.finds(key, text) && is_document(text) {
            return edited(text, key, &mut |key, what, text| match what {
                What::Number => self.plainly_masked(key, text),
                What::Key | What::Text => self.masked(key, text, depth + 1),
            });
        }
        self.plainly_masked(key, text)
    }

    fn plainly_masked(&mut self, key: &str, text: &str) -> Option<String> {
        let found = find::find(text, key, &self.kinds);
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for (at, kind) in &found {
            masked += text.get(from..at.start)?;
            masked += &self.placeholder(*kind, text.get(at.clone())?);
            from = at.end;
        }
        masked += text.get(from..)?;
        (!found.is_empty()).then_some(masked)
    }

    fn placeholder(&mut self, kind: MaskedKind, value: &str) -> String {
        let values = self.values.entry(kind).or_default();
        let number = self.numbers.entry((kind, value.to_owned()));
        let number = *number.or_insert_with(|| {
            values.push(value.to_owned());
            values.len()
        });
        placeholder::write(kind, number, &self.tag)
    }

    fn value(&self, kind: MaskedKind, number: usize) -> Option<&str> {
        let values = self.values.get(&kind)?;
        values.get(number.checked_sub(1)?).map(String::as_str)
    }

    /// The text with what its placeholders stand for, and what of its end may be the beginning of one.
    fn read<'a>(&self, text: &'a str, is_end: bool) -> (String, &'a str) {
        let mut out = String::with_capacity(text.len());
        let (mut copied, mut at) = (0, 0);
        while let Some(start) = text.get(at..).and_then(placeholder::begin) {
            at += start;
            let rest = text.get(at..).unwrap_or_default();
            match placeholder::read(rest, &self.tag, is_end) {
                PlaceholderAhead::Placeholder {
                    kind,
                    number,
                    lead,
                    length,
                } => match self.value(kind, number) {
                    Some(value) => {
                        out += text.get(copied..at).unwrap_or_default();
                        out += lead;
                        out += value;
                        at += length;
                        copied = at;
                    }
                    None => {
                        metrics::counter!(UNRESTORED).increment(1);
                        at += length;
                    }
                },
                PlaceholderAhead::Partial => {
                    out += text.get(copied..at).unwrap_or_default();
                    return (out, rest);
                }
                PlaceholderAhead::Other => at += 1,
            }
        }
        out += text.get(copied..).unwrap_or_default();
        (out, "")
    }

    fn whole(&self, text: &str) -> String {
        self.read(text, true).0
    }

    fn document(&self, json: &str) -> Option<String> {
        edited(json, "", &mut |_, what, text| {
            let restored = (what != What::Number).then(|| self.whole(text))?;
            (restored != text).then_some(restored)
        })
    }

    /// Puts what the placeholders stand for into a whole answer.
    pub fn restore(&self, answer: &mut Completion) {
        answer.content = self.whole(&answer.content);
        answer.reasoning = self.whole(&answer.reasoning);
        if let Some(raw) = self.document(&answer.raw) {
            answer.raw = raw;
        }
        if let Some(calls) = &mut answer.tool_calls
            && let Some(json) = self.document(&calls.to_string())
        {
            *calls = serde_json::from_str(&json).unwrap_or_default();
        }
    }
}

/// Whether a text is JSON that holds others.
fn is_document(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(['{', '[']) && serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests;
