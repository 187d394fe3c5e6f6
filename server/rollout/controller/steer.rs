//! What people do to rollouts.

use super::{
    ControlError, Controller, View, Writer,
    entry::{Author, Entry, Next, Turn},
    memory, notices,
    tick::Wish,
};
use crate::{
    _core::{actor::Actor, units::Percent},
    rollout::{
        audit,
        decision::{decide, forbids_raising},
        finding::Finding,
        plan::Plan,
        status::{Moment, State, Status},
        store::CommitError,
    },
};

/// A person's change, as it was asked for.
#[derive(Clone, Copy)]
struct Request<'a> {
    id: &'a str,
    based_on: i64,
    by: Author<'a>,
}

impl<'a> Request<'a> {
    fn new(
        id: &'a str,
        based_on: i64,
        reason: &'a str,
        actor: &'a Actor,
    ) -> Result<Self, ControlError> {
        let by = Author::new(reason, actor)?;
        Ok(Self { id, based_on, by })
    }
}

/// While it lives, a person's change is being written.
struct Writing<'a>(&'a Controller);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().writing = None;
    }
}

impl Controller {
    /// Stops the ramp; the share stays, and the rollout is still judged.
    pub async fn pause(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |entry, _| match entry.status.state {
            State::Paused => Err("it is paused already".into()),
            _ => Ok(Turn::State(State::Paused)),
        })
        .await
    }

    /// Ends a pause.
    pub async fn resume(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |entry, _| match entry.status.state {
            State::Paused => Ok(Turn::State(State::Running)),
            state => Err(format!("it is {}, not paused", state.name())),
        })
        .await
    }

    /// Begins the next stage before its time, or completes the last one.
    pub async fn advance(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, onwards).await
    }

    /// Opens the gate that the rollout waits at.
    pub async fn approve(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |entry, finding| match entry.status.state {
            State::WaitingAtGate { .. } => onwards(entry, finding),
            state => Err(format!("it is {}, not waiting at a gate", state.name())),
        })
        .await
    }

    /// Moves the share within the stage. The next stage does not lower it.
    pub async fn set_share(
        &self,
        id: &str,
        based_on: i64,
        share: Percent,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |entry, finding| {
            let most = 100.0 - entry.plan.holdout.get();
            match forbids_raising(finding) {
                Some(why) if share > entry.status.share => Err(why.to_owned()),
                _ if share == entry.status.share => Err(format!("the share is {share} % already")),
                _ if share.get() > most => Err(format!(
                    "the plan holds out users: the share can be {most} % at most"
                )),
                _ => Ok(Turn::Share(share)),
            }
        })
        .await
    }

    /// Sends everybody back to control, for good.
    pub async fn rollback(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |_, _| Ok(Turn::RollBack)).await
    }

    /// Lets go of a rollout that has ended: from then on the live share decides its tasks.
    pub async fn release(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &Actor,
    ) -> Result<Status, ControlError> {
        let request = Request::new(id, based_on, reason, actor)?;
        self.change(request, |entry, _| {
            if entry.is_live() {
                let state = entry.status.state.name();
                Err(format!(
                    "it is {state}; only one that has ended can be let go"
                ))
            } else {
                Ok(Turn::Release)
            }
        })
        .await
    }

    /// Lowering comes into force before anything is waited for; all else is written first.
    async fn change(
        &self,
        request: Request<'_>,
        turn: impl Fn(&Entry, &Finding) -> Result<Turn, String>,
    ) -> Result<Status, ControlError> {
        let id = self.id_of(request.id).await?;
        let request = Request { id: &id, ..request };
        if self.inner.lock().get(request.id).is_none() {
            let stored = self.stored(request.id).await?;
            let status = memory::status(&stored.status, stored.version);
            let current = Box::new(status.map_err(ControlError::Store)?);
            let plan: Plan = serde_json::from_value(stored.plan)
                .map_err(|error| ControlError::Store(error.into()))?;
            let heirs: Vec<_> = (self.inner.lock().entries.iter())
                .filter(|entry| entry.plan.overlaps(&plan))
                .map(|entry| format!("`{}`", entry.status.id))
                .collect();
            let why = format!("newer rollouts have taken its place: {}", heirs.join(", "));
            return Err(ControlError::Refused { why, current });
        }
        if let Some(lowered) = self.lower(request, &turn)? {
            let mut writer = self.writer.lock().await;
            if self.is_in_control(&mut writer).await {
                let now = self.world.now();
                let prepared = self.inner.lock().prepare(Wish::Flush, now, &self.world);
                // What fails is logged, stays owed, and is tried again by the next tick.
                let _ = self.write(&mut writer, prepared, now).await;
            }
            return Ok(lowered);
        }
        let mut writer = self.writer.lock().await;
        if !self.is_in_control(&mut writer).await {
            return Err(ControlError::NotInControl);
        }
        self.look();
        let now = self.world.now();
        let _writing = Writing(self);
        let next = {
            let mut inner = self.inner.lock();
            let (entry, turn, finding) = wanted(inner.get(request.id), request, &turn, now)?;
            let mut next = entry.turn(turn, request.by, now, &self.world);
            let told = notices::of_change(entry, &next.entry.status, &finding, now, &self.world);
            next.alerts.extend(told);
            // Checked and announced in one step.
            inner.writing = Some(next.entry.status.clone());
            next
        };
        let status = next.entry.status.clone();
        self.commit(&mut writer, next, now).await?;
        Ok(status)
    }

    /// Brings a change into force at once if it lowers the share.
    fn lower(
        &self,
        request: Request<'_>,
        turn: &impl Fn(&Entry, &Finding) -> Result<Turn, String>,
    ) -> Result<Option<Status>, ControlError> {
        let now = self.world.now();
        let mut inner = self.inner.lock();
        if !inner.is_numbering {
            return Err(ControlError::NotInControl);
        }
        let (before, turn, finding) = wanted(inner.get(request.id), request, turn, now)?;
        let lowers = match turn {
            Turn::RollBack => true,
            Turn::Share(share) => share < before.status.share,
            Turn::State(_) | Turn::Stage(_) | Turn::Complete | Turn::Release => false,
        };
        if !lowers {
            return Ok(None);
        }
        // A rollback waits for nobody, so it goes on above what is being written.
        let is_writing = |status: &&Status| status.id == request.id && turn != Turn::RollBack;
        if let Some(status) = inner.writing.as_ref().filter(is_writing) {
            return Err(ControlError::Stale {
                based_on: request.based_on,
                current: Box::new(status.clone()),
            });
        }
        let before = before.clone();
        let Some(entry) = inner.get_mut(request.id) else {
            return Ok(None);
        };
        entry.lower(turn, request.by, Vec::new(), now, &self.world);
        let told = notices::of_change(&before, &entry.status, &finding, now, &self.world);
        let status = entry.status.clone();
        let Some(owed) = entry.owed.last_mut() else {
            return Ok(Some(status));
        };
        owed.alerts.extend(told);
        let action = owed.audit.action;
        self.in_force(&mut inner, request.id, action, now);
        Ok(Some(status))
    }

    pub(super) async fn commit(
        &self,
        writer: &mut Writer,
        next: Next,
        now: Moment,
    ) -> Result<(), ControlError> {
        let id = next.entry.status.id.clone();
        let wish = Wish::Next(Box::new(next));
        let prepared = self.inner.lock().prepare(wish, now, &self.world);
        let written = self.write(writer, prepared, now).await;
        written.map_err(|error| match error {
            CommitError::Stale { based_on, .. } => match self.inner.lock().get(&id) {
                Some(entry) => ControlError::Stale {
                    based_on,
                    current: Box::new(entry.status.clone()),
                },
                None => ControlError::UnknownRollout { id },
            },
            CommitError::Fenced => ControlError::NotInControl,
            CommitError::Store(error) => ControlError::Store(error),
        })
    }
}

impl Entry {
    pub(super) fn view(&self, now: Moment) -> View {
        let (finding, verdict) = self.judge(now);
        let decision = decide(&self.plan, &self.status, &finding, now.wall);
        View {
            left_seconds: self.status.left(&self.plan).as_secs(),
            next: audit::what_follows(&decision),
            status: self.status.clone(),
            plan: Plan::clone(&self.plan),
            finding,
            verdict,
        }
    }
}

/// The next stage, or the end.
fn onwards(entry: &Entry, finding: &Finding) -> Result<Turn, String> {
    if let Some(why) = forbids_raising(finding) {
        return Err(why.to_owned());
    }
    Ok(if entry.plan.is_last(entry.status.stage) {
        Turn::Complete
    } else {
        Turn::Stage(entry.status.stage + 1)
    })
}

/// The rollout and the change, if it is based on the present version and allowed.
fn wanted<'a>(
    entry: Option<&'a Entry>,
    request: Request<'_>,
    turn: &impl Fn(&Entry, &Finding) -> Result<Turn, String>,
    now: Moment,
) -> Result<(&'a Entry, Turn, Finding), ControlError> {
    let Some(entry) = entry else {
        let id = request.id.to_owned();
        return Err(ControlError::UnknownRollout { id });
    };
    let current = || Box::new(entry.status.clone());
    if entry.status.version != request.based_on {
        return Err(ControlError::Stale {
            based_on: request.based_on,
            current: current(),
        });
    }
    let (finding, _) = entry.judge(now);
    let turn = match (entry.status.state, turn(entry, &finding)) {
        _ if entry.status.released_at.is_some() => Err("it has ended, and was let go".to_owned()),
        (_, Ok(Turn::Release)) => Ok(Turn::Release),
        (State::RolledBack, _) => Err("it is rolled back, for good: start anew".to_owned()),
        (State::Completed, Ok(turn)) if turn != Turn::RollBack => {
            Err("it is complete; it can only be rolled back".to_owned())
        }
        (_, turn) => turn,
    };
    match turn {
        Ok(turn) => Ok((entry, turn, finding)),
        Err(why) => Err(ControlError::Refused {
            why,
            current: current(),
        }),
    }
}
