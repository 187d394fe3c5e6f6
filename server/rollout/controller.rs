//! Reads, decides, applies, records.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

use super::{
    audit::Explanation,
    decision::Finding,
    plan::{Library, Plan, PlanFaults},
    status::Status,
    store::AuditRow,
};
use crate::_core::{
    assignment::{Subject, Variant},
    units::Percent,
};

/// Why a change or a question was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The plan has faults.
    #[error(transparent)]
    Plan(#[from] PlanFaults),
    /// There is no such plan.
    #[error("unknown plan `{name}`; known are {known}")]
    UnknownPlan {
        /// What was asked for.
        name: String,
        /// The library's plans.
        known: String,
    },
    /// There is no such rollout.
    #[error("unknown rollout `{id}`")]
    UnknownRollout {
        /// What was asked for.
        id: String,
    },
    /// A live rollout decides about some of the same tasks.
    #[error("rollout `{id}` of plan `{plan}` is live and covers some of the same tasks")]
    Overlaps {
        /// The live one.
        id: String,
        /// Its plan.
        plan: String,
    },
    /// A change needs a reason.
    #[error("`reason` is empty; say why")]
    NoReason,
    /// The change was based on an older version.
    #[error("the rollout is at version {}, not {based_on}", current.version)]
    Stale {
        /// What it was based on.
        based_on: i64,
        /// Where the rollout is.
        current: Box<Status>,
    },
    /// The state or the evidence does not allow it.
    #[error("{why}")]
    Refused {
        /// What stands in the way.
        why: String,
        /// Where the rollout is.
        current: Box<Status>,
    },
    /// Another process controls the rollouts.
    #[error("another process controls the rollouts")]
    NotInControl,
    /// The store failed.
    #[error("the rollouts cannot be read or written: {0:#}")]
    Store(anyhow::Error),
}

/// A rollout as people see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Where it is.
    pub status: Status,
    /// What is wanted.
    pub plan: Plan,
    /// What the judge finds now.
    pub finding: Finding,
    /// The evidence in figures.
    pub verdict: Value,
    /// Seconds of the stage's soak that are left.
    pub left_seconds: u64,
    /// What would follow now, in words.
    pub next: String,
}

/// Something changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What was done: `started`, `advanced`, `rolled-back`, …
    pub action: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Where the rollout is now.
    pub status: Status,
}

/// Moves rollouts; shared by all who steer or ask.
pub struct Controller {
    changes: broadcast::Sender<Arc<Change>>,
    library: Library,
}

impl Controller {
    /// Checks a plan's text against the names that are known here.
    pub fn validate(&self, _text: &str) -> Result<Plan, PlanFaults> {
        unimplemented!()
    }
    /// The plans that can be started by name.
    pub fn library(&self) -> &Library {
        &self.library
    }
    /// All rollouts, the newest first.
    pub async fn list(&self) -> Result<Vec<Status>, ControlError> {
        unimplemented!()
    }
    /// One rollout with its plan and evidence.
    pub async fn get(&self, _id: &str) -> Result<View, ControlError> {
        unimplemented!()
    }
    /// Begins a rollout with a plan of the library, or one given as TOML (a text with a line break
    /// or `=`). `keep_users` takes over the salt of the newest rollout of the same plan.
    pub async fn start(
        &self,
        _plan: &str,
        _reason: &str,
        _actor: &str,
        _keep_users: bool,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Stops the ramp; the share stays, and the rollout is still judged.
    pub async fn pause(
        &self,
        _id: &str,
        _based_on: i64,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Ends a pause.
    pub async fn resume(
        &self,
        _id: &str,
        _based_on: i64,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Begins the next stage before its time.
    pub async fn advance(
        &self,
        _id: &str,
        _based_on: i64,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Moves the share within the stage.
    pub async fn set_share(
        &self,
        _id: &str,
        _based_on: i64,
        _share: Percent,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Sends everybody back to control, for good.
    pub async fn rollback(
        &self,
        _id: &str,
        _based_on: i64,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Opens the gate that the rollout waits at.
    pub async fn approve(
        &self,
        _id: &str,
        _based_on: i64,
        _reason: &str,
        _actor: &str,
    ) -> Result<Status, ControlError> {
        unimplemented!()
    }
    /// Its history, oldest first.
    pub async fn history(&self, _id: &str) -> Result<Vec<AuditRow>, ControlError> {
        unimplemented!()
    }
    /// Each decision with its evidence in words and figures, oldest first.
    pub async fn why(&self, _id: &str) -> Result<Vec<Explanation>, ControlError> {
        unimplemented!()
    }
    /// The deployment log, as Markdown.
    pub async fn report(&self, _id: &str) -> Result<String, ControlError> {
        unimplemented!()
    }
    /// A person's judgement of an answer. `variant` is the arm that gave it, where known; else the
    /// one that the subject is in now.
    pub fn feedback(
        &self,
        _task: &str,
        _subject: &Subject,
        _variant: Option<Variant>,
        _good: bool,
    ) {
        unimplemented!()
    }
    /// Changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }
}
