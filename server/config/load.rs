//! From texts to a [`Config`]: first every setting is checked alone, then together, then it is built.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::{
    AlertsConfig, AnswerCacheConfig, AuthConfig, BreakerConfig, ChatConfig, Config, DatabaseConfig,
    EmailConfig, JsonRpcConfig, LegacyConfig, MetricsConfig, ModelsConfig, OidcConfig,
    PagerDutyConfig, ProvidersConfig, RolloutConfig, SandboxConfig, ServerConfig, TelemetryConfig,
    TrpcConfig, WebhookConfig,
    faults::{ConfigFault, ConfigFaults, shown},
    formats::Format,
    in_force::in_force,
    settings::{self, *},
    sources::{Merged, Sources, profile_file},
};
use crate::_core::{
    auth::{asserted::TrustedProxy, oidc::RoleWords},
    environment::Environment,
    feature_flags::FlagsConfig,
    logging::LogConfig,
    site::SiteConfig,
};

/// The shortest `JWT_SECRET` of staging and production: as long as what HS256 makes of it.
const MIN_SECRET_BYTES: usize = 32;

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
        let values = Values(&merged);
        faults.extend(values.faults_together());
        ConfigFaults::check_with(faults, &merged.warnings)?;
        values.build(sources)
    }
}

/// Typed values by their settings.
pub(super) struct Values<'a>(pub(super) &'a Merged);

impl Values<'_> {
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

    /// Rules about more than one setting. A setting that is wrong by itself breaks none.
    fn faults_together(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if !self.is_given(&APP_ENV)
            && let Ok(host) = self.get(&HOST)
            && !host.to_canonical().is_loopback()
        {
            faults.push(ConfigFault::new(
                HOST.row.name,
                format!("is `{host}` although `{}` is not set", APP_ENV.row.name),
                format!(
                    "a loopback address, or `{}` set to {}",
                    APP_ENV.row.name,
                    APP_ENV.expected()
                ),
            ));
        }
        faults.extend(self.own_address_as_old_server());
        let exempt = self.get(&CSRF_EXEMPT).unwrap_or_default();
        if exempt.iter().any(|path| path == "/") {
            faults.push(ConfigFault::new(
                CSRF_EXEMPT.row.name,
                "has `/`, at or below which every path is",
                format!(
                    "the paths that are meant, or `{}` set to `off`",
                    CSRF_TOKEN.row.name
                ),
            ));
        }
        // Without the old server nobody would notice that they do nothing.
        let named = [
            (&LEGACY_PATHS.row, self.get(&LEGACY_PATHS)),
            (&LEGACY_PROCEDURES.row, self.get(&LEGACY_PROCEDURES)),
            (&LEGACY_MAY_DIFFER.row, self.get(&LEGACY_MAY_DIFFER)),
            (&LEGACY_UNORDERED.row, self.get(&LEGACY_UNORDERED)),
        ];
        let mut named = named.iter();
        let named = named.find(|(_, value)| value.as_ref().is_ok_and(|value| !value.is_empty()));
        if let (Some((row, _)), false) = (named, self.is_given(&LEGACY_TRPC_URL)) {
            faults.push(ConfigFault::new(
                LEGACY_TRPC_URL.row.name,
                format!("is not set although `{}` is", row.name),
                LEGACY_TRPC_URL.expected(),
            ));
        }
        let email: [&Row; 3] = [&ALERT_EMAIL_TO.row, &ALERT_EMAIL_FROM.row, &SMTP_URL.row];
        let webhook: [&Row; 2] = [&ALERT_WEBHOOK_URL.row, &ALERT_WEBHOOK_SECRET.row];
        let service: [&Row; 2] = [&OIDC_ISSUER.row, &OIDC_CLIENT_ID.row];
        let proxy: [&Row; 2] = [&TRUSTED_USER_HEADER.row, &TRUSTED_USER_PROXIES.row];
        faults.extend(self.missing_among(&service));
        faults.extend(self.missing_among(&proxy));
        faults.extend(self.missing_for(&OIDC_CLIENT_SECRET.row, &OIDC_ISSUER.row));
        faults.extend(self.missing_for(&TRUSTED_ROLES_HEADER.row, &TRUSTED_USER_HEADER.row));
        if self.environment().is_ok_and(|it| !it.is_local()) {
            faults.extend(self.missing_for(&OIDC_ISSUER.row, &PUBLIC_URL.row));
        }
        faults.extend(self.missing_among(&email));
        faults.extend(self.missing_among(&webhook));
        if let Ok(environment) = self.environment() {
            if profile_file(environment) != self.0.profile {
                faults.push(ConfigFault::new(
                    self.0.profile,
                    format!(
                        "names an environment for which `{}` is read",
                        profile_file(environment)
                    ),
                    format!("`{}` in the environment or in `.env`", APP_ENV.row.name),
                ));
            }
            if !environment.is_local() {
                faults.extend(self.missing_secrets());
            }
        }
        faults
    }

    /// Requests that are passed on must not come back.
    fn own_address_as_old_server(&self) -> Option<ConfigFault> {
        let text = self.get(&LEGACY_TRPC_URL).ok()??;
        let url = Url::parse(&text).ok()?;
        let public = self.get(&PUBLIC_URL).ok().flatten();
        let public = public.and_then(|public| Url::parse(&public).ok());
        let is_public = public.is_some_and(|public| public.origin() == url.origin());
        let own: IpAddr = self.get(&HOST).ok()?;
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified();
        let named = match url.host()? {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
            Host::Domain(_) => None,
        };
        let is_here = named.is_some_and(|ip| ip == own || is_local(ip) && is_local(own));
        let is_own = is_here && url.port_or_known_default() == self.get(&PORT).ok();
        (is_own || is_public).then(|| {
            ConfigFault::new(
                LEGACY_TRPC_URL.row.name,
                format!("is `{}`, which is this server itself", shown(&text)),
                "the address of the server that this one takes the place of",
            )
        })
    }

    /// What is missing where a setting is there that needs it.
    fn missing_for(&self, given: &Row, needed: &Row) -> Option<ConfigFault> {
        // One that is wrong itself is told so, and that is enough.
        let text = &self.0.get(given.name)?.text;
        let is_right = settings::find(given.name)?.check(text).is_ok();
        let is_missing = is_right && self.0.get(needed.name).is_none();
        let setting = settings::find(needed.name).filter(|_| is_missing)?;
        let found = format!("is not set although `{}` is", given.name);
        Some(ConfigFault::new(needed.name, found, setting.expected()))
    }

    fn words(&self) -> Result<RoleWords, ConfigFault> {
        Ok(RoleWords {
            admin: self.get(&ADMIN_ROLES)?,
            viewer: self.get(&VIEWER_ROLES)?,
        })
    }

    fn oidc(&self) -> Result<Option<OidcConfig>, ConfigFault> {
        let (issuer, client_id) = (self.get(&OIDC_ISSUER)?, self.get(&OIDC_CLIENT_ID)?);
        let (Some(issuer), Some(client_id)) = (issuer, client_id) else {
            return Ok(None);
        };
        Ok(Some(OidcConfig {
            issuer,
            client_id,
            client_secret: self.get(&OIDC_CLIENT_SECRET)?,
            scopes: self.get(&OIDC_SCOPES)?.join(" "),
            role_claim: self.get(&ROLE_CLAIM)?,
            words: self.words()?,
        }))
    }

    fn proxy(&self) -> Result<Option<TrustedProxy>, ConfigFault> {
        let Some(header) = self.get(&TRUSTED_USER_HEADER)? else {
            return Ok(None);
        };
        Ok(Some(TrustedProxy {
            header,
            roles: self.get(&TRUSTED_ROLES_HEADER)?,
            words: self.words()?,
            addresses: self.get(&TRUSTED_USER_PROXIES)?,
            ttl: self.get(&TRUSTED_USER_TTL)?,
        }))
    }

    /// Settings that count only together: what is missing where one of them is there.
    fn missing_among(&self, rows: &[&Row]) -> Vec<ConfigFault> {
        let given = |row: &Row| self.0.get(row.name);
        let is_right = |row: &&&Row| {
            let setting = settings::find(row.name);
            let text = given(row).map(|given| &given.text);
            setting
                .zip(text)
                .is_some_and(|(setting, text)| setting.check(text).is_ok())
        };
        let Some(first) = rows.iter().find(is_right) else {
            return Vec::new();
        };
        let missing = rows.iter().filter(|row| given(row).is_none());
        missing
            .filter_map(|row| {
                let found = format!("is not set although `{}` is", first.name);
                let expected = settings::find(row.name)?.expected();
                Some(ConfigFault::new(row.name, found, expected))
            })
            .collect()
    }

    fn missing_secrets(&self) -> Vec<ConfigFault> {
        let required = settings::all().filter(|setting| {
            let named_elsewhere = setting.row().name == OPENROUTER_API_KEY.row.name
                && self.is_given(&MODEL_CATALOGUE);
            setting.row().required && !named_elsewhere
        });
        let mut faults: Vec<_> = required
            .filter(|setting| self.0.get(setting.row().name).is_none())
            .map(|setting| {
                let found = "is not set, which only development and test allow";
                ConfigFault::new(setting.row().name, found, setting.expected())
            })
            .collect();
        for row in [&JWT_SECRET.row, &JWT_SECRET_PREVIOUS.row] {
            if let Some(secret) = self.0.get(row.name)
                && secret.text.len() < MIN_SECRET_BYTES
            {
                faults.push(ConfigFault::new(
                    row.name,
                    format!("has {} bytes", secret.text.len()),
                    format!(
                        "at least {MIN_SECRET_BYTES} bytes, such as `openssl rand -hex 32` prints"
                    ),
                ));
            }
        }
        faults
    }

    fn build(&self, sources: &Sources) -> Result<Config, ConfigFaults> {
        let api_keys = self.0.api_keys();
        Ok(Config {
            environment: self.environment()?,
            server: ServerConfig {
                host: self.get(&HOST)?,
                port: self.get(&PORT)?,
                allowed_origins: self.get(&CORS_ALLOWED_ORIGINS)?,
                max_body_bytes: self.get(&MAX_BODY_BYTES)?,
                max_connections: self.get(&MAX_CONNECTIONS)?,
                max_calls: self.get(&MAX_CALLS)?,
                max_subscriptions: self.get(&MAX_SUBSCRIPTIONS)?,
                max_bytes_in_flight: self.get(&MAX_BYTES_IN_FLIGHT)?,
                metrics_token: self.get(&METRICS_TOKEN)?,
                status_page: self.get(&STATUS_PAGE)?,
                shutdown_timeout: self.get(&SHUTDOWN_TIMEOUT)?,
            },
            log: LogConfig {
                filter: self.get(&LOG_LEVEL)?,
                json: self.get(&LOG_FORMAT)?,
            },
            telemetry: TelemetryConfig {
                endpoint: self.get(&OTEL_EXPORTER_OTLP_ENDPOINT)?,
                headers: self.get(&OTEL_EXPORTER_OTLP_HEADERS)?,
                service: self.get(&OTEL_SERVICE_NAME)?,
                format: self.get(&OTEL_EXPORTER_OTLP_PROTOCOL)?,
                texts: self.get(&OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)?,
            },
            trpc: TrpcConfig {
                transformer: self.get(&TRPC_TRANSFORMER)?,
                method_override: self.get(&TRPC_METHOD_OVERRIDE)?,
                max_batch: self.get(&TRPC_MAX_BATCH)?,
                ping_interval: self.get(&TRPC_PING_INTERVAL)?,
            },
            legacy: self.legacy()?,
            mcp_tools: self.get(&MCP_TOOLS)?,
            jsonrpc: JsonRpcConfig {
                max_batch: self.get(&JSONRPC_MAX_BATCH)?,
                batch_concurrency: self.get(&JSONRPC_BATCH_CONCURRENCY)?,
                max_connections: self.get(&JSONRPC_MAX_CONNECTIONS)?,
            },
            database: DatabaseConfig {
                url: self.get(&DATABASE_URL)?,
                event_retention: self.get(&EVENT_RETENTION)?,
                text_tasks: self.get(&TEXT_TASKS)?,
                text_retention: self.get(&TEXT_RETENTION)?,
            },
            auth: AuthConfig {
                jwt_secret: self.get(&JWT_SECRET)?,
                jwt_secret_previous: self.get(&JWT_SECRET_PREVIOUS)?,
                owner_open_id: self.get(&OWNER_OPEN_ID)?,
                app_id: self.get(&VITE_APP_ID)?,
                session_ttl: self.get(&SESSION_TTL)?,
                site: SiteConfig {
                    public_url: self.get(&PUBLIC_URL)?,
                    trusted_headers: self.get(&TRUSTED_PROXY_HEADERS)?,
                    cookie_domain: self.get(&SESSION_COOKIE_DOMAIN)?,
                    cookie_same_site: self.get(&SESSION_COOKIE_SAME_SITE)?,
                    cookie_partitioned: self.get(&SESSION_COOKIE_PARTITIONED)?,
                    csrf_token: self.get(&CSRF_TOKEN)?,
                    csrf_exempt: self.get(&CSRF_EXEMPT)?,
                },
                oidc: self.oidc()?,
                proxy: self.proxy()?,
            },
            flags: FlagsConfig {
                percentage: self.get(&OPENROUTER_ROLLOUT_PERCENTAGE)?,
                force_openrouter: self.get(&FORCE_OPENROUTER)?,
                force_server_side_chat: self.get(&FORCE_SERVER_SIDE_CHAT)?,
                force_streaming: self.get(&FORCE_STREAMING)?,
                force_model_routing: self.get(&FORCE_MODEL_ROUTING)?,
                force_utcp: self.get(&FORCE_UTCP)?,
                model_routing: self.get(&MODEL_ROUTING)?,
                algorithm: self.get(&ASSIGNMENT_ALGORITHM)?,
                salt: self.get(&ASSIGNMENT_SALT)?,
                forced_on: self.get(&FORCED_ON_USERS)?,
                forced_off: self.get(&FORCED_OFF_USERS)?,
            },
            models: ModelsConfig {
                catalog: self
                    .get(&MODEL_CATALOGUE)?
                    .map(|path| sources.working_dir.join(path)),
                catalog_poll: self.get(&CATALOGUE_POLL)?,
                catalog_watch: self
                    .get(&CATALOGUE_WATCH)?
                    .then_some(self.get(&CATALOGUE_WATCH_INTERVAL)?),
                proxy: self.get(&HTTPS_PROXY)?,
                no_proxy: self.get(&NO_PROXY)?,
                attempt_timeout: self.get(&ATTEMPT_TIMEOUT)?,
                breaker: self.get(&BREAKER)?.then_some(BreakerConfig {
                    attempts: self.get(&BREAKER_ATTEMPTS)?,
                    window: self.get(&BREAKER_WINDOW)?,
                    failed_percent: self.get(&BREAKER_FAILED_PERCENT)?,
                }),
                wrong_keys_per_minute: self.get(&WRONG_KEYS_PER_MINUTE)?,
                answer_cache: AnswerCacheConfig {
                    bytes: self.get(&ANSWER_CACHE_BYTES)?,
                    age: self.get(&ANSWER_CACHE_AGE)?,
                },
                openrouter_model: self.get(&OPENROUTER_MODEL)?,
            },
            providers: ProvidersConfig {
                openrouter_api_key: self.get(&OPENROUTER_API_KEY)?,
                openrouter_base_url: self.get(&OPENROUTER_BASE_URL)?,
                ollama_base_url: self.get(&OLLAMA_BASE_URL)?,
                ollama_model: self.get(&OLLAMA_MODEL)?,
                gemini_api_key: self.get(&GEMINI_API_KEY)?,
                api_keys: api_keys
                    .map(|(name, key)| (name.to_owned(), key.into()))
                    .collect(),
            },
            metrics: MetricsConfig {
                summary_interval: self.get(&SUMMARY_INTERVAL)?,
            },
            chat: ChatConfig {
                deadline: self.get(&CHAT_DEADLINE)?,
                history_tokens: self.get(&CHAT_HISTORY_TOKENS)?,
                rate_limit: self.get(&CHAT_RATE_LIMIT)?,
            },
            rollout: RolloutConfig {
                plans: self
                    .get(&ROLLOUT_PLANS)?
                    .map(|path| sources.working_dir.join(path)),
            },
            sandbox: SandboxConfig {
                file: self
                    .get(&SANDBOX_CONFIG)?
                    .map(|path| sources.working_dir.join(path)),
            },
            alerts: self.alerts()?,
            settings: in_force(self.0),
            warnings: self.0.warnings.clone(),
        })
    }

    fn legacy(&self) -> Result<Option<LegacyConfig>, ConfigFault> {
        let Some(url) = self.get(&LEGACY_TRPC_URL)? else {
            return Ok(None);
        };
        Ok(Some(LegacyConfig {
            url,
            procedures: self.get(&LEGACY_PROCEDURES)?,
            paths: self.get(&LEGACY_PATHS)?,
            forwards_session: self.get(&LEGACY_FORWARD_SESSION)?,
            timeout: self.get(&LEGACY_TIMEOUT)?,
            max_requests: self.get(&LEGACY_MAX_REQUESTS)?,
            max_upload_bytes: self.get(&LEGACY_MAX_UPLOAD_BYTES)?,
            max_answer_bytes: self.get(&LEGACY_MAX_ANSWER_BYTES)?,
            may_differ: self.get(&LEGACY_MAY_DIFFER)?,
            unordered: self.get(&LEGACY_UNORDERED)?,
            tolerated_differences: self.get(&LEGACY_TOLERATED_DIFFERENCES)?,
            max_shadows: self.get(&LEGACY_MAX_SHADOWS)?,
        }))
    }

    fn alerts(&self) -> Result<AlertsConfig, ConfigFault> {
        let email = (
            self.get(&SMTP_URL)?,
            self.get(&ALERT_EMAIL_FROM)?,
            self.get(&ALERT_EMAIL_TO)?,
        );
        let webhook = (
            self.get(&ALERT_WEBHOOK_URL)?,
            self.get(&ALERT_WEBHOOK_SECRET)?,
        );
        let pagerduty_url = self.get(&PAGERDUTY_URL)?;
        Ok(AlertsConfig {
            slack: self.get(&SLACK_WEBHOOK_URL)?,
            email: match email {
                (Some(smtp_url), Some(from), Some(to)) => Some(EmailConfig { smtp_url, from, to }),
                _ => None,
            },
            webhook: match webhook {
                (Some(url), Some(secret)) => Some(WebhookConfig { url, secret }),
                _ => None,
            },
            pagerduty: self
                .get(&PAGERDUTY_ROUTING_KEY)?
                .map(|routing_key| PagerDutyConfig {
                    routing_key,
                    url: pagerduty_url,
                }),
            info_channels: self.get(&ALERT_INFO_CHANNELS)?,
            escalate_after: self.get(&ALERT_ESCALATE_AFTER)?,
        })
    }
}

#[cfg(test)]
mod tests;
