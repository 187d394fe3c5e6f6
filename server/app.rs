//! Builds the server from its settings, runs it, and stops it without losing anything.

mod bereft;
pub(crate) mod catalog;
pub mod filling;
mod introduction;
mod judging;
mod models;
mod noted;
mod probes;
mod prometheus;
mod reload;
mod routes;
mod sampling;
mod sessions;
mod signals;
mod upkeep;
mod watch;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::net::TcpListener;

pub(crate) use self::models::http as provider_http;
pub use self::sessions::{
    Issued, SessionGrant, end_sessions, issue, issue_token, issue_tokens, require_database,
    set_role,
};
pub use self::signals::stop_signal;
use self::{
    filling::Filling,
    models::ModelParts,
    prometheus::Gauges,
    reload::{Reload, Stamp},
    signals::Hangups,
    watch::ModelWatcher,
};
use crate::{
    _core::{
        auth::Authenticator, call_limits::CallLimits, clock, feature_flags::FeatureFlags,
        http_client, procedure::Runner, registry::Registry, site::Site, takings::Takings,
        tasks::Tasks,
    },
    accounts::Accounts,
    ai_metrics::AiMetrics,
    alerting::Dispatcher,
    chat::Chat,
    config::Config,
    email_intelligence::EmailIntelligence,
    fleet::{self, Fleet, replicas::Replicas},
    gateway::Cache,
    keys::Spending,
    live_flags::LiveFlags,
    migration::Moves,
    model_router::ModelRouter,
    providers::sandbox::Sandbox,
    recording::{Log, texts::Keep},
    rollout::{
        controller::{self, Controller, World},
        plan::Library,
        store::RolloutStore,
    },
    routers,
    storage::{self, Storage},
    telemetry::Exporter,
    transport::{
        self,
        bounds::{Bounds, descriptors},
        gate::Gate,
    },
};

/// A server that is built and not yet listening.
pub struct App {
    /// The settings it was built from.
    pub config: Config,
    /// The procedures.
    pub registry: Arc<Registry>,
    /// The windows, which tests fill.
    pub metrics: Arc<AiMetrics>,
    /// What is still to be read into them.
    pub filling: Arc<Filling>,
    /// The database.
    pub storage: Storage,
    /// Where the sandbox answers, if it runs.
    pub sandbox_url: Option<String>,
    /// Where requests for models go, a line for each provider that a task uses.
    destinations: Vec<String>,
    /// Calls, connections and sockets.
    tasks: Tasks,
    /// The rollouts.
    pub controller: Arc<Controller>,
    /// The way of changes to the process that leads.
    fleet: Arc<Fleet>,
    /// Who is in the fleet.
    replicas: Arc<Replicas>,
    models: Arc<ModelRouter>,
    /// Who gets what.
    pub flags: Arc<FeatureFlags>,
    /// The kill switch and the live share.
    pub live: Arc<LiveFlags>,
    /// Who answers what an old server has as well; none without one.
    pub moves: Option<Arc<Moves>>,
    authenticator: Arc<Authenticator>,
    /// Who stores what calls leave behind, and so outlives all calls: the rollouts' controller, the
    /// kill switch with the live share, ends of sessions, and what keys spend.
    recording: Tasks,
    spending: Arc<Spending>,
    texts: Keep,
    /// What the processes on one database take of limits together.
    takings: Arc<Takings>,
    exporter: Option<Exporter>,
    dispatcher: Arc<Dispatcher>,
    router: axum::Router,
    bounds: Bounds,
    /// What the catalog's file looked like before it was read.
    seen: Option<Stamp>,
    hangups: Hangups,
    _sandbox: Option<Sandbox>,
}

impl App {
    /// Opens the database, fills the windows, and wires everything together.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        Self::build_with(config, |_| {}).await
    }

    /// The same, with further procedures.
    #[expect(clippy::disallowed_methods, reason = "a start is now")]
    pub async fn build_with(
        config: Config,
        extend: impl FnOnce(&mut Registry),
    ) -> anyhow::Result<Self> {
        http_client::install_tls();
        // Before the first event, whose series would count for nobody.
        prometheus::install();
        // Before it is read: what changes meanwhile is read again.
        let seen = match &config.models.catalog {
            Some(path) => Stamp::of(path).await,
            None => None,
        };
        let catalog = catalog::load(&config)?;
        let storage = Storage::open(&config.database.url).await?;
        fleet::replicas::set_clock(&storage).await?;
        let tasks = Tasks::default();
        let bounds = Bounds::new(&config.server);

        let flags = Arc::new(FeatureFlags::new(config.flags.clone()));
        // Before anything is served, so that a kill outlives a restart.
        let live = LiveFlags::open(
            Arc::new(storage.clone()),
            flags.clone(),
            config.flags.percentage,
            clock::now(),
        )
        .await
        .context("cannot read the kill switch and the live share")?;
        let texts = catalog::texts(&config, &catalog)?;
        let log = Arc::new(Log::default());
        let metrics = Arc::new(AiMetrics::over(log.clone()));
        let filling = Filling::prepare(&storage, &metrics, clock::now()).await?;
        tasks.spawn(filling.clone().run(tasks.stopping()));
        let ModelParts {
            router: models,
            destinations,
            sandbox,
            exporter,
        } = ModelParts::open(catalog, &config, &flags, &metrics, &storage, &texts).await?;
        tasks.spawn(models.clone().watch_quotas(tasks.stopping()));
        let store = Arc::new(storage.clone());
        let known = catalog::known(&models.catalog());
        let controller = Controller::open(controller::ControllerParts {
            store: store.clone(),
            flags: flags.clone(),
            metrics: metrics.clone(),
            log: log.clone(),
            library: Library::load(config.rollout.plans.as_deref(), &known)?,
            known,
            world: World::real(),
            holder: uuid::Uuid::new_v4().to_string(),
            seen: filling.placed(),
        })
        .await
        .context("cannot read the rollouts")?;
        let gauges = Gauges {
            flags: flags.clone(),
            log: log.clone(),
            controller: controller.clone(),
            bounds: bounds.clone(),
            models: models.clone(),
        };
        noted::settings(&storage, &config).await;
        let chat = Chat::new(
            store.clone(),
            models.clone(),
            config.chat.clone(),
            log.clone(),
        );
        let takings = Arc::new(Takings::default());
        if storage.is_shared() {
            chat.limiter().share("chat", &takings);
        }
        let chat = Arc::new(chat);
        let emails = EmailIntelligence::new(store.clone(), models.clone(), config.chat.deadline);
        if storage.is_shared() {
            emails.limiter().share("emails", &takings);
        }

        let dispatcher = Dispatcher::new(store.clone(), &config.alerts)?;
        let dispatcher = Arc::new(dispatcher.reached_at(config.auth.site.public_url.as_deref()));
        let limits = CallLimits::new(config.server.max_calls, config.server.max_subscriptions);
        let moves = routes::moves(&config, store.clone()).await?;
        let fleet = Fleet::new(store.clone(), controller.clone());
        let replicas = Replicas::new(
            store.clone(),
            controller.clone(),
            flags.clone(),
            log.clone(),
            clock::now(),
        );
        let mut registry = Registry::new(Runner {
            tasks: tasks.clone(),
            limits: limits.clone(),
            turns: bounds.turns.clone(),
            passes: Some(storage::passes),
            leader: Some(fleet.clone()),
        });
        routers::register(
            &mut registry,
            Some(&routers::RouterParts {
                config: &config,
                flags: flags.clone(),
                live: live.clone(),
                metrics: metrics.clone(),
                models: models.clone(),
                keys: store.clone(),
                chat,
                emails: Arc::new(emails),
                controller: controller.clone(),
                log: log.clone(),
                dispatcher: dispatcher.clone(),
                outbox: store.clone(),
                alerts: store.clone(),
                requests: store.clone(),
                texts: (texts.clone(), store.clone()),
                series: store.clone(),
                accounts: Accounts {
                    store: store.clone(),
                    owner: config.auth.owner_open_id.as_deref().map(Into::into),
                },
                users: store.clone(),
                samples: store.clone(),
                placebos: store.clone(),
                trials: store.clone(),
                audit: store.clone(),
                moves: moves.clone(),
                replicas: replicas.clone(),
            }),
        );
        extend(&mut registry);
        let registry = Arc::new(registry);
        if let Some(moves) = &moves {
            moves.know(registry.iter());
        }

        let kept = config.models.answer_cache;
        let cache = Cache::new(kept.bytes, kept.age);
        tasks.spawn(upkeep::purge_at_rollbacks(
            cache.clone(),
            controller.clone(),
            tasks.stopping(),
        ));
        let spending = Spending::new(store.clone(), tasks.clone());
        if storage.is_shared() {
            spending.share(&takings);
        }
        let authenticator = Authenticator::new(
            sessions::session_key(&config)?,
            config.auth.owner_open_id.clone(),
            store,
        );
        let authenticator = Arc::new(authenticator.with_proxy(config.auth.proxy.clone()));
        let gate = Arc::new(Gate::new(
            authenticator.clone(),
            config.server.allowed_origins.clone(),
            Site::new(config.environment, &config.auth.site),
        ));
        let router = routes::router(routes::WireParts {
            config: &config,
            registry: registry.clone(),
            gate,
            models: models.clone(),
            spending: spending.clone(),
            cache: cache.clone(),
            storage: &storage,
            limits,
            tasks: &tasks,
            bounds: &bounds,
            readiness: routes::readiness(&storage, &live, &filling, moves.as_ref()),
            gauges,
            old: routes::old_server(&config, &registry, &bounds, &tasks)?,
            moves: moves.clone(),
        })?;
        Ok(Self {
            config,
            registry,
            metrics,
            filling,
            storage,
            sandbox_url: sandbox.as_ref().map(|it| it.base_url().to_owned()),
            destinations,
            controller,
            fleet,
            replicas,
            models,
            flags,
            live,
            moves,
            authenticator,
            tasks,
            recording: Tasks::default(),
            spending,
            texts,
            takings,
            exporter,
            dispatcher,
            router,
            bounds,
            seen,
            hangups: Hangups::new(),
            _sandbox: sandbox,
        })
    }

    /// Serves until `stop` resolves; then what runs is finished and the last events are written.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let recording = &self.recording;
        // Until the last event is stored: it lives for as long as it has some.
        self.replicas.listens(introduction::name(&listener));
        recording.spawn(self.replicas.clone().run(recording.stopping()));
        recording.spawn(self.controller.clone().run(recording.stopping()));
        recording.spawn(self.live.clone().run(recording.stopping()));
        if let Some(moves) = &self.moves {
            recording.spawn(moves.clone().run(recording.stopping()));
        }
        recording.spawn(self.authenticator.pay_owed(recording.stopping()));
        recording.spawn(self.spending.clone().run(recording.stopping()));
        let sink = Arc::new(self.storage.clone());
        recording.spawn(self.texts.run(sink, recording.stopping()));
        if let Some(exporter) = self.exporter {
            recording.spawn(exporter.run(recording.stopping()));
        }
        self.tasks.spawn(upkeep::keep_small(
            self.storage.clone(),
            self.controller.clone(),
            upkeep::Retention {
                events: self.config.database.event_retention,
                texts: self.config.database.text_retention,
            },
            self.tasks.stopping(),
        ));
        self.tasks.spawn(sampling::run(
            self.controller.clone(),
            Arc::new(self.storage.clone()),
            self.tasks.stopping(),
        ));
        self.tasks.spawn(probes::run(
            self.controller.clone(),
            self.models.clone(),
            self.tasks.stopping(),
        ));
        self.tasks.spawn(judging::run(
            self.controller.clone(),
            self.models.clone(),
            self.metrics.clone(),
            self.tasks.stopping(),
        ));
        let outbox = Arc::new(self.storage.clone());
        self.tasks.spawn(bereft::run(
            self.controller.clone(),
            self.models.clone(),
            outbox.clone(),
            self.tasks.stopping(),
        ));
        if let Some(interval) = self.config.models.catalog_watch {
            let watch = ModelWatcher {
                models: self.models.clone(),
                outbox: outbox.clone(),
                alerts: outbox.clone(),
                controller: self.controller.clone(),
                interval,
            };
            self.tasks.spawn(watch.run(self.tasks.stopping()));
        }
        if self.storage.is_shared() {
            let models = self.models.clone();
            self.tasks.spawn(models.share_quotas(self.tasks.stopping()));
            self.tasks.spawn(fleet::shared_limits::run(
                self.takings,
                Arc::new(self.storage.clone()),
                self.controller.holder().to_owned(),
                self.tasks.stopping(),
            ));
            let fleet = self.fleet.clone();
            self.tasks
                .spawn(fleet.run(self.registry.clone(), self.tasks.stopping()));
        }
        let leader = self.controller.clone();
        self.dispatcher.start(&self.tasks, move || leader.leads());
        let reload = Reload {
            config: self.config.clone(),
            models: self.models,
            controller: self.controller,
            outbox,
            sandbox_url: self.sandbox_url,
            seen: self.seen,
            hangups: self.hangups,
        };
        self.tasks.spawn(reload.run(self.tasks.stopping()));
        let patience = self.config.server.shutdown_timeout;
        if !transport::serve(
            listener,
            self.router,
            &self.bounds,
            &self.tasks,
            stop,
            patience,
        )
        .await
        {
            tracing::warn!(
                ?patience,
                "some work was still running at the end of SHUTDOWN_TIMEOUT"
            );
        }
        // Nobody records any more.
        if !recording.shutdown(RECORDING_PATIENCE).await {
            tracing::error!("the last events could not be written");
        }
        self.storage.close().await;
    }
}

/// How long the last events may take to be written.
const RECORDING_PATIENCE: Duration = Duration::from_secs(25);

/// Serves with these settings until the process is told to stop (SIGTERM, ctrl-c).
pub async fn serve(mut config: Config) -> anyhow::Result<()> {
    let address = SocketAddr::new(config.server.host, config.server.port);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let server = &mut config.server;
    let passed = config.legacy.as_ref().map_or(0, |it| it.max_requests);
    let calls = server.max_calls.saturating_add(passed);
    let max_connections = descriptors::fit(server.max_connections, calls);
    if max_connections < server.max_connections {
        tracing::warn!(
            max_connections,
            "there are too few file descriptors (`ulimit -n`) for MAX_CONNECTIONS={}",
            server.max_connections
        );
        server.max_connections = max_connections;
    }
    let app = App::build(config).await?;
    if let Some(url) = &app.sandbox_url {
        tracing::warn!(
            url,
            "a provider has no key: its models are simulated by the sandbox"
        );
    }
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (`HOST` and `PORT` name another)"))?;
    let stop = stop_signal()?;
    let address = listener.local_addr()?;
    let link = app.development_link(address).await?;
    app.introduce(address, link)?;
    app.serve(listener, stop).await;
    tracing::info!("stopped");
    Ok(())
}

/// The procedures alone, for the contract: they can be described and not called.
pub fn contract() -> Registry {
    let mut registry = Registry::default();
    routers::register(&mut registry, None);
    registry
}
