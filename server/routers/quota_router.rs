//! `quota.*`: what our accounts at providers may still do.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    _core::{context::Context, errors::RpcError, registry::Registry},
    model_router::{
        ModelRouter,
        catalog::Provider,
        quota::{AccountStanding, AllowedByProvider, AllowedLeft},
    },
    procedures,
};

/// Registers the procedures.
pub fn register(registry: &mut Registry, models: impl Into<Option<Arc<ModelRouter>>>) {
    procedures!(registry.outline("quota", models.into());
        /// Every account whose quota is known, and how it stands now.
        query Viewer list = list;
    );
}

/// The accounts, in the order of their providers in the catalog.
#[derive(Debug, Serialize, JsonSchema)]
struct QuotaList {
    /// Those whose quota the catalog or the provider gives.
    accounts: Vec<AccountInfo>,
    /// What providers said with their last answers of single models, as long as it holds. Models of an account without a
    /// known quota that rests are among them.
    models: Vec<ModelAllowance>,
}

/// What a provider takes of an account for one model.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ModelAllowance {
    /// The provider's name in the catalog.
    provider: String,
    /// The account's name there; left out for that of the first key.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// The model's name in the catalog.
    model: String,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<AllowanceInfo>,
    /// Tokens, read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<AllowanceInfo>,
    /// Until when it takes nothing for this model, as it said with a refusal; null where it takes requests. Of an account whose quota is
    /// known, what rests as a whole is under `accounts`.
    rests_until: Option<DateTime<Utc>>,
}

/// How many requests or tokens a provider takes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AllowanceInfo {
    /// So many more, less those that are under way.
    left: u64,
    /// Of so many, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Milliseconds until all of them may be had again.
    resets_in_ms: u64,
}

/// How an account stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountInfo {
    /// The provider's name in the catalog.
    provider: String,
    /// The account's name there; left out for that of the first key.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Whether the quota is for models that cost nothing, and no others.
    only_free: bool,
    /// Requests of any minute.
    minute: Option<SpanInfo>,
    /// Requests of a day, UTC.
    day: Option<SpanInfo>,
    /// Tokens of any minute, read and written.
    tokens: Option<SpanInfo>,
    /// Calls that wait for their turn.
    waiting: usize,
    /// How long the one has that came first, in milliseconds.
    waited_ms: u64,
    /// Until when the provider takes nothing from it, as it said with a refusal; null where it takes requests.
    rests_until: Option<DateTime<Utc>>,
}

/// When a rest ends that lasts so much longer.
pub(super) fn until(rests: Option<Duration>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let until = now.checked_add_signed(TimeDelta::from_std(rests?).ok()?)?;
    Some(until.trunc_subsecs(3))
}

/// Requests or tokens of a span of time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SpanInfo {
    /// How many it may have.
    limit: u32,
    /// How many of those that are used here are left; of a minute a few are never used.
    left: u32,
}

async fn list(models: Arc<ModelRouter>, context: Context) -> Result<QuotaList, RpcError> {
    let (catalog, now) = (models.catalog(), context.received_at);
    let providers = catalog.providers.iter();
    let accounts = providers.clone();
    let accounts = accounts.flat_map(|provider| accounts_of(provider, &models, now));
    let allowed = providers.flat_map(|provider| {
        let labels = provider.accounts().into_iter().map(|(label, _)| label);
        let of_account = |label: String| {
            let allowed = models.allowed(&label).into_iter();
            allowed.map(move |it| allowance(&provider.name, &label, &it, now))
        };
        labels.flat_map(of_account).collect::<Vec<_>>()
    });
    Ok(QuotaList {
        accounts: accounts.collect(),
        models: allowed.collect(),
    })
}

fn allowance(
    provider: &str,
    label: &str,
    allowed: &AllowedByProvider,
    now: DateTime<Utc>,
) -> ModelAllowance {
    let info = |left: AllowedLeft| AllowanceInfo {
        left: left.left,
        limit: left.of,
        resets_in_ms: u64::try_from(left.resets_in.as_millis()).unwrap_or(u64::MAX),
    };
    ModelAllowance {
        provider: provider.to_owned(),
        account: account_in(label, provider),
        model: allowed.model.to_string(),
        requests: allowed.requests.map(info),
        tokens: allowed.tokens.map(info),
        rests_until: until(allowed.rests, now),
    }
}

/// The account's name in its label, but for that of the first key.
fn account_in(label: &str, provider: &str) -> Option<String> {
    let rest = label.strip_prefix(provider)?;
    rest.strip_prefix('/').map(str::to_owned)
}

/// The accounts at a provider whose quota is known.
pub(super) fn accounts_of(
    provider: &Provider,
    models: &ModelRouter,
    now: DateTime<Utc>,
) -> Vec<AccountInfo> {
    let labels = provider.accounts().into_iter().map(|(label, _)| label);
    let of = |label: String| Some(info(&provider.name, &label, &models.quota(&label)?, now));
    labels.filter_map(of).collect()
}

fn info(
    provider: &str,
    label: &str,
    standing: &AccountStanding,
    now: DateTime<Utc>,
) -> AccountInfo {
    let span = |limit: Option<u32>, left: Option<u32>| {
        Some(SpanInfo {
            limit: limit?,
            left: left?,
        })
    };
    AccountInfo {
        provider: provider.to_owned(),
        account: account_in(label, provider),
        only_free: standing.only_free,
        minute: span(standing.limits.minute, standing.free_minute),
        day: span(standing.limits.day, standing.free_day),
        tokens: span(standing.limits.tokens, standing.free_tokens),
        waiting: standing.waiting,
        waited_ms: u64::try_from(standing.waited.as_millis()).unwrap_or(u64::MAX),
        rests_until: until(standing.rests, now),
    }
}
