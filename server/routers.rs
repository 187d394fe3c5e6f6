//! The procedures, one file per namespace, named as the TypeScript files were.

pub mod ai_metrics_router;
pub mod auth_router;
pub mod chat_router;
pub mod feature_flags_router;
pub mod models_router;
pub mod rollout_router;
pub mod system_router;

use std::sync::Arc;

use crate::{
    _core::{config::Config, feature_flags::FeatureFlags, registry::Registry},
    ai_metrics::AiMetrics,
    chat::Chat,
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
    /// The catalogue, and who gets what.
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

/// Registers every procedure.
pub fn register(registry: &mut Registry, parts: Parts<'_>) {
    let Parts {
        config,
        flags,
        live,
        metrics,
        models,
        chat,
        controller,
    } = parts;
    system_router::register(
        registry,
        system_router::AiConfig::new(&config.providers, &config.models),
    );
    auth_router::register(registry, config.auth.session_ttl);
    ai_metrics_router::register(
        registry,
        ai_metrics_router::State::new(metrics, flags.clone(), config.metrics.summary_interval),
    );
    chat_router::register(registry, chat);
    let tasks = models.catalog().tasks.iter().map(|task| task.name.clone());
    let state = feature_flags_router::State::new(live.clone(), flags, tasks);
    feature_flags_router::register(registry, state);
    models_router::register(registry, models);
    rollout_router::register(registry, controller, live);
    registry.outlive_database(WITHOUT_DATABASE);
}
