//! Says what a catalog's keys mean, what they may be, and what holds where they are left out.

mod bundle;
mod provider;

use std::{ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use toml::de::DeValue;

use self::bundle::Files;
use super::{
    super::{privacy::Privacy, quota::schedule::MAX_TURNS, route::DIRECT},
    Catalog, CostLevel, KeyFault, Model, Prices, Provider, TASK_PREFIX, Task, Tier, Timeouts,
};
use crate::{
    _core::{
        feature_flags::REHEARSAL,
        suggest,
        toml_reader::{self, TomlFaults, TomlField, TomlTable, number, whole},
    },
    providers::{
        Reading, masking,
        quality::{Checks, Language, Schema},
    },
};

/// What a task may let a reply take, in bytes.
const REPLY_BYTES: RangeInclusive<usize> = 1024..=64 * 1024 * 1024;

/// A time limit.
const SPANS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

const TABLES: &str = "at least one table below it";
const TEXT: &str = "a text that is not empty";
const TOKENS: &str = "a whole number of tokens, from 1 to 4294967295";
const TAG: &str = "a tag's name such as `think`";
const PRICE: &str = "US dollars per million tokens, a number of at least 0";
const SPAN: &str = "a span of time such as `20s`, from 10ms to 1day";
const MODELS: &str = "a list of model names with at least one";
const LANGUAGES: &str = "a list of languages, such as `[\"danish\"]`";
const LANGUAGE: &str = "a language's name in English, such as `danish`";
const NAMES: &str = "a list of texts with at least one";
const TURNS: &str = "a whole number of requests, from 1 to 16";
const BYTES: &str = "a whole number of bytes, from 1024 to 67108864";

/// Gives a provider address and keys, or says what is missing.
pub(super) type Grant<'a> = dyn Fn(&mut Provider) -> Vec<KeyFault> + 'a;

pub(super) fn catalog(
    text: &str,
    origin: &str,
    folder: Option<&Path>,
    needs: &[(&str, &str)],
    grant: &Grant<'_>,
) -> Result<Catalog, TomlFaults> {
    toml_reader::document(text, origin, |table| {
        root(table, Files::beside(folder), needs, grant)
    })
}

fn root(
    table: &mut TomlTable<'_>,
    files: Files<'_>,
    needs: &[(&str, &str)],
    grant: &Grant<'_>,
) -> Catalog {
    let providers = entries(table, "providers", |name, it| {
        provider::provider(name, it, grant)
    });
    let mut models = entries(table, "models", |name, it| {
        model(name, it, &providers).map(Arc::new)
    });
    let bundles = table.optional("bundles", |it| {
        it.named(|name, it| {
            let bundle = it.table(|it| bundle::bundle(name, it, &models, &files));
            bundle.flatten().map(Arc::new)
        })
    });
    models.extend(bundles.unwrap_or_default());
    let privacy = table.optional("privacy", |it| it.table(|it| privacy(it, &providers)));
    let known = Known {
        providers: &providers,
        models: &models,
        privacy: privacy.unwrap_or_default(),
        files: &files,
    };
    let tasks = entries(table, "tasks", |name, it| task(name, it, &known));
    let unrouted = table.optional("unrouted", |it| {
        let model = find(it, &models)?;
        for (_, task) in &tasks {
            if let Some(task) = task {
                known.keep(it, &model, &task.privacy, &format!("task `{}`", task.name));
            }
        }
        Some(model)
    });
    for (procedure, task) in needs {
        let names = tasks.iter().map(|(name, _)| name.as_str());
        if !tasks.is_empty() && !names.clone().any(|name| name == *task) {
            let hint = suggest::nearest(task, names).map_or_else(String::new, |near| {
                format!("; is `{}` meant to be it?", near.word)
            });
            let expected = format!("the task that `{procedure}` asks for{hint}");
            table.missing(&format!("tasks.{task}"), &expected);
        }
    }
    let privacy = Arc::new(known.privacy);
    Catalog {
        providers: good(providers).collect(),
        models: good(models).collect(),
        tasks: good(tasks).collect(),
        unrouted,
        privacy,
        prompt_files: files.into_read(),
    }
}

/// What tasks refer to.
struct Known<'a> {
    providers: &'a Named<Provider>,
    models: &'a Named<Arc<Model>>,
    /// What is demanded for every text.
    privacy: Privacy,
    files: &'a Files<'a>,
}

impl Known<'_> {
    /// Notes a fault where a model may not get texts of which this is demanded.
    fn keep(&self, field: &TomlField<'_>, model: &Model, privacy: &Privacy, whose: &str) {
        let mut providers = self.providers.iter();
        let provider = providers.find(|(name, _)| *name == model.provider);
        let refusal = provider.and_then(|(_, it)| privacy.refusal(it.as_ref()?));
        if let Some(reason) = refusal {
            let name = &model.name;
            field.fault(format!(
                "model `{name}` may not get the texts of {whose}: {reason}"
            ));
        }
    }
}

/// Entries by name; `None` where the entry has faults, so that references to it are no second one.
type Named<T> = Vec<(String, Option<T>)>;

fn good<T>(entries: Named<T>) -> impl Iterator<Item = T> {
    entries.into_iter().filter_map(|(_, entry)| entry)
}

/// The tables below `[key.NAME]`, at least one.
fn entries<T>(
    table: &mut TomlTable<'_>,
    key: &'static str,
    mut read: impl FnMut(&str, &mut TomlTable<'_>) -> Option<T>,
) -> Named<T> {
    let entries = table.required(key, TABLES, |it| {
        it.read(TABLES, |value| {
            value.as_table().filter(|table| !table.is_empty())
        })?;
        it.named(|name, it| it.table(|table| read(name, table)).flatten())
    });
    entries.unwrap_or_default()
}

fn denies_collection(table: &mut TomlTable<'_>) -> bool {
    let words = [("deny", true), ("allow", false)];
    let denies = table.optional("data_collection", |it| it.word(&words));
    denies.unwrap_or_default()
}

fn privacy(table: &mut TomlTable<'_>, providers: &Named<Provider>) -> Privacy {
    let kinds = masking::MaskedKind::ALL.map(|kind| (kind.name(), kind));
    Privacy {
        denies_collection: denies_collection(table),
        zdr: table.optional("zdr", TomlField::flag).unwrap_or_default(),
        providers: table.optional("providers", |it| {
            for item in it.list(NAMES)? {
                let name = item.read("the name of a provider", plain);
                if let Some(name) = name.filter(|name| !names(providers).any(|it| it == name)) {
                    item.unknown("provider", &name, names(providers));
                }
            }
            texts(it)
        }),
        regions: table.optional("regions", texts),
        hosts: table.optional("hosts", texts),
        mask: table
            .optional("mask", |it| {
                let items = it.list("a list of `email`, `phone` and `cpr`")?;
                Some(items.iter().filter_map(|it| it.word(&kinds)).collect())
            })
            .unwrap_or_default(),
    }
}

/// Texts of a list with at least one.
fn texts(field: &TomlField<'_>) -> Option<Vec<String>> {
    field.read(NAMES, |value| {
        value.as_array().filter(|items| !items.is_empty())
    })?;
    let items = field.list(NAMES)?;
    items.iter().map(|it| it.read(TEXT, plain)).collect()
}

fn model(name: &str, table: &mut TomlTable<'_>, providers: &Named<Provider>) -> Option<Model> {
    if name.starts_with(TASK_PREFIX) {
        table.fault(format!(
            "a model cannot be named `{name}`: callers ask for tasks by names that begin with `{TASK_PREFIX}`"
        ));
    }
    let provider = table.required("provider", "the name of a provider", |it| {
        let provider = it.read("the name of a provider", plain)?;
        if !providers.iter().any(|(known, _)| *known == provider) {
            it.unknown("provider", &provider, names(providers));
        }
        Some(provider)
    });
    let id = "the model's name at its provider";
    let id = table.required("id", id, |it| it.read(id, plain));
    let context = table.required("context", TOKENS, |it| it.read(TOKENS, at_least_one));
    let max_tokens = table.optional("max_tokens", |it| it.read(TOKENS, at_least_one));
    let strict_roles = table.optional("strict_roles", TomlField::flag);
    let reasoning_tag = table.optional("reasoning_tag", |it| it.read(TAG, tag));
    let prices = table.optional("prices", |it| it.table(prices));
    let timeouts = table.optional("timeouts", |it| it.table(timeouts));
    let has_prices = prices.is_some();
    let prices = prices.unwrap_or_default();
    let mut text = |key| table.optional(key, |it| it.read(TEXT, plain));
    let display_name = text("display_name");
    let vendor = text("vendor");
    let specialization = text("specialization");
    let accuracy = text("accuracy");
    let tiers = [("free", Tier::Free), ("paid", Tier::Paid)];
    let tier = table.optional("tier", |it| it.word(&tiers));
    let languages = table.optional("languages", |it| {
        let items = it.list(LANGUAGES)?;
        items.iter().map(|it| it.read(LANGUAGE, language)).collect()
    });
    let is_free = prices == Prices::default();
    let provider = provider?;
    Some(Model {
        name: name.into(),
        id: id?,
        context: context?,
        prices,
        is_priced: has_prices || tier == Some(Tier::Free),
        max_tokens,
        strict_roles: strict_roles.unwrap_or_default(),
        reasoning_tag,
        timeouts: timeouts.unwrap_or_default(),
        display_name: display_name.unwrap_or_else(|| name.to_owned()),
        vendor: vendor.unwrap_or_else(|| provider.clone()),
        provider,
        specialization: specialization.unwrap_or_default(),
        accuracy,
        tier: tier.unwrap_or(if is_free { Tier::Free } else { Tier::Paid }),
        languages: languages.unwrap_or_default(),
        bundle: None,
    })
}

fn prices(table: &mut TomlTable<'_>) -> Prices {
    let price = |value: &DeValue<'_>| number(value).filter(|price| *price >= 0.0);
    let mut required = |key| {
        let price = table.required(key, PRICE, |it| it.read(PRICE, price));
        price.unwrap_or_default()
    };
    let (prompt, completion) = (required("prompt"), required("completion"));
    let mut optional = |key| table.optional(key, |it| it.read(PRICE, price));
    Prices {
        prompt,
        completion,
        cache_read: optional("cache_read"),
        cache_write: optional("cache_write"),
    }
}

fn timeouts(table: &mut TomlTable<'_>) -> Timeouts {
    let mut span = |key| table.optional(key, |it| it.read(SPAN, span));
    Timeouts {
        first_token: span("first_token"),
        idle: span("idle"),
        total: span("total"),
    }
}

fn span(value: &DeValue<'_>) -> Option<Duration> {
    let span = humantime::parse_duration(value.as_str()?.trim()).ok();
    span.filter(|span| SPANS.contains(span))
}

fn task(name: &str, table: &mut TomlTable<'_>, known: &Known<'_>) -> Option<Task> {
    if name == REHEARSAL {
        table.fault(format!(
            "a task cannot be named `{REHEARSAL}`: that is the one of rehearsed rollouts, which no request has"
        ));
    }
    if name == DIRECT {
        table.fault(format!(
            "a task cannot be named `{DIRECT}`: that is the one of requests that ask for a model by its name"
        ));
    }
    let own = table.optional("privacy", |it| it.table(|it| privacy(it, known.providers)));
    let privacy = known.privacy.and(&own.unwrap_or_default());
    let mut route = |key| table.required(key, MODELS, |it| route(it, known, &privacy));
    let (candidate, control) = (route("candidate"), route("control"));
    let max_reply_bytes = table.optional("max_reply_bytes", |it| {
        it.read(BYTES, |value| {
            let bytes = usize::try_from(whole(value)?).ok();
            bytes.filter(|bytes| REPLY_BYTES.contains(bytes))
        })
    });
    let prompt = known.files.prompt(table);
    let checks = table.optional("answers", |it| it.table(answers));
    let calls = table.optional("calls", |it| {
        it.read(TURNS, |value| {
            at_least_one(value).filter(|calls| *calls <= MAX_TURNS)
        })
    });
    let reasoning = table.optional("reasoning", |it| it.read(TEXT, plain));
    let levels = [
        ("free", CostLevel::Free),
        ("low", CostLevel::Low),
        ("medium", CostLevel::Medium),
        ("high", CostLevel::High),
    ];
    let cost_level = table.optional("cost_level", |it| it.word(&levels));
    let capabilities = table.optional("capabilities", |it| {
        let texts = it.list("a list of texts")?;
        texts.iter().map(|it| it.read(TEXT, plain)).collect()
    });
    Some(Task {
        name: name.into(),
        candidate: candidate?,
        control: control?,
        max_reply_bytes: max_reply_bytes.unwrap_or(Reading::MAX_BYTES),
        reasoning: reasoning.unwrap_or_default(),
        cost_level,
        capabilities: capabilities.unwrap_or_default(),
        calls,
        privacy: Arc::new(privacy),
        checks: Arc::new(checks.unwrap_or_default()),
        prompt,
    })
}

/// What is asked of a task's answers.
fn answers(table: &mut TomlTable<'_>) -> Checks {
    let schema = table.optional("schema", |it| {
        let text = it.text("a JSON schema, as a text")?;
        Schema::parse(text)
            .map_err(|error| it.fault(format!("{} {error}", it.name())))
            .ok()
    });
    const LANGUAGE: &str = "`question`, `any`, or a language's name in English, such as `danish`";
    let language = table.optional("language", |it| {
        it.read(LANGUAGE, |value| Language::parse(value.as_str()?))
    });
    Checks {
        schema,
        language: language.unwrap_or_default(),
    }
}

fn route(field: &TomlField<'_>, known: &Known<'_>, privacy: &Privacy) -> Option<Vec<Arc<Model>>> {
    field.read(MODELS, |value| {
        value.as_array().filter(|items| !items.is_empty())
    })?;
    let mut route: Vec<Arc<Model>> = Vec::new();
    for item in field.list(MODELS)? {
        let Some(model) = find(&item, known.models) else {
            continue;
        };
        known.keep(&item, &model, privacy, "this task");
        if route.iter().any(|before| before.name == model.name) {
            item.fault(format!("model `{}` is listed twice", model.name));
        } else {
            route.push(model);
        }
    }
    Some(route)
}

/// The model of this name; a name that the file does not hold is a fault.
fn find(field: &TomlField<'_>, models: &Named<Arc<Model>>) -> Option<Arc<Model>> {
    let name = field.read("the name of a model", plain)?;
    match models.iter().find(|(known, _)| *known == name) {
        Some((_, model)) => model.clone(),
        None => {
            field.unknown("model", &name, names(models));
            None
        }
    }
}

fn names<T>(entries: &Named<T>) -> impl Iterator<Item = &str> + Clone {
    entries.iter().map(|(name, _)| name.as_str())
}

fn plain(value: &DeValue<'_>) -> Option<String> {
    let text = value.as_str()?;
    let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}

fn language(value: &DeValue<'_>) -> Option<String> {
    let name = value.as_str()?;
    let is_named = matches!(Language::parse(name), Some(Language::Named(_)));
    is_named.then(|| name.to_owned())
}

fn at_least_one<T: TryFrom<u64>>(value: &DeValue<'_>) -> Option<T> {
    whole(value)
        .filter(|count| *count > 0)
        .and_then(|count| count.try_into().ok())
}

fn tag(value: &DeValue<'_>) -> Option<Arc<str>> {
    let tag = value.as_str()?;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_name = !tag.is_empty() && tag.bytes().all(is_letter);
    is_name.then(|| Arc::from(tag))
}
