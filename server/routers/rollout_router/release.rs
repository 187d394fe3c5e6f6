//! `rollout.release`: lets go of a rollout that has ended, so that the live share decides its tasks.
//!
//! Nobody is moved by surprise: unless nobody gets the candidate before and after, the caller has to say
//! which share is meant to decide from then on. Equal shares are not enough: the users are others, and
//! the models are the catalog's, not the plan's. The share is set first, and for tasks of the rollout it moves
//! nobody before the release, so a process that dies in between leaves a state that can go on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::feature_flags_router::{self, MAX_REASON, actor, checked},
    ChangeRollout, State,
    answers::RolloutState,
    refusals,
};
use crate::{
    _core::{
        context::Context,
        errors::{ErrorCode, RpcError},
        registry::Registry,
        units::Percent,
    },
    live_flags::FlagSteering,
    procedures,
    rollout::{
        rollout::CommandKind,
        status::{RunState, Status},
    },
};

/// Registers the procedure.
pub(super) fn register(registry: &mut Registry, state: Option<State>) {
    procedures!(registry.outline("rollout", state);
        /// Lets go of a rollout that has ended, so that the live share decides its tasks again. Where
        /// that would move users, `share` has to say which live share is meant; it holds for all tasks
        /// that no rollout covers.
        mutation Admin release = release, errors refusals::CHANGING;
    );
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Release {
    /// The rollout.
    pub(crate) id: String,
    /// The version that this is based on.
    #[schemars(range(min = 0))]
    pub(crate) version: i64,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
    /// The live share from then on, 0 to 100. May be left out where it is 0 and the rollout serves
    /// nobody the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<Percent>,
}

async fn release(state: State, context: Context, input: Release) -> Result<RolloutState, RpcError> {
    let (reason, actor) = (checked(&input.reason)?, actor(&context)?);
    let status = state.controller.get(&input.id).await;
    let status = status.map_err(refusals::refusal)?.status;
    let live = state.live.state().flag;
    let may =
        status.version == input.version && status.state.is_final() && status.released_at.is_none();
    if may {
        match input.share {
            None if live.position.share != Percent::ZERO || status.share != Percent::ZERO => {
                return Err(moves(&status, live.position.share));
            }
            Some(share) if share != live.position.share => {
                let ask = FlagSteering {
                    based_on: Some(live.version),
                    reason,
                    actor: &actor,
                    at: context.received_at,
                };
                let set = state.live.set_share(share, ask).await;
                set.map_err(|error| {
                    let refused = feature_flags_router::refused(error);
                    RpcError::new(refused.code, refused.message)
                })?;
            }
            _ => {}
        }
    }
    // Whatever does not allow it, the controller says.
    let Release {
        id,
        version,
        reason,
        ..
    } = input;
    let change = ChangeRollout {
        id,
        version,
        reason,
    };
    change
        .apply(CommandKind::Release, &state.controller, &context)
        .await
}

/// What would happen, and how to say that it is meant.
fn moves(status: &Status, live: Percent) -> RpcError {
    let tasks = if status.tasks.is_empty() {
        "all tasks".to_owned()
    } else {
        let tasks = status.tasks.iter().map(|task| format!("`{task}`"));
        tasks.collect::<Vec<_>>().join(", ")
    };
    let share = status.share;
    let ended = match status.state {
        RunState::RolledBack => "was rolled back".to_owned(),
        _ => format!("is complete at {share} %"),
    };
    let then = if live == Percent::ZERO {
        "everybody goes back to the control models".to_owned()
    } else {
        format!("{live} % of the users get the candidate models of the catalog")
    };
    RpcError::new(
        ErrorCode::PreconditionFailed,
        format!(
            "This may move users: the rollout {ended} and decides about {tasks}; without it the live \
             share of {live} % does, so {then}. Say which live share is meant: `share` {live} for that, \
             {share} for as many users as now. It holds for every task that no rollout covers"
        ),
    )
    .with_details(json!(refusals::Met { current: RolloutState::new(status) }))
}
