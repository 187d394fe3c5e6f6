//! `rollout.placebo`, `rollout.placebos`: how often a plan takes back what is no worse, on this server's own traffic.

use std::{num::NonZero, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{super::feature_flags_router::actor, MAX_PLAN, known_plan};
use crate::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    procedures,
    rollout::{
        controller::Controller,
        placebos::{KeptPlacebo, Placebo},
        simulate::placebo::{self, PlaceboStore},
    },
};

/// Requests that are divided here, at most; the command line divides twenty times as many.
const MOST: usize = 100_000;
const MOST_ROLLOUTS: u32 = 50;
const USUAL_ROLLOUTS: u32 = 50;
const MOST_DAYS: i64 = 28;
const USUAL_DAYS: i64 = 14;
/// Placebos that are listed.
const LISTED: u32 = 50;

const RUNS: Declared = Declared::new(ErrorCode::ServiceUnavailable, "Another placebo runs.");
const NONE: Declared = Declared::new(
    ErrorCode::PreconditionFailed,
    "Control answered no request in that time.",
);
const UNKNOWN: Declared = Declared::new(ErrorCode::NotFound, "There is no plan of this name.");

/// What they work with; one placebo runs at a time, on one core.
#[derive(Clone)]
pub(super) struct Placebos {
    controller: Arc<Controller>,
    store: Arc<dyn PlaceboStore>,
    place: Arc<Semaphore>,
}

/// Registers them.
pub(super) fn register(
    registry: &mut Registry,
    parts: Option<(Arc<Controller>, Arc<dyn PlaceboStore>)>,
) {
    let placebos = parts.map(|(controller, store)| Placebos {
        controller,
        store,
        place: Arc::new(Semaphore::new(1)),
    });
    procedures!(registry.outline("rollout", placebos);
        /// Makes rollouts of a plan in which nothing is worse, of what control answered lately, and keeps how many of
        /// them were taken back or held. It takes some seconds, and there is one at a time.
        mutation Admin placebo = make, errors [RUNS, NONE, UNKNOWN];
        /// The newest of them that are kept, the newest first, 50 at most.
        query Viewer placebos = list;
    );
}

/// Which rollouts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MakePlacebo {
    /// The name of a plan that is known here, or a plan in TOML.
    #[schemars(length(min = 1, max = MAX_PLAN))]
    pub(crate) plan: String,
    /// How many days of traffic, up to now; 14 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_DAYS))]
    pub(crate) days: Option<i64>,
    /// How many rollouts; 50 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_ROLLOUTS))]
    pub(crate) salts: Option<u32>,
    /// Another seed divides the users in other ways; 1 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) seed: Option<u64>,
}

/// Placebo rollouts that were made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlaceboInfo {
    /// Its id.
    pub(crate) id: String,
    /// When they were made.
    pub(crate) at: DateTime<Utc>,
    /// By whom.
    pub(crate) actor: String,
    /// What came of them.
    pub(crate) placebo: Placebo,
    /// Whether more are taken back than chance explains.
    pub(crate) too_often: bool,
    /// In a sentence.
    pub(crate) words: String,
}

impl From<KeptPlacebo> for PlaceboInfo {
    fn from(kept: KeptPlacebo) -> Self {
        Self {
            too_often: kept.placebo.is_too_often(),
            words: kept.in_words(),
            id: kept.id,
            at: kept.at,
            actor: kept.actor.to_string(),
            placebo: kept.placebo,
        }
    }
}

async fn make(
    placebos: Placebos,
    context: Context,
    input: MakePlacebo,
) -> Result<PlaceboInfo, RpcError> {
    let (actor, at) = (actor(&context)?, context.received_at);
    let plan = known_plan(&placebos.controller, &input.plan)?;
    let busy = |_| {
        RpcError::unavailable(
            "another placebo runs just now; try again in some seconds",
            at,
        )
    };
    let place = placebos.place.clone().try_acquire_owned().map_err(busy)?;
    let days = input.days.unwrap_or(USUAL_DAYS);
    let span = (at - TimeDelta::days(days), at);
    let log = placebos
        .store
        .control_traffic(&plan.tasks, span, MOST)
        .await;
    let log = log.map_err(RpcError::internal)?;
    if log.requests() == 0 {
        return Err(RpcError::new(
            ErrorCode::PreconditionFailed,
            format!(
                "Control answered no request of the last {days} days, so there is nothing to divide"
            ),
        ));
    }
    let (salts, seed) = (
        input.salts.unwrap_or(USUAL_ROLLOUTS),
        input.seed.unwrap_or(1),
    );
    let work = move || {
        // Held until it is over, also where nobody waits for it any more.
        let _place = place;
        placebo::run(&plan, &log, salts, seed, NonZero::<usize>::MIN, &|_| {})
    };
    let placebo = tokio::task::spawn_blocking(work).await;
    let kept = KeptPlacebo {
        id: uuid::Uuid::now_v7().to_string(),
        at,
        actor,
        placebo: placebo.map_err(RpcError::internal)?,
    };
    placebos
        .store
        .add_placebo(&kept)
        .await
        .map_err(RpcError::internal)?;
    Ok(kept.into())
}

async fn list(placebos: Placebos, _: Context) -> Result<Vec<PlaceboInfo>, RpcError> {
    let kept = placebos.store.placebos(LISTED).await;
    let kept = kept.map_err(RpcError::internal)?;
    Ok(kept.into_iter().map(PlaceboInfo::from).collect())
}
