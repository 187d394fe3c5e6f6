//! From texts to a [`Config`]: first every setting is checked alone, then together, then it is built.

mod areas;
mod together;

use super::{
    Config,
    faults::{ConfigFault, ConfigFaults},
    formats::Format,
    settings::{self, *},
    sources::{Merged, Sources},
};
use crate::_core::environment::Environment;

impl Config {
    /// Reads all settings; every fault there is comes back in one error.
    pub fn load(sources: &Sources) -> Result<Self, ConfigFaults> {
        let mut faults = Vec::new();
        let merged = Merged::read(sources, &mut faults);
        faults.extend(settings::all().filter_map(|setting| {
            let given = merged.get(setting.row().name)?;
            let wrong = setting.check(&given.text).err()?;
            Some(settings::fault_of(
                setting,
                &given.text,
                &wrong,
                Some(&given.origin),
            ))
        }));
        let values = SettingValues(&merged);
        faults.extend(values.faults_together());
        ConfigFaults::check_with(faults, &merged.warnings)?;
        values.build(sources)
    }
}

/// Typed values by their settings.
pub(super) struct SettingValues<'a>(pub(super) &'a Merged);

impl SettingValues<'_> {
    /// The value given, or the default.
    pub(super) fn get<F: Format>(&self, setting: &Setting<F>) -> Result<F::Value, ConfigFault> {
        let row = &setting.row;
        let given = self.0.get(row.name);
        let text = given.map_or(row.default, |given| &given.text);
        if text.is_empty() {
            let missing = || ConfigFault::new(row.name, "is not set", setting.expected());
            return setting.format.unset().ok_or_else(missing);
        }
        let origin = given.map(|given| given.origin.as_str());
        let parsed = setting.parse(text);
        parsed.map_err(|wrong| settings::fault_of(setting, text, &wrong, origin))
    }

    fn is_given<F>(&self, setting: &Setting<F>) -> bool {
        self.0.get(setting.row.name).is_some()
    }

    /// `APP_ENV`, else `NODE_ENV`, else development.
    fn environment(&self) -> Result<Environment, ConfigFault> {
        Ok(match (self.get(&APP_ENV)?, self.get(&NODE_ENV)?) {
            (Some(environment), _) | (None, Some(environment)) => environment,
            (None, None) => Environment::Development,
        })
    }
}

#[cfg(test)]
mod tests;
