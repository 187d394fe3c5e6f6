//! The lines of a rollout's history, as they are answered.

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{actor::Actor, units::Percent},
    rollout::{
        controller::Change,
        record::{Action, Standing},
        status::RunState,
        store::AuditRow,
    },
};

/// Where a rollout was at a moment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    /// What it was doing.
    pub(crate) state: RunState,
    /// The stage it was in, counted from 1.
    pub(crate) stage: usize,
    /// Users below this share got the candidate.
    pub(crate) share: Percent,
    /// When a person let go of it; missing before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) released_at: Option<DateTime<Utc>>,
}

impl Place {
    fn of(standing: &Standing, released_at: Option<DateTime<Utc>>) -> Self {
        Self {
            state: standing.state,
            stage: standing.stage + 1,
            share: standing.share,
            released_at,
        }
    }
}

/// One line of a rollout's history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryEntry {
    /// When it was done.
    pub(crate) at: DateTime<Utc>,
    /// Who did it: `user:7`, `controller`.
    pub(crate) actor: Actor,
    /// What was done.
    pub(crate) action: Action,
    /// The reason that was given.
    pub(crate) reason: String,
    /// Where the rollout was before; null at the start.
    pub(crate) before: Option<Place>,
    /// Where it was after.
    pub(crate) after: Place,
    /// The version that this made.
    pub(crate) version: i64,
}

impl HistoryEntry {
    pub(super) fn new(row: AuditRow) -> Self {
        let at = row.at.trunc_subsecs(3);
        // The end of a rollout stays what it was.
        let released_at = (row.action == Action::Released).then_some(at);
        Self {
            at,
            before: row.before.map(|standing| Place::of(&standing, None)),
            after: Place::of(&row.after, released_at),
            actor: row.actor,
            action: row.action,
            reason: row.reason,
            version: row.version,
        }
    }

    /// A change that is in force and not in the history yet.
    pub(super) fn of_change(change: &Change) -> Self {
        let status = &change.status;
        Self {
            at: change.at.trunc_subsecs(3),
            actor: status.changed_by.clone(),
            action: change.action,
            reason: status.reason.clone(),
            before: None,
            after: Place::of(&Standing::of(status), status.released_at),
            version: status.version,
        }
    }
}
