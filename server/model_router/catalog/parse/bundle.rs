//! Reads `[bundles.NAME]`, and prompts that stand in the catalog or in files beside it.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::{Named, TOKENS, at_least_one, find};
use crate::{
    _core::toml_reader::{TomlField, TomlTable, number},
    model_router::{
        bundle::{Bundle, MARK, NO_PARAMETERS},
        catalog::{Model, TASK_PREFIX},
    },
};

/// A longer prompt is none, in bytes.
const MAX_PROMPT: usize = 65_536;
const PROMPT: &str = "a text that is not blank, of at most 65536 bytes";
const FILE: &str = "the path of a file, from the folder of the catalog";
const PARAMETERS: &str = "a table of fields of the request, such as `{ temperature = 0.2 }`";

/// The folder of the catalog, and the prompts that were read from files.
pub(super) struct Files<'a> {
    folder: Option<&'a Path>,
    read: RefCell<Vec<PathBuf>>,
}

impl<'a> Files<'a> {
    pub(super) fn beside(folder: Option<&'a Path>) -> Self {
        Self {
            folder,
            read: RefCell::default(),
        }
    }

    pub(super) fn into_read(self) -> Vec<PathBuf> {
        self.read.into_inner()
    }

    /// `prompt`, or the text of `prompt_file`.
    pub(super) fn prompt(&self, table: &mut TomlTable<'_>) -> Option<Arc<str>> {
        let text = table.optional("prompt", |it| it.read(PROMPT, |it| prompt(it.as_str()?)));
        let is_given = text.is_some();
        let of_file = table.optional("prompt_file", |it| {
            if is_given {
                it.fault("`prompt_file` stands beside `prompt`; expected one of them");
                return None;
            }
            self.file(it)
        });
        text.or(of_file)
    }

    fn file(&self, field: &TomlField<'_>) -> Option<Arc<str>> {
        let name = field.text(FILE)?;
        let Some(folder) = self.folder else {
            field.fault("`prompt_file` needs a catalog that is a file itself (MODEL_CATALOGUE)");
            return None;
        };
        let path = folder.join(name);
        let shown = path.display();
        let faulty = |fault: String| {
            field.fault(format!(
                "`prompt_file` `{shown}` {fault}; expected {PROMPT}"
            ));
        };
        // So that a path that is no file is not read for ever.
        let length = std::fs::metadata(&path).map(|it| it.is_file().then_some(it.len()));
        match length {
            Err(error) => {
                faulty(format!("cannot be read: {error}"));
                return None;
            }
            Ok(None) => {
                faulty("is no file".to_owned());
                return None;
            }
            Ok(Some(length)) if length > MAX_PROMPT as u64 => {
                faulty(format!("has {length} bytes"));
                return None;
            }
            Ok(Some(_)) => {}
        }
        self.read.borrow_mut().push(path.clone());
        match std::fs::read_to_string(&path) {
            Ok(text) => prompt(&text).or_else(|| {
                faulty("says nothing, or too much".to_owned());
                None
            }),
            Err(error) => {
                faulty(format!("cannot be read: {error}"));
                None
            }
        }
    }
}

fn prompt(text: &str) -> Option<Arc<str>> {
    let text = text.trim();
    let is_one = !text.is_empty() && text.len() <= MAX_PROMPT;
    is_one.then(|| text.into())
}

/// A bundle as the model that it is.
pub(super) fn bundle(
    name: &str,
    table: &mut TomlTable<'_>,
    models: &Named<Arc<Model>>,
    files: &Files<'_>,
) -> Option<Model> {
    let model = table.required("model", "the name of a model", |it| {
        if models.iter().any(|(known, _)| known == name) {
            it.fault(format!(
                "bundle `{name}` has the name of a model; expected a name of its own"
            ));
        }
        if name.starts_with(TASK_PREFIX) {
            it.fault(format!(
                "bundle `{name}` has the name of a task to callers of the gateway; expected a name without `task/`"
            ));
        }
        if name.contains(MARK) {
            it.fault(format!(
                "bundle `{name}` has a `{MARK}` in its name, which its version follows; expected a name without it"
            ));
        }
        find(it, models)
    });
    let prompt = files.prompt(table);
    let parameters = table.optional("parameters", parameters);
    let max_tokens = table.optional("max_tokens", |it| it.read(TOKENS, at_least_one));
    let model = model?;
    let bundle = Bundle {
        name: name.into(),
        model: model.name.clone(),
        prompt,
        parameters: parameters.unwrap_or_default(),
        max_tokens,
    };
    Some(Model {
        name: bundle.versioned().into(),
        display_name: format!("{} ({name})", model.display_name),
        max_tokens: max_tokens.or(model.max_tokens),
        bundle: Some(Arc::new(bundle)),
        ..Model::clone(&model)
    })
}

fn parameters(field: &TomlField<'_>) -> Option<Map<String, Value>> {
    let mut parameters = Map::new();
    let named = field.named(|name, it| {
        let value = if NO_PARAMETERS.contains(&name) {
            it.fault(format!(
                "`{name}` is the server's or the caller's to say; expected a parameter such as `temperature`"
            ));
            None
        } else if ["max_tokens", "max_completion_tokens"].contains(&name) {
            it.fault("a bundle's limit of tokens is its own `max_tokens`, beside `parameters`");
            None
        } else {
            it.read(PARAMETERS, json)
        };
        parameters.extend(value.map(|value| (name.to_owned(), value)));
        Some(())
    });
    named.map(|_| parameters)
}

/// A value as JSON; `None` of dates and of numbers that JSON lacks.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(_) => serde_json::from_str(&number(value)?.to_string()).ok()?,
        DeValue::Float(_) => serde_json::Number::from_f64(number(value)?)?.into(),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|it| json(it.get_ref())).collect();
            items?.into()
        }
        DeValue::Table(entries) => {
            let entries = entries.iter();
            let entries: Option<Map<_, _>> = entries
                .map(|(name, it)| Some((name.get_ref().to_string(), json(it.get_ref())?)))
                .collect();
            entries?.into()
        }
        DeValue::Datetime(_) => return None,
    })
}
