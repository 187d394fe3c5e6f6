//! A rollout as people see it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    allowed::{Allowed, allowed},
    audit,
    decision::decide,
    evidence::Verdict,
    finding::Finding,
    next::Next,
    plan::Plan,
    rollout::Rollout,
    status::Status,
};

/// A rollout with what its traffic proves at a moment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Where it is.
    pub status: Status,
    /// What is wanted.
    pub plan: Plan,
    /// What the judge finds.
    pub finding: Finding,
    /// The evidence in figures.
    pub verdict: Verdict,
    /// Seconds of the stage's soak that are left.
    pub left_seconds: u64,
    /// What would follow now, in words.
    pub next: String,
    /// The same for programs.
    pub next_step: Next,
    /// What a person may do now.
    pub allowed: Vec<Allowed>,
}

impl View {
    /// What is seen of a rollout at a moment.
    pub fn of(rollout: &Rollout, at: DateTime<Utc>) -> Self {
        let (finding, verdict) = rollout.judge(at);
        let Rollout { plan, status, .. } = rollout;
        let decision = decide(plan, status, &finding, at);
        Self {
            left_seconds: status.left(plan).as_secs(),
            next: audit::what_follows(&decision),
            next_step: Next::of(&decision, status, plan, at),
            allowed: allowed(rollout, &finding, at),
            status: status.clone(),
            plan: Plan::clone(plan),
            finding,
            verdict,
        }
    }
}
