//! What a person may do to a rollout.

use chrono::{DateTime, Utc};

use super::{Author, Rollout, TransitionKind, transition::OUTAGE};
use crate::{
    _core::{actor::Actor, units::Percent},
    rollout::{
        audit::minute,
        decision::forbids_raising,
        errors::ControlError,
        finding::Finding,
        status::{Moment, RunState},
    },
};

/// A person's change, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The rollout; the beginning of its id is enough where no other begins so.
    pub id: String,
    /// The version that the change is based on.
    pub based_on: i64,
    /// Who commands it.
    pub actor: Actor,
    /// The reason, in words; not blank.
    pub reason: String,
    /// What.
    pub kind: CommandKind,
}

/// What a person may want.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CommandKind {
    /// Stops the ramp; the share stays, and the rollout is still judged.
    Pause,
    /// Ends a pause, or the wait for the end of an outage.
    Resume,
    /// Begins the next stage before its time, or completes the last one.
    Advance,
    /// Opens the gate that the rollout waits at.
    Approve,
    /// Moves the share within the stage. The next stage does not lower it.
    SetShare(Percent),
    /// Sends everybody back to control, for good.
    RollBack,
    /// Lets go of a rollout that has ended: from then on the live share decides its tasks.
    Release,
}

impl CommandKind {
    /// As the log names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Approve => "approve",
            Self::SetShare(_) => "set-share",
            Self::RollBack => "rollback",
            Self::Release => "release",
        }
    }
}

impl Command {
    /// Who wants it, and why; refuses a blank reason.
    pub fn author(&self) -> Result<Author<'_>, ControlError> {
        Author::new(&self.reason, &self.actor)
    }
}

impl Rollout {
    /// What a command comes to, if it is based on the present version, and state and evidence allow it.
    pub fn obey(&self, command: &Command, now: Moment) -> Result<TransitionKind, ControlError> {
        let (based_on, status) = (command.based_on, &self.status);
        let current = || Box::new(status.clone());
        if status.version != based_on {
            let current = current();
            return Err(ControlError::Stale { based_on, current });
        }
        self.answer(command.kind, now.wall, || self.judge(now.wall).0)
            .map_err(|why| ControlError::Refused {
                why,
                current: current(),
            })
    }

    /// What a change comes to by itself, or why it is refused; `finding` is what the judge finds now.
    pub fn answer(
        &self,
        kind: CommandKind,
        at: DateTime<Utc>,
        finding: impl Fn() -> Finding,
    ) -> Result<TransitionKind, String> {
        let status = &self.status;
        match (status.state, self.wanted(kind, at, finding)) {
            _ if status.released_at.is_some() => Err("it has ended, and was let go".to_owned()),
            (_, Ok(TransitionKind::Release)) => Ok(TransitionKind::Release),
            (RunState::RolledBack, _) => Err("it is rolled back, for good: start anew".to_owned()),
            (RunState::Completed, Ok(turn)) if turn != TransitionKind::RollBack => {
                Err("it is complete; it can only be rolled back".to_owned())
            }
            (_, turn) => turn,
        }
    }

    fn wanted(
        &self,
        kind: CommandKind,
        at: DateTime<Utc>,
        finding: impl Fn() -> Finding,
    ) -> Result<TransitionKind, String> {
        let (state, share) = (self.status.state, self.status.share);
        match (kind, state) {
            (CommandKind::Pause, RunState::Paused) => Err("it is paused already".into()),
            (CommandKind::Pause, _) => Ok(TransitionKind::State(RunState::Paused)),
            (CommandKind::Resume, RunState::Paused) if self.status.outage.is_some() => {
                Ok(TransitionKind::State(OUTAGE))
            }
            (CommandKind::Resume, RunState::Paused) => Ok(TransitionKind::State(RunState::Running)),
            (CommandKind::Resume, OUTAGE) => Ok(TransitionKind::Return),
            (CommandKind::Resume, _) => Err(format!("it is {}, not paused", state.name())),
            (CommandKind::Advance | CommandKind::Approve | CommandKind::SetShare(_), _)
                if self.status.outage.is_some() =>
            {
                Err(
                    "the candidate has an outage, and nobody gets it: resume to give it back before its \
                     time, or roll back"
                        .into(),
                )
            }
            (CommandKind::Advance, _) => self.onwards(&finding()),
            (CommandKind::Approve, RunState::WaitingAtGate { .. }) => match self.plan.opens_at(at) {
                opens if opens <= at => self.onwards(&finding()),
                opens => Err(format!(
                    "the plan opens stages in its windows only, the next from {}; `advance` begins it now",
                    minute(opens)
                )),
            },
            (CommandKind::Approve, _) => {
                Err(format!("it is {}, not waiting at a gate", state.name()))
            }
            (CommandKind::SetShare(to), _) => {
                let most = 100.0 - self.plan.holdout.get();
                match forbids_raising(&finding()) {
                    Some(why) if to > share => Err(why.to_owned()),
                    _ if to == share => Err(format!("the share is {share} % already")),
                    _ if to.get() > most => Err(format!(
                        "the plan holds out users: the share can be {most} % at most"
                    )),
                    _ => Ok(TransitionKind::Share(to)),
                }
            }
            (CommandKind::RollBack, _) => Ok(TransitionKind::RollBack),
            (CommandKind::Release, _) if self.is_live() => Err(format!(
                "it is {}; only one that has ended can be let go",
                state.name()
            )),
            (CommandKind::Release, _) => Ok(TransitionKind::Release),
        }
    }

    /// The next stage, or the end.
    fn onwards(&self, finding: &Finding) -> Result<TransitionKind, String> {
        if let Some(why) = forbids_raising(finding) {
            return Err(why.to_owned());
        }
        Ok(if self.plan.is_last(self.status.stage) {
            TransitionKind::Complete
        } else {
            TransitionKind::Stage(self.status.stage + 1)
        })
    }
}
