//! What follows from the evidence, without a person.

use std::time::Duration;

use super::{Author, Rollout, Transition, TransitionKind};
use crate::{
    _core::actor::Actor,
    rollout::{
        decision::{Decision, RollbackReason, decide},
        evidence::Level,
        finding::Alarm,
        notices,
        record::Action,
        status::{Hold, Moment, RunState},
        words,
        world::World,
    },
};

fn controller(reason: &str) -> Author<'_> {
    Author {
        actor: &Actor::Controller,
        reason,
    }
}

impl Rollout {
    /// Takes the candidate back, or from everybody for a while, where the evidence says so. Returns what it
    /// did.
    pub fn look(&mut self, now: Moment, world: &World) -> Option<Action> {
        if !self.is_live() || !self.is_open {
            return None;
        }
        let (finding, verdict) = self.judge(now.wall);
        let (kind, reason) = match decide(&self.plan, &self.status, &finding, now.wall) {
            Decision::RollBack(RollbackReason::Worse) => (
                TransitionKind::RollBack,
                words::worse(&self.plan, &finding, &verdict),
            ),
            Decision::Withdraw => (TransitionKind::Withdraw, Hold::Outage.to_string()),
            Decision::RollBack(reason) => (TransitionKind::RollBack, reason.to_string()),
            _ => return None,
        };
        let reason = match finding.not_counted() {
            Some(why) if kind == TransitionKind::RollBack => why.to_owned(),
            _ => reason,
        };
        Some(self.lower(kind, controller(&reason), now, world))
    }

    /// Lets time pass, notes the alerts, and works out what follows. A lowering
    /// does not: looks take care of it.
    pub fn step(&mut self, passed: Duration, now: Moment, world: &World) -> Option<Transition> {
        self.status.soak(passed, now.wall);
        let (finding, verdict) = self.judge(now.wall);
        // What comes and goes with our account is not over as soon as it pauses.
        if finding.level >= Level::Watch || finding.has(&Alarm::Account) {
            self.status.clear_since = None;
        } else if self.status.clear_since.is_none() {
            self.status.clear_since = Some(now.wall);
        }
        let alerts = notices::of_conditions(
            &mut self.status,
            &self.plan,
            (&finding, &verdict),
            now,
            world,
        );
        self.alerts.extend(alerts);
        let (kind, reason) = match decide(&self.plan, &self.status, &finding, now.wall) {
            Decision::Stay(_) | Decision::RollBack(_) | Decision::Withdraw => return None,
            Decision::Return => (
                TransitionKind::Return,
                "the outage is over: the candidate answers again".into(),
            ),
            Decision::Hold(because) => (
                TransitionKind::State(RunState::Holding { because }),
                words::held(because, &verdict),
            ),
            Decision::Resume => (
                TransitionKind::State(RunState::Running),
                "the cause of the hold is gone".into(),
            ),
            Decision::Ask { recommended } => (
                TransitionKind::State(RunState::WaitingAtGate { recommended }),
                words::asked(&self.plan, &self.status, (&finding, &verdict), now.wall),
            ),
            Decision::Advance(stage) => (
                TransitionKind::Stage(stage),
                "the stage is over, and proven".into(),
            ),
            Decision::Complete => (TransitionKind::Complete, "the last stage is over".into()),
        };
        Some(self.transition(kind, controller(&reason), now, world))
    }
}
