//! The prompts of a trial: a file with a JSON object a line.

use std::{collections::HashSet, fmt::Write as _, fs::File, path::Path};

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{_core::text_file, providers::quality::Schema};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The most prompts.
pub const MAX_PROMPTS: usize = 10_000;
/// The most faults that are reported at once.
const MAX_FAULTS: usize = 20;
/// The longest id, in characters.
const MAX_ID: usize = 100;
/// Messages of a prompt, at most.
pub const MAX_MESSAGES: u32 = 100;
/// The longest message, in UTF-16 code units.
pub const MAX_TEXT: u32 = 200_000;
/// Texts of which an answer has to hold one, at most.
pub const MAX_EXPECTED: u32 = 20;
/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrialRole {
    /// Says how to behave.
    System,
    /// The user.
    User,
    /// A model, earlier.
    Assistant,
}

impl TrialRole {
    /// As providers know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialMessage {
    /// Who says it.
    pub role: TrialRole,
    /// What.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub content: String,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    kind: Option<String>,
    system: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<TrialMessage>>,
    schema: Option<Value>,
    language: Option<Language>,
    max_tokens: Option<u32>,
    expect: Option<Expected>,
}

/// What an answer has to hold: a text, or one of several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    One(String),
    Any(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Language {
    /// An answer has to be in the user's language.
    Question,
    Any,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Its name within the file.
    pub id: String,
    /// What kind of prompt it is, in the file's own words; may be empty.
    pub kind: String,
    /// The conversation; the user says its last message.
    pub messages: Vec<TrialMessage>,
    /// The schema that an answer has to be of, where the file says.
    pub schema: Option<String>,
    /// Whether an answer has to be in the user's language, where the file says.
    pub language: Option<bool>,
    /// Tokens that an answer may have, where the file says.
    pub max_tokens: Option<u32>,
    /// Of these an answer has to hold one; none where anything is right.
    pub expect: Vec<String>,
    /// Changes with whatever is asked.
    pub digest: String,
}

/// Reads a file of prompts, in the order in which they are asked, or every fault with its line.
pub fn read(path: &Path) -> anyhow::Result<Vec<Prompt>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read `{shown}`"))?;
    let text = text_file::read_at_most(MAX_BYTES, file)
        .with_context(|| format!("cannot read `{shown}`"))?;
    parse(&text).map_err(|faults| anyhow::anyhow!("`{shown}` cannot be used:{faults}"))
}

/// The prompts of a text in the order in which they are asked, or its faults, a line each.
fn parse(text: &str) -> Result<Vec<Prompt>, String> {
    let mut prompts = Vec::new();
    let mut faults = Vec::new();
    let mut ids = HashSet::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match prompt(line) {
            Ok(prompt) if !ids.insert(prompt.id.clone()) => {
                let id = prompt.id;
                faults.push((number + 1, format!("`id` is `{id}`, as in a line before")));
            }
            Ok(prompt) => prompts.push(prompt),
            Err(fault) => faults.push((number + 1, fault)),
        }
    }
    if faults.is_empty() && prompts.is_empty() {
        faults.push((
            1,
            "there is no prompt; expected a JSON object a line".into(),
        ));
    }
    if prompts.len() > MAX_PROMPTS {
        let count = prompts.len();
        faults.push((
            1,
            format!("there are {count} prompts; expected at most {MAX_PROMPTS}"),
        ));
    }
    if faults.is_empty() {
        // An order that has nothing to do with the file's: wherever a trial stops, it has seen prompts of all kinds.
        prompts.sort_by(|a, b| (&a.digest, &a.id).cmp(&(&b.digest, &b.id)));
        return Ok(prompts);
    }
    let mut told = String::new();
    for (line, fault) in faults.iter().take(MAX_FAULTS) {
        let _ = write!(told, "\n  line {line}: {fault}");
    }
    if let Some(more) = faults
        .len()
        .checked_sub(MAX_FAULTS)
        .filter(|more| *more > 0)
    {
        let _ = write!(told, "\n  and {more} more");
    }
    Err(told)
}

fn prompt(line: &str) -> Result<Prompt, String> {
    // serde's own line is always the first.
    let read = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        text.replace(" at line 1 column ", ", at column ")
    });
    let Line {
        id,
        kind,
        system,
        prompt,
        messages,
        schema,
        language,
        max_tokens,
        expect,
    } = read?;
    let is_id = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if id.is_empty() || id.chars().count() > MAX_ID || !id.chars().all(is_id) {
        return Err(format!(
            "`id` is `{}`; expected 1 to {MAX_ID} letters, digits, `-`, `_`, `.` and `/`",
            id.escape_debug().take(MAX_ID).collect::<String>()
        ));
    }
    let mut said = match (prompt, messages) {
        (Some(prompt), None) => vec![TrialMessage {
            role: TrialRole::User,
            content: prompt,
        }],
        (None, Some(messages)) => messages,
        _ => return Err("expected either `prompt` or `messages`".into()),
    };
    if let Some(content) = system {
        let role = TrialRole::System;
        said.insert(0, TrialMessage { role, content });
    }
    if said.last().is_none_or(|last| last.role != TrialRole::User) {
        return Err("the last of `messages` is not the user's; expected a question".into());
    }
    if said.len() > MAX_MESSAGES as usize {
        let count = said.len();
        return Err(format!(
            "there are {count} `messages`; expected at most {MAX_MESSAGES}"
        ));
    }
    for message in &said {
        let length = message.content.encode_utf16().count();
        if message.content.trim().is_empty() || length > MAX_TEXT as usize {
            let role = message.role.name();
            return Err(format!(
                "a message of the {role} has {length} characters; expected 1 to {MAX_TEXT}, not all blank"
            ));
        }
    }
    if max_tokens == Some(0) {
        return Err("`max_tokens` is 0; expected at least 1".into());
    }
    let is_asked = expect.is_some();
    let expect = match expect {
        Some(Expected::One(text)) => vec![text],
        Some(Expected::Any(texts)) => texts,
        None => Vec::new(),
    };
    let is_blank = expect.iter().any(|it| it.trim().is_empty()) || expect.is_empty();
    if (is_asked && is_blank) || expect.len() > MAX_EXPECTED as usize {
        return Err(format!(
            "`expect` is no text and no list of texts; expected one, or 1 to {MAX_EXPECTED}, none of them blank"
        ));
    }
    let schema = match schema {
        // As a text too, so that one of the catalog can be copied.
        Some(Value::String(text)) => Some(text),
        Some(schema) => Some(schema.to_string()),
        None => None,
    };
    if let Some(schema) = &schema {
        Schema::parse(schema).map_err(|fault| format!("`schema` {fault}"))?;
    }
    let language = language.map(|it| it == Language::Question);
    let mut hash = Sha256::new();
    let asked = serde_json::json!([said, schema, language, max_tokens, expect]);
    hash.update(asked.to_string());
    let digest = hex::encode(hash.finalize());
    Ok(Prompt {
        id,
        kind: kind.unwrap_or_default(),
        messages: said,
        schema,
        language,
        max_tokens,
        expect,
        digest: digest.chars().take(DIGITS).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_line_is_told_with_its_number() {
        let text = [
            r#"{"id": "a", "prompt": "Hi"}"#,
            r#"{"id": "b", "promt": "Hi"}"#,
            "",
            r#"{"id": "a", "prompt": "again"}"#,
            "no json",
            r#"{"id": "", "prompt": "x"}"#,
            r#"{"id": "c"}"#,
            r#"{"id": "d", "prompt": "x", "messages": []}"#,
            r#"{"id": "e", "messages": [{"role": "assistant", "content": "x"}]}"#,
            r#"{"id": "f", "prompt": "  "}"#,
            r#"{"id": "g", "prompt": "x", "schema": {"type": 7}}"#,
            r#"{"id": "h", "prompt": "x", "language": "danish"}"#,
            r#"{"id": "i", "prompt": "x", "max_tokens": 0}"#,
            r#"["id"]"#,
            r#"{"id": "j", "prompt": "x", "expect": []}"#,
        ]
        .join("\n");
        let told = parse(&text).unwrap_err();
        for (line, word) in [
            (2, "promt"),
            (4, "as in a line before"),
            (5, "column"),
            (6, "`id` is ``"),
            (7, "either `prompt` or `messages`"),
            (8, "either `prompt` or `messages`"),
            (9, "not the user's"),
            (10, "not all blank"),
            (11, "`schema` is no JSON schema"),
            (12, "danish"),
            (13, "at least 1"),
            (14, "invalid"),
            (15, "`expect` is no text"),
        ] {
            let fault = told
                .lines()
                .find(|it| it.starts_with(&format!("  line {line}:")));
            assert!(fault.is_some_and(|it| it.contains(word)), "{line}: {told}");
        }
        assert!(!told.contains("line 1:"), "{told}");
        assert!(parse("\n\n").unwrap_err().contains("no prompt"));
    }

    #[test]
    fn the_order_is_not_the_files_and_a_digest_is_of_what_is_asked() {
        let lines =
            (0..50).map(|n| format!(r#"{{"id": "p{n}", "kind": "k", "prompt": "Say {n}."}}"#));
        let lines: Vec<_> = lines.collect();
        let one = parse(&lines.join("\n")).unwrap();
        let ids =
            |prompts: &[Prompt]| -> Vec<_> { prompts.iter().map(|it| it.id.clone()).collect() };
        let mut reversed = lines.clone();
        reversed.reverse();
        assert_eq!(ids(&one), ids(&parse(&reversed.join("\n")).unwrap()));
        let in_file: Vec<_> = (0..50).map(|n| format!("p{n}")).collect();
        assert_ne!(ids(&one), in_file);
        let digest = |line: &str| prompt(line).unwrap().digest;
        let plain = digest(r#"{"id": "a", "prompt": "x"}"#);
        assert_eq!(
            plain,
            digest(r#"{"id": "b", "kind": "other", "prompt": "x"}"#)
        );
        assert_ne!(
            plain,
            digest(r#"{"id": "a", "prompt": "x", "language": "any"}"#)
        );
        assert_eq!(plain.len(), DIGITS);
    }

    #[test]
    fn the_example_has_two_hundred_prompts_of_four_kinds() {
        let prompts = parse(include_str!("../../examples/trial.jsonl")).unwrap();
        assert_eq!(prompts.len(), 200);
        let of = |kind: &str| {
            prompts
                .iter()
                .filter(|it| it.kind.starts_with(kind))
                .count()
        };
        assert_eq!((of("chat"), of("mail"), of("summary")), (100, 60, 40));
        assert!(
            prompts
                .iter()
                .all(|it| it.schema.is_some() == (it.kind == "mail"))
        );
    }
}
