//! The procedures, one file per namespace, named as the TypeScript files were.

pub mod admin_user_router;
pub mod ai_metrics_router;
pub mod alerts_router;
pub mod audit_router;
pub mod auth_router;
pub mod chat_router;
pub mod chat_streaming_router;
pub mod dashboard_router;
pub mod email_intelligence_router;
pub mod feature_flags_router;
pub mod keys_router;
pub(crate) mod methods;
pub mod migration_router;
pub mod models_router;
pub mod quota_router;
pub mod requests_router;
pub mod rollout_router;
pub mod settings_router;
pub mod system_router;
pub mod trials_router;
pub mod users_router;

use std::sync::Arc;

use crate::{
    _core::{feature_flags::FeatureFlags, registry::Registry},
    accounts::Accounts,
    ai_metrics::AiMetrics,
    alerting::{Dispatcher, Outbox, sent::AlertLog},
    chat::Chat,
    config::Config,
    dashboard::{
        audit::AuditStore, requests::RequestStore, series::SeriesStore, texts::TextStore,
        users::UserLookup,
    },
    email_intelligence::EmailIntelligence,
    fleet::replicas::Replicas,
    keys::ApiKeyStore,
    live_flags::LiveFlags,
    migration::Moves,
    model_router::ModelRouter,
    recording::{Log, texts::Keep},
    rollout::{
        controller::Controller, samples::SampleStore, simulate::placebo::PlaceboStore,
        trials::TrialStore,
    },
};

/// What the routers need, each its own part.
pub struct RouterParts<'a> {
    /// What is reported, and how often.
    pub config: &'a Config,
    /// What is in force.
    pub flags: Arc<FeatureFlags>,
    /// The kill switch and the live share.
    pub live: Arc<LiveFlags>,
    /// The windows.
    pub metrics: Arc<AiMetrics>,
    /// The catalog, and who gets what.
    pub models: Arc<ModelRouter>,
    /// Keys of programs.
    pub keys: Arc<dyn ApiKeyStore>,
    /// Conversations.
    pub chat: Arc<Chat>,
    /// What models make of e-mails.
    pub emails: Arc<EmailIntelligence>,
    /// The rollouts.
    pub controller: Arc<Controller>,
    /// What waits to be stored.
    pub log: Arc<Log>,
    /// The channels of alerts.
    pub dispatcher: Arc<Dispatcher>,
    /// Where alerts wait for their channels.
    pub outbox: Arc<dyn Outbox>,
    /// Where alerts and their deliveries are looked up.
    pub alerts: Arc<dyn AlertLog>,
    /// Where requests are looked up.
    pub requests: Arc<dyn RequestStore>,
    /// Which texts of them are kept, and where.
    pub texts: (Keep, Arc<dyn TextStore>),
    /// Where attempts over time are looked up.
    pub series: Arc<dyn SeriesStore>,
    /// The users as admins keep them.
    pub accounts: Accounts,
    /// Where users are looked up.
    pub users: Arc<dyn UserLookup>,
    /// How the evidence of rollouts went.
    pub samples: Arc<dyn SampleStore>,
    /// What placebo rollouts found.
    pub placebos: Arc<dyn PlaceboStore>,
    /// What trials found.
    pub trials: Arc<dyn TrialStore>,
    /// Where changes are looked up.
    pub audit: Arc<dyn AuditStore>,
    /// Who answers what an old server has as well; none without one.
    pub moves: Option<Arc<Moves>>,
    /// Who is in the fleet.
    pub replicas: Arc<Replicas>,
}

impl RouterParts<'_> {
    fn flags(&self) -> feature_flags_router::State {
        let models = self.models.clone();
        feature_flags_router::State::new(self.live.clone(), self.flags.clone(), models)
    }

    fn watched(&self) -> models_router::ModelStates {
        models_router::ModelStates {
            models: self.models.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// What takes users back to what worked, or shows where they are, for those who do that in a bad hour.
/// It works from memory; what it changes is written when the database is back.
const WITHOUT_DATABASE: &[&str] = &[
    "aiMetrics.getRolloutStatus",
    "aiMetrics.getSummary",
    "aiMetrics.checkRolloutHealth",
    "dashboard.onPulse",
    "dashboard.pulse",
    "featureFlags.get",
    "featureFlags.kill",
    "featureFlags.setShare",
    "migration.list",
    "migration.set",
    "models.explain",
    "rollout.get",
    "rollout.list",
    "rollout.rollback",
    "rollout.setShare",
];

/// What changes rollouts, which one process does for all.
const LEADERS: &[&str] = &[
    "rollout.advance",
    "rollout.approve",
    "rollout.pause",
    "rollout.release",
    "rollout.resume",
    "rollout.rollback",
    "rollout.setShare",
    "rollout.start",
];

/// Registers every procedure. Without parts they can be described and not called.
pub fn register(registry: &mut Registry, parts: Option<&RouterParts<'_>>) {
    system_router::register(
        registry,
        parts.map(|it| system_router::State {
            ai_config: system_router::AiConfig::new(&it.config.providers, &it.config.models),
            outbox: it.outbox.clone(),
            dispatcher: it.dispatcher.clone(),
            replicas: it.replicas.clone(),
        }),
    );
    auth_router::register(registry, parts.map(|it| it.config.auth.session_ttl));
    ai_metrics_router::register(
        registry,
        parts.map(|it| {
            let interval = it.config.metrics.summary_interval;
            ai_metrics_router::State::new(it.metrics.clone(), it.flags.clone(), interval)
        }),
        parts.map(|it| ai_metrics_router::Past {
            store: it.series.clone(),
            models: it.models.clone(),
        }),
    );
    chat_router::register(registry, parts.map(|it| it.chat.clone()));
    email_intelligence_router::register(registry, parts.map(|it| it.emails.clone()));
    chat_streaming_router::register(
        registry,
        parts.map(|it| chat_streaming_router::State {
            chat: it.chat.clone(),
            flags: it.flags.clone(),
        }),
    );
    feature_flags_router::register(registry, parts.map(RouterParts::flags));
    dashboard_router::register(
        registry,
        parts.map(|it| dashboard_router::State {
            controller: it.controller.clone(),
            flags: it.flags(),
            watched: it.watched(),
            log: it.log.clone(),
            alerts: it.alerts.clone(),
            channels: (it.dispatcher.channels().iter())
                .map(|channel| channel.name().to_owned())
                .collect(),
            audit: it.audit.clone(),
            environment: it.config.environment,
            last: Arc::default(),
        }),
    );
    requests_router::register(
        registry,
        parts.map(|it| requests_router::State {
            store: it.requests.clone(),
            models: it.models.clone(),
            kept: it.texts.0.clone(),
            texts: it.texts.1.clone(),
        }),
    );
    admin_user_router::register(registry, parts.map(|it| it.accounts.clone()));
    users_router::register(registry, parts.map(|it| it.users.clone()));
    settings_router::register(registry, parts.map(|it| it.config.settings.clone().into()));
    audit_router::register(registry, parts.map(|it| it.audit.clone()));
    alerts_router::register(
        registry,
        parts.map(|it| alerts_router::State {
            log: it.alerts.clone(),
            dispatcher: it.dispatcher.clone(),
        }),
    );
    keys_router::register(
        registry,
        parts.map(|it| keys_router::State {
            keys: it.keys.clone(),
            models: it.models.clone(),
        }),
    );
    migration_router::register(registry, parts.map(|it| it.moves.clone()));
    models_router::register(registry, parts.map(RouterParts::watched));
    quota_router::register(registry, parts.map(|it| it.models.clone()));
    rollout_router::register(
        registry,
        parts.map(|it| rollout_router::State {
            controller: it.controller.clone(),
            live: it.live.clone(),
            samples: it.samples.clone(),
            series: it.series.clone(),
            placebos: it.placebos.clone(),
        }),
    );
    trials_router::register(
        registry,
        parts.map(|it| trials_router::State {
            models: it.models.clone(),
            controller: it.controller.clone(),
            trials: it.trials.clone(),
        }),
    );
    registry.outlive_database(WITHOUT_DATABASE);
    registry.leave_to_leader(LEADERS);
}
