//! What a row of the table of settings is, and what is said of a text that does not fit it.

use super::{
    faults::{ConfigFault, shown},
    formats::Format,
};

/// One row of the table.
pub(super) struct Setting<F> {
    pub row: Row,
    pub format: F,
}

/// What does not depend on the format.
pub(super) struct Row {
    /// The environment variable, such as `PORT`.
    pub name: &'static str,
    /// Empty where there is none.
    pub default: &'static str,
    /// For people, as written above the setting.
    pub meaning: &'static str,
    /// In `.env.dev.template`, where it is not the default.
    pub dev: Option<&'static str>,
    /// In `.env.prod.template`, where it is not the default.
    pub prod: Option<&'static str>,
    /// Whether staging and production refuse to start without it.
    pub required: bool,
}

/// A row whatever its format.
pub(super) trait AnySetting: Sync {
    fn row(&self) -> &Row;
    fn secret(&self) -> bool;
    fn expected(&self) -> String;
    fn unit(&self) -> &'static str;
    /// What is wrong with the text.
    fn check(&self, text: &str) -> Result<(), Wrong>;
}

/// Why a text is no value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// This part of it does not fit the format.
    Part(String),
    /// It may fit, but was hardly meant so.
    Slip(String),
}

/// The fault of a text that is no value of its setting; `origin` says where the text came from.
pub(super) fn fault_of(
    setting: &dyn AnySetting,
    text: &str,
    wrong: &Wrong,
    origin: Option<&str>,
) -> ConfigFault {
    let from = origin.map(|o| format!(", from {o},")).unwrap_or_default();
    let value = if setting.secret() {
        "holds a value that is not shown".to_owned()
    } else {
        format!("is `{}`", shown(text))
    };
    let found = match wrong {
        Wrong::Slip(reason) => format!("{value}{from} and {reason}"),
        Wrong::Part(_) if setting.secret() => {
            format!("{value}{from} and has not the right form")
        }
        Wrong::Part(part) if part == text => format!("{value}{from}"),
        Wrong::Part(part) => format!("{value}{from} where `{}` does not fit", shown(part)),
    };
    let found = found.trim_end_matches(',');
    ConfigFault::new(setting.row().name, found, setting.expected())
}

impl<F: Format> Setting<F> {
    /// The value of a text that is not blank.
    pub(super) fn parse(&self, text: &str) -> Result<F::Value, Wrong> {
        match self.format.slip(text) {
            Some(reason) => Err(Wrong::Slip(reason)),
            None => self.format.parse(text).map_err(Wrong::Part),
        }
    }
}

impl<F: Format> AnySetting for Setting<F> {
    fn row(&self) -> &Row {
        &self.row
    }

    fn secret(&self) -> bool {
        F::SECRET
    }

    fn expected(&self) -> String {
        self.format.expected()
    }

    fn unit(&self) -> &'static str {
        self.format.unit()
    }

    fn check(&self, text: &str) -> Result<(), Wrong> {
        self.parse(text).map(|_| ())
    }
}

/// Settings that belong together.
pub(super) struct Section {
    pub title: &'static str,
    pub settings: &'static [&'static dyn AnySetting],
}
