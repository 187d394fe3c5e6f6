//! One rollout in memory, and how it changes.

use std::{collections::HashSet, sync::Arc};

use anyhow::Context as _;
use serde_json::Value;

use super::{ControlError, World};
use crate::{
    _core::{
        actor::Actor,
        blank::is_blank,
        feature_flags::{Ended, LiveRollout},
        units::Percent,
    },
    ai_metrics::Event,
    alerting::Alert,
    rollout::{
        evidence::Verdict,
        finding::Finding,
        observation::{Ledger, Step},
        plan::Plan,
        record::{Action, Record, Standing},
        status::{Moment, State, Status},
        store::{AuditRow, RolloutChange, StoredRollout},
    },
};

/// A rollout in memory: what is stored, and what has happened since.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) plan: Arc<Plan>,
    pub(super) status: Status,
    pub(super) ledger: Ledger,
    /// The last event that the ledger holds.
    pub(super) cursor: i64,
    /// Changes that are in force and not yet stored: only those that lower the share.
    pub(super) owed: Vec<Owed>,
    /// What is to be told with the next write.
    pub(super) alerts: Vec<Alert>,
    /// Whether it serves what its status says; before, it serves control.
    pub(super) is_open: bool,
    /// Whether something must be stored soon.
    pub(super) is_urgent: bool,
    /// When its evidence was last stored.
    pub(super) stored_at: Option<Moment>,
}

/// A change that is in force and not yet stored.
#[derive(Clone)]
pub(super) struct Owed {
    pub(super) status: Status,
    pub(super) audit: AuditRow,
    pub(super) alerts: Vec<Alert>,
}

/// Who changes something, and why.
#[derive(Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) actor: &'a Actor,
    pub(super) reason: &'a str,
}

impl<'a> Author<'a> {
    /// Refuses a blank reason.
    pub(super) fn new(reason: &'a str, actor: &'a Actor) -> Result<Self, ControlError> {
        let reason = reason.trim();
        if is_blank(reason) {
            return Err(ControlError::NoReason);
        }
        Ok(Self { actor, reason })
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turn {
    /// Only the state.
    State(State),
    /// A stage begins.
    Stage(usize),
    /// The share moves.
    Share(Percent),
    /// The last stage is over.
    Complete,
    /// Everybody goes back.
    RollBack,
    /// It has ended, and decides no more.
    Release,
}

/// A change that has been worked out: the rollout after it, and the line of its history.
pub(super) struct Next {
    pub(super) entry: Entry,
    pub(super) audit: AuditRow,
    pub(super) alerts: Vec<Alert>,
}

impl Entry {
    pub(super) fn from_stored(stored: &StoredRollout) -> anyhow::Result<Self> {
        let context =
            |what| move || format!("the {what} of rollout `{}` cannot be read", stored.id);
        let plan = serde_json::from_value(stored.plan.clone()).with_context(context("plan"))?;
        let mut status: Status =
            serde_json::from_value(stored.status.clone()).with_context(context("status"))?;
        status.version = stored.version;
        let mut ledger: Ledger =
            serde_json::from_value(stored.evidence.clone()).with_context(context("evidence"))?;
        if stored.is_live {
            ledger.watch_after(stored.cursor);
        }
        Ok(Self {
            plan: Arc::new(plan),
            status,
            ledger,
            cursor: stored.cursor,
            owed: Vec::new(),
            alerts: Vec::new(),
            is_open: false,
            is_urgent: true,
            stored_at: None,
        })
    }

    pub(super) fn stored(&self, status: &Status) -> StoredRollout {
        // Types of ours, all of which JSON can say.
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        StoredRollout {
            id: status.id.clone(),
            plan: json(serde_json::to_value(&*self.plan)),
            status: json(serde_json::to_value(status)),
            version: status.version,
            evidence: json(serde_json::to_value(&self.ledger)),
            cursor: self.cursor,
            is_live: !status.state.is_final(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        !self.status.state.is_final()
    }

    pub(super) fn judge(&self, now: Moment) -> (Finding, Verdict) {
        self.ledger.judge(&self.plan, now.wall.timestamp_millis())
    }

    /// Folds an event, if it is this rollout's and not folded yet.
    pub(super) fn fold(&mut self, event: &Event) {
        if event.seq > self.cursor && self.is_live() {
            self.cursor = event.seq;
            if event.rollout.as_deref() == Some(self.status.id.as_str()) {
                self.ledger.fold(event, self.status.share);
            }
        }
    }

    /// As the data path sees it: before it is open, and once it is rolled back, control for all.
    pub(super) fn live(&self) -> Arc<LiveRollout> {
        let is_serving = self.is_open && self.status.state != State::RolledBack;
        let id = &self.status.id;
        let list = |ids: &[String]| {
            if is_serving {
                Plan::subjects(ids)
            } else {
                HashSet::new()
            }
        };
        Arc::new(LiveRollout {
            id: if self.is_open {
                id.as_str().into()
            } else {
                format!("{}{id}", LiveRollout::CLOSED).into()
            },
            tasks: self.plan.tasks.clone(),
            algorithm: self.status.algorithm,
            salt: self.status.salt.clone(),
            share: if is_serving {
                self.status.share
            } else {
                Percent::ZERO
            },
            forced_on: list(&self.plan.forced_on),
            forced_off: list(&self.plan.forced_off),
            candidate: self.plan.candidate.clone(),
            control: self.plan.control.clone(),
            plan: self.status.plan.clone(),
            ended: match self.status.state {
                State::Completed => Some(Ended::Completed),
                State::RolledBack => Some(Ended::RolledBack),
                _ => None,
            },
            is_released: self.status.released_at.is_some(),
        })
    }

    /// Works out a change.
    pub(super) fn turn(&self, turn: Turn, by: Author<'_>, now: Moment, world: &World) -> Next {
        let mut entry = self.clone();
        let (finding, verdict) = self.judge(now);
        let status = &mut entry.status;
        let at_ms = now.wall.timestamp_millis();
        let step = match turn {
            Turn::State(state) => {
                status.state = state;
                Step::None
            }
            Turn::Stage(stage) => {
                status.stage = stage;
                status.state = State::Running;
                status.soaked_ms = 0;
                status.stage_began_at = now.wall;
                let share = self.plan.share_of(stage);
                if share > status.share {
                    status.share = share;
                }
                Step::Stage {
                    share: status.share,
                    rho_bad: self.plan.stages.get(stage).map_or(1.5, |it| it.rho_bad),
                }
            }
            Turn::Share(share) => {
                status.share = share;
                Step::Share { share }
            }
            Turn::Complete => {
                status.state = State::Completed;
                status.ended_at = Some(now.wall);
                Step::None
            }
            Turn::Release => {
                status.released_at = Some(now.wall);
                Step::None
            }
            Turn::RollBack => {
                status.state = State::RolledBack;
                status.share = Percent::ZERO;
                status.ended_at = Some(now.wall);
                Step::Share {
                    share: Percent::ZERO,
                }
            }
        };
        status.version += 1;
        status.changed_by = by.actor.clone();
        status.reason = by.reason.to_owned();
        entry.ledger.step(step, at_ms);
        entry.is_urgent = true;
        let action = action(turn, self.status.state, by.actor);
        let audit = AuditRow {
            id: world.id(now.wall),
            rollout_id: self.status.id.clone(),
            at: now.wall,
            actor: by.actor.clone(),
            action,
            reason: by.reason.to_owned(),
            before: Some(Standing::of(&self.status)),
            after: Standing::of(&entry.status),
            record: Ok(Record {
                cursor: self.cursor,
                at_ms,
                step,
                finding: Some(finding),
                verdict: Some(verdict),
                models: None,
                moves: Vec::new(),
            }),
            version: entry.status.version,
        };
        Next {
            entry,
            audit,
            alerts: Vec::new(),
        }
    }

    /// What is to be written of it, and nothing if all is.
    pub(super) fn changes(&self) -> Vec<RolloutChange> {
        let mut changes: Vec<_> = self
            .owed
            .iter()
            .map(|owed| RolloutChange {
                rollout: self.stored(&owed.status),
                based_on: Some(owed.status.version - 1),
                audit: Some(owed.audit.clone()),
                alerts: owed.alerts.clone(),
            })
            .collect();
        match changes.last_mut() {
            Some(last) => last.alerts.extend(self.alerts.iter().cloned()),
            None => changes.push(RolloutChange {
                rollout: self.stored(&self.status),
                based_on: Some(self.status.version),
                audit: None,
                alerts: self.alerts.clone(),
            }),
        }
        changes
    }
}

fn action(turn: Turn, before: State, actor: &Actor) -> Action {
    match turn {
        Turn::State(State::Paused) => Action::Paused,
        Turn::State(State::Holding { .. }) => Action::Held,
        Turn::State(State::WaitingAtGate { .. }) => Action::Asked,
        Turn::State(_) => Action::Resumed,
        Turn::Stage(_) => match before {
            State::WaitingAtGate { .. } if *actor != Actor::Controller => Action::Approved,
            _ => Action::Advanced,
        },
        Turn::Share(_) => Action::ShareSet,
        Turn::Complete => Action::Completed,
        Turn::RollBack => Action::RolledBack,
        Turn::Release => Action::Released,
    }
}
