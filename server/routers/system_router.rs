//! `system`: that the server lives, and what answers e-mail questions at what price.

use std::sync::Arc;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    _core::{context::Context, errors::RpcError, registry::Registry},
    config::{ModelsConfig, ProvidersConfig},
    procedures,
};

/// Registers `system.*`.
pub fn register(registry: &mut Registry, ai_config: impl Into<Option<AiConfig>>) {
    procedures!(registry.outline("system", ai_config.into().map(Arc::new));
        /// Whether the server lives; for monitors that speak tRPC.
        query Public health = health;
        /// The model in use by the settings, and what it costs per e-mail.
        query Public aiConfig = ai_config_of;
    );
}

/// A probe.
#[derive(Deserialize, JsonSchema)]
struct Health {
    /// The prober's clock, not looked at.
    #[schemars(range(min = 0), extend("x-messages" = {"tooSmall": "timestamp cannot be negative"}))]
    #[expect(
        dead_code,
        reason = "the original asks for it and checks its range, no more"
    )]
    timestamp: f64,
}

/// A sign of life.
#[derive(Serialize, JsonSchema)]
struct Healthy {
    /// Always `true`.
    ok: bool,
}

async fn health(_: Arc<AiConfig>, _: Context, _: Health) -> Result<Healthy, RpcError> {
    Ok(Healthy { ok: true })
}

async fn ai_config_of(config: Arc<AiConfig>, _: Context) -> Result<AiConfig, RpcError> {
    Ok((*config).clone())
}

/// The model in use by the settings alone, and what it costs per e-mail.
///
/// The prices are the original's rough figures for its toolbar, by the model's name; what a model
/// really costs is in the catalog, and what was really spent in the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AiConfig {
    /// As the provider names it.
    pub model: String,
    /// In US dollars.
    pub cost_per_email: CostPerEmail,
}

/// US dollars per e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostPerEmail {
    /// For a summary.
    pub summary: f64,
    /// For suggested labels.
    pub label_suggestion: f64,
    /// What the toolbar shows: the dearer of the two.
    pub toolbar_estimate_per_email: f64,
}

impl AiConfig {
    /// The first provider that is set up: OpenRouter, Ollama, Gemini, else OpenAI.
    pub fn new(providers: &ProvidersConfig, models: &ModelsConfig) -> Self {
        let model = if is_set(providers.openrouter_api_key.as_ref()) {
            models.openrouter_model.clone()
        } else if providers.ollama_base_url.is_some() {
            providers.ollama_model.clone()
        } else if is_set(providers.gemini_api_key.as_ref()) {
            "gemini-2.5-flash".to_owned()
        } else {
            "gpt-4o-mini".to_owned()
        };
        let cost_per_email = CostPerEmail::of(&model);
        Self {
            model,
            cost_per_email,
        }
    }
}

impl CostPerEmail {
    fn of(model: &str) -> Self {
        let model = model.to_lowercase();
        let (summary, label_suggestion) = if model.contains("gemma") && model.contains("free") {
            (0.0, 0.0)
        } else if model.contains("gemini") {
            (0.00008, 0.00012)
        } else {
            (0.0002, 0.0002)
        };
        Self {
            summary,
            label_suggestion,
            toolbar_estimate_per_email: summary.max(label_suggestion),
        }
    }
}

fn is_set(key: Option<&SecretString>) -> bool {
    key.is_some_and(|key| !key.expose_secret().trim().is_empty())
}
