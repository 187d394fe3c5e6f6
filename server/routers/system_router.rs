//! `system`: that the server lives, who else does, and what answers e-mail questions at what price.

pub mod fleet;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::fleet::FleetState;
use crate::{
    _core::{
        blank::is_blank,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    alerting::{Alert, AlertKind, Dispatcher, Outbox, Severity},
    config::{ModelsConfig, ProvidersConfig},
    fleet::replicas::Replicas,
    procedures,
};

/// The longest title of a message, in characters, and the longest text.
const MAX_TITLE: usize = 1_200;
const MAX_CONTENT: usize = 20_000;

const NO_CHANNEL: &[Declared] = &[Declared::new(
    ErrorCode::InternalServerError,
    "No channel of alerts takes messages: none is set up, or none is in `ALERT_INFO_CHANNELS`.",
)];

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    /// What answers e-mail questions.
    pub ai_config: AiConfig,
    /// Where messages wait for their channels.
    pub outbox: Arc<dyn Outbox>,
    /// The channels.
    pub dispatcher: Arc<Dispatcher>,
    /// Who is in the fleet.
    pub replicas: Arc<Replicas>,
}

/// Registers `system.*`.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("system", state.into());
        /// Whether the server lives; for monitors that speak tRPC.
        query Public health = health;
        /// The model in use by the settings, and what it costs per e-mail.
        query Public aiConfig = ai_config_of;
        /// All servers on the database: whether they live, on which release, who leads, and whether they agree. A few
        /// seconds old; one that is gone is listed for a day.
        query Viewer fleet = fleet_of;
        /// Tells the owner something, over the channels of alerts that take what is for the record. It is stored
        /// and sent until each has it.
        mutation Admin notifyOwner = notify_owner, errors NO_CHANNEL;
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

async fn health(_: State, _: Context, _: Health) -> Result<Healthy, RpcError> {
    Ok(Healthy { ok: true })
}

async fn ai_config_of(state: State, _: Context) -> Result<AiConfig, RpcError> {
    Ok(state.ai_config)
}

async fn fleet_of(state: State, context: Context) -> Result<FleetState, RpcError> {
    let roll = state.replicas.roll(context.received_at).await;
    let roll = roll.map_err(RpcError::internal)?;
    Ok(FleetState::of(roll, state.replicas.here()))
}

/// A message to the owner.
#[derive(Debug, Deserialize, JsonSchema)]
struct Notification {
    /// One line.
    #[schemars(length(min = 1), extend("x-messages" = {"tooSmall": "title is required"}))]
    title: String,
    /// What there is to say.
    #[schemars(length(min = 1), extend("x-messages" = {"tooSmall": "content is required"}))]
    content: String,
}

/// Whether it is on its way.
#[derive(Debug, Serialize, JsonSchema)]
struct Notified {
    /// Always `true`: what cannot be stored is an error.
    success: bool,
}

impl Notification {
    /// In the original's words.
    fn alert(&self, at: DateTime<Utc>) -> Result<Alert, RpcError> {
        let (title, text) = (self.title.trim(), self.content.trim());
        let fault = if is_blank(title) {
            "Notification title is required."
        } else if is_blank(text) {
            "Notification content is required."
        } else if title.chars().count() > MAX_TITLE {
            "Notification title must be at most 1200 characters."
        } else if text.chars().count() > MAX_CONTENT {
            "Notification content must be at most 20000 characters."
        } else {
            return Ok(Alert {
                id: Uuid::now_v7().to_string(),
                kind: AlertKind::Message,
                severity: Severity::Info,
                rollout_id: None,
                title: title.to_owned(),
                text: text.to_owned(),
                details: Value::Null,
                at,
            });
        };
        Err(RpcError::bad_request(fault))
    }
}

async fn notify_owner(
    state: State,
    context: Context,
    input: Notification,
) -> Result<Notified, RpcError> {
    let alert = input.alert(context.received_at)?;
    if !state.dispatcher.takes_info() {
        return Err(RpcError::new(
            ErrorCode::InternalServerError,
            "Notification service URL is not configured.",
        ));
    }
    let stored = state.outbox.enqueue(&alert).await;
    stored.map_err(RpcError::internal)?;
    state.dispatcher.wake();
    Ok(Notified { success: true })
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
