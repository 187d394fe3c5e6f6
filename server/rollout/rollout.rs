//! One rollout, and everything that can happen to it; it knows no store, no lock and no clock.
//!
//! [`fold`](Rollout::fold) takes up events, [`look`](Rollout::look) takes the candidate back,
//! [`step`](Rollout::step) is what follows by itself at a tick, [`obey`](Rollout::obey) what a person
//! may do. Whatever changes is a [`Transition`]: the rollout after it, and the line of its history. One
//! that lowers the share is in force at once and *owed* to the store; all others come into force when
//! they are written.

mod by_itself;
mod command;
mod start;
mod transition;

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::Value;

pub use self::{
    command::{Command, CommandKind},
    start::Beginning,
    transition::{Author, Transition, TransitionKind},
};
use super::{
    evidence::Verdict,
    finding::Finding,
    observation::Ledger,
    plan::Plan,
    status::{Models, Moment, RunState, Status},
    store::{AuditRow, RolloutChange, StoredRollout, damaged},
};
use crate::{
    _core::{
        feature_flags::{Ended, LiveRollout},
        units::Percent,
    },
    alerting::Alert,
    recording::Event,
};

/// How often evidence is stored where nothing else asks for it. Events are stored with every tick,
/// and evidence that is behind them catches up from them.
const EVIDENCE_MS: u128 = 5_000;

/// What is stored of a rollout, and what has happened since.
#[derive(Clone)]
pub struct Rollout {
    /// What is wanted.
    pub plan: Arc<Plan>,
    /// Where it is.
    pub status: Status,
    /// What it is judged on.
    pub ledger: Ledger,
    /// The last event that the ledger holds.
    pub cursor: i64,
    /// Changes that are in force and not yet stored: only those that lower the share.
    pub owed: Vec<Owed>,
    /// Alerts that are stored with the next write.
    pub alerts: Vec<Alert>,
    /// Whether it serves what its status says; before, it serves control.
    pub is_open: bool,
    /// What is served at most, whatever the status says: one for each lowering in force here alone.
    pub caps: Vec<Cap>,
    /// Whether nobody gets the candidate here, by what this process alone has seen.
    pub is_guarded: bool,
    /// Whether something must be stored soon.
    pub is_urgent: bool,
    /// When its evidence was last stored.
    pub stored_at: Option<Moment>,
    /// When its candidate was last asked whether its outage is over, on the monotonic clock of this process.
    pub probed_at: Option<Duration>,
}

/// What a process serves of a rollout at most, until a greater version than this is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cap {
    /// Names the lowering that it is of.
    pub number: u64,
    /// The greatest version that it holds against.
    pub version: i64,
    /// Users below this share may get the candidate.
    pub share: Percent,
    /// Whether nobody may, as after a rollback.
    pub is_back: bool,
}

/// A change that is in force and not yet stored.
#[derive(Clone)]
pub struct Owed {
    /// Where the rollout is after it.
    pub status: Status,
    /// The line of its history.
    pub audit: AuditRow,
    /// The alerts of it.
    pub alerts: Vec<Alert>,
}

impl Rollout {
    /// As it is stored; closed.
    pub fn from_stored(stored: &StoredRollout) -> anyhow::Result<Self> {
        let context = |part| move || damaged(&stored.id, part);
        let plan = serde_json::from_value(stored.plan.clone()).with_context(context("plan"))?;
        let status =
            Status::read(&stored.status, stored.version).with_context(context("status"))?;
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
            caps: Vec::new(),
            is_urgent: true,
            stored_at: None,
            probed_at: None,
            is_guarded: false,
        })
    }

    fn stored(&self, status: &Status) -> StoredRollout {
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

    /// Whether something can still follow by itself.
    pub fn is_live(&self) -> bool {
        !self.status.state.is_final()
    }

    /// What the plan's judge finds, and the evidence in figures.
    pub fn judge(&self, at: DateTime<Utc>) -> (Finding, Verdict) {
        self.ledger.judge(&self.plan, at.timestamp_millis())
    }

    /// Folds an event, if it is this rollout's and not folded yet.
    pub fn fold(&mut self, event: &Event) {
        if event.seq > self.cursor && self.is_live() {
            self.cursor = event.seq;
            if event.rollout.as_deref() == Some(self.status.id.as_str()) {
                self.ledger.fold(event, self.status.share);
            }
        }
    }

    /// As requests see it: before it is open, and once it is rolled back, control for all.
    pub fn live(&self) -> Arc<LiveRollout> {
        let caps = || (self.caps.iter()).filter(|it| self.status.version <= it.version);
        let is_back = self.status.state == RunState::RolledBack || caps().any(|it| it.is_back);
        let is_serving = self.is_open && !is_back && !self.is_guarded;
        let least = |share, cap: &Cap| if cap.share < share { cap.share } else { share };
        let share = caps().fold(self.status.share, least);
        let list = |ids: &[String]| {
            if is_serving {
                Plan::subjects(ids)
            } else {
                HashSet::new()
            }
        };
        Arc::new(LiveRollout {
            id: self.status.id.as_str().into(),
            is_open: self.is_open,
            tasks: self.plan.tasks.clone(),
            algorithm: self.status.algorithm,
            salt: self.status.salt.clone(),
            share: if is_serving { share } else { Percent::ZERO },
            forced_on: list(&self.plan.forced_on),
            forced_off: list(&self.plan.forced_off),
            candidate: self.plan.candidate.clone(),
            control: self.plan.control.clone(),
            began: match self.is_live() {
                true => self.status.models.iter().map(Models::began).collect(),
                false => Vec::new(),
            },
            judged_share: match &self.plan.judging {
                Some(judging) if self.is_live() => judging.share,
                _ => Percent::ZERO,
            },
            plan: self.status.plan.clone(),
            ended: match self.status.state {
                RunState::Completed => Some(Ended::Completed),
                RunState::RolledBack => Some(Ended::RolledBack),
                _ => None,
            },
            is_released: self.status.released_at.is_some(),
        })
    }

    /// Whether it is to be written now, which a tick does more often than a person's change.
    pub fn is_due(&self, now: Moment, is_tick: bool) -> bool {
        let age = self
            .stored_at
            .map(|at| now.monotonic.saturating_sub(at.monotonic).as_millis());
        !self.owed.is_empty()
            || is_tick
                && (self.is_urgent
                    || !self.alerts.is_empty()
                    || !self.is_open
                    || self.is_live() && age.is_none_or(|age| age >= EVIDENCE_MS))
    }

    /// What is to be written of it: what is owed, else its evidence.
    pub fn changes(&self) -> Vec<RolloutChange> {
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
