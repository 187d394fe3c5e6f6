//! Every setting of the server, read once at start from defaults, a file and the environment.
//!
//! One struct per area holds what that area needs, typed and with units; those of `_core` stand beside
//! what they configure. The table in `settings` names every variable once and feeds the loader, both templates, `schema/settings.md` and a test.
//! `formats` says what a value may look like, `sources` which of several values counts, `load` which
//! settings must agree.

mod client;
mod faults;
mod formats;
mod in_force;
mod load;
mod render;
mod setting;
mod settings;
mod sources;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::HeaderMap;
use lettre::message::{Mailbox, Mailboxes};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::{
    client::{ClientConfig, local_url},
    faults::{ConfigFault, ConfigFaults},
    in_force::SettingInForce,
    render::{settings_markdown, templates},
    sources::{Sources, TOKEN_VARIABLE},
};
use crate::_core::{
    auth::{asserted::TrustedProxy, oidc::RoleWords},
    environment::Environment,
    feature_flags::FlagsConfig,
    logging::LogConfig,
    site::SiteConfig,
    units::Percent,
};

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server runs.
    pub environment: Environment,
    /// Listening and limits of all wires.
    pub server: ServerConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// The tRPC wire.
    pub trpc: TrpcConfig,
    /// The server that this one takes the place of, if there is one.
    pub legacy: Option<LegacyConfig>,
    /// The JSON-RPC wire.
    pub jsonrpc: JsonRpcConfig,
    /// `MCP_TOOLS`.
    pub mcp_tools: McpTools,
    /// Where data is kept.
    pub database: DatabaseConfig,
    /// Sessions and the owner.
    pub auth: AuthConfig,
    /// Flags and the share at start.
    pub flags: FlagsConfig,
    /// The catalog and its deadlines.
    pub models: ModelsConfig,
    /// Keys and addresses of providers.
    pub providers: ProvidersConfig,
    /// Where spans go.
    pub telemetry: TelemetryConfig,
    /// Windows and subscriptions.
    pub metrics: MetricsConfig,
    /// The chat procedures.
    pub chat: ChatConfig,
    /// Rollout plans.
    pub rollout: RolloutConfig,
    /// The sandbox provider.
    pub sandbox: SandboxConfig,
    /// Who is told, and how.
    pub alerts: AlertsConfig,
    /// All of them as people may see them.
    pub settings: Vec<SettingInForce>,
    /// What is odd about the settings but does not hinder a start; for the log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Where browsers reach the server: `PUBLIC_URL`, or in development and test the address that it
    /// listens on, if the port is known.
    pub fn public_url(&self) -> Option<String> {
        let ServerConfig { host, port, .. } = self.server;
        let local = self.environment.is_local() && port != 0;
        let public = self.auth.site.public_url.clone();
        public.or_else(|| local.then(|| local_url(SocketAddr::new(host, port))))
    }
}

/// Listening and limits of all wires.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `HOST`.
    pub host: IpAddr,
    /// `PORT`; 0 takes a free one.
    pub port: u16,
    /// `CORS_ALLOWED_ORIGINS`: exact origins, comma separated.
    pub allowed_origins: Vec<String>,
    /// `MAX_BODY_BYTES`.
    pub max_body_bytes: usize,
    /// `MAX_CONNECTIONS`, and requests under way.
    pub max_connections: usize,
    /// `MAX_CALLS`: queries and mutations that run at once.
    pub max_calls: usize,
    /// `MAX_SUBSCRIPTIONS`: live at once.
    pub max_subscriptions: usize,
    /// `MAX_BYTES_IN_FLIGHT`: memory of inputs that are used and answers that are sent.
    pub max_bytes_in_flight: usize,
    /// `METRICS_TOKEN`: the bearer token for `/metrics`.
    pub metrics_token: Option<SecretString>,
    /// Whether `/status` is there.
    pub status_page: bool,
    /// `SHUTDOWN_TIMEOUT`: how long a stop waits for what runs.
    pub shutdown_timeout: Duration,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; no spans without one.
    pub endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: HeaderMap,
    /// `OTEL_SERVICE_NAME`.
    pub service: String,
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub format: TraceFormat,
    /// `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`: whether spans hold texts of requests and answers.
    pub texts: bool,
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// Protocol buffers over HTTP.
    Protobuf,
    /// JSON over HTTP.
    Json,
}

/// `TRPC_TRANSFORMER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transformer {
    /// superjson 2.
    Superjson,
    /// Plain JSON.
    None,
}

/// The tRPC wire.
#[derive(Clone, Debug)]
pub struct TrpcConfig {
    /// `TRPC_TRANSFORMER`.
    pub transformer: Transformer,
    /// `TRPC_METHOD_OVERRIDE`: queries may be POSTed.
    pub method_override: bool,
    /// `TRPC_MAX_BATCH`: calls in one request.
    pub max_batch: usize,
    /// `TRPC_PING_INTERVAL`: pings on SSE streams, protocol pings on sockets.
    pub ping_interval: Duration,
}

/// The server that this one takes the place of.
#[derive(Clone, Debug)]
pub struct LegacyConfig {
    /// `LEGACY_TRPC_URL`: where its procedures are.
    pub url: String,
    /// `LEGACY_PROCEDURES`: which of ours it still answers: names, `namespace.*`, or `*`.
    pub procedures: Vec<String>,
    /// `LEGACY_PATHS`: what else it is asked for.
    pub paths: Vec<String>,
    /// `LEGACY_FORWARD_SESSION`: whether it gets our sessions.
    pub forwards_session: bool,
    /// `LEGACY_TIMEOUT`: the longest wait for a sign of it.
    pub timeout: Duration,
    /// `LEGACY_MAX_REQUESTS`: requests at once, and as many event streams and sockets.
    pub max_requests: usize,
    /// `LEGACY_MAX_UPLOAD_BYTES`: of a request.
    pub max_upload_bytes: usize,
    /// `LEGACY_MAX_ANSWER_BYTES`: of an answer that is taken apart.
    pub max_answer_bytes: usize,
    /// `LEGACY_MAY_DIFFER`: parts of answers, as `procedure:path`.
    pub may_differ: Vec<String>,
    /// `LEGACY_UNORDERED`: lists in answers, likewise.
    pub unordered: Vec<String>,
    /// `LEGACY_TOLERATED_DIFFERENCES`: of compared answers.
    pub tolerated_differences: Percent,
    /// `LEGACY_MAX_SHADOWS`: calls that are compared at once.
    pub max_shadows: usize,
}

/// Which procedures are tools of the Model Context Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpTools {
    /// None.
    Off,
    /// Those that change nothing.
    Reading,
    /// Those that change something as well.
    All,
}

/// The JSON-RPC wire.
#[derive(Clone, Debug)]
pub struct JsonRpcConfig {
    /// `JSONRPC_MAX_BATCH`: calls in one request.
    pub max_batch: usize,
    /// `JSONRPC_BATCH_CONCURRENCY`: calls of one batch that run at once.
    pub batch_concurrency: usize,
    /// `JSONRPC_MAX_CONNECTIONS`: open sockets and requests under way.
    pub max_connections: u32,
}

/// Where data is kept.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`: `sqlite://path`, whose file is created, or `postgres://…`, which may hold a
    /// password.
    pub url: String,
    /// `EVENT_RETENTION`: how long single events stay.
    pub event_retention: Duration,
    /// `TEXT_TASKS`: the tasks whose texts are kept.
    pub text_tasks: Vec<String>,
    /// `TEXT_RETENTION`: how long they are.
    pub text_retention: Duration,
}

impl DatabaseConfig {
    /// The URL without what may be a password, for people.
    pub fn shown_url(&self) -> String {
        faults::shown(&self.url)
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url", &self.shown_url())
            .field("event_retention", &self.event_retention)
            .field("text_tasks", &self.text_tasks)
            .field("text_retention", &self.text_retention)
            .finish()
    }
}

/// Sessions and the owner.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `JWT_SECRET`: at least 32 bytes where it is required.
    pub jwt_secret: Option<SecretString>,
    /// `JWT_SECRET_PREVIOUS`: sessions that were signed with it still hold.
    pub jwt_secret_previous: Option<SecretString>,
    /// `OWNER_OPEN_ID`: this user is admin.
    pub owner_open_id: Option<String>,
    /// `VITE_APP_ID`: the `appId` claim of new sessions.
    pub app_id: String,
    /// `SESSION_TTL`: how long a new session lasts.
    pub session_ttl: Duration,
    /// How browsers reach the server, and which cookie they get.
    pub site: SiteConfig,
    /// The sign-in service, if there is one.
    pub oidc: Option<OidcConfig>,
    /// The proxy that names callers, if there is one.
    pub proxy: Option<TrustedProxy>,
}

/// A sign-in service that speaks OpenID Connect.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// `OIDC_ISSUER`: the service, exactly as it names itself.
    pub issuer: String,
    /// `OIDC_CLIENT_ID`: who this server is to it.
    pub client_id: String,
    /// `OIDC_CLIENT_SECRET`; none for a client that has none.
    pub client_secret: Option<SecretString>,
    /// `OIDC_SCOPES`: what it is asked for.
    pub scopes: String,
    /// `ROLE_CLAIM`: the claim that roles follow from.
    pub role_claim: String,
    /// `ADMIN_ROLES`, `VIEWER_ROLES`.
    pub words: RoleWords,
}

/// The catalog and its deadlines.
#[derive(Clone, Debug)]
pub struct ModelsConfig {
    /// `MODEL_CATALOGUE`: a TOML file that replaces the embedded one.
    pub catalog: Option<PathBuf>,
    /// `CATALOGUE_POLL`: between two looks whether that file has changed.
    pub catalog_poll: Duration,
    /// `CATALOGUE_WATCH`, `CATALOGUE_WATCH_INTERVAL`: between two questions for a provider's list of models;
    /// `None` where it is not asked.
    pub catalog_watch: Option<Duration>,
    /// `HTTPS_PROXY`: through which providers are asked.
    pub proxy: Option<SecretString>,
    /// `NO_PROXY`: hosts that are asked without it.
    pub no_proxy: Option<String>,
    /// `ATTEMPT_TIMEOUT`: the longest that one attempt may take.
    pub attempt_timeout: Duration,
    /// `BREAKER`, `BREAKER_ATTEMPTS`, `BREAKER_WINDOW`, `BREAKER_FAILED_PERCENT`; `None` where it is off.
    pub breaker: Option<BreakerConfig>,
    /// `WRONG_KEYS_PER_MINUTE`: before an address has to wait; 0 sets no limit.
    pub wrong_keys_per_minute: u32,
    /// Answers of the gateway that are kept.
    pub answer_cache: AnswerCacheConfig,
    /// `OPENROUTER_MODEL`: what `system.aiConfig` reports.
    pub openrouter_model: String,
}

/// Answers of the gateway that are kept for whoever asks the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerCacheConfig {
    /// `ANSWER_CACHE_BYTES`: all of them together; 0 keeps none.
    pub bytes: usize,
    /// `ANSWER_CACHE_AGE`: how long one is kept.
    pub age: Duration,
}

/// When a model that fails is left alone.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// `BREAKER_ATTEMPTS` that must have ended; at least 1.
    pub attempts: u32,
    /// `BREAKER_WINDOW`, within which.
    pub window: Duration,
    /// `BREAKER_FAILED_PERCENT` of them must have failed, 1 to 100.
    pub failed_percent: u32,
}

/// Keys and addresses of providers.
#[derive(Clone, Debug)]
pub struct ProvidersConfig {
    /// `OPENROUTER_API_KEY`.
    pub openrouter_api_key: Option<SecretString>,
    /// `OPENROUTER_BASE_URL`.
    pub openrouter_base_url: String,
    /// `OLLAMA_BASE_URL`, reported by `system.aiConfig`.
    pub ollama_base_url: Option<String>,
    /// `OLLAMA_MODEL`, reported by `system.aiConfig`.
    pub ollama_model: String,
    /// `GEMINI_API_KEY`, which `system.aiConfig` looks at.
    pub gemini_api_key: Option<SecretString>,
    /// All variables of the environment and the `.env` files whose names end in `_API_KEY`, for the
    /// `api_key_env` of a catalog.
    pub api_keys: BTreeMap<String, SecretString>,
}

/// Windows and subscriptions.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// `SUMMARY_INTERVAL`: between two events of `aiMetrics.onSummary`.
    pub summary_interval: Duration,
}

/// The chat procedures.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// `CHAT_DEADLINE`: for one message, all attempts together.
    pub deadline: Duration,
    /// `CHAT_HISTORY_TOKENS`: how much of a conversation is sent along, at most.
    pub history_tokens: usize,
    /// `CHAT_RATE_LIMIT`: accepted messages per user and minute.
    pub rate_limit: usize,
}

/// Rollout plans.
#[derive(Clone, Debug)]
pub struct RolloutConfig {
    /// `ROLLOUT_PLANS`: a folder of plans beside the shipped ones.
    pub plans: Option<PathBuf>,
}

/// The sandbox provider.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// `SANDBOX_CONFIG`: a TOML file that says how its models behave.
    pub file: Option<PathBuf>,
}

/// Who is told, and how. A channel is there if it is set up completely; the loader refuses halves.
#[derive(Clone, Debug)]
pub struct AlertsConfig {
    /// `SLACK_WEBHOOK_URL`, which holds a secret itself.
    pub slack: Option<SecretString>,
    /// `ALERT_EMAIL_TO`, `ALERT_EMAIL_FROM` and `SMTP_URL`.
    pub email: Option<EmailConfig>,
    /// `ALERT_WEBHOOK_URL` and `ALERT_WEBHOOK_SECRET`.
    pub webhook: Option<WebhookConfig>,
    /// `PAGERDUTY_ROUTING_KEY` and `PAGERDUTY_URL`.
    pub pagerduty: Option<PagerDutyConfig>,
    /// `ALERT_INFO_CHANNELS`: where alerts of severity info go.
    pub info_channels: Vec<ChannelName>,
    /// `ALERT_ESCALATE_AFTER`: a warning that lasts as long is critical.
    pub escalate_after: Duration,
}

/// Alerts by e-mail.
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// `SMTP_URL`: `smtp://` or `smtps://`, with user name and password where they are needed.
    pub smtp_url: SecretString,
    /// `ALERT_EMAIL_FROM`.
    pub from: Mailbox,
    /// `ALERT_EMAIL_TO`; not empty.
    pub to: Mailboxes,
}

/// Alerts as signed HTTP requests.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `ALERT_WEBHOOK_URL`, which may hold a secret.
    pub url: SecretString,
    /// `ALERT_WEBHOOK_SECRET`: signs requests.
    pub secret: SecretString,
}

/// Alerts as PagerDuty incidents.
#[derive(Clone, Debug)]
pub struct PagerDutyConfig {
    /// `PAGERDUTY_ROUTING_KEY`: of an Events API v2 integration.
    pub routing_key: SecretString,
    /// `PAGERDUTY_URL`: `/v2/enqueue` is appended.
    pub url: String,
}

/// A way to tell people.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    /// A Slack incoming webhook.
    Slack,
    /// E-mail.
    Email,
    /// A signed HTTP request.
    Webhook,
    /// PagerDuty Events v2.
    PagerDuty,
}

impl ChannelName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Slack, Self::Email, Self::Webhook, Self::PagerDuty];

    /// As in settings, on the wire and in the outbox.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::PagerDuty => "pagerduty",
        }
    }
}
