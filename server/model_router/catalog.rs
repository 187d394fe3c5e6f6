//! The catalog: providers, their models, and which models serve which task, in TOML.
//!
//! It is read at start, and again while the server runs where its file changes; one value never changes. Whatever is wrong with it is reported at once, each fault with its line,
//! its key, the value and what was expected.

mod parse;
mod provider;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

pub use self::provider::{FurtherKey, Provider, ProviderAccess};
use super::{bundle::Bundle, privacy::Privacy};
use crate::{
    _core::{
        assignment::Variant,
        environment::Environment,
        slips,
        toml_reader::{FileError, TomlFaults, text_of},
        units::Microdollars,
    },
    config::{ModelsConfig, ProvidersConfig},
    providers::{Usage, openrouter, quality::Checks},
};

/// What stands before the name of a task where callers may name a model as well.
pub const TASK_PREFIX: &str = "task/";

/// The catalog that is built in.
pub const EMBEDDED: &str = include_str!("catalog.toml");

/// What the file is, in errors.
const WHAT: &str = "the model catalog (MODEL_CATALOGUE)";

/// Providers, models and tasks, each in the file's order.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Who is called.
    pub providers: Vec<Provider>,
    /// What can be asked for.
    pub models: Vec<Arc<Model>>,
    /// What they are for.
    pub tasks: Vec<Task>,
    /// Starts every candidate route while `MODEL_ROUTING` is off.
    pub unrouted: Option<Arc<Model>>,
    /// What is demanded for every text, whatever it is for.
    pub privacy: Arc<Privacy>,
    /// The files that prompts were read from.
    pub prompt_files: Vec<PathBuf>,
}

/// A model of the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name in the catalog, in events and in `models.list`; a bundle's ends in its version.
    pub name: Arc<str>,
    /// The provider's name in the catalog.
    pub provider: String,
    /// Its name at the provider.
    pub id: String,
    /// Tokens that fit in, question and answer together; at least 1.
    pub context: u32,
    /// What it costs where the provider does not say.
    pub prices: Prices,
    /// Whether the catalog says what it costs: its prices, or that it is free.
    pub is_priced: bool,
    /// Tokens an answer may have where the caller does not say.
    pub max_tokens: Option<u32>,
    /// Whether it insists on one system message and on users and assistants in turns, so that runs of
    /// messages of one role are joined before they are sent.
    pub strict_roles: bool,
    /// The tag, such as `think`, in which it begins its text with what it thinks.
    pub reasoning_tag: Option<Arc<str>>,
    /// How long an attempt may take.
    pub timeouts: Timeouts,
    /// Its name for people.
    pub display_name: String,
    /// Who made it.
    pub vendor: String,
    /// What it is good at.
    pub specialization: String,
    /// How well it did, where it was tried.
    pub accuracy: Option<String>,
    /// Whether it costs anything.
    pub tier: Tier,
    /// The languages that it answers well in, by their English names in small letters; empty where nobody says.
    pub languages: Vec<String>,
    /// What goes with each request to it, where it is a bundle.
    pub bundle: Option<Arc<Bundle>>,
}

impl Model {
    /// The name of the model that is asked: its own, unless it is a bundle.
    pub fn base(&self) -> &Arc<str> {
        self.bundle.as_ref().map_or(&self.name, |it| &it.model)
    }

    /// Its name as people write it: a bundle's without the version.
    pub fn called(&self) -> &str {
        self.bundle.as_ref().map_or(&self.name, |it| &it.name)
    }

    /// Whether it is meant by this name: a bundle's may lack the version.
    pub fn is_called(&self, name: &str) -> bool {
        *self.name == *name || self.called() == name
    }
}

/// Time limits of an attempt, where they are others than `ATTEMPT_TIMEOUT`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timeouts {
    /// Until a stream brings its first token.
    pub first_token: Option<Duration>,
    /// Between two signs of life of a stream.
    pub idle: Option<Duration>,
    /// Until an answer is whole. `ATTEMPT_TIMEOUT` limits no stream as a whole.
    pub total: Option<Duration>,
}

/// US dollars per million tokens, which is the same as microdollars per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// For tokens read.
    pub prompt: f64,
    /// For tokens written.
    pub completion: f64,
    /// For tokens read that the provider had kept from an earlier request; the same as for others unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// For tokens read that the provider keeps for later requests; the same as for others unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

impl Prices {
    /// What a call cost: the provider's word, else tokens times price.
    pub fn cost(&self, usage: &Usage) -> Microdollars {
        usage.cost.unwrap_or_else(|| {
            // Those are parts of the tokens read. A provider that counts more says nothing of the rest.
            let found = usage.cached_tokens.min(usage.prompt_tokens);
            let kept = usage.cache_write_tokens.min(usage.prompt_tokens - found);
            let costs = [
                (usage.prompt_tokens - found - kept, self.prompt),
                (found, self.cache_read.unwrap_or(self.prompt)),
                (kept, self.cache_write.unwrap_or(self.prompt)),
                (usage.completion_tokens, self.completion),
            ];
            let costs = costs.map(|(tokens, price)| f64::from(tokens) * price);
            Microdollars(costs.iter().sum::<f64>().round() as i64)
        })
    }

    /// What a call of so many tokens costs at most, whatever the provider has kept or keeps.
    pub fn most(&self, usage: &Usage) -> Microdollars {
        let dearest = [Some(self.prompt), self.cache_read, self.cache_write];
        let prompt = dearest.into_iter().flatten().fold(0.0, f64::max);
        let completion = self.completion;
        let plain = Self {
            prompt,
            completion,
            ..Self::default()
        };
        plain.cost(usage)
    }
}

/// Whether a model costs anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing to pay.
    Free,
    /// By the token.
    Paid,
}

/// What a task costs, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CostLevel {
    /// Nothing.
    Free,
    /// Little.
    Low,
    /// Noticeable.
    Medium,
    /// Much.
    High,
}

/// A kind of request, and the models that serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name in the catalog, in events and in calls.
    pub name: Arc<str>,
    /// For users in the rollout; the first is the primary. Never empty, no model twice.
    pub candidate: Vec<Arc<Model>>,
    /// For everybody else; the same holds.
    pub control: Vec<Arc<Model>>,
    /// The longest reply that is read, in bytes.
    pub max_reply_bytes: usize,
    /// Why these models.
    pub reasoning: String,
    /// What it costs, where the file says.
    pub cost_level: Option<CostLevel>,
    /// What its models must be able to do.
    pub capabilities: Vec<String>,
    /// Requests that a conversation with tools takes, where the file says.
    pub calls: Option<u32>,
    /// What is demanded for its texts, with what is demanded for all.
    pub privacy: Arc<Privacy>,
    /// What is asked of its answers.
    pub checks: Arc<Checks>,
    /// What a model is told first, unless its bundle says something else.
    pub prompt: Option<Arc<str>>,
}

impl Task {
    /// The route of a variant.
    pub fn route(&self, variant: Variant) -> &[Arc<Model>] {
        match variant {
            Variant::Control => &self.control,
            Variant::Candidate => &self.candidate,
        }
    }
}

impl Catalog {
    /// The configured catalog, with each provider's address and key as the settings have them.
    ///
    /// A key that is missing is a fault, except in development and tests, where the provider gets
    /// [`ProviderAccess::Sandbox`]. There `OPENROUTER_BASE_URL` alone is enough: whoever names a server
    /// wants that one, with or without a key.
    ///
    /// `needs` are procedures and the tasks that they ask for; a task that is missing is a fault now
    /// rather than in each of their calls.
    pub fn load(
        models: &ModelsConfig,
        providers: &ProvidersConfig,
        environment: Environment,
        needs: &[(&str, &str)],
    ) -> Result<Self, FileError> {
        let (text, origin) = match &models.catalog {
            None => (EMBEDDED.to_owned(), "(embedded)".to_owned()),
            Some(path) => (text_of(path, WHAT)?, path.display().to_string()),
        };
        let grant = |provider: &mut Provider| grant(provider, providers, environment);
        let folder = models.catalog.as_deref().and_then(Path::parent);
        parse::catalog(&text, &origin, folder, needs, &grant).map_err(|faults| FileError::Faulty {
            what: WHAT,
            texts: vec![faults],
        })
    }

    /// A catalog alone, without keys; providers that need one get [`ProviderAccess::Sandbox`].
    pub fn parse(text: &str) -> Result<Self, TomlFaults> {
        parse::catalog(text, "(text)", None, &[], &|provider| {
            if provider.api_key_env.is_some() {
                provider.access = ProviderAccess::Sandbox;
            }
            Vec::new()
        })
    }

    /// Whether some provider lacks its key, so that the sandbox has to answer.
    pub fn needs_sandbox(&self) -> bool {
        self.providers
            .iter()
            .any(|provider| matches!(provider.access, ProviderAccess::Sandbox))
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|model| model.is_called(name))
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// Why a model may not get texts of which this is demanded; `None` where it may.
    pub fn keeps_from(&self, privacy: &Privacy, model: &Model) -> Option<String> {
        privacy.refusal(self.provider(&model.provider)?)
    }

    /// The task of this name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| &*task.name == name)
    }

    /// Whether a name is one of its models, or `task/` and one of its tasks.
    pub fn offers(&self, name: &str) -> bool {
        match name.strip_prefix(TASK_PREFIX) {
            Some(task) => self.task(task).is_some(),
            None => self.model(name).is_some(),
        }
    }

    /// The models of which the catalog does not say what they cost, among those that may answer whoever asks for these
    /// names, or for any where there are none. A budget in dollars counts nothing for them, unless their provider tells
    /// what it charges.
    pub fn unpriced(&self, names: Option<&[String]>) -> Vec<String> {
        let asked = |model: &Model| {
            let Some(names) = names else {
                return true;
            };
            names
                .iter()
                .any(|name| match name.strip_prefix(TASK_PREFIX) {
                    Some(task) => self.task(task).is_some_and(|task| {
                        let mut models = task.control.iter().chain(&task.candidate);
                        models.any(|it| it.name == model.name)
                    }),
                    None => model.is_called(name),
                })
        };
        let models = self.models.iter();
        let unpriced = models.filter(|model| !model.is_priced && asked(model));
        unpriced.map(|model| model.name.to_string()).collect()
    }
}

/// What is wrong with a key: which of the further keys it is, or the first where it is `None`.
type KeyFault = (Option<usize>, String);

/// Gives a provider its address and its keys; the faults are what is missing.
fn grant(
    provider: &mut Provider,
    settings: &ProvidersConfig,
    environment: Environment,
) -> Vec<KeyFault> {
    let is_openrouter = provider.name == openrouter::NAME;
    let is_redirected = is_openrouter && settings.openrouter_base_url != openrouter::BASE_URL;
    if is_redirected {
        provider.base_url.clone_from(&settings.openrouter_base_url);
    }
    let Some(variable) = &provider.api_key_env else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    match key_of(variable, settings, environment) {
        Ok(Some(key)) => provider.access = ProviderAccess::Key(key),
        Ok(None) if is_redirected => provider.access = ProviderAccess::Open,
        Ok(None) => provider.access = ProviderAccess::Sandbox,
        Err(fault) => faults.push((None, fault)),
    }
    for (place, further) in provider.keys.iter_mut().enumerate() {
        match key_of(&further.api_key_env, settings, environment) {
            Ok(key) => further.key = key,
            Err(fault) => faults.push((Some(place), fault)),
        }
    }
    faults
}

/// The key in a variable; `None` where it is not set and need not be.
fn key_of(
    variable: &str,
    settings: &ProvidersConfig,
    environment: Environment,
) -> Result<Option<SecretString>, String> {
    let key = if variable == "OPENROUTER_API_KEY" {
        settings.openrouter_api_key.as_ref()
    } else {
        settings.api_keys.get(variable)
    };
    let key = key.filter(|key| !key.expose_secret().trim().is_empty());
    if let Some(reason) = key.and_then(|key| slips::in_key(key.expose_secret())) {
        return Err(format!("is `{variable}`, whose value {reason}"));
    }
    if key.is_none() && !environment.is_local() {
        return Err(format!(
            "is `{variable}`, which is not set; expected the key of this provider in that variable"
        ));
    }
    Ok(key.cloned())
}

#[cfg(test)]
mod tests;
