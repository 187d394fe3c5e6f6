//! The areas of the server, opened from the settings: what its procedures and its wires work with.

use std::sync::Arc;

use anyhow::Context as _;

use super::{alike, catalog, filling::Filling, introduction, models::ModelParts, noted};
use crate::{
    _core::{
        call_limits::CallLimits, clock, feature_flags::FeatureFlags, procedure::Runner,
        registry::Registry, takings::Takings, tasks::Tasks,
    },
    accounts::Accounts,
    ai_metrics::AiMetrics,
    alerting::Dispatcher,
    chat::Chat,
    config::Config,
    email_intelligence::EmailIntelligence,
    fleet::{self, Fleet, replicas::Replicas},
    keys::Spending,
    live_flags::LiveFlags,
    migration::{self, Moves, compare::ComparedPart},
    model_router::ModelRouter,
    providers::sandbox::Sandbox,
    recording::{Log, texts::Keep},
    rollout::{
        controller::{self, Controller, World},
        plan::Library,
        store::RolloutStore as _,
    },
    routers,
    storage::{self, Storage},
    telemetry::Exporter,
    transport::bounds::Bounds,
};

/// All areas. Nothing of them is served yet, and none of their loops runs but those that read.
pub struct Areas {
    /// The database.
    pub storage: Storage,
    /// The windows, which tests fill.
    pub metrics: Arc<AiMetrics>,
    /// What is still to be read into them.
    pub filling: Arc<Filling>,
    /// Leads or follows the rollouts.
    pub controller: Arc<Controller>,
    /// Who gets what.
    pub flags: Arc<FeatureFlags>,
    /// The kill switch and the live share.
    pub live: Arc<LiveFlags>,
    /// Who answers what an old server has as well; none without one.
    pub moves: Option<Arc<Moves>>,
    /// Calls, connections and sockets.
    pub(super) tasks: Tasks,
    pub(super) bounds: Bounds,
    pub(super) limits: CallLimits,
    pub(super) log: Arc<Log>,
    pub(super) models: Arc<ModelRouter>,
    /// Where requests for models go, a line for each provider that a task uses.
    pub(super) destinations: Vec<String>,
    /// Runs while this is held, where a provider is simulated.
    sandbox: Option<Sandbox>,
    /// Sends spans, where the settings name a collector.
    pub(super) exporter: Option<Exporter>,
    /// Texts of requests, on their way to the database.
    pub(super) texts: Keep,
    chat: Arc<Chat>,
    emails: Arc<EmailIntelligence>,
    pub(super) spending: Arc<Spending>,
    /// What the processes on one database take of limits together.
    pub(super) takings: Arc<Takings>,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// The way of changes to the process that leads.
    pub(super) fleet: Arc<Fleet>,
    /// Who is in the fleet.
    pub(super) replicas: Arc<Replicas>,
}

impl Areas {
    /// Opens the database and what is kept in it, starts the sandbox where one is needed, and fills the
    /// windows in the background.
    #[expect(clippy::disallowed_methods, reason = "a start is now")]
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let catalog = catalog::load(config)?;
        let storage = Storage::open(&config.database.url).await?;
        fleet::replicas::set_clock(&storage).await?;
        let store = Arc::new(storage.clone());
        let tasks = Tasks::default();

        let flags = Arc::new(FeatureFlags::new(config.flags.clone()));
        let log = Arc::new(Log::default());
        let metrics = Arc::new(AiMetrics::over(log.clone()));
        let filling = Filling::prepare(&storage, &metrics, clock::now()).await?;
        tasks.spawn(filling.clone().run(tasks.stopping()));

        let texts = catalog::texts(config, &catalog)?;
        let ModelParts {
            router: models,
            destinations,
            sandbox,
            exporter,
        } = ModelParts::open(catalog, config, &flags, &metrics, &storage, &texts).await?;
        tasks.spawn(models.clone().watch_quotas(tasks.stopping()));

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
        let fleet = Fleet::new(store.clone(), controller.clone());
        let replicas = Replicas::new(
            store.clone(),
            controller.clone(),
            flags.clone(),
            log.clone(),
            (introduction::name(config.server.port), clock::now()),
            alike::marks(config, &models, &controller)?,
        );
        // Before this process changes anything by its settings.
        replicas.join().await?;

        // Before anything is served, so that a kill outlives a restart.
        let share = config.flags.percentage;
        let live = LiveFlags::open(store.clone(), flags.clone(), share, clock::now())
            .await
            .context("cannot read the kill switch and the live share")?;
        noted::settings(&storage, config).await;

        let chat = Chat::new(
            store.clone(),
            models.clone(),
            config.chat.clone(),
            log.clone(),
        );
        let emails = EmailIntelligence::new(store.clone(), models.clone(), config.chat.deadline);
        let dispatcher = Dispatcher::new(store.clone(), &config.alerts)?;
        let dispatcher = dispatcher.reached_at(config.auth.site.public_url.as_deref());
        let areas = Self {
            metrics,
            filling,
            controller,
            flags,
            live,
            moves: moves(config, store.clone()).await?,
            bounds: Bounds::new(&config.server),
            limits: CallLimits::new(config.server.max_calls, config.server.max_subscriptions),
            log,
            models,
            destinations,
            sandbox,
            exporter,
            texts,
            chat: Arc::new(chat),
            emails: Arc::new(emails),
            spending: Spending::new(store, tasks.clone()),
            takings: Arc::default(),
            dispatcher: Arc::new(dispatcher),
            fleet,
            replicas,
            tasks,
            storage,
        };
        if areas.storage.is_shared() {
            areas.share_limits();
        }
        Ok(areas)
    }

    /// What several processes on one database may take together only.
    fn share_limits(&self) {
        self.chat.limiter().share("chat", &self.takings);
        self.emails.limiter().share("emails", &self.takings);
        self.spending.share(&self.takings);
    }

    /// The procedures, with those that `extend` adds.
    pub(super) fn registry(
        &self,
        config: &Config,
        extend: impl FnOnce(&mut Registry),
    ) -> Arc<Registry> {
        let store = Arc::new(self.storage.clone());
        let mut registry = Registry::new(Runner {
            tasks: self.tasks.clone(),
            limits: self.limits.clone(),
            turns: self.bounds.turns.clone(),
            passes: Some(storage::passes),
            leader: Some(self.fleet.clone()),
        });
        routers::register(
            &mut registry,
            Some(&routers::RouterParts {
                config,
                flags: self.flags.clone(),
                live: self.live.clone(),
                metrics: self.metrics.clone(),
                models: self.models.clone(),
                keys: store.clone(),
                chat: self.chat.clone(),
                emails: self.emails.clone(),
                controller: self.controller.clone(),
                log: self.log.clone(),
                dispatcher: self.dispatcher.clone(),
                outbox: store.clone(),
                alerts: store.clone(),
                requests: store.clone(),
                texts: (self.texts.clone(), store.clone()),
                series: store.clone(),
                accounts: Accounts {
                    store: store.clone(),
                    owner: config.auth.owner_open_id.as_deref().map(Into::into),
                },
                users: store.clone(),
                samples: store.clone(),
                placebos: store.clone(),
                trials: store.clone(),
                audit: store,
                moves: self.moves.clone(),
                replicas: self.replicas.clone(),
            }),
        );
        extend(&mut registry);
        let registry = Arc::new(registry);
        if let Some(moves) = &self.moves {
            moves.know(registry.iter());
        }
        registry
    }

    /// Where the sandbox answers, if it runs.
    pub fn sandbox_url(&self) -> Option<&str> {
        self.sandbox.as_ref().map(Sandbox::base_url)
    }
}

/// Who answers what both servers have.
async fn moves(config: &Config, store: Arc<Storage>) -> anyhow::Result<Option<Arc<Moves>>> {
    let Some(settings) = &config.legacy else {
        return Ok(None);
    };
    // The settings were checked to be of this form.
    let parts = |texts: &[String]| {
        texts
            .iter()
            .filter_map(|it| ComparedPart::parse(it))
            .collect()
    };
    let settings = migration::Settings {
        kept: settings.procedures.clone(),
        algorithm: config.flags.algorithm,
        salt: config.flags.salt.clone(),
        may_differ: parts(&settings.may_differ),
        unordered: parts(&settings.unordered),
        tolerated: settings.tolerated_differences,
        shadows: settings.max_shadows,
    };
    let moves = Moves::open(store, settings).await;
    moves
        .map(Some)
        .context("cannot read who answers which procedures")
}
