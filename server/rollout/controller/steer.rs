//! What people do to rollouts.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{
    ControlError, Controller, View, Writer,
    entry::{Author, Entry, Next, Turn, place},
    memory, notices,
    tick::Wish,
};
use crate::{
    _core::units::Percent,
    rollout::{
        audit,
        decision::{Finding, decide, forbids_raising},
        evidence::Strata,
        observation::{Ledger, Step},
        plan::Plan,
        status::{Moment, State, Status},
        store::{AuditRow, CommitError},
    },
};

/// How far back a user's requests make its stratum.
const HISTORY: TimeDelta = TimeDelta::days(7);

/// A person's change, as it was asked for.
#[derive(Clone, Copy)]
struct Request<'a> {
    id: &'a str,
    based_on: i64,
    by: Author<'a>,
}

impl Controller {
    /// Begins a rollout with a plan of the library, or with one given as TOML (a text of more than
    /// one line). `keep_users` takes over salt and algorithm of the newest rollout of the same plan,
    /// so that the same users come first.
    pub async fn start(
        &self,
        plan: &str,
        reason: &str,
        actor: &str,
        keep_users: bool,
    ) -> Result<Status, ControlError> {
        let plan = self.plan(plan)?;
        let by = author(reason, actor)?;
        let mut writer = self.writer.lock().await;
        if !self.is_in_control(&mut writer).await {
            return Err(ControlError::NotInControl);
        }
        let now = self.world.now();
        self.refuse_overlap(&plan)?;
        let entry = self.new_entry(plan, by, keep_users, now).await?;
        let status = entry.status.clone();
        let audit = AuditRow {
            id: self.world.id(now.wall),
            rollout_id: status.id.clone(),
            at: now.wall,
            actor: by.actor.to_owned(),
            action: "started".to_owned(),
            reason: by.reason.to_owned(),
            before: Value::Null,
            after: place(&status),
            evidence: json!({
                "cursor": entry.cursor,
                "atMs": now.wall.timestamp_millis(),
                "step": Step::None,
            }),
            version: status.version,
        };
        let next = Next {
            entry,
            audit,
            alerts: Vec::new(),
        };
        self.commit(&mut writer, next, now).await?;
        self.hurry.notify_one();
        Ok(status)
    }

    /// Stops the ramp; the share stays, and the rollout is still judged.
    pub async fn pause(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
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
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
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
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
        self.change(request, onwards).await
    }

    /// Opens the gate that the rollout waits at.
    pub async fn approve(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
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
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
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
        actor: &str,
    ) -> Result<Status, ControlError> {
        let by = author(reason, actor)?;
        let request = Request { id, based_on, by };
        self.change(request, |_, _| Ok(Turn::RollBack)).await
    }

    /// Lowering comes into force before anything is waited for; all else is written first.
    async fn change(
        &self,
        request: Request<'_>,
        turn: impl Fn(&Entry, &Finding) -> Result<Turn, String>,
    ) -> Result<Status, ControlError> {
        if self.inner.lock().get(request.id).is_none() {
            let status = memory::status(&self.stored(request.id).await?);
            let current = Box::new(status.map_err(ControlError::Store)?);
            let why = "another rollout has taken its place".to_owned();
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
        let next = {
            let inner = self.inner.lock();
            let (entry, turn, finding) = wanted(inner.get(request.id), request, &turn, now)?;
            let mut next = entry.turn(turn, request.by, now, &self.world);
            let told = notices::of_change(entry, &next.entry.status, &finding, now, &self.world);
            next.alerts.extend(told);
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
            Turn::State(_) | Turn::Stage(_) | Turn::Complete => false,
        };
        if !lowers {
            return Ok(None);
        }
        let before = before.clone();
        let Some(entry) = inner.get_mut(request.id) else {
            return Ok(None);
        };
        entry.lower(turn, request.by, Vec::new(), now, &self.world);
        let told = notices::of_change(&before, &entry.status, &finding, now, &self.world);
        let status = entry.status.clone();
        let mut action = String::new();
        if let Some(owed) = entry.owed.last_mut() {
            owed.alerts.extend(told);
            action.clone_from(&owed.audit.action);
        }
        self.in_force(&mut inner, request.id, &action, now);
        Ok(Some(status))
    }

    async fn commit(
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

    fn plan(&self, name_or_text: &str) -> Result<Plan, ControlError> {
        if Plan::is_text(name_or_text) {
            return Ok(self.validate(name_or_text)?);
        }
        let name = name_or_text.trim();
        self.library.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.library.plans().map(|it| it.name.as_str()).collect();
            ControlError::UnknownPlan {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    fn refuse_overlap(&self, plan: &Plan) -> Result<(), ControlError> {
        let inner = self.inner.lock();
        let mut live = inner.entries.iter().filter(|entry| entry.is_live());
        match live.find(|entry| entry.plan.overlaps(plan)) {
            Some(entry) => Err(ControlError::Overlaps {
                id: entry.status.id.clone(),
                plan: entry.status.plan.clone(),
            }),
            None => Ok(()),
        }
    }

    async fn new_entry(
        &self,
        plan: Plan,
        by: Author<'_>,
        keep_users: bool,
        now: Moment,
    ) -> Result<Entry, ControlError> {
        let mut salt = format!("{:032x}", self.world.random());
        let mut algorithm = plan.algorithm;
        if keep_users {
            let stored = self
                .store
                .rollouts(false)
                .await
                .map_err(ControlError::Store)?;
            let mut statuses = stored.iter().filter_map(|it| memory::status(it).ok());
            if let Some(status) = statuses.find(|it| it.plan == plan.name) {
                salt = status.salt;
                algorithm = status.algorithm;
            }
        }
        let strata = self.strata(now.wall).await?;
        let ledger = Ledger::new(&plan, strata, now.wall.timestamp_millis());
        let status = Status {
            id: self.world.id(now.wall),
            plan: plan.name.clone(),
            tasks: plan.tasks.clone(),
            state: State::Running,
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
            changed_by: by.actor.to_owned(),
            reason: by.reason.to_owned(),
            clear_since: None,
            told: Default::default(),
        };
        Ok(Entry {
            plan: plan.into(),
            status,
            ledger,
            cursor: self.inner.lock().last_seq,
            owed: Vec::new(),
            alerts: Vec::new(),
            is_open: false,
            is_urgent: true,
            stored_at: None,
            refusals: Vec::new(),
        })
    }

    async fn strata(&self, now: DateTime<Utc>) -> Result<Strata, ControlError> {
        let (from, to) = (now - HISTORY, now);
        let history = self
            .store
            .history_by_subject(from.timestamp_millis(), to.timestamp_millis())
            .await
            .map_err(ControlError::Store)?;
        Ok(Strata::new(history))
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
    let turn = match entry.status.state {
        State::RolledBack => Err("it is rolled back, for good: start anew".to_owned()),
        _ => turn(entry, &finding),
    };
    match turn {
        Ok(turn) if entry.status.state == State::Completed && turn != Turn::RollBack => {
            let why = "it is complete; it can only be rolled back".to_owned();
            Err(ControlError::Refused {
                why,
                current: current(),
            })
        }
        Ok(turn) => Ok((entry, turn, finding)),
        Err(why) => Err(ControlError::Refused {
            why,
            current: current(),
        }),
    }
}

fn author<'a>(reason: &'a str, actor: &'a str) -> Result<Author<'a>, ControlError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(ControlError::NoReason);
    }
    Ok(Author { actor, reason })
}
