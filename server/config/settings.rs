//! The table of settings: each variable once, with its format, default and meaning.
//!
//! Everything else is made from it: the loader reads by these constants, and the templates and
//! `schema/settings.md` list [`SECTIONS`]. A setting's doc comment is its text there.

use std::time::Duration;

pub(super) use super::setting::{AnySetting, Row, Section, Setting, fault_of};
use super::{
    ChannelName, McpTools, TraceFormat, Transformer,
    formats::{
        Address, AnswerParts, ApiKeyFormat, BaseUrl, DatabaseUrl, Domain, FilePath, FolderPath,
        Format, Header, Headers, ListFormat, LogFilter, MailAddress, MailAddresses, NamesFormat,
        Networks, OneOf, Optional, Origins, Prefixes, ProxyUrl, SecretFormat, SecretUrl,
        ShareFormat, SmtpUrl, SpanFormat, Subjects, SwitchFormat, TextFormat, Whole, Words,
    },
};
use crate::_core::{
    assignment::Algorithm,
    auth::cookie::SameSite,
    environment::Environment,
    site::{CsrfToken, ProxyHeader},
};

/// Every setting, in the order of the templates.
pub(super) fn all() -> impl Iterator<Item = &'static dyn AnySetting> {
    SECTIONS
        .iter()
        .flat_map(|section| section.settings.iter().copied())
}

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<&'static dyn AnySetting> {
    all().find(|setting| setting.row().name == name)
}

macro_rules! settings {
    ($($title:literal { $(
        $(#[doc = $meaning:literal])+
        $name:ident: $format:ty = $value:expr, $default:literal
        $(, dev $dev:literal)? $(, prod $prod:literal)? $(=> $required:ident)?;
    )+ })+) => {
        $($(
            $(#[doc = $meaning])+
            pub(super) const $name: Setting<$format> = Setting {
                row: Row {
                    name: stringify!($name),
                    default: $default,
                    meaning: concat!($($meaning),+),
                    dev: settings!(@option $($dev)?),
                    prod: settings!(@option $($prod)?),
                    required: settings!(@flag $($required)?),
                },
                format: $value,
            };
        )+)+

        /// The table.
        pub(super) static SECTIONS: &[Section] = &[
            $(Section { title: $title, settings: &[$(&$name),+] }),+
        ];
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
    (@flag) => { false };
    (@flag required) => { true };
}

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn span(min_ms: u64, max_seconds: u64) -> SpanFormat {
    SpanFormat {
        min: Duration::from_millis(min_ms),
        max: Duration::from_secs(max_seconds),
    }
}

const fn whole<T>(unit: &'static str, min: T, max: T) -> Whole<T>
where
    T: Copy,
{
    Whole { unit, min, max }
}

const ENVIRONMENTS: OneOf<Environment> = OneOf(&[
    ("development", Environment::Development),
    ("test", Environment::Test),
    ("staging", Environment::Staging),
    ("production", Environment::Production),
]);

const ALGORITHMS: [(&str, Algorithm); Algorithm::ALL.len()] = {
    let mut named = [("", Algorithm::Murmur3); Algorithm::ALL.len()];
    let mut n = 0;
    while n < named.len() {
        named[n] = (Algorithm::ALL[n].name(), Algorithm::ALL[n]);
        n += 1;
    }
    named
};

const CHANNELS: [(&str, ChannelName); ChannelName::ALL.len()] = {
    let mut named = [("", ChannelName::Slack); ChannelName::ALL.len()];
    let mut n = 0;
    while n < named.len() {
        named[n] = (ChannelName::ALL[n].name(), ChannelName::ALL[n]);
        n += 1;
    }
    named
};

/// The environment of this name.
pub(super) fn environment(text: &str) -> Option<Environment> {
    ENVIRONMENTS.parse(text).ok()
}

settings! {
    "Environment" {
        /// Where the server runs. Without it the server is in development and listens on loopback
        /// addresses only.
        APP_ENV: Optional<OneOf<Environment>> = Optional(ENVIRONMENTS), "",
            dev "development", prod "production";
        /// Read where `APP_ENV` is not set.
        NODE_ENV: Optional<OneOf<Environment>> = Optional(ENVIRONMENTS), "";
        /// A TOML file of settings, below the `.env` files and the environment; `--config` wins over
        /// it. Keys are the names of this list, in either case.
        MODELRAMP_CONFIG: Optional<FilePath> = Optional(FilePath), "";
    }
    "Server" {
        /// Address to listen on.
        HOST: Address = Address, "127.0.0.1", prod "0.0.0.0";
        /// Port to listen on; 0 takes a free one.
        PORT: Whole<u16> = whole("", 0, u16::MAX), "3000";
        /// Origins of browsers that may call with credentials, besides the server's own.
        CORS_ALLOWED_ORIGINS: Origins = Origins, "", dev "http://localhost:5173";
        /// The largest body of a request, on all wires.
        MAX_BODY_BYTES: Whole<usize> = whole("bytes", 65_536, 1 << 30), "4194304";
        /// Connections, and requests under way, at once. Beyond it idle connections make room; where
        /// none is idle, only health checks and admins are served.
        MAX_CONNECTIONS: Whole<usize> = whole("connections", 1, 1_000_000), "2048";
        /// Queries and mutations that run at once, on all wires. One more waits for a second.
        MAX_CALLS: Whole<usize> = whole("calls", 1, 1_000_000), "1024";
        /// Subscriptions that are live at once, on all wires.
        MAX_SUBSCRIPTIONS: Whole<usize> = whole("subscriptions", 1, 10_000_000), "8192";
        /// The memory of inputs that are used and of answers that are sent, all together.
        MAX_BYTES_IN_FLIGHT: Whole<usize> = whole("bytes", 1 << 20, 1 << 40), "29360128";
        /// Whoever sends it as a bearer token may read `/metrics`. Without it programs on the server's
        /// own machine may, as long as no proxy stands before the server.
        METRICS_TOKEN: Optional<ApiKeyFormat> = Optional(ApiKeyFormat), "";
        /// Whether anybody may see at `/status`, in one word, how the server is.
        STATUS_PAGE: SwitchFormat = SwitchFormat, "false";
        /// How long a stop waits for what runs; more than `CHAT_DEADLINE` loses no answer but streamed ones,
        /// which may take ten minutes.
        SHUTDOWN_TIMEOUT: SpanFormat = span(1, HOUR), "45s";
    }
    "Log" {
        /// What is logged, to standard error. Libraries say nothing unless they are named: `h2`, `jsonrpsee`, and but for errors
        /// `sqlx`, which reports slow statements: `info,h2=warn,sqlx=warn`.
        LOG_LEVEL: LogFilter = LogFilter, "info";
        /// One line of text or one JSON object per entry.
        LOG_FORMAT: OneOf<bool> = OneOf(&[("text", false), ("json", true)]), "text", prod "json";
    }
    "Telemetry" {
        /// The collector that gets a span of each attempt at a model (OTLP over HTTP); `/v1/traces` is appended.
        OTEL_EXPORTER_OTLP_ENDPOINT: Optional<BaseUrl> = Optional(BaseUrl), "";
        /// How it gets them.
        OTEL_EXPORTER_OTLP_PROTOCOL: OneOf<TraceFormat> = OneOf(&[
            ("http/protobuf", TraceFormat::Protobuf),
            ("http/json", TraceFormat::Json),
        ]), "http/protobuf";
        /// Headers that the collector asks for, such as `authorization=Bearer%20...`.
        OTEL_EXPORTER_OTLP_HEADERS: Headers = Headers, "";
        /// What the spans call this server.
        OTEL_SERVICE_NAME: TextFormat = TextFormat, "modelramp";
        /// Whether spans hold what was asked and answered, as the provider gets and gives it (docs/privacy.md).
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: SwitchFormat = SwitchFormat, "false";
    }
    "tRPC" {
        /// How values travel that JSON lacks. Clients must be set the same.
        TRPC_TRANSFORMER: OneOf<Transformer> = OneOf(&[
            ("superjson", Transformer::Superjson),
            ("none", Transformer::None),
        ]), "superjson";
        /// Whether queries may be sent by POST.
        TRPC_METHOD_OVERRIDE: SwitchFormat = SwitchFormat, "true";
        /// The most calls in one request.
        TRPC_MAX_BATCH: Whole<usize> = whole("calls", 1, 100_000), "1000";
        /// Between two signs of life on event streams and sockets.
        TRPC_PING_INTERVAL: SpanFormat = span(100, HOUR), "15s";
    }
    "Old server" {
        /// Where the tRPC server is that this one takes the place of. Calls to procedures that this
        /// server has not go there (docs/migration.md).
        LEGACY_TRPC_URL: Optional<BaseUrl> = Optional(BaseUrl), "";
        /// Procedures that this server has and the old one still answers: names, `namespace.*`, or `*`
        /// for all. `modelramp migration set` moves them from there, and wins over this.
        LEGACY_PROCEDURES: NamesFormat = NamesFormat, "";
        /// Paths below which the old server is asked for whatever this one does not serve itself.
        LEGACY_PATHS: Prefixes = Prefixes, "";
        /// Whether the old server gets this one's session cookie, and bearer tokens. It needs them
        /// where both servers sign sessions with the same secret.
        LEGACY_FORWARD_SESSION: SwitchFormat = SwitchFormat, "false";
        /// The longest wait for the old server: for its answer, and for each next part of it.
        LEGACY_TIMEOUT: SpanFormat = span(100, HOUR), "60s";
        /// Requests that the old server has at once, and as many event streams and sockets beside them.
        /// One more is refused, so that an old server which hangs takes no place from what is served here.
        LEGACY_MAX_REQUESTS: Whole<usize> = whole("requests", 1, 1_000_000), "1024";
        /// The largest body that is passed on to the old server.
        LEGACY_MAX_UPLOAD_BYTES: Whole<usize> = whole("bytes", 1, 1 << 40), "134217728";
        /// The largest answer of the old server that is joined with this one's: of a mixed batch, a
        /// line of a stream, a message of a socket.
        LEGACY_MAX_ANSWER_BYTES: Whole<usize> = whole("bytes", 65_536, 1 << 30), "8388608";
        /// Parts of answers that may differ between both servers: `chat.getMessages:messages.*.id`, with
        /// `*` for any procedure, name or item.
        LEGACY_MAY_DIFFER: AnswerParts = AnswerParts, "";
        /// Lists in answers whose order means nothing, written in the same way.
        LEGACY_UNORDERED: AnswerParts = AnswerParts, "";
        /// The percentage of compared answers that may differ before a procedure goes back: data that
        /// changes between both questions differs, too.
        LEGACY_TOLERATED_DIFFERENCES: ShareFormat = ShareFormat, "1";
        /// Calls that are run here only to be compared, at once. What comes above it is not compared, and
        /// counted.
        LEGACY_MAX_SHADOWS: Whole<usize> = whole("calls", 0, 10_000), "16";
    }
    "JSON-RPC" {
        /// The most calls in one request.
        JSONRPC_MAX_BATCH: Whole<usize> = whole("calls", 1, 100_000), "100";
        /// Calls of one batch that run at once.
        JSONRPC_BATCH_CONCURRENCY: Whole<usize> = whole("calls", 1, 10_000), "16";
        /// Open sockets and requests under way, together.
        JSONRPC_MAX_CONNECTIONS: Whole<u32> = whole("connections", 1, 1_000_000), "10000";
    }
    "MCP" {
        /// Which procedures are tools of the Model Context Protocol at `/mcp`: none, those that change
        /// nothing, or all. Each asks for its own rights in any case.
        MCP_TOOLS: OneOf<McpTools> = OneOf(&[
            ("off", McpTools::Off),
            ("read", McpTools::Reading),
            ("all", McpTools::All),
        ]), "read";
    }
    "Database" {
        /// Where data is kept: a file, which is created where there is none, or PostgreSQL.
        DATABASE_URL: DatabaseUrl = DatabaseUrl, "sqlite://data/modelramp.db";
        /// How long single events stay; their hourly counts stay for ever, and events of a rollout
        /// until 90 days after its end.
        // At least a day longer than the longest window, which is filled from them at a start.
        EVENT_RETENTION: SpanFormat = span(8_000 * DAY, 3_650 * DAY), "14d";
        /// The tasks of the catalog whose prompts and answers are kept, for admins to open from a request
        /// (docs/privacy.md); of none without it.
        TEXT_TASKS: Words = Words, "";
        /// How long they are kept.
        TEXT_RETENTION: SpanFormat = span(1_000 * HOUR, 90 * DAY), "7d";
    }
    "Sign-in" {
        /// Signs sessions; at least 32 bytes in staging and production. Development without one
        /// makes one and keeps it beside the database.
        JWT_SECRET: Optional<SecretFormat> = Optional(SecretFormat), "" => required;
        /// The secret before this one: sessions that were signed with it still hold, new ones are
        /// not signed with it. Leave it out once `SESSION_TTL` has passed since the change.
        JWT_SECRET_PREVIOUS: Optional<SecretFormat> = Optional(SecretFormat), "";
        /// The user with this open id is always admin.
        OWNER_OPEN_ID: Optional<TextFormat> = Optional(TextFormat), "";
        /// The `appId` claim of new sessions.
        VITE_APP_ID: TextFormat = TextFormat, "modelramp";
        /// How long a new session lasts.
        SESSION_TTL: SpanFormat = span(1_000 * MINUTE, 400 * DAY), "7d";
        /// Where browsers reach this server, for sign-in links, for the server's own origin and for
        /// the `Secure` mark of its cookie. Development takes `http://HOST:PORT` for links.
        PUBLIC_URL: Optional<BaseUrl> = Optional(BaseUrl), "";
        /// What is believed of the proxies before this server: list only headers that the nearest
        /// proxy sets or removes itself. `forwarded` is that of RFC 7239.
        TRUSTED_PROXY_HEADERS: ListFormat<ProxyHeader> = ListFormat(&[
            ("x-forwarded-proto", ProxyHeader::Proto),
            ("x-forwarded-host", ProxyHeader::Host),
            ("forwarded", ProxyHeader::Forwarded),
        ]), "x-forwarded-proto";
        /// The domain with whose subdomains the session cookie is shared; without one it is for
        /// this host alone.
        SESSION_COOKIE_DOMAIN: Optional<Domain> = Optional(Domain), "";
        /// From which sites the session cookie is sent. Without it `lax` in development and test,
        /// `strict` elsewhere; a front end on another site needs `none`, and HTTPS.
        SESSION_COOKIE_SAME_SITE: Optional<OneOf<SameSite>> = Optional(OneOf(&[
            ("lax", SameSite::Lax),
            ("strict", SameSite::Strict),
            ("none", SameSite::None),
        ])), "";
        /// Keeps the session cookie apart for each site from which it is used, as browsers want
        /// that refuse cookies of other sites.
        SESSION_COOKIE_PARTITIONED: SwitchFormat = SwitchFormat, "false";
        /// Whether a POST that brings a session's cookie must also bring the session's token, in the
        /// header `X-CSRF-Token` (docs/sign-in.md). The dashboard always sends it; an unchanged client
        /// of tRPC does not.
        CSRF_TOKEN: OneOf<CsrfToken> = OneOf(&[
            ("off", CsrfToken::Off),
            ("required", CsrfToken::Required),
        ]), "off";
        /// Paths at and below which `CSRF_TOKEN` asks for nothing; `/api/auth/refresh` for the original's
        /// front end, `/api/trpc/NAME` for a procedure. Origins are looked at all the same.
        CSRF_EXEMPT: Prefixes = Prefixes, "";
        /// A sign-in service that speaks OpenID Connect, by the address that it names itself by (`issuer`);
        /// off without one. It needs `PUBLIC_URL`, and `PUBLIC_URL/api/auth/oidc/callback` as the client's
        /// redirect URI (docs/sign-in.md).
        OIDC_ISSUER: Optional<BaseUrl> = Optional(BaseUrl), "";
        /// The client that this server is to the sign-in service.
        OIDC_CLIENT_ID: Optional<TextFormat> = Optional(TextFormat), "";
        /// That client's secret; a public client has none.
        OIDC_CLIENT_SECRET: Optional<SecretFormat> = Optional(SecretFormat), "";
        /// What the sign-in service is asked for, separated by commas.
        OIDC_SCOPES: Words = Words, "openid,profile,email";
        /// The claim whose words give a role at each sign-in; dots lead into objects
        /// (`realm_access.roles`).
        ROLE_CLAIM: TextFormat = TextFormat, "roles";
        /// Words of that claim, or of `TRUSTED_ROLES_HEADER`, that make an admin. Without these and
        /// `VIEWER_ROLES`, roles are given by `modelramp user set-role` alone; with them, whoever has
        /// none of the words is a plain user.
        ADMIN_ROLES: Words = Words, "";
        /// Words that make a viewer.
        VIEWER_ROLES: Words = Words, "";
        /// The header in which a proxy that signs people in says who it is; off without one. It counts
        /// from `TRUSTED_USER_PROXIES` only, and is taken from all other requests.
        TRUSTED_USER_HEADER: Optional<Header> = Optional(Header), "";
        /// The addresses that this proxy connects from, such as `10.0.0.7` or `10.0.0.0/8`.
        TRUSTED_USER_PROXIES: Networks = Networks, "";
        /// The header in which it says what roles follow from, by `ADMIN_ROLES` and `VIEWER_ROLES`.
        TRUSTED_ROLES_HEADER: Optional<Header> = Optional(Header), "";
        /// How long an event stream or a socket goes on by what this proxy said when it was opened. Then its client is to
        /// open another, with which the proxy says it anew.
        TRUSTED_USER_TTL: SpanFormat = span(1_000, HOUR), "1m";
    }
    "Rollout" {
        /// The share of users that get the candidate models when the server starts; admins change
        /// it while the server runs.
        OPENROUTER_ROLLOUT_PERCENTAGE: ShareFormat = ShareFormat, "0", dev "100";
        /// Gives everybody the candidate models, but for `FORCED_OFF_USERS` and the kill switch.
        FORCE_OPENROUTER: SwitchFormat = SwitchFormat, "false";
        /// These always get the candidate models.
        FORCED_ON_USERS: Subjects = Subjects, "";
        /// These never get the candidate models; wins over `FORCED_ON_USERS`.
        FORCED_OFF_USERS: Subjects = Subjects, "";
        /// How a user becomes a bucket. `legacy-modulo` leaves users where the TypeScript server
        /// had them; `unleash`, `flagd`, `growthbook-v2` and `launchdarkly` where those had them.
        ASSIGNMENT_ALGORITHM: OneOf<Algorithm> = OneOf(&ALGORITHMS), "murmur3-100k";
        /// Mixed into every algorithm but `legacy-modulo`; another salt puts other users first. The
        /// same on all replicas. In the algorithms of other systems it is the flag key, group id or
        /// seed there.
        ASSIGNMENT_SALT: TextFormat = TextFormat, "modelramp";
        /// A folder of rollout plans (`*.toml`), beside the shipped ones.
        ROLLOUT_PLANS: Optional<FolderPath> = Optional(FolderPath), "";
        /// Lets each task choose its model.
        MODEL_ROUTING: SwitchFormat = SwitchFormat, "true";
        /// `true` switches `MODEL_ROUTING` on as well; `false` changes nothing.
        FORCE_MODEL_ROUTING: SwitchFormat = SwitchFormat, "false";
        /// Reported to clients as `useServerSideChat`.
        FORCE_SERVER_SIDE_CHAT: SwitchFormat = SwitchFormat, "false";
        /// Reported to clients as `enableStreaming`.
        FORCE_STREAMING: SwitchFormat = SwitchFormat, "false";
        /// Reported to clients as `enableUTCP`.
        FORCE_UTCP: SwitchFormat = SwitchFormat, "false";
    }
    "Models" {
        /// A TOML file that replaces the built-in catalog of providers, models and tasks.
        MODEL_CATALOGUE: Optional<FilePath> = Optional(FilePath), "";
        /// Between two looks whether the file of `MODEL_CATALOGUE` has changed.
        CATALOGUE_POLL: SpanFormat = span(50, HOUR), "2s";
        /// Asks each provider for its list of models, at start and then every `CATALOGUE_WATCH_INTERVAL`, and tells
        /// what differs from the catalog.
        CATALOGUE_WATCH: SwitchFormat = SwitchFormat, "true";
        /// Between two questions for a provider's list of models, about.
        CATALOGUE_WATCH_INTERVAL: SpanFormat = span(100, 30 * DAY), "1d";
        /// The proxy through which providers are asked whose addresses are `https`. It sees names, not what is said.
        HTTPS_PROXY: Optional<ProxyUrl> = Optional(ProxyUrl), "";
        /// Hosts that are asked without it: names, which stand for those below them as well, addresses and networks,
        /// separated by commas.
        NO_PROXY: Optional<TextFormat> = Optional(TextFormat), "";
        /// The longest that one attempt at one model may take.
        ATTEMPT_TIMEOUT: SpanFormat = span(10, HOUR), "20s";
        /// Leaves a model alone that fails, while another of its route can answer. The next three say
        /// when.
        BREAKER: SwitchFormat = SwitchFormat, "true";
        /// A model is left alone when so many attempts have ended within `BREAKER_WINDOW`.
        BREAKER_ATTEMPTS: Whole<u32> = whole("attempts", 1, 1_000_000), "20";
        /// How far back a breaker looks.
        BREAKER_WINDOW: SpanFormat = span(100, HOUR), "10s";
        /// And when so many of these attempts have failed.
        BREAKER_FAILED_PERCENT: Whole<u32> = whole("percent", 1, 100), "50";
        /// Wrong keys a minute that one address may send to the gateway before it has to wait; 0 sets no limit.
        WRONG_KEYS_PER_MINUTE: Whole<u32> = whole("keys", 0, 1_000_000), "60";
        /// Answers of the gateway that are kept for whoever asks exactly the same with `temperature` 0, or under the same
        /// `Idempotency-Key`, all together; 0 keeps none.
        ANSWER_CACHE_BYTES: Whole<usize> = whole("bytes", 0, 1 << 34), "0";
        /// How long such an answer is kept.
        ANSWER_CACHE_AGE: SpanFormat = span(100, 30 * DAY), "1h";
        /// The key for OpenRouter. Not needed with a `MODEL_CATALOGUE`, which names its own
        /// variables; without one, development answers from a built-in sandbox.
        OPENROUTER_API_KEY: Optional<ApiKeyFormat> = Optional(ApiKeyFormat), "" => required;
        /// Where OpenRouter, or any server that speaks the same, is; `/chat/completions` is appended.
        OPENROUTER_BASE_URL: BaseUrl = BaseUrl, "https://openrouter.ai/api/v1";
        /// Reported by `system.aiConfig`.
        OPENROUTER_MODEL: TextFormat = TextFormat, "z-ai/glm-4.5-air:free";
        /// Reported by `system.aiConfig`.
        OLLAMA_BASE_URL: Optional<BaseUrl> = Optional(BaseUrl), "";
        /// Reported by `system.aiConfig`.
        OLLAMA_MODEL: TextFormat = TextFormat, "gemma3:9b";
        /// `system.aiConfig` reports whether it is set.
        GEMINI_API_KEY: Optional<ApiKeyFormat> = Optional(ApiKeyFormat), "";
        /// A TOML file that says how the models of the sandbox behave: latency, errors, faults.
        SANDBOX_CONFIG: Optional<FilePath> = Optional(FilePath), "";
    }
    "Metrics" {
        /// Between two events of `aiMetrics.onSummary`.
        SUMMARY_INTERVAL: SpanFormat = span(100, HOUR), "1s";
    }
    "Chat" {
        /// The longest that one message may take, all attempts together.
        CHAT_DEADLINE: SpanFormat = span(100, HOUR), "40s";
        /// How much of a conversation is sent along with a message.
        CHAT_HISTORY_TOKENS: Whole<usize> = whole("tokens", 0, 1_000_000), "8000";
        /// Messages of one user that are accepted in one minute.
        CHAT_RATE_LIMIT: Whole<usize> = whole("messages", 1, 1_000_000), "10";
    }
    "Alerts" {
        /// Sends alerts to a Slack channel, by an incoming webhook.
        SLACK_WEBHOOK_URL: Optional<SecretUrl> = Optional(SecretUrl), "";
        /// Sends alerts by e-mail to these; needs `ALERT_EMAIL_FROM` and `SMTP_URL`.
        ALERT_EMAIL_TO: Optional<MailAddresses> = Optional(MailAddresses), "";
        /// The sender of these e-mails.
        ALERT_EMAIL_FROM: Optional<MailAddress> = Optional(MailAddress), "";
        /// The server that takes these e-mails. `smtps` is encrypted from the start (port 465);
        /// `smtp` is encrypted as soon as the server offers it (port 587). With a password it must be
        /// encrypted, except on a loopback address.
        SMTP_URL: Optional<SmtpUrl> = Optional(SmtpUrl), "";
        /// Sends alerts as signed HTTP requests; needs `ALERT_WEBHOOK_SECRET`.
        ALERT_WEBHOOK_URL: Optional<SecretUrl> = Optional(SecretUrl), "";
        /// Signs these requests (HMAC-SHA256).
        ALERT_WEBHOOK_SECRET: Optional<SecretFormat> = Optional(SecretFormat), "";
        /// Sends alerts to PagerDuty, by an integration of the Events API v2.
        PAGERDUTY_ROUTING_KEY: Optional<ApiKeyFormat> = Optional(ApiKeyFormat), "";
        /// Where PagerDuty is; `/v2/enqueue` is appended.
        PAGERDUTY_URL: BaseUrl = BaseUrl, "https://events.pagerduty.com";
        /// The channels that get alerts of severity info; all get the others.
        ALERT_INFO_CHANNELS: ListFormat<ChannelName> = ListFormat(&CHANNELS), "slack,email,webhook";
        /// A warning that was not delivered for as long, or keeps coming back for as long, is
        /// critical.
        ALERT_ESCALATE_AFTER: SpanFormat = span(1_000, 7 * DAY), "30m";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_an_environment() {
        let mut seen = BTreeSet::new();
        for setting in all() {
            let name = setting.row().name;
            assert!(seen.insert(name), "{name} is listed twice");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                "{name}"
            );
        }
    }

    #[test]
    fn defaults_and_template_values_fit_their_formats() {
        for setting in all() {
            let row = setting.row();
            let values = [Some(row.default), row.dev, row.prod];
            for value in values.into_iter().flatten().filter(|v| !v.is_empty()) {
                assert_eq!(setting.check(value), Ok(()), "{}", row.name);
            }
        }
    }

    #[test]
    fn secrets_have_no_default() {
        for setting in all().filter(|setting| setting.secret()) {
            assert_eq!(setting.row().default, "", "{}", setting.row().name);
        }
    }
}
