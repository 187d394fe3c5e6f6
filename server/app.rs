//! Builds the server from its settings, runs it, and stops it without losing anything.

pub mod filling;
mod prometheus;

use std::{
    future::Future, io::Write, net::SocketAddr, ops::RangeInclusive, pin::pin, sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use self::{filling::Filling, prometheus::Gauges};
use crate::{
    _core::{
        assignment::Variant,
        auth::{
            Authenticator, Role, SessionKey,
            login_link::{self, LoginLinkStore},
        },
        call_limits::CallLimits,
        config::{Config, Environment, local_url},
        errors::in_full,
        feature_flags::FeatureFlags,
        http_client,
        registry::Registry,
        site::Site,
        tasks::Tasks,
    },
    ai_metrics::{AiMetrics, Event, Outcome},
    alerting::Dispatcher,
    chat::{self, Chat, RatedAnswer, store::Rating},
    live_flags::LiveFlags,
    model_router::{
        Clients, ModelRouter,
        catalog::{Access, Catalog},
    },
    providers::{
        openrouter,
        sandbox::{Sandbox, SandboxPlan},
    },
    rollout::{
        controller::{self, Controller, World},
        plan::{Known, Library},
    },
    routers, schema,
    storage::{self, Storage, has_secret, secret_for_development},
    transport::{
        self,
        bounds::{Bounds, descriptors},
        gate::Gate,
        sign_in::{self, SignIn},
        trpc,
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
    /// The kill switch and the live share.
    pub live: Arc<LiveFlags>,
    authenticator: Arc<Authenticator>,
    /// Who stores what calls leave behind, and so outlives all calls: the rollouts' controller, the
    /// kill switch with the live share, and ends of sessions.
    recording: Tasks,
    dispatcher: Dispatcher,
    router: axum::Router,
    bounds: Bounds,
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
        let catalog = Catalog::load(
            &config.models,
            &config.providers,
            config.environment,
            &[("chat.sendMessage", chat::send::TASK)],
        )?;
        let storage = Storage::open(&config.database.url).await?;
        let tasks = Tasks::default();
        let bounds = Bounds::new(&config.server);

        let flags = Arc::new(FeatureFlags::new(config.flags.clone()));
        // Before anything is served, so that a kill outlives a restart.
        let live = LiveFlags::open(
            Arc::new(storage.clone()),
            flags.clone(),
            config.flags.percentage,
            Utc::now(),
        )
        .await
        .context("cannot read the kill switch and the live share")?;
        let metrics = Arc::new(AiMetrics::drained());
        let filling = Filling::prepare(&storage, &metrics, Utc::now()).await?;
        tasks.spawn(filling.clone().run(tasks.stopping()));
        let sandbox = if catalog.needs_sandbox() {
            let plan = match &config.sandbox.file {
                Some(path) => SandboxPlan::load(path)?,
                None => SandboxPlan::default(),
            };
            let sandbox = Sandbox::start_with(&plan).await;
            Some(sandbox.context("cannot start the sandbox provider")?)
        } else {
            None
        };
        let sandbox_url = sandbox
            .as_ref()
            .map(|sandbox| sandbox.base_url().to_owned());
        let clients = Clients::connect(&catalog, sandbox_url.as_deref())?;
        let destinations = destinations(&catalog, sandbox_url.as_deref());
        let is_redirected = config.providers.openrouter_base_url != openrouter::BASE_URL;
        if is_redirected
            && !catalog
                .providers
                .iter()
                .any(|it| it.name == openrouter::NAME)
        {
            tracing::warn!(
                "OPENROUTER_BASE_URL changes nothing, as MODEL_CATALOGUE has no provider `{}`",
                openrouter::NAME
            );
        }
        let models = Arc::new(ModelRouter::new(
            catalog,
            clients,
            flags.clone(),
            metrics.clone(),
            config.models.attempt_timeout,
        ));
        let store = Arc::new(storage.clone());
        let known = Known {
            tasks: Some(names(models.catalog().tasks.iter().map(|task| &*task.name))),
            models: Some(names(
                models.catalog().models.iter().map(|model| &*model.name),
            )),
            routes: models
                .catalog()
                .tasks
                .iter()
                .map(|task| {
                    let route = |variant| names(task.route(variant).iter().map(|it| &*it.name));
                    let routes = [Variant::Control, Variant::Candidate].map(route);
                    (task.name.to_string(), routes)
                })
                .collect(),
        };
        let gauges = Gauges {
            flags: flags.clone(),
            tasks: names(models.catalog().tasks.iter().map(|task| &*task.name)),
            metrics: metrics.clone(),
            bounds: bounds.clone(),
        };
        let controller = Controller::open(controller::Parts {
            store: store.clone(),
            flags: flags.clone(),
            metrics: metrics.clone(),
            library: Library::load(config.rollout.plans.as_deref(), &known)?,
            known,
            world: World::real(),
            holder: uuid::Uuid::new_v4().to_string(),
        })
        .await
        .context("cannot read the rollouts")?;
        let chat = Chat::new(store.clone(), models.clone(), config.chat.clone());
        let chat = Arc::new(chat.on_rating({
            let metrics = metrics.clone();
            move |rated| metrics.note(rating_event(rated))
        }));

        let dispatcher = Dispatcher::new(store.clone(), &config.alerts)?;
        let mut registry = Registry::new(tasks.clone());
        registry.let_pass(storage::passes);
        let bounds = Bounds::new(&config.server);
        let limits = CallLimits::new(config.server.max_calls, config.server.max_subscriptions);
        registry.limit(limits, bounds.turns.clone());
        routers::register(
            &mut registry,
            Some(routers::Parts {
                config: &config,
                flags,
                live: live.clone(),
                metrics: metrics.clone(),
                models,
                chat,
                controller: controller.clone(),
            }),
        );
        extend(&mut registry);
        let registry = Arc::new(registry);

        let authenticator = Arc::new(Authenticator::new(
            session_key(&config)?,
            config.auth.owner_open_id.clone(),
            store.clone(),
        ));
        let gate = Arc::new(Gate::new(
            authenticator.clone(),
            config.server.allowed_origins.clone(),
            Site::new(config.environment, &config.auth.site),
        ));
        let readiness = {
            let (probe, live, filling) = (Arc::new(storage.probe()), live.clone(), filling.clone());
            move || {
                let (probe, live, filling) = (probe.clone(), live.clone(), filling.clone());
                async move {
                    let reason = probe.reason().await.map(str::to_owned);
                    let reasons = reason.into_iter().chain(live.trouble());
                    reasons.chain(filling.trouble()).collect()
                }
            }
        };
        let trpc = trpc::routes(Arc::new(trpc::Trpc {
            registry: registry.clone(),
            gate: gate.clone(),
            config: config.trpc.clone(),
            tasks: tasks.clone(),
            bounds: bounds.clone(),
        }));
        let router = transport::router(transport::Parts {
            documents: schema::Documents::new(
                &registry,
                config.trpc.transformer,
                config.trpc.method_override,
            ),
            registry: registry.clone(),
            sign_in: sign_in::routes(SignIn {
                gate: gate.clone(),
                links: store,
                app_id: config.auth.app_id.clone(),
                session_ttl: config.auth.session_ttl,
            }),
            gate,
            tasks: tasks.clone(),
            bounds: bounds.clone(),
            server: config.server.clone(),
            jsonrpc: config.jsonrpc.clone(),
            ping_interval: config.trpc.ping_interval,
            readiness: Arc::new(move || Box::pin(readiness())),
            metrics: transport::metrics::routes(
                Arc::new(move || gauges.render()),
                prometheus::readers(&config),
            ),
            trpc,
        })?;
        Ok(Self {
            config,
            registry,
            metrics,
            filling,
            storage,
            sandbox_url,
            destinations,
            controller,
            live,
            authenticator,
            tasks,
            recording: Tasks::default(),
            dispatcher,
            router,
            bounds,
            _sandbox: sandbox,
        })
    }

    /// Serves until `stop` resolves; then what runs is finished and the last events are written.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let recording = &self.recording;
        recording.spawn(self.controller.clone().run(recording.stopping()));
        recording.spawn(self.live.clone().run(recording.stopping()));
        recording.spawn(self.authenticator.pay_owed(recording.stopping()));
        self.tasks.spawn(keep_small(
            self.storage.clone(),
            self.config.database.event_retention,
            self.tasks.stopping(),
        ));
        self.dispatcher.start(&self.tasks);
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
const RECORDING_PATIENCE: Duration = Duration::from_secs(10);

/// Serves with these settings until the process is told to stop (SIGTERM, ctrl-c).
pub async fn serve(mut config: Config) -> anyhow::Result<()> {
    let address = SocketAddr::new(config.server.host, config.server.port);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let server = &mut config.server;
    let max_connections = descriptors::fit(server.max_connections, server.max_calls);
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

impl App {
    /// A link by which the developer in front of the screen signs in; nowhere but in development.
    ///
    /// Somebody who signed in as user 1 is not impersonated, and nobody's role changes.
    #[expect(clippy::disallowed_methods, reason = "a start is now")]
    async fn development_link(&self, address: SocketAddr) -> anyhow::Result<Option<SecretString>> {
        if self.config.environment != Environment::Development {
            return Ok(None);
        }
        let now = Utc::now();
        let user = match self.storage.find_user(1).await? {
            Some(user) => user,
            // Deleted users stay deleted; then there is no link.
            None => match self.storage.ensure_local_user(1, Role::Admin, now).await {
                Ok(user) => user,
                Err(_) => return Ok(None),
            },
        };
        if user.login_method.as_deref() != Some("local") {
            return Ok(None);
        }
        let public_url = self.config.auth.site.public_url.clone();
        let public_url = public_url.unwrap_or_else(|| local_url(address));
        let key = self.authenticator.key();
        let link = new_link(&self.storage, key, &public_url, user.id, now).await?;
        Ok(Some(link))
    }

    /// Tells a person what runs where, and what to try.
    fn introduce(&self, address: SocketAddr, link: Option<SecretString>) -> std::io::Result<()> {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "modelramp".into());
        let program = if program.ends_with("modelramp") {
            program
        } else {
            "modelramp".into()
        };
        let url = local_url(address);
        let mut out = std::io::stdout().lock();
        if address.ip().is_unspecified() {
            let all = "all addresses of this machine, here";
            writeln!(out, "modelramp serves on {all} {url}")?;
        } else {
            writeln!(out, "modelramp serves on {url}")?;
        }
        writeln!(
            out,
            "  tRPC        {url}{} (HTTP, SSE, WebSocket)",
            trpc::MOUNT
        )?;
        writeln!(out, "  JSON-RPC    {url}/rpc (HTTP, WebSocket)")?;
        writeln!(out, "  health      {url}/healthz, {url}/readyz")?;
        let database = Storage::place(&self.config.database.url);
        let database = database.unwrap_or_else(|_| self.config.database.shown_url());
        writeln!(out, "  database    {database}")?;
        if let Some(link) = link {
            let link = link.expose_secret();
            writeln!(out, "  sign in     {link} (once, within five minutes)")?;
        }
        for (n, destination) in self.destinations.iter().enumerate() {
            let label = if n == 0 { "models" } else { "" };
            writeln!(out, "  {label:<10}  {destination}")?;
        }
        writeln!(out, "Try:")?;
        writeln!(
            out,
            "  curl -H \"Authorization: Bearer $({program} token --user 1 --role admin)\" \\\n    '{url}{}/aiMetrics.getSummary?lastMinutes=60'",
            trpc::MOUNT
        )?;
        out.flush()
    }
}

/// A line for each provider that a task uses: its name, where its requests go, and with what.
fn destinations(catalog: &Catalog, sandbox_url: Option<&str>) -> Vec<String> {
    let of_tasks = catalog
        .tasks
        .iter()
        .flat_map(|task| task.candidate.iter().chain(&task.control));
    let models: Vec<_> = of_tasks.chain(&catalog.unrouted).collect();
    let is_used = |name: &str| models.iter().any(|model| model.provider == name);
    let used = catalog.providers.iter().filter(|it| is_used(&it.name));
    used.map(|provider| {
        let (name, url) = (&provider.name, &provider.base_url);
        let variable = provider.api_key_env.as_deref().unwrap_or_default();
        match &provider.access {
            Access::Key(_) => format!("{name} at {url}, with the key in {variable}"),
            Access::Open => format!("{name} at {url}, without a key"),
            Access::Sandbox => format!(
                "{name} is SIMULATED by the sandbox at {}, as {variable} is not set",
                sandbox_url.unwrap_or_default()
            ),
        }
    })
    .collect()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

/// Between two upkeeps of the database.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Counts events by the hour and deletes old ones, every hour until the server stops.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: it works at the time it is"
)]
async fn keep_small(storage: Storage, retention: Duration, stopping: impl Future<Output = ()>) {
    let mut stopping = pin!(stopping);
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
        }
        tokio::select! {
            () = &mut stopping => return,
            result = storage.prune(retention, Utc::now()) => match result {
                Ok(upkeep) => tracing::debug!(?upkeep, "upkeep of the database"),
                Err(error) => {
                    tracing::error!(error = in_full(error.as_ref()), "upkeep of the database failed");
                }
            },
        }
    }
}

/// `JWT_SECRET`, or the one that development keeps beside its database.
fn session_secret(config: &Config) -> anyhow::Result<SecretString> {
    match &config.auth.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => secret_for_development(&config.database.url)
            .context("cannot keep a secret for development"),
    }
}

/// Fails where a token would be for a database or a secret that no server has used: such a token is
/// refused by whichever server it was meant for.
pub async fn require_database(config: &Config) -> anyhow::Result<()> {
    let url = &config.database.url;
    Storage::require(url).await?;
    let is_postgres = url.starts_with("postgres");
    anyhow::ensure!(
        config.auth.jwt_secret.is_some() || is_postgres || has_secret(url),
        "no secret lies beside the database `{}`, so its server has one from `JWT_SECRET`; set the \
         same `JWT_SECRET` here",
        Storage::place(url)?
    );
    Ok(())
}

fn session_key(config: &Config) -> anyhow::Result<SessionKey> {
    let previous = config.auth.jwt_secret_previous.as_ref();
    Ok(SessionKey::new(&session_secret(config)?).or_previous(previous))
}

/// What a user of the database may do; `None` where there is no such user.
pub async fn role_of(config: &Config, user_id: i64) -> anyhow::Result<Option<Role>> {
    let storage = Storage::open(&config.database.url).await?;
    let user = storage.find_user(user_id).await;
    storage.close().await;
    Ok(user?.map(|user| user.role))
}

/// A session token for a local user, who is made or gets this role.
pub async fn issue_token(
    config: &Config,
    user_id: i64,
    role: Role,
    ttl: Option<Duration>,
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let storage = Storage::open(&config.database.url).await?;
    let user = storage.ensure_local_user(user_id, role, now).await?;
    storage.close().await;
    let ttl = ttl.unwrap_or(config.auth.session_ttl);
    SessionKey::new(&session_secret(config)?).issue(&user, &config.auth.app_id, ttl, now)
}

/// A one-time link by which this local user, who is made or gets this role, signs in with a browser.
pub async fn issue_login_link(
    config: &Config,
    user_id: i64,
    role: Role,
    now: DateTime<Utc>,
) -> anyhow::Result<SecretString> {
    let public_url = config.public_url().context(
        "`PUBLIC_URL` is not set; a link needs the address at which browsers reach the server, such \
         as `https://app.example`",
    )?;
    let storage = Storage::open(&config.database.url).await?;
    let user = storage.ensure_local_user(user_id, role, now).await?;
    let key = SessionKey::new(&session_secret(config)?);
    let link = new_link(&storage, &key, &public_url, user.id, now).await;
    storage.close().await;
    link
}

async fn new_link(
    storage: &Storage,
    key: &SessionKey,
    public_url: &str,
    user_id: i64,
    now: DateTime<Utc>,
) -> anyhow::Result<SecretString> {
    let secret = login_link::new_secret(key)?;
    let hash = login_link::hash(secret.expose_secret());
    storage.keep_link(&hash, user_id, now).await?;
    Ok(login_link::address(public_url, &secret).into())
}

/// Ends all sessions that a user has by now; a server that runs knows it at its next look.
pub async fn end_sessions(config: &Config, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
    // A database that is made here would be another server's.
    Storage::require(&config.database.url).await?;
    let storage = Storage::open(&config.database.url).await?;
    let found = storage.end_sessions(user_id, now).await?;
    storage.close().await;
    anyhow::ensure!(found, "there is no user `{user_id}`");
    Ok(())
}

/// Session tokens for local users with these ids, who are made where they are missing.
///
/// Users who signed in themselves are not impersonated, and nobody's role changes.
pub async fn issue_tokens(
    config: &Config,
    user_ids: RangeInclusive<i64>,
    ttl: Duration,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<SecretString>> {
    let storage = Storage::open(&config.database.url).await?;
    let key = SessionKey::new(&session_secret(config)?);
    let mut tokens = Vec::new();
    for id in user_ids {
        let user = match storage.find_user(id).await? {
            Some(user) if user.login_method.as_deref() == Some("local") => user,
            Some(_) => anyhow::bail!("user `{id}` signed in and is not for tests"),
            None => storage.ensure_local_user(id, Role::User, now).await?,
        };
        tokens.push(key.issue(&user, &config.auth.app_id, ttl, now)?.into());
    }
    storage.close().await;
    Ok(tokens)
}

/// The procedures alone, for the contract: they can be described and not called.
pub fn contract() -> Registry {
    let mut registry = Registry::default();
    routers::register(&mut registry, None);
    registry
}

/// A rating as rollouts are told of it.
fn rating_event(RatedAnswer { origin, rating, at }: RatedAnswer) -> Event {
    Event {
        at_ms: at.timestamp_millis(),
        request_id: origin.request_id,
        user_id: None,
        seq: 0,
        subject: Some(origin.subject),
        rollout: origin.rollout,
        counted: true,
        was_open: false,
        model: origin.model,
        task: origin.task,
        variant: origin.variant,
        position: 0,
        latency_ms: 0.0,
        first_token_ms: None,
        prompt_tokens: 0,
        completion_tokens: 0,
        cost: Default::default(),
        outcome: Outcome::Rated {
            good: rating == Rating::Good,
        },
    }
}

/// Resolves on SIGTERM or ctrl-c.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}
