//! Reads TOML key by key, and reports every fault of a text with its line.
//!
//! Serde would stop at the first value of a wrong type, and a file with ten faults would be mended in
//! ten goes. Here a [`TomlTable`] hands out its keys as [`TomlField`]s. A field that cannot be read is noted
//! and becomes `None`. What takes its place does not matter, because [`document`] gives nothing back
//! where there was a fault.

use std::{
    cell::RefCell,
    fmt::{self, Display},
    io,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
};

use serde::Serialize;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{masked::masked, suggest::nearest, text_file};

/// Faults of one text that are reported; the others are left out.
const MOST_FAULTS: usize = 100;
/// The characters of a value that a fault shows.
const SHOWN: usize = 60;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It, or its folder, cannot be read.
    #[error("cannot read `{}`, {what}: {source}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// The file or the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Texts with faults.
    #[error("{what} cannot be used:\n{}", texts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faulty {
        /// What the texts are for.
        what: &'static str,
        /// Never empty.
        texts: Vec<TomlFaults>,
    },
}

/// Everything that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TomlFaults {
    /// Where the text came from, for people.
    pub origin: String,
    /// Never empty; in the order of the lines.
    pub faults: Vec<TomlFault>,
}

/// One fault of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TomlFault {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Display for TomlFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, TomlFault { line, message }) in self.faults.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}: {message}", self.origin)?;
        }
        Ok(())
    }
}

/// The text of a file that is `what`, such as `the model catalog`.
pub fn text_of(path: &Path, what: &'static str) -> Result<String, FileError> {
    text_file::read(path).map_err(|source| FileError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

/// What `read` makes of the text, or every fault; `origin` names the text in them.
pub fn document<T>(
    text: &str,
    origin: &str,
    read: impl FnOnce(&mut TomlTable<'_>) -> T,
) -> Result<T, TomlFaults> {
    let refused = |faults| TomlFaults {
        origin: origin.to_owned(),
        faults,
    };
    let source = Source {
        text,
        faults: RefCell::default(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            source.fault(error.span().unwrap_or(0..0), error.message().trim());
        }
        // The parser goes on with a guess, so one slip can look like several on the same line, and
        // what it guessed is not worth reading.
        let mut faults = source.into_faults();
        faults.dedup_by_key(|fault| fault.line);
        return Err(refused(faults));
    }
    let value = TomlTable::read(root.get_ref(), root.span(), String::new(), &source, read);
    let faults = source.into_faults();
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(refused(faults))
    }
}

struct Source<'a> {
    text: &'a str,
    faults: RefCell<Vec<TomlFault>>,
}

impl Source<'_> {
    fn fault(&self, at: Range<usize>, message: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() >= MOST_FAULTS {
            return;
        }
        let before = self.text.bytes().take(at.start);
        faults.push(TomlFault {
            line: before.filter(|byte| *byte == b'\n').count() + 1,
            message: message.into(),
        });
    }

    /// What stands there, cut to its first line and to what fits into a fault.
    fn shown(&self, at: Range<usize>) -> String {
        let text = self.text.get(at).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let shown: String = line.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        shown + more
    }

    fn into_faults(self) -> Vec<TomlFault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// A table whose keys are asked for one by one; those that nobody asks for are unknown.
pub struct TomlTable<'a> {
    entries: &'a DeTable<'a>,
    /// Where it begins, which is the line of a key that is missing.
    head: Range<usize>,
    /// What its keys are called in faults begins with this.
    path: String,
    known: Vec<&'static str>,
    source: &'a Source<'a>,
}

impl<'a> TomlTable<'a> {
    fn read<T>(
        entries: &'a DeTable<'a>,
        head: Range<usize>,
        path: String,
        source: &'a Source<'a>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut table = Self {
            entries,
            head,
            path,
            known: Vec::new(),
            source,
        };
        let value = read(&mut table);
        table.refuse_unknown();
        value
    }

    /// A key that may be left out.
    pub fn get(&mut self, key: &'static str) -> Option<TomlField<'a>> {
        self.known.push(key);
        Some(TomlField {
            path: self.path_of(key),
            is_item: false,
            shows: Shows::All,
            value: self.entries.get(key)?,
            source: self.source,
        })
    }

    /// What `read` makes of a key that may be left out.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&TomlField<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|field| read(&field))
    }

    /// What `read` makes of a key that must be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&TomlField<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            self.missing(key, expected);
        }
        self.optional(key, read)
    }

    /// Notes that a key is missing, in the line where the table begins.
    pub fn missing(&self, key: &str, expected: &str) {
        let message = format!("`{}` is missing; expected {expected}", self.path_of(key));
        self.source.fault(self.head.clone(), message);
    }

    /// Notes what is wrong with the table itself, in the line where it begins.
    pub fn fault(&self, message: impl Into<String>) {
        self.source.fault(self.head.clone(), message);
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn refuse_unknown(&self) {
        let known = &self.known;
        let strangers = self.entries.keys();
        for key in strangers.filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let hint = match nearest(key.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{}`?", near.word),
                None => format!("expected one of `{}`", known.join("`, `")),
            };
            let shown = self.source.shown(key.span());
            let message = format!("unknown key `{shown}`; {hint}");
            self.source.fault(key.span(), message);
        }
    }
}

/// What faults show of a value.
#[derive(Clone, Copy)]
enum Shows {
    All,
    /// An address without its password.
    Masked,
    Nothing,
}

/// The value of a key, or an item of a list.
pub struct TomlField<'a> {
    /// The keys that lead to it, joined by dots. An item has that of its list.
    path: String,
    is_item: bool,
    shows: Shows,
    value: &'a Spanned<DeValue<'a>>,
    source: &'a Source<'a>,
}

impl<'a> TomlField<'a> {
    /// What it is called in faults.
    pub fn name(&self) -> String {
        let of = if self.is_item { "an item of " } else { "" };
        format!("{of}`{}`", self.path)
    }

    /// The same, in whose faults the value is not shown.
    pub fn secret(self) -> Self {
        Self {
            shows: Shows::Nothing,
            ..self
        }
    }

    /// The same, in whose faults an address is shown without its password.
    pub fn address(self) -> Self {
        Self {
            shows: Shows::Masked,
            ..self
        }
    }

    /// Notes a fault in the line of the value.
    pub fn fault(&self, message: impl Into<String>) {
        self.source.fault(self.value.span(), message);
    }

    /// A text.
    pub fn text(&self, expected: &str) -> Option<&'a str> {
        self.read(expected, DeValue::as_str)
    }

    /// Yes or no.
    pub fn flag(&self) -> Option<bool> {
        self.read("true or false", DeValue::as_bool)
    }

    /// A finite number, whole or not.
    pub fn number(&self) -> Option<f64> {
        self.read("a number", number)
    }

    /// A whole number that is not negative.
    pub fn whole(&self) -> Option<u64> {
        self.read("a whole number, 0 or more", whole)
    }

    /// What one of these words means.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of `{}`", names.join("`, `"));
        self.read(&expected, |value| {
            let word = value.as_str()?;
            let (_, meaning) = words.iter().find(|(name, _)| *name == word)?;
            Some(*meaning)
        })
    }

    /// The items of a list.
    pub fn list(&self, expected: &str) -> Option<Vec<TomlField<'a>>> {
        let items = self.read(expected, DeValue::as_array)?;
        let item = |value| TomlField {
            path: self.path.clone(),
            is_item: true,
            shows: self.shows,
            value,
            source: self.source,
        };
        Some(items.iter().map(item).collect())
    }

    /// What `read` makes of a table.
    pub fn table<T>(&self, read: impl FnOnce(&mut TomlTable<'a>) -> T) -> Option<T> {
        let entries = self.read("a table", DeValue::as_table)?;
        // The line tells which item of a list it is.
        let path = if self.is_item { "" } else { &self.path };
        let head = self.value.span();
        Some(TomlTable::read(
            entries,
            head,
            path.to_owned(),
            self.source,
            read,
        ))
    }

    /// What `read` makes of each entry of a table whose keys are names of the file's own.
    pub fn named<T>(
        &self,
        mut read: impl FnMut(&str, &TomlField<'a>) -> T,
    ) -> Option<Vec<(String, T)>> {
        let entries = self.read("a table", DeValue::as_table)?;
        let mut named = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let is_name = |letter: char| !letter.is_control() && !letter.is_whitespace();
            if name.is_empty() || !name.chars().all(is_name) {
                let shown = self.source.shown(key.span());
                let message = format!("{shown} is not a name; expected one without spaces");
                self.source.fault(key.span(), message);
            }
            let entry = TomlField {
                path: format!("{}.{}", self.path, shown(name)),
                is_item: false,
                shows: self.shows,
                value,
                source: self.source,
            };
            named.push((name.to_owned(), read(name, &entry)));
        }
        Some(named)
    }

    /// Notes that the value is none of the names that are known.
    pub fn unknown<'k>(
        &self,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let hint = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{}`?", near.word),
            None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.fault(format!("unknown {what} `{name}`; {hint}"));
    }

    /// The same number; outside of the range it is a fault as well.
    pub fn within<T: Display + PartialOrd>(&self, number: T, range: RangeInclusive<T>) -> T {
        if !range.contains(&number) {
            let (name, least, most) = (self.name(), range.start(), range.end());
            self.fault(format!("{name} is {number}; expected {least} to {most}"));
        }
        number
    }

    /// What `read` makes of the value; `None` is a fault.
    pub fn read<T>(
        &self,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value.get_ref();
        let read = read(value);
        if read.is_none() {
            let shown = match value {
                _ if matches!(self.shows, Shows::Nothing) => {
                    format!("(a value of type {}, not shown)", value.type_str())
                }
                // What is cut first may end before the mark by which a password is recognised.
                DeValue::String(text) if matches!(self.shows, Shows::Masked) => {
                    format!("\"{}\"", shown(&masked(text)))
                }
                DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
                DeValue::Array(_) => "a list".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
                _ => self.source.shown(self.value.span()),
            };
            self.fault(format!("{} is {shown}; expected {expected}", self.name()));
        }
        read
    }
}

/// A name on one line and not too long.
fn shown(name: &str) -> String {
    name.escape_debug().take(SHOWN).collect()
}

/// A finite number, whole or not.
pub fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Integer(whole) => integer(whole)? as f64,
        DeValue::Float(float) => float.as_str().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A whole number that is not negative.
pub fn whole(value: &DeValue<'_>) -> Option<u64> {
    integer(value.as_integer()?)?.try_into().ok()
}

/// `None` beyond 128 bits.
fn integer(written: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(written.as_str(), written.radix()).ok()
}
