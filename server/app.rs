//! Builds the server from its settings, runs it, and stops it without losing anything.

use std::{future::Future, io::Write, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    _core::{
        auth::{Authenticator, Claims, Role, SessionKey},
        config::{Config, Sources},
        feature_flags::FeatureFlags,
        registry::Registry,
        tasks::Tasks,
    },
    ai_metrics::{AiMetrics, EventStore, MAX_WINDOW, recorder::Recorder},
    chat::Chat,
    model_router::{Clients, ModelRouter, catalog::Catalog},
    providers::sandbox::Sandbox,
    routers, schema,
    storage::{Storage, secret_for_development},
    transport::{self, gate::Gate, trpc},
};

/// A server that is built and not yet listening.
pub struct App {
    /// The settings it was built from.
    pub config: Config,
    /// The procedures.
    pub registry: Arc<Registry>,
    /// The windows, which tests fill.
    pub metrics: Arc<AiMetrics>,
    /// The database.
    pub storage: Storage,
    /// Where the sandbox answers, if it runs.
    pub sandbox_url: Option<String>,
    tasks: Tasks,
    router: axum::Router,
    recorder: Option<JoinHandle<()>>,
}

impl App {
    /// Opens the database, fills the windows, and wires everything together.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        Self::build_with(config, |_| {}).await
    }

    /// The same, with further procedures.
    pub async fn build_with(
        config: Config,
        extend: impl FnOnce(&mut Registry),
    ) -> anyhow::Result<Self> {
        // A provider that was installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let catalog = Catalog::load(&config.models, &config.providers, config.environment)?;
        let storage = Storage::open(&config.database.url).await?;
        let tasks = Tasks::default();

        let flags = Arc::new(FeatureFlags::new(config.flags.clone()));
        let (metrics, recorder) = start_metrics(&storage, &tasks).await?;
        let sandbox =
            if catalog.needs_sandbox() { Some(Sandbox::start(&tasks).await?) } else { None };
        let sandbox_url = sandbox.as_ref().map(|sandbox| sandbox.base_url().to_owned());
        let clients = Clients::connect(&catalog, sandbox_url.as_deref())?;
        let models = Arc::new(ModelRouter::new(
            catalog,
            clients,
            flags.clone(),
            metrics.clone(),
            config.models.attempt_timeout,
        ));
        let store = Arc::new(storage.clone());
        let chat = Arc::new(Chat::new(store.clone(), models.clone(), config.chat.clone()));

        let mut registry = Registry::new(tasks.clone());
        routers::register(
            &mut registry,
            routers::Parts { config: &config, flags, metrics: metrics.clone(), models, chat },
        );
        extend(&mut registry);
        let registry = Arc::new(registry);

        let authenticator = Authenticator::new(
            SessionKey::new(&session_secret(&config)?),
            config.auth.owner_open_id.clone(),
            store,
        );
        let gate =
            Arc::new(Gate::new(Arc::new(authenticator), config.server.allowed_origins.clone()));
        let readiness = {
            let storage = storage.clone();
            move || {
                let storage = storage.clone();
                async move {
                    match storage.ping().await {
                        Ok(()) => Vec::new(),
                        Err(error) => vec![format!("the database does not answer: {error}")],
                    }
                }
            }
        };
        let trpc = trpc::routes(Arc::new(trpc::Trpc {
            registry: registry.clone(),
            gate: gate.clone(),
            config: config.trpc.clone(),
            tasks: tasks.clone(),
            max_body_bytes: config.server.max_body_bytes,
        }));
        let router = transport::router(transport::Parts {
            openrpc: schema::openrpc::document(&registry),
            registry: registry.clone(),
            gate,
            tasks: tasks.clone(),
            server: config.server.clone(),
            jsonrpc: config.jsonrpc.clone(),
            ping_interval: config.trpc.ping_interval,
            readiness: Arc::new(move || Box::pin(readiness())),
            trpc,
        })?;
        Ok(Self {
            config,
            registry,
            metrics,
            storage,
            sandbox_url,
            tasks,
            router,
            recorder: Some(recorder),
        })
    }

    /// Serves until `stop` resolves; then what runs is finished and the last events are written.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let patience = self.config.server.shutdown_timeout;
        if !transport::serve(listener, self.router, &self.tasks, stop, patience).await {
            tracing::warn!(?patience, "some work was still running at the end of SHUTDOWN_TIMEOUT");
        }
        // The recorder ends once everything that could record is gone.
        drop(self.metrics);
        self.storage.close().await;
    }
}
