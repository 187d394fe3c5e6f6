//! Why a change of a rollout, or a question about one, is refused: what callers read, and what they are
//! promised.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::answers::{PlanFault, RolloutState};
use crate::{
    _core::{
        declared::Declared,
        errors::{ErrorCode, RpcError},
        suggest,
        toml_reader::TomlFault,
    },
    rollout::{audit::capital, errors::ControlError, status::Status},
};

/// Whom a start would move.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TakesBack {
    /// The percentage of users who would lose the model that they have.
    taken_back: f64,
    /// From which model to which, a sentence each.
    moves: Vec<String>,
}

/// Why a plan was not taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PlanRefused {
    /// Every fault, in the order of the lines.
    faults: Vec<PlanFault>,
}

/// The live rollout that a new one would get in the way of.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overlap {
    /// Its id.
    rollout_id: String,
}

/// What a change met instead of what it was based on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Met {
    /// The rollout as it is.
    pub(super) current: RolloutState,
}

/// No rollout has this id.
const UNKNOWN_ROLLOUT: Declared = Declared::new(ErrorCode::NotFound, "There is no such rollout.");
/// Another process has the lease, or this one does not have it yet.
const NOT_IN_CONTROL: Declared = Declared::new(
    ErrorCode::ServiceUnavailable,
    "Another process controls the rollouts, or this one has only begun.",
);

/// What a question about one rollout can be refused with.
pub(super) const ASKING: &[Declared] = &[UNKNOWN_ROLLOUT];
/// The same of a replay.
pub(super) const REPLAYING: &[Declared] = &[
    UNKNOWN_ROLLOUT,
    Declared::new(ErrorCode::ServiceUnavailable, "Another replay runs."),
];
/// What a check of a plan can be refused with.
pub(super) const CHECKING: &[Declared] = &[UNKNOWN_PLAN];
const UNKNOWN_PLAN: Declared = Declared::new(ErrorCode::NotFound, "There is no plan of this name.");
/// What a forecast can be refused with.
pub(super) const STARTING_POINTS: &[Declared] = &[
    Declared::with::<PlanRefused>(ErrorCode::BadRequest, "The plan cannot be used."),
    UNKNOWN_PLAN,
];
/// What a start can be refused with.
pub(super) const STARTING: &[Declared] = &[
    Declared::with::<PlanRefused>(ErrorCode::BadRequest, "The plan cannot be used."),
    UNKNOWN_PLAN,
    Declared::with::<Overlap>(
        ErrorCode::Conflict,
        "A live rollout covers some of the same tasks.",
    ),
    Declared::with::<TakesBack>(
        ErrorCode::PreconditionFailed,
        "Users would lose the model that they have, and `takeBack` does not say that this is meant; or, without \
         details, the plan demands a trial or a placebo and there is none that will do, or its windows are closed.",
    ),
    NOT_IN_CONTROL,
];
/// What a change can be refused with.
pub(super) const CHANGING: &[Declared] = &[
    UNKNOWN_ROLLOUT,
    Declared::with::<Met>(
        ErrorCode::Conflict,
        "The rollout has moved on since the version that the change is based on.",
    ),
    Declared::with::<Met>(
        ErrorCode::PreconditionFailed,
        "The rollout is in a state that has no such change.",
    ),
    NOT_IN_CONTROL,
];

/// A lowering is in force here, and could not be stored for the other processes.
pub(super) fn not_stored() -> RpcError {
    RpcError::new(
        ErrorCode::ServiceUnavailable,
        "It is in force on this server, and is not stored yet. On the others it comes into force as soon as the \
         database answers",
    )
}

/// Why a change or a question was refused, for the client.
pub(super) fn refusal(error: ControlError) -> RpcError {
    let current = |status: &Status| {
        json!(Met {
            current: RolloutState::new(status)
        })
    };
    match error {
        ControlError::Plan(faults) => {
            let lines = faults.faults.iter().map(|TomlFault { line, message }| {
                // A plan that is sent has no file; its lines are enough.
                format!("\n  line {line}: {message}")
            });
            let lines: String = lines.collect();
            RpcError::bad_request(format!("The plan cannot be used:{lines}")).with_details(json!(
                PlanRefused {
                    faults: PlanFault::all(faults)
                }
            ))
        }
        ControlError::UnknownPlan { name, known } => {
            let names = known.split(", ").map(|name| name.trim_matches('`'));
            let hint = suggest::hint(&name, names);
            RpcError::not_found(format!("Unknown plan `{name}`; known are {known}{hint}"))
        }
        ControlError::UnknownRollout { id } => RpcError::not_found(format!(
            "Rollout `{id}` not found; expected an id that `rollout.list` shows, or the beginning of one"
        )),
        ControlError::Overlaps { id, plan } => RpcError::new(
            ErrorCode::Conflict,
            format!(
                "Rollout `{id}` of plan `{plan}` is live and covers some of the same tasks; \
                 end it first, or name other tasks in the plan"
            ),
        )
        .with_details(json!(Overlap { rollout_id: id })),
        ControlError::TakesBack { moves } => RpcError::new(
            ErrorCode::PreconditionFailed,
            format!(
                "This start takes users back: {}. If that is meant, say `takeBack: true` \
                 (`--take-back`)",
                moves.words.join(". ")
            ),
        )
        .with_details(json!(TakesBack {
            taken_back: moves.taken_back,
            moves: moves.words,
        })),
        ControlError::Closed { .. } => {
            RpcError::new(ErrorCode::PreconditionFailed, capital(&error.to_string()))
        }
        ControlError::Untried { why } | ControlError::WithoutPlacebo { why } => {
            RpcError::new(ErrorCode::PreconditionFailed, capital(&why))
        }
        ControlError::Ambiguous { id, matches } => RpcError::bad_request(format!(
            "`{id}` is the beginning of several rollouts' ids: {}; write more of it",
            matches.join(", ")
        )),
        ControlError::NoReason => RpcError::bad_request("`reason` is blank; say why"),
        ControlError::Stale {
            based_on,
            current: status,
        } => {
            let state = RolloutState::new(&status);
            RpcError::new(
                ErrorCode::Conflict,
                format!(
                    "This is based on version {based_on}, but the rollout is at version {}: {} \
                     since {} (\"{}\"); look again and decide anew",
                    state.version,
                    state.place(),
                    state.changed_by,
                    state.reason
                ),
            )
            .with_details(current(&status))
        }
        ControlError::Refused {
            why,
            current: status,
        } => {
            let Status { id, plan, .. } = &*status;
            let text = format!("Rollout `{id}` of plan `{plan}`: {why}");
            RpcError::new(ErrorCode::PreconditionFailed, text).with_details(current(&status))
        }
        ControlError::NotInControl => RpcError::new(
            ErrorCode::ServiceUnavailable,
            "Another process controls the rollouts, or this one has only begun; try again there",
        ),
        ControlError::Store(error) => RpcError::internal(error),
    }
}
