//! Reads TOML key by key, noting every fault with its line and going on.
//!
//! Serde would stop at the first value of a wrong type, and a file with ten faults would be mended in
//! ten goes. Here a [`Table`] hands out its keys as [`Field`]s. A field that cannot be read is noted
//! and becomes `None`. What takes its place does not matter, because [`document`] gives nothing back
//! where there was a fault.

use std::{
    cell::RefCell,
    fmt::Display,
    ops::{Range, RangeInclusive},
};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::PlanFault;
use crate::_core::suggest::nearest;

/// Faults of one text that are told; whoever has so many begins with these.
const MOST_FAULTS: usize = 100;
/// The characters of a value that a fault shows.
const SHOWN: usize = 60;

/// What `read` makes of the text, or every fault in the order of the lines.
pub(super) fn document<T>(
    text: &str,
    read: impl FnOnce(&mut Table<'_>) -> T,
) -> Result<T, Vec<PlanFault>> {
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
        return Err(faults);
    }
    let value = Table::read(root.get_ref(), root.span(), &source, read);
    let faults = source.into_faults();
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(faults)
    }
}

struct Source<'a> {
    text: &'a str,
    faults: RefCell<Vec<PlanFault>>,
}

impl Source<'_> {
    fn fault(&self, at: Range<usize>, message: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() >= MOST_FAULTS {
            return;
        }
        let before = self.text.bytes().take(at.start);
        faults.push(PlanFault {
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

    fn into_faults(self) -> Vec<PlanFault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// A table whose keys are asked for one by one; those that nobody asks for are unknown.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    /// Where it begins, which is the line of a key that is missing.
    head: Range<usize>,
    known: Vec<&'static str>,
    source: &'a Source<'a>,
}

impl<'a> Table<'a> {
    fn read<T>(
        entries: &'a DeTable<'a>,
        head: Range<usize>,
        source: &'a Source<'a>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut table = Self {
            entries,
            head,
            known: Vec::new(),
            source,
        };
        let value = read(&mut table);
        table.refuse_unknown();
        value
    }

    /// A key that may be left out.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        Some(Field {
            name: format!("`{key}`"),
            value: self.entries.get(key)?,
            source: self.source,
        })
    }

    /// What `read` makes of a key that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|field| read(&field))
    }

    /// What `read` makes of a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            let message = format!("`{key}` is missing; expected {expected}");
            self.source.fault(self.head.clone(), message);
        }
        self.optional(key, read)
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

/// The value of a key, or an item of a list.
pub(super) struct Field<'a> {
    name: String,
    value: &'a Spanned<DeValue<'a>>,
    source: &'a Source<'a>,
}

impl<'a> Field<'a> {
    /// What it is called in faults.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Notes a fault in the line of the value.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.source.fault(self.value.span(), message);
    }

    /// A text.
    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        self.read(expected, DeValue::as_str)
    }

    /// Yes or no.
    pub(super) fn flag(&self) -> Option<bool> {
        self.read("true or false", DeValue::as_bool)
    }

    /// A finite number, whole or not.
    pub(super) fn number(&self) -> Option<f64> {
        self.read("a number", |value| {
            let number = match value {
                DeValue::Integer(whole) => integer(whole)? as f64,
                DeValue::Float(float) => float.as_str().parse().ok()?,
                _ => return None,
            };
            number.is_finite().then_some(number)
        })
    }

    /// A whole number that is not negative.
    pub(super) fn whole(&self) -> Option<u64> {
        self.read("a whole number, 0 or more", |value| {
            integer(value.as_integer()?)?.try_into().ok()
        })
    }

    /// What one of these words means.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of `{}`", names.join("`, `"));
        self.read(&expected, |value| {
            let word = value.as_str()?;
            let (_, meaning) = words.iter().find(|(name, _)| *name == word)?;
            Some(*meaning)
        })
    }

    /// The items of a list.
    pub(super) fn list(&self, expected: &str) -> Option<Vec<Field<'a>>> {
        let items = self.read(expected, DeValue::as_array)?;
        let item = |value| Field {
            name: format!("an item of {}", self.name),
            value,
            source: self.source,
        };
        Some(items.iter().map(item).collect())
    }

    /// What `read` makes of a table.
    pub(super) fn table<T>(&self, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        let entries = self.read("a table", DeValue::as_table)?;
        Some(Table::read(entries, self.value.span(), self.source, read))
    }

    /// The same number; outside of the range it is a fault as well.
    pub(super) fn within<T: Display + PartialOrd>(&self, number: T, range: RangeInclusive<T>) -> T {
        if !range.contains(&number) {
            let (name, least, most) = (&self.name, range.start(), range.end());
            self.fault(format!("{name} is {number}; expected {least} to {most}"));
        }
        number
    }

    fn read<T>(
        &self,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let read = read(self.value.get_ref());
        if read.is_none() {
            let shown = match self.value.get_ref() {
                DeValue::Array(_) => "a list".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
                _ => self.source.shown(self.value.span()),
            };
            self.fault(format!("{} is {shown}; expected {expected}", self.name));
        }
        read
    }
}

/// `None` beyond 128 bits.
fn integer(written: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(written.as_str(), written.radix()).ok()
}
