//! The procedures, one file per namespace, named as the TypeScript files were.

pub mod ai_metrics_router;
pub mod auth_router;
pub mod chat_router;
pub mod chat_streaming_router;
pub mod feature_flags_router;
pub mod keys_router;
pub(crate) mod methods;
pub mod models_router;
pub mod quota_router;
pub mod rollout_router;
pub mod system_router;

use std::sync::Arc;

use crate::{
    _core::{feature_flags::FeatureFlags, registry::Registry},
    ai_metrics::AiMetrics,
    chat::Chat,
    config::Config,
    keys::ApiKeyStore,
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
    /// Keys of programs.
    pub keys: Arc<dyn ApiKeyStore>,
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
pub fn register(registry: &mut Registry, parts: Option<&Parts<'_>>) {
    system_router::register(
        registry,
        parts.map(|it| system_router::AiConfig::new(&it.config.providers, &it.config.models)),
    );
    auth_router::register(registry, parts.map(|it| it.config.auth.session_ttl));
    ai_metrics_router::register(
        registry,
        parts.map(|it| {
            let interval = it.config.metrics.summary_interval;
            ai_metrics_router::State::new(it.metrics.clone(), it.flags.clone(), interval)
        }),
    );
    chat_router::register(registry, parts.map(|it| it.chat.clone()));
    chat_streaming_router::register(
        registry,
        parts.map(|it| chat_streaming_router::State {
            chat: it.chat.clone(),
            flags: it.flags.clone(),
        }),
    );
    feature_flags_router::register(
        registry,
        parts.map(|it| {
            let models = it.models.clone();
            feature_flags_router::State::new(it.live.clone(), it.flags.clone(), models)
        }),
    );
    keys_router::register(
        registry,
        parts.map(|it| keys_router::State {
            keys: it.keys.clone(),
            models: it.models.clone(),
        }),
    );
    models_router::register(registry, parts.map(|it| it.models.clone()));
    quota_router::register(registry, parts.map(|it| it.models.clone()));
    rollout_router::register(
        registry,
        parts.map(|it| rollout_router::State {
            controller: it.controller.clone(),
            live: it.live.clone(),
        }),
    );
    registry.outlive_database(WITHOUT_DATABASE);
}
