//! How each model is now.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::quota_router::{self, AccountInfo};
use crate::{
    _core::{context::Context, errors::RpcError},
    ai_metrics::{AiMetrics, LastSeen},
    model_router::{ModelRouter, breaker::BreakerState},
    providers::fault::FaultKind,
};

/// The models, and what attempts at them came to.
#[derive(Clone)]
pub struct ModelStates {
    /// The catalog, breakers and quotas.
    pub models: Arc<ModelRouter>,
    /// What was recorded.
    pub metrics: Arc<AiMetrics>,
}

/// How a model is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct ModelStatus {
    /// Its name in the catalog.
    model: String,
    /// Who is called for it.
    provider: String,
    /// What its breaker lets through; null where `BREAKER` is off.
    breaker: Option<BreakerState>,
    /// Since when it is not closed; null where it is.
    breaker_opened_at: Option<DateTime<Utc>>,
    /// Attempts at all models of its provider that are under way.
    in_flight: Option<usize>,
    /// The accounts that pay for it, as far as their quotas are known.
    quotas: Vec<AccountInfo>,
    /// Until when its provider takes nothing for it from any of our accounts, as it said with refusals; null where it takes them.
    rests_until: Option<DateTime<Utc>>,
    /// When it last answered since this process began; null where it has not.
    last_success_at: Option<DateTime<Utc>>,
    /// Its last fault since this process began; null where it had none.
    last_fault: Option<LastFault>,
}

/// A fault of a model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct LastFault {
    /// Its kind.
    outcome: FaultKind,
    /// When it was.
    at: DateTime<Utc>,
}

impl ModelStates {
    /// In the catalog's order.
    pub(in super::super) fn at(&self, now: DateTime<Utc>) -> Vec<ModelStatus> {
        let catalog = self.models.catalog();
        let status = catalog.models.iter().map(|model| {
            let LastSeen { answered_ms, fault } = self.metrics.last_seen(&model.name);
            let mut providers = catalog.providers.iter();
            let provider = providers.find(|it| it.name == model.provider);
            let quotas = provider.map(|it| quota_router::accounts_of(it, &self.models, now));
            ModelStatus {
                model: model.name.to_string(),
                provider: model.provider.clone(),
                breaker: self.models.breaker(&model.name),
                breaker_opened_at: self.models.breaker_opened(&model.name).and_then(|ago| {
                    let opened = now.checked_sub_signed(TimeDelta::from_std(ago).ok()?)?;
                    Some(opened.trunc_subsecs(3))
                }),
                in_flight: self.models.in_flight(&model.provider),
                quotas: quotas.unwrap_or_default(),
                rests_until: quota_router::until(self.models.rests(model), now),
                last_success_at: answered_ms.and_then(DateTime::from_timestamp_millis),
                last_fault: fault.and_then(|(outcome, ms)| {
                    let at = DateTime::from_timestamp_millis(ms)?;
                    Some(LastFault { outcome, at })
                }),
            }
        });
        status.collect()
    }
}

pub(super) async fn status(
    watched: ModelStates,
    context: Context,
) -> Result<Vec<ModelStatus>, RpcError> {
    Ok(watched.at(context.received_at))
}
