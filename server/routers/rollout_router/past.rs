//! What lies behind a rollout: the stages it has passed, and since when it is judged as it is.

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{actor::Actor, units::Percent},
    rollout::{
        evidence::Level,
        finding::{Finding, Proof},
        record::Action,
        store::AuditRow,
    },
};

/// A stage that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StagePassed {
    /// Counted from 1.
    pub(crate) stage: usize,
    /// The share with which it ended.
    pub(crate) share: Percent,
    /// When it began.
    pub(crate) began_at: DateTime<Utc>,
    /// When it ended.
    pub(crate) ended_at: DateTime<Utc>,
    /// The candidate's counted requests in it; null where the history does not say.
    pub(crate) requests: Option<u64>,
    /// The candidate's users in it; null where the history does not say.
    pub(crate) users: Option<u64>,
    /// What opened the next one.
    pub(crate) how: Opened,
}

/// What opened the next stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Opened {
    /// Its safety was proven.
    Proven,
    /// A person opened the gate.
    Approved,
    /// A person began it before its time, or the plan asks for no proof.
    Advanced,
}

/// The stages that are over, in order.
pub(super) fn passed(history: &[AuditRow]) -> Vec<StagePassed> {
    let mut passed = Vec::new();
    let Some(mut began_at) = history.first().map(|row| row.at) else {
        return passed;
    };
    for row in history {
        let Some(before) = row.before else { continue };
        let is_over = row.after.stage > before.stage || row.action == Action::Completed;
        if !is_over {
            continue;
        }
        let finding = finding(row);
        let is_proven = finding.is_some_and(|it| it.proof == Proof::Proven);
        passed.push(StagePassed {
            stage: before.stage + 1,
            share: before.share,
            began_at: began_at.trunc_subsecs(3),
            ended_at: row.at.trunc_subsecs(3),
            requests: finding.map(|it| it.candidate.requests),
            users: finding.map(|it| it.users),
            how: match (&row.actor, row.action) {
                (_, Action::Approved) => Opened::Approved,
                (Actor::Controller, _) if is_proven => Opened::Proven,
                _ => Opened::Advanced,
            },
        });
        began_at = row.at;
    }
    passed
}

/// When the first of the newest decisions was made that met this level; `None` where the newest met
/// another one, so that the level has changed since.
pub(super) fn level_since(history: &[AuditRow], level: Level) -> Option<DateTime<Utc>> {
    let newest = history.iter().rev();
    let same = newest.take_while(|row| finding(row).is_some_and(|it| it.level == level));
    same.last().map(|row| row.at.trunc_subsecs(3))
}

fn finding(row: &AuditRow) -> Option<&Finding> {
    row.record.as_ref().ok()?.finding.as_ref()
}
