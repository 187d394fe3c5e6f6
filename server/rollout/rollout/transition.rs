//! A change of a rollout: what turns, by whom, and the line of its history.

use chrono::{DateTime, Utc};

use super::{Owed, Rollout};
use crate::{
    _core::{actor::Actor, blank::is_blank, units::Percent},
    alerting::Alert,
    rollout::{
        errors::ControlError,
        notices,
        observation::Step,
        record::{Action, Record, Standing},
        status::{Hold, Moment, Outage, RunState},
        store::{AuditRow, RolloutChange},
        world::World,
    },
};

/// The ρ_bad of a stage that the plan does not have; commands and decisions begin none such.
const RHO_BAD_OF_NO_STAGE: f64 = 1.5;

/// The candidate's outage is waited for.
pub(super) const OUTAGE: RunState = RunState::Holding {
    because: Hold::Outage,
};

/// Who changes something, and why.
#[derive(Clone, Copy)]
pub struct Author<'a> {
    /// Who changes it.
    pub actor: &'a Actor,
    /// The reason, in words; not blank.
    pub reason: &'a str,
}

impl<'a> Author<'a> {
    /// Refuses a blank reason.
    pub fn new(reason: &'a str, actor: &'a Actor) -> Result<Self, ControlError> {
        let reason = reason.trim();
        if is_blank(reason) {
            return Err(ControlError::NoReason);
        }
        Ok(Self { actor, reason })
    }
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TransitionKind {
    /// Only the state.
    State(RunState),
    /// A stage begins.
    Stage(usize),
    /// The share moves.
    Share(Percent),
    /// Nobody gets the candidate until its outage is over.
    Withdraw,
    /// The outage is over: the share is what it was.
    Return,
    /// The last stage is over.
    Complete,
    /// Everybody goes back.
    RollBack,
    /// It has ended, and decides no more.
    Release,
}

impl TransitionKind {
    /// Whether it takes the candidate from users, at this share.
    pub fn lowers(self, share: Percent) -> bool {
        match self {
            Self::RollBack | Self::Withdraw => true,
            Self::Share(to) => to < share,
            Self::State(_) | Self::Stage(_) | Self::Return | Self::Complete | Self::Release => {
                false
            }
        }
    }

    fn action(self, before: RunState, actor: &Actor) -> Action {
        match self {
            Self::State(RunState::Paused) => Action::Paused,
            Self::State(RunState::Holding { .. }) => Action::Held,
            Self::State(RunState::WaitingAtGate { .. }) => Action::Asked,
            Self::Withdraw => Action::Held,
            Self::State(_) | Self::Return => Action::Resumed,
            Self::Stage(_) => match before {
                RunState::WaitingAtGate { .. } if *actor != Actor::Controller => Action::Approved,
                _ => Action::Advanced,
            },
            Self::Share(_) => Action::ShareSet,
            Self::Complete => Action::Completed,
            Self::RollBack => Action::RolledBack,
            Self::Release => Action::Released,
        }
    }
}

/// A change that has been worked out.
pub struct Transition {
    /// The rollout after it.
    pub rollout: Rollout,
    /// The line of its history.
    pub audit: AuditRow,
    /// The alerts of it.
    pub alerts: Vec<Alert>,
}

impl Transition {
    /// As it is to be written, with the alerts that wait for the next write.
    pub fn change(&self, alerts: impl IntoIterator<Item = Alert>) -> RolloutChange {
        let version = self.audit.version;
        RolloutChange {
            rollout: self.rollout.stored(&self.rollout.status),
            based_on: (version > 1).then(|| version - 1),
            audit: Some(self.audit.clone()),
            alerts: alerts.into_iter().chain(self.alerts.clone()).collect(),
        }
    }
}

impl Rollout {
    /// Works out a change.
    pub fn transition(
        &self,
        kind: TransitionKind,
        by: Author<'_>,
        now: Moment,
        world: &World,
    ) -> Transition {
        let mut rollout = self.clone();
        let (finding, verdict) = self.judge(now.wall);
        let step = rollout.enter(kind, now.wall);
        let status = &mut rollout.status;
        status.version += 1;
        status.changed_by = by.actor.clone();
        status.reason = by.reason.to_owned();
        let at_ms = now.wall.timestamp_millis();
        rollout.ledger.step(step, at_ms);
        let both = [&self.status, &rollout.status];
        let alert = notices::of_change(&self.plan, &rollout.ledger, both, &finding, now, world);
        rollout.is_urgent = true;
        let audit = AuditRow {
            id: world.id(now.wall),
            rollout_id: self.status.id.clone(),
            at: now.wall,
            actor: by.actor.clone(),
            action: kind.action(self.status.state, by.actor),
            reason: by.reason.to_owned(),
            before: Some(Standing::of(&self.status)),
            after: Standing::of(&rollout.status),
            record: Ok(Record {
                cursor: self.cursor,
                at_ms,
                step,
                finding: Some(finding),
                verdict: Some(verdict),
                models: None,
                moves: Vec::new(),
            }),
            version: rollout.status.version,
        };
        Transition {
            rollout,
            audit,
            alerts: alert.into_iter().collect(),
        }
    }

    /// Puts the status into what the transition leads to; what the evidence has to know of it.
    fn enter(&mut self, kind: TransitionKind, now: DateTime<Utc>) -> Step {
        let Self { plan, status, .. } = self;
        match kind {
            TransitionKind::State(state) => {
                status.state = state;
                Step::None
            }
            TransitionKind::Stage(stage) => {
                status.stage = stage;
                status.state = RunState::Running;
                status.soaked_ms = 0;
                status.stage_began_at = now;
                status.told.promoted();
                let share = plan.share_of(stage);
                // A person may have gone beyond it.
                if share > status.share {
                    status.share = share;
                }
                let rho_bad = plan.stages.get(stage).map(|it| it.rho_bad);
                Step::Stage {
                    share: status.share,
                    rho_bad: rho_bad.unwrap_or(RHO_BAD_OF_NO_STAGE),
                }
            }
            TransitionKind::Share(share) => {
                status.share = share;
                Step::Share { share }
            }
            TransitionKind::Withdraw => {
                status.outage = Some(Outage::new(now, status.share));
                status.outages = status.outages.saturating_add(1);
                status.share = Percent::ZERO;
                // Where a person has paused it, a person decides when it goes on.
                if status.state != RunState::Paused {
                    status.state = OUTAGE;
                }
                Step::Outage
            }
            TransitionKind::Return => {
                status.state = RunState::Running;
                if let Some(outage) = status.outage.take() {
                    status.share = outage.share;
                }
                Step::Share {
                    share: status.share,
                }
            }
            TransitionKind::Complete => {
                status.state = RunState::Completed;
                status.ended_at = Some(now);
                // Nothing is compared any more, so those who were held out get the candidate as well.
                let held_out = plan.share_of(status.stage);
                match plan.stages.get(status.stage) {
                    Some(stage) if status.share == held_out && stage.share > held_out => {
                        status.share = stage.share;
                        Step::Share { share: stage.share }
                    }
                    _ => Step::None,
                }
            }
            TransitionKind::Release => {
                status.released_at = Some(now);
                Step::None
            }
            TransitionKind::RollBack => {
                status.state = RunState::RolledBack;
                status.outage = None;
                status.share = Percent::ZERO;
                status.ended_at = Some(now);
                Step::Share {
                    share: Percent::ZERO,
                }
            }
        }
    }

    /// Brings a lowering into force; it is owed to the store.
    pub fn lower(
        &mut self,
        kind: TransitionKind,
        by: Author<'_>,
        now: Moment,
        world: &World,
    ) -> Action {
        let Transition {
            rollout,
            audit,
            alerts,
        } = self.transition(kind, by, now, world);
        let action = audit.action;
        *self = rollout;
        self.owed.push(Owed {
            status: self.status.clone(),
            audit,
            alerts,
        });
        action
    }

    /// Applies a lowering that is in force to what the store turned out to have.
    pub fn lower_again(&mut self, lowered: &Self, now: Moment, world: &World) {
        let status = &lowered.status;
        let by = Author {
            actor: &status.changed_by,
            reason: &status.reason,
        };
        let is_back = status.state == RunState::RolledBack;
        // What is complete can only be rolled back.
        if self.status.state == RunState::RolledBack || !is_back && self.status.state.is_final() {
            return;
        }
        let before = self.owed.len();
        if is_back {
            self.lower(TransitionKind::RollBack, by, now, world);
        } else {
            // Before the candidate is taken from everybody, as that is the share that it comes back to.
            let share = status.share_without_outage();
            if lowered.has_lowered_share() && share < self.status.share {
                self.lower(TransitionKind::Share(share), by, now, world);
            }
            if status.outage.is_some() && self.status.outage.is_none() {
                self.lower(TransitionKind::Withdraw, by, now, world);
            }
        }
        if let Some((last, earlier)) = self.owed[before..].split_last_mut()
            && !lowered.owed.is_empty()
        {
            // As they were worked out when it came into force.
            let alerts = lowered.owed.iter().flat_map(|owed| owed.alerts.clone());
            last.alerts = alerts.collect();
            earlier.iter_mut().for_each(|owed| owed.alerts.clear());
        }
    }

    /// Whether a share below that of others is one that somebody has set here. An outage alone sets none: others may have
    /// begun a stage meanwhile, and it is that share which the candidate comes back to.
    pub fn has_lowered_share(&self) -> bool {
        let is_set = |owed: &Owed| owed.audit.action == Action::ShareSet;
        self.status.outage.is_none() || self.owed.is_empty() || self.owed.iter().any(is_set)
    }

    /// The version that the store has, as far as is known.
    pub fn base_version(&self) -> i64 {
        // There are at most a few.
        let owed = i64::try_from(self.owed.len()).unwrap_or(i64::MAX);
        self.status.version.saturating_sub(owed)
    }
}
