//! What is wrong with the settings, all of it at once.

use std::fmt;

use crate::_core::masked::masked;

/// Longer values are cut where they are shown.
const SHOWN: usize = 100;

/// Everything that is wrong with the settings; never without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    faults: Vec<ConfigFault>,
    /// What may explain a fault, such as a variable whose name has a slip.
    notes: Vec<String>,
}

/// One setting, or one file of settings, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The variable, or the file.
    pub name: String,
    /// What it was, unless that is a secret, and where that came from.
    pub found: String,
    /// What would have been right.
    pub expected: String,
}

impl ConfigFaults {
    /// `Err` if there are any.
    pub(super) fn check(faults: Vec<ConfigFault>) -> Result<(), Self> {
        Self::check_with(faults, &[])
    }

    /// The same, with what is odd about the settings besides.
    pub(super) fn check_with(faults: Vec<ConfigFault>, notes: &[String]) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            let notes = notes.to_vec();
            Err(Self { faults, notes })
        }
    }

    /// In the order of the table; files come first.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigFault> {
        self.faults.iter()
    }
}

impl From<ConfigFault> for ConfigFaults {
    fn from(fault: ConfigFault) -> Self {
        Self {
            faults: vec![fault],
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => fault.fmt(f)?,
            faults => {
                write!(f, "{} settings cannot be used:", faults.len())?;
                faults
                    .iter()
                    .try_for_each(|fault| write!(f, "\n  {fault}"))?;
            }
        }
        self.notes
            .iter()
            .try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}

impl std::error::Error for ConfigFaults {}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            found,
            expected,
        } = self;
        write!(f, "`{name}` {found}; expected {expected}")
    }
}

impl ConfigFault {
    /// A fault in free words.
    pub(super) fn new(
        name: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// A value on one line and not too long, without what may be a password in a URL or in its query.
pub(super) fn shown(text: &str) -> String {
    let masked = masked(text);
    let cut: String = masked.chars().take(SHOWN).collect();
    let more = if cut.len() < masked.len() { "…" } else { "" };
    // A value is shown between backticks, so only these need not be escaped.
    let escaped = cut.chars().map(|one| match one {
        '"' | '\'' => one.to_string(),
        one => one.escape_debug().to_string(),
    });
    escaped.collect::<String>() + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_value_has_no_password_no_line_break_and_an_end() {
        assert_eq!(shown("postgres://me:pw@host/db"), "postgres:…@host/db");
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown("\"me's\""), "\"me's\"");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), SHOWN + 1);
    }
}
