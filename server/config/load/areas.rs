//! Each area's struct, made of the values of its settings. Nothing is checked here but each setting alone.

use std::path::PathBuf;

use super::{
    super::{
        AlertsConfig, AnswerCacheConfig, AuthConfig, BreakerConfig, ChatConfig, Config,
        DatabaseConfig, EmailConfig, JsonRpcConfig, LegacyConfig, MetricsConfig, ModelsConfig,
        OidcConfig, PagerDutyConfig, ProvidersConfig, RolloutConfig, SandboxConfig, ServerConfig,
        TelemetryConfig, TrpcConfig, WebhookConfig,
        faults::{ConfigFault, ConfigFaults},
        formats::Format,
        in_force::in_force,
        settings::*,
        sources::Sources,
    },
    SettingValues,
};
use crate::_core::{
    auth::{asserted::TrustedProxy, oidc::RoleWords},
    feature_flags::FlagsConfig,
    logging::LogConfig,
    site::SiteConfig,
};

impl SettingValues<'_> {
    /// All areas, from settings that are right by themselves and together.
    pub(super) fn build(&self, sources: &Sources) -> Result<Config, ConfigFaults> {
        Ok(Config {
            environment: self.environment()?,
            server: self.server()?,
            log: self.log()?,
            telemetry: self.telemetry()?,
            trpc: self.trpc()?,
            legacy: self.legacy()?,
            mcp_tools: self.get(&MCP_TOOLS)?,
            jsonrpc: self.jsonrpc()?,
            database: self.database()?,
            auth: self.auth()?,
            flags: self.flags()?,
            models: self.models(sources)?,
            providers: self.providers()?,
            metrics: self.metrics()?,
            chat: self.chat()?,
            rollout: RolloutConfig {
                plans: self.path(&ROLLOUT_PLANS, sources)?,
            },
            sandbox: SandboxConfig {
                file: self.path(&SANDBOX_CONFIG, sources)?,
            },
            alerts: self.alerts()?,
            settings: in_force(self.0),
            warnings: self.0.warnings.clone(),
        })
    }

    /// A path of the settings; a relative one begins at the folder that the server was started in.
    fn path<F: Format<Value = Option<PathBuf>>>(
        &self,
        setting: &Setting<F>,
        sources: &Sources,
    ) -> Result<Option<PathBuf>, ConfigFault> {
        let path = self.get(setting)?;
        Ok(path.map(|path| sources.working_dir.join(path)))
    }

    fn server(&self) -> Result<ServerConfig, ConfigFault> {
        Ok(ServerConfig {
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
        })
    }

    fn log(&self) -> Result<LogConfig, ConfigFault> {
        Ok(LogConfig {
            filter: self.get(&LOG_LEVEL)?,
            json: self.get(&LOG_FORMAT)?,
        })
    }

    fn telemetry(&self) -> Result<TelemetryConfig, ConfigFault> {
        Ok(TelemetryConfig {
            endpoint: self.get(&OTEL_EXPORTER_OTLP_ENDPOINT)?,
            headers: self.get(&OTEL_EXPORTER_OTLP_HEADERS)?,
            service: self.get(&OTEL_SERVICE_NAME)?,
            format: self.get(&OTEL_EXPORTER_OTLP_PROTOCOL)?,
            texts: self.get(&OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)?,
        })
    }

    fn trpc(&self) -> Result<TrpcConfig, ConfigFault> {
        Ok(TrpcConfig {
            transformer: self.get(&TRPC_TRANSFORMER)?,
            method_override: self.get(&TRPC_METHOD_OVERRIDE)?,
            max_batch: self.get(&TRPC_MAX_BATCH)?,
            ping_interval: self.get(&TRPC_PING_INTERVAL)?,
        })
    }

    fn jsonrpc(&self) -> Result<JsonRpcConfig, ConfigFault> {
        Ok(JsonRpcConfig {
            max_batch: self.get(&JSONRPC_MAX_BATCH)?,
            batch_concurrency: self.get(&JSONRPC_BATCH_CONCURRENCY)?,
            max_connections: self.get(&JSONRPC_MAX_CONNECTIONS)?,
        })
    }

    fn database(&self) -> Result<DatabaseConfig, ConfigFault> {
        Ok(DatabaseConfig {
            url: self.get(&DATABASE_URL)?,
            event_retention: self.get(&EVENT_RETENTION)?,
            text_tasks: self.get(&TEXT_TASKS)?,
            text_retention: self.get(&TEXT_RETENTION)?,
        })
    }

    fn auth(&self) -> Result<AuthConfig, ConfigFault> {
        Ok(AuthConfig {
            jwt_secret: self.get(&JWT_SECRET)?,
            jwt_secret_previous: self.get(&JWT_SECRET_PREVIOUS)?,
            owner_open_id: self.get(&OWNER_OPEN_ID)?,
            app_id: self.get(&VITE_APP_ID)?,
            session_ttl: self.get(&SESSION_TTL)?,
            site: self.site()?,
            oidc: self.oidc()?,
            proxy: self.proxy()?,
        })
    }

    fn site(&self) -> Result<SiteConfig, ConfigFault> {
        Ok(SiteConfig {
            public_url: self.get(&PUBLIC_URL)?,
            trusted_headers: self.get(&TRUSTED_PROXY_HEADERS)?,
            cookie_domain: self.get(&SESSION_COOKIE_DOMAIN)?,
            cookie_same_site: self.get(&SESSION_COOKIE_SAME_SITE)?,
            cookie_partitioned: self.get(&SESSION_COOKIE_PARTITIONED)?,
            csrf_token: self.get(&CSRF_TOKEN)?,
            csrf_exempt: self.get(&CSRF_EXEMPT)?,
        })
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

    fn flags(&self) -> Result<FlagsConfig, ConfigFault> {
        Ok(FlagsConfig {
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
        })
    }

    fn models(&self, sources: &Sources) -> Result<ModelsConfig, ConfigFault> {
        Ok(ModelsConfig {
            catalog: self.path(&MODEL_CATALOGUE, sources)?,
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
        })
    }

    fn providers(&self) -> Result<ProvidersConfig, ConfigFault> {
        Ok(ProvidersConfig {
            openrouter_api_key: self.get(&OPENROUTER_API_KEY)?,
            openrouter_base_url: self.get(&OPENROUTER_BASE_URL)?,
            ollama_base_url: self.get(&OLLAMA_BASE_URL)?,
            ollama_model: self.get(&OLLAMA_MODEL)?,
            gemini_api_key: self.get(&GEMINI_API_KEY)?,
            api_keys: self
                .0
                .api_keys()
                .map(|(name, key)| (name.to_owned(), key.into()))
                .collect(),
        })
    }

    fn metrics(&self) -> Result<MetricsConfig, ConfigFault> {
        Ok(MetricsConfig {
            summary_interval: self.get(&SUMMARY_INTERVAL)?,
        })
    }

    fn chat(&self) -> Result<ChatConfig, ConfigFault> {
        Ok(ChatConfig {
            deadline: self.get(&CHAT_DEADLINE)?,
            history_tokens: self.get(&CHAT_HISTORY_TOKENS)?,
            rate_limit: self.get(&CHAT_RATE_LIMIT)?,
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
