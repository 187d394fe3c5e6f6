//! How a rollout begins.

use super::{Author, Rollout, Transition};
use crate::{
    _core::assignment::Algorithm,
    rollout::{
        evidence::Strata,
        observation::{Ledger, Step},
        plan::Plan,
        record::{Action, Record, Standing},
        status::{Models, Moment, RunState, Status},
        store::AuditRow,
        world::World,
    },
};

/// What a rollout begins with.
pub struct Beginning {
    /// What is wanted.
    pub plan: Plan,
    /// How subjects become buckets, and where in them.
    pub algorithm: Algorithm,
    /// See [`Beginning::algorithm`].
    pub salt: String,
    /// By how often they failed before, users are compared.
    pub strata: Strata,
    /// The models of both arms.
    pub models: Vec<Models>,
    /// The last event that is there.
    pub cursor: i64,
}

impl Rollout {
    /// Begins at the first stage, closed. `moves` says whom that moves, a sentence each.
    pub fn begin(
        beginning: Beginning,
        moves: Vec<String>,
        by: Author<'_>,
        now: Moment,
        world: &World,
    ) -> Transition {
        let Beginning {
            plan,
            algorithm,
            salt,
            strata,
            models,
            cursor,
        } = beginning;
        let at_ms = now.wall.timestamp_millis();
        let status = Status {
            id: world.id(now.wall),
            plan: plan.name.clone(),
            tasks: plan.tasks.clone(),
            state: RunState::Running,
            stage: 0,
            stages: plan.stages.len(),
            share: plan.share_of(0),
            soaked_ms: 0,
            version: 1,
            algorithm,
            salt,
            started_at: now.wall,
            stage_began_at: now.wall,
            ended_at: None,
            released_at: None,
            changed_by: by.actor.clone(),
            reason: by.reason.to_owned(),
            clear_since: None,
            outage: None,
            outages: 0,
            told: Default::default(),
            models,
            on_call: plan.on_call.clone(),
        };
        let audit = AuditRow {
            id: world.id(now.wall),
            rollout_id: status.id.clone(),
            at: now.wall,
            actor: by.actor.clone(),
            action: Action::Started,
            reason: by.reason.to_owned(),
            before: None,
            after: Standing::of(&status),
            record: Ok(Record {
                cursor,
                at_ms,
                step: Step::None,
                finding: None,
                verdict: None,
                models: Some(status.models_in_words()),
                moves,
            }),
            version: status.version,
        };
        let rollout = Self {
            ledger: Ledger::new(&plan, strata, at_ms),
            plan: plan.into(),
            status,
            cursor,
            owed: Vec::new(),
            alerts: Vec::new(),
            is_open: false,
            caps: Vec::new(),
            is_urgent: true,
            stored_at: None,
            probed_at: None,
            is_guarded: false,
        };
        Transition {
            rollout,
            audit,
            alerts: Vec::new(),
        }
    }
}
