//! What a setting's text may look like: one type per kind of value, which both parses it and says
//! in words what it takes. The words go into faults, templates and docs, so they cannot disagree.

mod addresses;
mod contacts;
mod people;

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

pub(super) use self::{
    addresses::{Address, BaseUrl, DatabaseUrl, Domain, Origins, Prefixes},
    contacts::{Headers, MailAddress, MailAddresses, ProxyUrl, SecretUrl, SmtpUrl},
    people::{Header, Networks, Words},
};
use crate::_core::{assignment::Subject, slips, units::Percent};

/// A kind of value.
pub(super) trait Format: Sync {
    /// What the text becomes.
    type Value;
    /// Whether the text may never be shown.
    const SECRET: bool = false;

    /// Completes “expected …”.
    fn expected(&self) -> String;

    /// What a plain number counts; empty where the text says it itself.
    fn unit(&self) -> &'static str {
        ""
    }

    /// The value of a text that is not blank and has no blanks around it, or the part that is wrong.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// Why a text that may fit was hardly meant so; completes “`NAME` is `…` and …”.
    fn slip(&self, text: &str) -> Option<String> {
        slips::in_value(text).map(str::to_owned)
    }

    /// The value where there is neither a text nor a default.
    fn unset(&self) -> Option<Self::Value> {
        None
    }
}

fn whole_or_wrong<T>(text: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| text.to_owned())
}

/// A value that may be missing.
pub(super) struct Optional<F>(pub F);

impl<F: Format> Format for Optional<F> {
    type Value = Option<F::Value>;
    const SECRET: bool = F::SECRET;

    fn expected(&self) -> String {
        self.0.expected()
    }

    fn unit(&self) -> &'static str {
        self.0.unit()
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        self.0.parse(text).map(Some)
    }

    fn slip(&self, text: &str) -> Option<String> {
        self.0.slip(text)
    }

    fn unset(&self) -> Option<Self::Value> {
        Some(None)
    }
}

/// Any text.
pub(super) struct TextFormat;

impl Format for TextFormat {
    type Value = String;

    fn expected(&self) -> String {
        "a text".into()
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// On or off (docs/compatibility.md, C2).
pub(super) struct SwitchFormat;

impl Format for SwitchFormat {
    type Value = bool;

    fn expected(&self) -> String {
        "`true`, `false`, `1` or `0`".into()
    }

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(text.to_owned()),
        }
    }
}

/// A percentage (docs/compatibility.md, C1).
pub(super) struct ShareFormat;

impl Format for ShareFormat {
    type Value = Percent;

    fn expected(&self) -> String {
        "a number from 0 to 100 such as `10` or `12.5`, without sign, exponent or `%`".into()
    }

    fn unit(&self) -> &'static str {
        "percent"
    }

    fn parse(&self, text: &str) -> Result<Percent, String> {
        whole_or_wrong(text, Percent::parse(text))
    }
}

/// A whole number within bounds, both included.
pub(super) struct Whole<T> {
    pub unit: &'static str,
    pub min: T,
    pub max: T,
}

impl<T: FromStr + PartialOrd + Display + Sync> Format for Whole<T> {
    type Value = T;

    fn expected(&self) -> String {
        format!("a whole number, {} to {}", self.min, self.max)
    }

    fn unit(&self) -> &'static str {
        self.unit
    }

    fn parse(&self, text: &str) -> Result<T, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        whole_or_wrong(
            text,
            number.filter(|number| (&self.min..=&self.max).contains(&number)),
        )
    }
}

/// A length of time with its unit, within bounds, both included.
pub(super) struct SpanFormat {
    pub min: Duration,
    pub max: Duration,
}

impl Format for SpanFormat {
    type Value = Duration;

    fn expected(&self) -> String {
        format!(
            "a duration such as `40s` or `200ms`, {} to {}",
            shortest(self.min),
            shortest(self.max)
        )
    }

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let span = humantime::parse_duration(text).ok();
        whole_or_wrong(
            text,
            span.filter(|span| (self.min..=self.max).contains(span)),
        )
    }
}

/// In the largest unit that divides it; `humantime` would call 400 days a year, a month and a rest.
fn shortest(span: Duration) -> String {
    let ms = span.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let unit = units
        .iter()
        .find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    let (size, name) = unit.unwrap_or(&(1, "ms"));
    format!("{}{name}", ms / size)
}

/// One of a few words.
pub(super) struct OneOf<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + Sync> Format for OneOf<T> {
    type Value = T;

    fn expected(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("`{word}`")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn parse(&self, text: &str) -> Result<T, String> {
        let found = self.0.iter().find(|(word, _)| *word == text);
        whole_or_wrong(text, found.map(|(_, value)| *value))
    }
}

/// Some of a few words.
pub(super) struct ListFormat<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + Sync> Format for ListFormat<T> {
    type Value = Vec<T>;

    fn expected(&self) -> String {
        format!(
            "a list, separated by commas, of {}",
            OneOf(self.0).expected()
        )
    }

    fn parse(&self, text: &str) -> Result<Vec<T>, String> {
        items(text).map(|item| OneOf(self.0).parse(item)).collect()
    }

    fn unset(&self) -> Option<Vec<T>> {
        Some(Vec::new())
    }
}

/// Procedures by name, or all of a namespace.
pub(super) struct NamesFormat;

impl Format for NamesFormat {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "names of procedures such as `chat.sendMessage`, `chat.*` or `*`, separated by commas"
            .into()
    }

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let is_word = |word: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !word.is_empty() && word.bytes().all(inner)
        };
        let fits = |name: &str| {
            name == "*"
                || name.split_once('.').is_some_and(|(space, name)| {
                    is_word(space) && (name == "*" || name.split('.').all(is_word))
                })
        };
        let name = |name: &str| whole_or_wrong(name, fits(name).then(|| name.to_owned()));
        items(text).map(name).collect()
    }

    fn unset(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Parts of answers: `chat.getMessages:messages.*.id`.
pub(super) struct AnswerParts;

impl Format for AnswerParts {
    type Value = Vec<String>;

    fn expected(&self) -> String {
        "a procedure (or `chat.*`, or `*`), a colon and a path of names and `*`, such as \
         `chat.getMessages:messages.*.id`; more of them separated by commas"
            .into()
    }

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let fits = |part: &str| {
            part.split_once(':').is_some_and(|(procedure, path)| {
                NamesFormat.parse(procedure).is_ok_and(|it| it.len() == 1)
                    && path.split('.').all(|step| !step.trim().is_empty())
            })
        };
        let part = |part: &str| whole_or_wrong(part, fits(part).then(|| part.to_owned()));
        items(text).map(part).collect()
    }

    fn unset(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Users and API callers by id.
pub(super) struct Subjects;

impl Format for Subjects {
    type Value = Vec<Subject>;

    fn expected(&self) -> String {
        "ids separated by commas, each a positive whole number or an opaque text".into()
    }

    fn parse(&self, text: &str) -> Result<Vec<Subject>, String> {
        items(text)
            .map(|id| whole_or_wrong(id, Subject::parse(id)))
            .collect()
    }

    fn unset(&self) -> Option<Vec<Subject>> {
        Some(Vec::new())
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// What is logged, by target and level.
pub(super) struct LogFilter;

impl Format for LogFilter {
    type Value = String;

    fn expected(&self) -> String {
        "a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or a list such as \
         `info,modelramp=debug`"
            .into()
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        // A lone word would be read as a target, and everything else would fall silent.
        let is_level = |item: &str| item.parse::<LevelFilter>().is_ok();
        if let Some(wrong) = items(text).find(|item| !item.contains(['=', '[']) && !is_level(item))
        {
            return Err(wrong.to_owned());
        }
        // The parser of filters cuts texts at bytes, and panics within a character.
        if let Some(wrong) = items(text).find(|item| !item.is_ascii()) {
            return Err(wrong.to_owned());
        }
        let filter = EnvFilter::builder().parse(text);
        whole_or_wrong(text, filter.ok().map(|_| text.to_owned()))
    }
}

/// The path of a file; whether it is there is for its reader to say.
pub(super) struct FilePath;

impl Format for FilePath {
    type Value = PathBuf;

    fn expected(&self) -> String {
        "the path of a file".into()
    }

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        Ok(text.into())
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_path(text).map(str::to_owned)
    }
}

/// The path of a folder; whether it is there is for its reader to say.
pub(super) struct FolderPath;

impl Format for FolderPath {
    type Value = PathBuf;

    fn expected(&self) -> String {
        "the path of a folder".into()
    }

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        Ok(text.into())
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_path(text).map(str::to_owned)
    }
}

/// A secret that is only ever compared or signed with.
pub(super) struct SecretFormat;

impl Format for SecretFormat {
    type Value = SecretString;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "a secret text".into()
    }

    fn parse(&self, text: &str) -> Result<SecretString, String> {
        Ok(text.into())
    }
}

/// A secret that is sent in an HTTP header.
pub(super) struct ApiKeyFormat;

impl Format for ApiKeyFormat {
    type Value = SecretString;
    const SECRET: bool = true;

    fn expected(&self) -> String {
        "a key of visible ASCII characters".into()
    }

    fn parse(&self, text: &str) -> Result<SecretString, String> {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        whole_or_wrong(text, fits.then(|| text.into()))
    }

    fn slip(&self, text: &str) -> Option<String> {
        slips::in_key(text).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
