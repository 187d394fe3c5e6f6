//! Turns a catalog's text into a [`Catalog`], collecting every fault on the way.
//!
//! Serde would stop at the first fault, so tables are walked by hand: a [`Section`] hands out keys
//! and notes what is missing, wrong or unknown.

use std::{cell::RefCell, sync::Arc};

use toml::{Table, Value};

use super::{Catalog, CatalogError, CatalogFault, CostLevel, Model, Prices, Provider, Task, Tier};
use crate::{
    _core::{slips, suggest},
    providers::{Reading, openai_compatible::endpoint},
};

/// Calls that a provider has in flight at most, where the file does not say.
const MAX_IN_FLIGHT: usize = 512;
/// The most that a task may ask for, in bytes.
const MAX_REPLY_BYTES: i64 = 64 * 1024 * 1024;

/// Gives a provider address and key, or says what is missing.
pub(super) type Grant<'a> = dyn Fn(&mut Provider) -> Result<(), String> + 'a;

pub(super) fn catalog(
    text: &str,
    origin: &str,
    needs: &[(&str, &str)],
    grant: &Grant<'_>,
) -> Result<Catalog, CatalogError> {
    let faults = RefCell::new(Vec::new());
    let refuse = |faults: Vec<CatalogFault>| CatalogError {
        origin: origin.to_owned(),
        faults,
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            let place = error.span().map_or_else(String::new, |span| {
                let before = text.get(..span.start).unwrap_or("");
                format!(" in line {}", before.matches('\n').count() + 1)
            });
            return Err(refuse(vec![CatalogFault {
                key: String::new(),
                message: format!("is not TOML{place}: {}", error.message()),
            }]));
        }
    };
    let mut root = Section::new(String::new(), table, &faults);
    let providers = root.named("providers", |name, section| provider(name, section, grant));
    let models = root.named("models", |name, section| {
        model(name, section, &providers).map(Arc::new)
    });
    let tasks = root.named("tasks", |name, section| task(name, section, &models));
    let unrouted = root.optional("unrouted", "the name of a model", text_of);
    let unrouted = unrouted.and_then(|name| find(&root, "unrouted", &name, &models));
    for (procedure, task) in needs {
        let names = tasks.iter().map(|(name, _)| name.as_str());
        if !tasks.is_empty() && !names.clone().any(|name| name == *task) {
            let hint = suggest::nearest(task, names).map_or_else(String::new, |near| {
                format!("; is `{}` meant to be it?", near.word)
            });
            let message =
                format!("is missing; expected the task that `{procedure}` asks for{hint}");
            root.fault(&format!("tasks.{task}"), message);
        }
    }
    root.finish();
    let faults = faults.into_inner();
    if !faults.is_empty() {
        return Err(refuse(faults));
    }
    let of = |named: Vec<(String, Option<Arc<Model>>)>| named.into_iter().filter_map(|(_, it)| it);
    Ok(Catalog {
        providers: providers.into_iter().filter_map(|(_, it)| it).collect(),
        models: of(models).collect(),
        tasks: tasks.into_iter().filter_map(|(_, it)| it).collect(),
        unrouted,
    })
}

/// Entries by name; `None` where the entry has faults, so that references to it are no second one.
type Named<T> = Vec<(String, Option<T>)>;

fn provider(name: &str, section: &mut Section<'_>, grant: &Grant<'_>) -> Option<Provider> {
    let base_url = section.required(
        "base_url",
        "an absolute http or https URL without password, query and fragment",
        |value| text_of(value).filter(|url| endpoint(url).is_some()),
    );
    // The value may be the key itself, put in the wrong place, so it is not shown.
    let api_key_env = section.optional_secret(
        "api_key_env",
        "the name of an environment variable that ends in `_API_KEY`",
        |value| text_of(value).filter(|name| is_key_variable(name)),
    );
    let headers = section.optional_secret("headers", "a table of texts", |value| {
        let headers = value.as_table()?.iter();
        headers
            .map(|(name, value)| {
                http::HeaderName::from_bytes(name.as_bytes()).ok()?;
                http::HeaderValue::from_str(value.as_str()?).ok()?;
                Some((name.clone(), value.as_str()?.to_owned()))
            })
            .collect::<Option<Vec<_>>>()
    });
    let max_in_flight = section.optional(
        "max_in_flight",
        "a whole number of calls, at least 1",
        |value| {
            usize::try_from(value.as_integer()?)
                .ok()
                .filter(|calls| *calls > 0)
        },
    );
    let mut provider = Provider {
        name: name.to_owned(),
        base_url: base_url?,
        api_key_env,
        headers: headers.unwrap_or_default(),
        max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        access: super::Access::default(),
    };
    if let Err(message) = grant(&mut provider) {
        section.fault("api_key_env", message);
    }
    if let Some(reason) = slips::in_base_url(&provider.base_url) {
        section.fault("base_url", reason);
    }
    if endpoint(&provider.base_url).is_none() {
        section.fault(
            "base_url",
            "is replaced by OPENROUTER_BASE_URL, which is no absolute http or https URL",
        );
    }
    Some(provider)
}

fn model(name: &str, section: &mut Section<'_>, providers: &Named<Provider>) -> Option<Model> {
    let provider = section.required("provider", "the name of a provider", text_of);
    if let Some(provider) = &provider
        && !providers.iter().any(|(known, _)| known == provider)
    {
        section.fault("provider", unknown(provider, "providers", providers));
    }
    let id = section.required("id", "the model's name at its provider", text_of);
    let tokens = |value: &Value| {
        let tokens = u32::try_from(value.as_integer()?).ok()?;
        (tokens > 0).then_some(tokens)
    };
    let context = section.required("context", "a whole number of tokens, at least 1", tokens);
    let max_tokens = section.optional("max_tokens", "a whole number of tokens, at least 1", tokens);
    let strict_roles = section.optional("strict_roles", "`true` or `false`", Value::as_bool);
    let reasoning_tag =
        section.optional("reasoning_tag", "a tag's name such as `think`", |value| {
            let tag = value.as_str()?;
            let is_name = !tag.is_empty()
                && tag
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            is_name.then(|| Arc::from(tag))
        });
    let prices = section.optional("prices", "a table", |value| value.as_table().cloned());
    let prices = prices.map_or_else(Prices::default, |table| {
        let mut section = section.below("prices", table);
        let mut price = |key| {
            let expected = "US dollars per million tokens, a number of at least 0";
            section.required(key, expected, |value| {
                let price = value
                    .as_float()
                    .or(value.as_integer().map(|whole| whole as f64));
                price.filter(|price| price.is_finite() && *price >= 0.0)
            })
        };
        let prices = Prices {
            prompt: price("prompt").unwrap_or(0.0),
            completion: price("completion").unwrap_or(0.0),
        };
        section.finish();
        prices
    });
    let text = "a text that is not empty";
    let display_name = section.optional("display_name", text, text_of);
    let vendor = section.optional("vendor", text, text_of);
    let specialization = section.optional("specialization", text, text_of);
    let accuracy = section.optional("accuracy", text, text_of);
    let tier = section.optional("tier", "`free` or `paid`", |value| {
        match value.as_str()? {
            "free" => Some(Tier::Free),
            "paid" => Some(Tier::Paid),
            _ => None,
        }
    });
    let is_free = prices == Prices::default();
    let provider = provider?;
    Some(Model {
        name: name.into(),
        id: id?,
        context: context?,
        prices,
        max_tokens,
        strict_roles: strict_roles.unwrap_or_default(),
        reasoning_tag,
        display_name: display_name.unwrap_or_else(|| name.to_owned()),
        vendor: vendor.unwrap_or_else(|| provider.clone()),
        provider,
        specialization: specialization.unwrap_or_default(),
        accuracy,
        tier: tier.unwrap_or(if is_free { Tier::Free } else { Tier::Paid }),
    })
}

fn task(name: &str, section: &mut Section<'_>, models: &Named<Arc<Model>>) -> Option<Task> {
    let mut route = |key: &'static str| {
        let expected = "a list of model names with at least one";
        let names = section.required(key, expected, |value| {
            list_of_texts(value).filter(|names| !names.is_empty())
        })?;
        let mut route: Vec<Arc<Model>> = Vec::new();
        for (position, name) in names.iter().enumerate() {
            if names.iter().take(position).any(|before| before == name) {
                section.fault(
                    key,
                    format!("names `{name}` twice; expected each model once"),
                );
            } else {
                route.extend(find(section, key, name, models));
            }
        }
        Some(route)
    };
    let (candidate, control) = (route("candidate"), route("control"));
    let max_reply_bytes = section.optional(
        "max_reply_bytes",
        "a whole number of bytes, from 1024 to 67108864",
        |value| {
            let bytes = value
                .as_integer()
                .filter(|bytes| (1024..=MAX_REPLY_BYTES).contains(bytes));
            usize::try_from(bytes?).ok()
        },
    );
    let reasoning = section.optional("reasoning", "a text that is not empty", text_of);
    let cost_level =
        section.optional(
            "cost_level",
            "`free`, `low`, `medium` or `high`",
            |value| match value.as_str()? {
                "free" => Some(CostLevel::Free),
                "low" => Some(CostLevel::Low),
                "medium" => Some(CostLevel::Medium),
                "high" => Some(CostLevel::High),
                _ => None,
            },
        );
    let capabilities = section.optional("capabilities", "a list of texts", list_of_texts);
    Some(Task {
        name: name.into(),
        candidate: candidate?,
        control: control?,
        max_reply_bytes: max_reply_bytes.unwrap_or(Reading::MAX_BYTES),
        reasoning: reasoning.unwrap_or_default(),
        cost_level,
        capabilities: capabilities.unwrap_or_default(),
    })
}

/// The model of this name; a name that the file does not hold is a fault at `key`.
fn find(
    section: &Section<'_>,
    key: &str,
    name: &str,
    models: &Named<Arc<Model>>,
) -> Option<Arc<Model>> {
    match models.iter().find(|(known, _)| known == name) {
        Some((_, model)) => model.clone(),
        None => {
            section.fault(key, unknown(name, "models", models));
            None
        }
    }
}

fn unknown<T>(name: &str, kind: &str, known: &Named<T>) -> String {
    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let hint = suggest::hint(name, known.iter().copied());
    format!(
        "= {} is not one of the {kind}; expected one of {}{hint}",
        shown(&Value::String(name.to_owned())),
        known.join(", ")
    )
}

fn text_of(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}

fn list_of_texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text_of).collect()
}

fn is_key_variable(name: &str) -> bool {
    name.ends_with("_API_KEY")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A value as an error shows it, at most 60 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A table whose keys are taken out one by one; what is left in the end is unknown.
struct Section<'f> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    faults: &'f RefCell<Vec<CatalogFault>>,
}

impl<'f> Section<'f> {
    fn new(path: String, table: Table, faults: &'f RefCell<Vec<CatalogFault>>) -> Self {
        Self {
            path,
            table,
            known: Vec::new(),
            faults,
        }
    }

    fn below(&self, name: &str, table: Table) -> Self {
        Self::new(self.at(name), table, self.faults)
    }

    fn at(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn fault(&self, key: &str, message: impl Into<String>) {
        self.faults.borrow_mut().push(CatalogFault {
            key: self.at(key),
            message: message.into(),
        });
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.fault(key, format!("is missing; expected {expected}"));
        }
        self.optional(key, expected, read)
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.take(key, expected, read, shown)
    }

    /// As [`Section::optional`], for values that no error may show.
    fn optional_secret<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.take(key, expected, read, |value| {
            format!("(a value of type {}, not shown)", value.type_str())
        })
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
        show: impl FnOnce(&Value) -> String,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let read = read(&value);
        if read.is_none() {
            self.fault(key, format!("= {}; expected {expected}", show(&value)));
        }
        read
    }

    /// The tables below `[key.NAME]`, at least one.
    fn named<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'f>) -> Option<T>,
    ) -> Named<T> {
        let tables = self.required(key, "at least one table below it", |value| {
            let table = value.as_table()?;
            (!table.is_empty()).then(|| table.clone())
        });
        let section = Section::new(self.at(key), Table::new(), self.faults);
        let mut all = Vec::new();
        for (name, value) in tables.into_iter().flatten() {
            let is_name =
                !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace());
            if !is_name {
                section.fault(&name, "is not a name; expected one without spaces");
            }
            let entry = match value {
                Value::Table(table) => {
                    let mut entry = section.below(&name, table);
                    let read = read(&name, &mut entry);
                    entry.finish();
                    read
                }
                other => {
                    section.fault(&name, format!("= {}; expected a table", shown(&other)));
                    None
                }
            };
            all.push((name, entry));
        }
        all
    }

    fn finish(self) {
        for (key, value) in &self.table {
            let lower = key.to_lowercase();
            let is_secret = ["key", "secret", "token", "password"]
                .iter()
                .any(|word| lower.contains(word));
            let value = if is_secret {
                "(not shown)".to_owned()
            } else {
                shown(value)
            };
            let hint = suggest::hint(key, self.known.iter().copied());
            let known = self.known.join(", ");
            self.fault(
                key,
                format!("= {value} is not known here; expected one of {known}{hint}"),
            );
        }
    }
}
