//! Builds the server from its settings, runs it, and stops it without losing anything.

mod alike;
mod areas;
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
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

pub use self::areas::Areas;
pub(crate) use self::models::http as provider_http;
pub use self::sessions::{
    Issued, SessionGrant, end_sessions, issue, issue_token, issue_tokens, require_database,
    set_role,
};
pub use self::signals::stop_signal;
use self::{
    reload::{Reload, Stamp},
    signals::Hangups,
    watch::ModelWatcher,
};
use crate::{
    _core::{auth::Authenticator, http_client, registry::Registry, tasks::Tasks},
    config::Config,
    fleet,
    rollout::store::RolloutStore as _,
    routers,
    transport::{self, bounds::descriptors},
};

/// A server that is built and not yet listening.
pub struct App {
    /// The settings it was built from.
    pub config: Config,
    /// The procedures.
    pub registry: Arc<Registry>,
    /// What they work with.
    pub areas: Areas,
    authenticator: Arc<Authenticator>,
    /// Who stores what calls leave behind, and so outlives all calls: the rollouts' controller, the
    /// kill switch with the live share, ends of sessions, and what keys spend.
    recording: Tasks,
    router: axum::Router,
    /// What the catalog's file looked like before it was read.
    seen: Option<Stamp>,
    hangups: Hangups,
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
        http_client::install_tls();
        // Before the first event, whose series would count for nobody.
        prometheus::install();
        // Before it is read: what changes meanwhile is read again.
        let seen = match &config.models.catalog {
            Some(path) => Stamp::of(path).await,
            None => None,
        };
        let areas = Areas::open(&config).await?;
        let registry = areas.registry(&config, extend);
        let authenticator = Authenticator::new(
            sessions::session_key(&config)?,
            config.auth.owner_open_id.clone(),
            Arc::new(areas.storage.clone()),
        );
        let authenticator = Arc::new(authenticator.with_proxy(config.auth.proxy.clone()));
        let router = routes::router(&config, &areas, registry.clone(), authenticator.clone())?;
        Ok(Self {
            config,
            registry,
            areas,
            authenticator,
            recording: Tasks::default(),
            router,
            seen,
            hangups: Hangups::new(),
        })
    }

    /// Serves until `stop` resolves; then what runs is finished and the last events are written.
    pub async fn serve(mut self, listener: TcpListener, stop: impl Future<Output = ()>) {
        if let Ok(address) = listener.local_addr() {
            let name = introduction::name(address.port());
            self.areas.replicas.listens(name);
        }
        self.start_recording();
        self.start_upkeep();
        self.start_watching();
        self.start_sharing();
        let Self {
            config,
            areas,
            recording,
            router,
            seen,
            hangups,
            ..
        } = self;
        let leader = areas.controller.clone();
        areas.dispatcher.start(&areas.tasks, move || leader.leads());
        let reload = Reload {
            sandbox_url: areas.sandbox_url().map(str::to_owned),
            models: areas.models.clone(),
            controller: areas.controller.clone(),
            outbox: Arc::new(areas.storage.clone()),
            seen,
            hangups,
            config: config.clone(),
        };
        areas.tasks.spawn(reload.run(areas.tasks.stopping()));
        // Whoever comes now gets the share that is decided, where the database answers.
        let opened = async {
            while !areas.controller.is_open() {
                sleep(OPENING_PAUSE).await;
            }
        };
        let _ = timeout(OPENING, opened).await;
        let patience = config.server.shutdown_timeout;
        if !transport::serve(
            listener,
            router,
            &areas.bounds,
            &areas.tasks,
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
            let lost = areas.log.waiting();
            tracing::error!(
                lost,
                "what was recorded last could not be stored before the stop"
            );
        }
        areas.storage.close().await;
    }

    /// What stores what calls leave behind; it runs until the last event is stored.
    fn start_recording(&mut self) {
        let exporter = self.areas.exporter.take();
        let (areas, recording) = (&self.areas, &self.recording);
        // A process that has events to store says that it lives.
        recording.spawn(areas.replicas.clone().run(recording.stopping()));
        // Changes are handed over, and done where this process leads, until all calls are over; and the controller stores
        // what came of the last one.
        let handing = areas.storage.is_shared().then(|| {
            let fleet = areas.fleet.clone();
            recording.spawn(fleet.run(self.registry.clone(), recording.stopping()))
        });
        let stopping = recording.stopping();
        let handed_over = async move {
            stopping.await;
            if let Some(handing) = handing {
                // It reports its failures itself.
                let _ = handing.await;
            }
        };
        recording.spawn(areas.controller.clone().run(handed_over));
        recording.spawn(areas.live.clone().run(recording.stopping()));
        if let Some(moves) = &areas.moves {
            recording.spawn(moves.clone().run(recording.stopping()));
        }
        recording.spawn(self.authenticator.clone().pay_owed(recording.stopping()));
        recording.spawn(areas.spending.clone().run(recording.stopping()));
        let sink = Arc::new(areas.storage.clone());
        let texts = areas.texts.clone();
        recording.spawn(texts.run(sink, recording.stopping()));
        if let Some(exporter) = exporter {
            recording.spawn(exporter.run(recording.stopping()));
        }
    }

    /// What keeps the database small, and samples, probes and judges.
    fn start_upkeep(&self) {
        let areas = &self.areas;
        areas.tasks.spawn(upkeep::keep_small(
            areas.storage.clone(),
            areas.controller.clone(),
            upkeep::Retention {
                events: self.config.database.event_retention,
                texts: self.config.database.text_retention,
            },
            areas.tasks.stopping(),
        ));
        areas.tasks.spawn(sampling::run(
            areas.controller.clone(),
            Arc::new(areas.storage.clone()),
            areas.tasks.stopping(),
        ));
        areas.tasks.spawn(probes::run(
            areas.controller.clone(),
            areas.models.clone(),
            areas.tasks.stopping(),
        ));
        areas.tasks.spawn(judging::run(
            areas.controller.clone(),
            areas.models.clone(),
            areas.metrics.clone(),
            areas.tasks.stopping(),
        ));
    }

    /// What watches whether models still exist.
    fn start_watching(&self) {
        let areas = &self.areas;
        let outbox = Arc::new(areas.storage.clone());
        areas.tasks.spawn(bereft::run(
            areas.controller.clone(),
            areas.models.clone(),
            outbox.clone(),
            areas.tasks.stopping(),
        ));
        if let Some(interval) = self.config.models.catalog_watch {
            let watch = ModelWatcher {
                models: areas.models.clone(),
                outbox: outbox.clone(),
                alerts: outbox.clone(),
                controller: areas.controller.clone(),
                interval,
            };
            areas.tasks.spawn(watch.run(areas.tasks.stopping()));
        }
    }

    /// What servers on one database share: quotas, and limits of users.
    fn start_sharing(&self) {
        let areas = &self.areas;
        if !areas.storage.is_shared() {
            return;
        }
        let models = areas.models.clone();
        areas
            .tasks
            .spawn(models.share_quotas(areas.tasks.stopping()));
        areas.tasks.spawn(fleet::shared_limits::run(
            areas.takings.clone(),
            Arc::new(areas.storage.clone()),
            areas.controller.holder().to_owned(),
            areas.tasks.stopping(),
        ));
    }
}

/// How long a start waits for the shares that are decided, at most, and between two looks.
const OPENING: Duration = Duration::from_secs(5);
const OPENING_PAUSE: Duration = Duration::from_millis(20);
/// How long the last events may take to be written: with `SHUTDOWN_TIMEOUT` and a second for the database's
/// connections less than the 60 s after which services are killed that are to stop.
const RECORDING_PATIENCE: Duration = Duration::from_secs(12);

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
    if let Some(url) = app.areas.sandbox_url() {
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
