//! `settings.*`: what is in force, and where it came from.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    _core::{context::Context, errors::RpcError, registry::Registry},
    config::SettingInForce,
    procedures,
};

/// Registers the namespace.
pub fn register(registry: &mut Registry, settings: impl Into<Option<Arc<[SettingInForce]>>>) {
    procedures!(registry.outline("settings", settings.into());
        /// Every setting with its value and where that came from. Of a secret it only says whether it is
        /// set.
        query Admin list = list;
    );
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SettingRow {
    /// The variable.
    name: &'static str,
    /// The settings that it belongs to.
    group: &'static str,
    /// The value; null where it is not set, and for a secret. What may be a password in an address is
    /// left out.
    value: Option<String>,
    /// Whether it is a secret, whose value is never shown.
    secret: bool,
    /// Whether it has a value.
    set: bool,
    /// `default`, `the environment`, or the file that it stands in.
    source: String,
    /// The unit; empty where there is none.
    unit: &'static str,
    /// What it takes.
    expected: String,
    /// What it does.
    meaning: String,
}

impl From<&SettingInForce> for SettingRow {
    fn from(setting: &SettingInForce) -> Self {
        let setting = setting.clone();
        Self {
            name: setting.name,
            group: setting.section,
            value: setting.value,
            secret: setting.is_secret,
            set: setting.is_set,
            source: setting.origin.unwrap_or_else(|| "default".to_owned()),
            unit: setting.unit,
            expected: setting.expected,
            meaning: setting.meaning,
        }
    }
}

async fn list(settings: Arc<[SettingInForce]>, _: Context) -> Result<Vec<SettingRow>, RpcError> {
    Ok(settings.iter().map(SettingRow::from).collect())
}
