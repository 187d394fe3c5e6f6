//! What calls models, built from the catalog.

use std::sync::Arc;

use anyhow::Context as _;

use super::catalog;
use crate::{
    _core::feature_flags::FeatureFlags,
    ai_metrics::AiMetrics,
    config::{Config, ModelsConfig},
    model_router::{Clients, ModelRouter, catalog::Catalog},
    providers::{
        connection::Http,
        openai_compatible::{ClientError, http_client, http_client_through},
        sandbox::Sandbox,
    },
    recording::texts::Keep,
    storage::Storage,
    telemetry::{self, Exporter, Telemetry},
};

pub(super) struct ModelParts {
    pub(super) router: Arc<ModelRouter>,
    /// Where requests go, a line for each provider that a task uses.
    pub(super) destinations: Vec<String>,
    /// Runs while this is held, where a provider is simulated.
    pub(super) sandbox: Option<Sandbox>,
    /// Sends spans, where the settings name a collector.
    pub(super) exporter: Option<Exporter>,
}

/// What providers are asked with: through the proxy, where the settings name one.
pub(crate) fn http(config: &ModelsConfig) -> Result<Http, ClientError> {
    match &config.proxy {
        Some(proxy) => http_client_through(proxy, config.no_proxy.as_deref()),
        None => http_client(),
    }
}

impl ModelParts {
    /// Starts the sandbox where one is needed, and reads what our accounts have used.
    pub(super) async fn open(
        catalog: Catalog,
        config: &Config,
        flags: &Arc<FeatureFlags>,
        metrics: &Arc<AiMetrics>,
        storage: &Storage,
        texts: &Keep,
    ) -> anyhow::Result<Self> {
        let sandbox = catalog::sandbox(config, &catalog).await?;
        let sandbox_url = sandbox.as_ref().map(Sandbox::base_url);
        let http = http(&config.models)?;
        let clients = Clients::over(http, &catalog, sandbox_url)?;
        let destinations = catalog::destinations(&catalog, sandbox_url);
        catalog::warn_of_an_unused_address(config, &catalog);
        let (spans, exporter) = telemetry::exporter(&config.telemetry)?.unzip();
        let timeout = config.models.attempt_timeout;
        let router = ModelRouter::new(catalog, clients, flags.clone(), metrics.clone(), timeout)
            .with_telemetry(Telemetry::new(spans, config.telemetry.texts))
            .with_texts(texts.clone())
            .with_breakers(config.models.breaker.map(Into::into));
        let router = Arc::new(router);
        let restored = router.restore_quotas(Arc::new(storage.clone())).await;
        restored.context("cannot read what our accounts have used")?;
        Ok(Self {
            router,
            destinations,
            sandbox,
            exporter,
        })
    }
}
