//! What the procedures answer.

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::State;
use crate::{
    _core::{
        actor::Actor,
        assignment::Algorithm,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        feature_flags::{DecidedBy, DecidingRollout, InForce},
        units::Percent,
    },
    live_flags::{
        self, FlagError,
        store::{FlagChange, FlagPosition},
    },
};

/// What is in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlagsState {
    /// The live share: users below it get the candidate models in tasks that no rollout covers.
    pub(crate) share: Percent,
    /// The kill switch: everybody gets the control models, whatever the share.
    pub(crate) killed: bool,
    /// Everybody gets the candidate models, whatever the share (setting `FORCE_OPENROUTER`).
    pub(crate) forced_for_all: bool,
    /// How users become buckets.
    pub(crate) algorithm: Algorithm,
    /// Counts the changes; a change may name the version it is based on.
    pub(crate) version: i64,
    /// Why the last change was made; null where all is as first configured.
    pub(crate) reason: Option<String>,
    /// The id of the user who made it; null where the settings did.
    pub(crate) by: Option<i64>,
    /// Who made it: `user:7`, `settings`.
    pub(crate) actor: Option<Actor>,
    /// When it was made.
    pub(crate) at: Option<DateTime<Utc>>,
    /// Whether all of it is stored. False while a change that is in force waits for the database; a
    /// restart would forget it.
    pub(crate) stored: bool,
    /// Who decides about each task of the catalog, as it is now.
    pub(crate) tasks: Vec<TaskInForce>,
    /// What the live share does not move, in words; null where it moves every task.
    pub(crate) note: Option<String>,
}

/// Who decides about a task.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskInForce {
    /// The task.
    pub(crate) task: String,
    /// Users below this share get the candidate models; 0 while the kill switch is on.
    pub(crate) share: Percent,
    /// Who decides.
    pub(crate) decided_by: DecidedBy,
    /// The rollout that covers the task, also while the kill switch stands above it.
    pub(crate) rollout: Option<DecidingRollout>,
}

impl FlagsState {
    pub(super) fn new(state: &State, held: &live_flags::FlagInForce) -> Self {
        let flag = &held.flag;
        let last = flag.last.as_ref();
        let catalog = state.models.catalog();
        let tasks = catalog.tasks.iter().map(|task| &*task.name);
        let tasks = state.flags.in_force_for(tasks).into_iter();
        let tasks: Vec<_> = tasks.map(TaskInForce::new).collect();
        Self {
            share: flag.position.share,
            killed: flag.position.killed,
            forced_for_all: state.flags.forced_for_all(),
            algorithm: state.flags.algorithm(),
            version: flag.version,
            reason: last.map(|last| last.reason.clone()),
            by: last.and_then(|last| last.actor.user_id()),
            actor: last.map(|last| last.actor.clone()),
            // JavaScript's dates have milliseconds.
            at: last.map(|last| last.at.trunc_subsecs(3)),
            stored: held.is_stored,
            note: covered(&tasks),
            tasks,
        }
    }

    /// What covers every task, in words; `None` where the live share decides about one.
    pub(super) fn covered(&self) -> Option<&str> {
        let all = self.tasks.iter().all(|task| task.rollout.is_some());
        self.note.as_deref().filter(|_| all)
    }

    pub(super) fn version(&self) -> i64 {
        self.version
    }
}

impl TaskInForce {
    fn new((task, in_force): (&str, InForce)) -> Self {
        Self {
            task: task.to_owned(),
            share: in_force.share,
            decided_by: in_force.decided_by,
            rollout: in_force.rollout,
        }
    }
}

/// `rollout `r` of plan `p` decides about `chat` and `email-draft``, for each rollout that decides.
fn covered(tasks: &[TaskInForce]) -> Option<String> {
    let mut rollouts: Vec<(&DecidingRollout, Vec<String>)> = Vec::new();
    for TaskInForce { task, rollout, .. } in tasks {
        let Some(rollout) = rollout else { continue };
        let task = format!("`{task}`");
        match rollouts.iter_mut().find(|(it, _)| it.id == rollout.id) {
            Some((_, tasks)) => tasks.push(task),
            None => rollouts.push((rollout, vec![task])),
        }
    }
    let said = rollouts.iter().map(|(rollout, tasks)| {
        format!(
            "{}{} decides about {} at {} %",
            rollout.named(),
            // The end of "which was rolled back and goes on deciding".
            rollout.ended.map_or("", |_| ","),
            tasks.join(", "),
            rollout.share
        )
    });
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// The share and the switch at a moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Place {
    /// The live share.
    pub(crate) share: Percent,
    /// The kill switch.
    pub(crate) killed: bool,
}

impl From<FlagPosition> for Place {
    fn from(FlagPosition { share, killed }: FlagPosition) -> Self {
        Self { share, killed }
    }
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FlagsChange {
    /// The version that it made.
    pub(crate) version: i64,
    /// When it came into force.
    pub(crate) at: DateTime<Utc>,
    /// Who did it: `user:7`, `settings`.
    pub(crate) actor: Actor,
    /// The reason that was given.
    pub(crate) reason: String,
    /// What was in force before.
    pub(crate) before: Place,
    /// And after.
    pub(crate) after: Place,
    /// Whether it is stored; false while it is in force and waits for the database.
    pub(crate) stored: bool,
}

impl FlagsChange {
    pub(super) fn new(change: &FlagChange, stored: bool) -> Self {
        Self {
            version: change.version,
            at: change.at.trunc_subsecs(3),
            actor: change.actor.clone(),
            reason: change.reason.clone(),
            before: change.before.into(),
            after: change.after.into(),
            stored,
        }
    }
}

/// What a change met instead of what it was based on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FlagsMet {
    /// The flags as they are.
    current: Current,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Current {
    /// The live share.
    share: Percent,
    /// The kill switch.
    killed: bool,
    /// Counts the changes.
    version: i64,
    /// The last change; null where all is as first configured.
    change: Option<FlagsChange>,
}

impl FlagsMet {
    pub(super) fn new(held: &live_flags::FlagInForce) -> Self {
        let flag = &held.flag;
        let change = flag.last.as_ref();
        Self {
            current: Current {
                share: flag.position.share,
                killed: flag.position.killed,
                version: flag.version,
                change: change.map(|change| FlagsChange::new(change, held.is_stored)),
            },
        }
    }
}

/// The database cannot store what is stored before it is in force.
pub(in super::super) const NOT_STORED: Declared = Declared::new(
    ErrorCode::ServiceUnavailable,
    "The database cannot store this, and what gives users the candidate is stored first.",
);
/// What a change can be refused with.
pub(super) const CHANGING: &[Declared] = &[
    Declared::with::<FlagsMet>(
        ErrorCode::Conflict,
        "The flags have moved on since the version that the change is based on, or rollouts cover every \
         task, so that the share would move nobody.",
    ),
    NOT_STORED,
];

/// Why a change was refused, for the client.
pub(in super::super) fn refused(error: FlagError) -> RpcError {
    const UNAVAILABLE: ErrorCode = ErrorCode::ServiceUnavailable;
    match error {
        FlagError::Stale { based_on, current } => {
            let flag = &current.flag;
            let FlagPosition { share, killed } = flag.position;
            let switch = if killed { "on" } else { "off" };
            let last = flag.last.as_ref();
            let (actor, reason) = last.map_or((&Actor::Settings, "as configured"), |last| {
                (&last.actor, &*last.reason)
            });
            let version = flag.version;
            RpcError::new(
                ErrorCode::Conflict,
                format!(
                    "This is based on version {based_on}, but the flags are at version {version}: \
                     share {share} %, kill switch {switch}, since {actor} (\"{reason}\"); look again \
                     and decide anew"
                ),
            )
            .with_details(json!(FlagsMet::new(&current)))
        }
        FlagError::NotWritten(cause) => RpcError::new(
            UNAVAILABLE,
            "The database cannot store this, and what gives users the candidate is stored first, so \
             nothing has changed; `/readyz` says what is wrong. Try again when it is well",
        )
        .with_cause(cause),
        error @ FlagError::Late => RpcError::new(
            UNAVAILABLE,
            format!("It is not known whether this was stored: {error}. Look with `get` before you repeat it"),
        ),
        error @ FlagError::TooManyOwed => RpcError::new(
            UNAVAILABLE,
            format!("Nothing has changed: {error}. The kill switch works still"),
        ),
    }
}
