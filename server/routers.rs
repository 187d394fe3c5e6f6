//! The procedures, one file per namespace, named as the TypeScript files were.

pub mod ai_metrics_router;
pub mod auth_router;
pub mod chat_router;
pub mod feature_flags_router;
pub mod models_router;
pub mod rollout_router;
pub mod system_router;

use std::{sync::Arc, time::Duration};

use crate::{
    _core::{feature_flags::FeatureFlags, registry::Registry},
    ai_metrics::AiMetrics,
    chat::Chat,
    config::Config,
    live_flags::LiveFlags,
    model_router::ModelRouter,
    rollout::controller::Controller,
};

/// What the routers need, each its own part.
pub struct Parts<'a> {
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
    /// Conversations.
    pub chat: Arc<Chat>,
    /// The rollouts.
    pub controller: Arc<Controller>,
}

/// What takes users back to what worked, or shows where they are, for those who do that in a bad hour.
/// It works from memory; what it changes is written when the database is back.
const WITHOUT_DATABASE: &[&str] = &[
    "aiMetrics.getRolloutStatus",
    "aiMetrics.getSummary",
    "aiMetrics.checkRolloutHealth",
    "featureFlags.get",
    "featureFlags.kill",
    "featureFlags.setShare",
    "models.explain",
    "rollout.get",
    "rollout.list",
    "rollout.rollback",
];

/// Registers every procedure. Without parts they can be described and not called.
pub fn register(registry: &mut Registry, parts: Option<Parts<'_>>) {
    let states = parts.map(Parts::states).unwrap_or_default();
    system_router::register(registry, states.system);
    auth_router::register(registry, states.auth);
    ai_metrics_router::register(registry, states.ai_metrics);
    chat_router::register(registry, states.chat);
    feature_flags_router::register(registry, states.feature_flags);
    models_router::register(registry, states.models);
    rollout_router::register(registry, states.rollout);
    registry.outlive_database(WITHOUT_DATABASE);
}

/// What the procedures of each router work with.
#[derive(Default)]
struct States {
    system: Option<system_router::AiConfig>,
    auth: Option<Duration>,
    ai_metrics: Option<ai_metrics_router::State>,
    chat: Option<Arc<Chat>>,
    feature_flags: Option<feature_flags_router::State>,
    models: Option<Arc<ModelRouter>>,
    rollout: Option<rollout_router::State>,
}

impl Parts<'_> {
    fn states(self) -> States {
        let Self {
            config,
            flags,
            live,
            metrics,
            models,
            chat,
            controller,
        } = self;
        let interval = config.metrics.summary_interval;
        let tasks = models.catalog().tasks.iter().map(|task| task.name.clone());
        States {
            system: Some(system_router::AiConfig::new(
                &config.providers,
                &config.models,
            )),
            auth: Some(config.auth.session_ttl),
            ai_metrics: Some(ai_metrics_router::State::new(
                metrics,
                flags.clone(),
                interval,
            )),
            chat: Some(chat),
            feature_flags: Some(feature_flags_router::State::new(live.clone(), flags, tasks)),
            models: Some(models),
            rollout: Some(rollout_router::State { controller, live }),
        }
    }
}
