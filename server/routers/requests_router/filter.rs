//! Which requests are looked for, as clients say it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{assignment::Variant, errors::RpcError, suggest},
    dashboard::requests::{RequestFilter, RequestPlace, outcomes},
    model_router::ModelRouter,
    providers::fault::FaultKind,
};

/// Every way to fail.
const FAILED: &str = "failed";

/// What must be true of one attempt of a request; what is left out is not looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Filter {
    /// It ended at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<DateTime<Utc>>,
    /// It ended before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<DateTime<Utc>>,
    /// It was at this model of the catalog, or at one that was in it.
    #[schemars(length(min = 1, max = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// It was at a model of this provider of the catalog.
    #[schemars(length(min = 1, max = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<String>,
    /// It was for this variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<Variant>,
    /// It was for this task.
    #[schemars(length(min = 1, max = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
    /// It ended so: `success`, `refused-answer`, `cancelled`, a kind of fault, or `failed` for every fault.
    #[schemars(length(min = 1, max = 50))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<String>,
    /// It was this user's.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<i64>,
    /// It was decided by this rollout; its whole id.
    #[schemars(length(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_id: Option<String>,
    /// It took longer than so many milliseconds.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slower_than_ms: Option<f64>,
    /// Evidence counts it, or does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<bool>,
}

impl Filter {
    /// As the store knows it; refuses names that mean nothing, rather than finding nothing.
    pub(crate) fn read(self, models: &ModelRouter) -> Result<RequestFilter, RpcError> {
        let of_provider = self.provider.map(|provider| of_provider(&provider, models));
        let models = match (self.model, of_provider.transpose()?) {
            (None, of_provider) => of_provider,
            (Some(model), None) => Some(vec![model]),
            (Some(model), Some(all)) => Some(all.into_iter().filter(|it| *it == model).collect()),
        };
        Ok(RequestFilter {
            from_ms: self.from.map(|at| at.timestamp_millis()),
            to_ms: self.to.map(|at| at.timestamp_millis()),
            models,
            variant: self.variant,
            task: self.task,
            outcomes: self.outcome.as_deref().map(ways_to_end).transpose()?,
            user_id: self.user_id,
            rollout: self.rollout_id,
            slower_ms: self.slower_than_ms,
            counted: self.counted,
        })
    }
}

fn of_provider(provider: &str, models: &ModelRouter) -> Result<Vec<String>, RpcError> {
    let catalog = models.catalog();
    let known = || catalog.providers.iter().map(|it| it.name.as_str());
    if !known().any(|name| name == provider) {
        let hint = suggest::hint(provider, known());
        return Err(RpcError::bad_request(format!(
            "`provider` = `{provider}` is no provider of the catalog{hint}"
        )));
    }
    let own = catalog.models.iter().filter(|it| it.provider == provider);
    Ok(own.map(|model| model.name.to_string()).collect())
}

fn ways_to_end(outcome: &str) -> Result<Vec<&'static str>, RpcError> {
    if outcome == FAILED {
        return Ok(FaultKind::ALL.into_iter().map(FaultKind::name).collect());
    }
    match outcomes().find(|name| *name == outcome) {
        Some(name) => Ok(vec![name]),
        None => {
            let known: Vec<_> = outcomes().chain([FAILED]).collect();
            let hint = suggest::hint(outcome, known.iter().copied());
            Err(RpcError::bad_request(format!(
                "`outcome` = `{outcome}` is no outcome; expected one of {}{hint}",
                known.join(", ")
            )))
        }
    }
}

/// A place as clients send it back.
pub(super) fn cursor(place: &RequestPlace) -> String {
    format!("{}.{}", place.at_ms, place.request_id)
}

pub(super) fn place(cursor: &str) -> Result<RequestPlace, RpcError> {
    let read = || {
        let (at_ms, request_id) = cursor.split_once('.')?;
        Some(RequestPlace {
            at_ms: at_ms.parse().ok()?,
            request_id: request_id.to_owned(),
        })
    };
    read().ok_or_else(|| {
        RpcError::bad_request(format!(
            "`cursor` = `{cursor}` is no place; expected the `nextCursor` of a page"
        ))
    })
}
