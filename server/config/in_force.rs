//! The settings that are in force, as people may see them: no secret is in it.

use super::{
    faults::shown,
    settings::{AnySetting, SECTIONS},
    sources::Merged,
};

/// A setting, its value and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInForce {
    /// The environment variable, such as `PORT`.
    pub name: &'static str,
    /// The settings that it belongs to.
    pub section: &'static str,
    /// The value, without what may be a password in it; `None` where it is not set, and for a secret.
    pub value: Option<String>,
    /// Whether the value is never shown.
    pub is_secret: bool,
    /// Whether it has a value, by a source or by default.
    pub is_set: bool,
    /// Where the value came from; `None` for the default.
    pub origin: Option<String>,
    /// The unit; empty where there is none.
    pub unit: &'static str,
    /// What it takes.
    pub expected: String,
    /// What it does.
    pub meaning: String,
}

/// All of them, in the order of the templates.
pub(super) fn in_force(merged: &Merged) -> Vec<SettingInForce> {
    let section = |section: &super::settings::Section| {
        let title = section.title;
        let settings = section.settings.iter();
        let settings = settings.map(move |setting| of(*setting, title, merged));
        settings.collect::<Vec<_>>()
    };
    SECTIONS.iter().flat_map(section).collect()
}

fn of(setting: &dyn AnySetting, section: &'static str, merged: &Merged) -> SettingInForce {
    let row = setting.row();
    let given = merged.get(row.name);
    let text = given.map_or(row.default, |given| &given.text);
    let (is_set, is_secret) = (!text.is_empty(), setting.secret());
    let meaning = row.meaning.split_whitespace();
    SettingInForce {
        name: row.name,
        section,
        value: (is_set && !is_secret).then(|| shown(text)),
        is_secret,
        is_set,
        origin: given.map(|given| given.origin.clone()),
        unit: setting.unit(),
        expected: setting.expected(),
        meaning: meaning.collect::<Vec<_>>().join(" "),
    }
}
