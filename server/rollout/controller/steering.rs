//! What people do to rollouts.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Controller, WriteLease, memory::Memory, prepared::Intent};
use crate::{
    _core::{actor::Actor, assignment::Algorithm},
    rollout::{
        audit::capital,
        errors::ControlError,
        evidence::Strata,
        moves::{Draw, UserMoves},
        plan::Plan,
        rollout::{Author, Beginning, Command, Rollout, Transition, TransitionKind},
        status::{Models, Moment, Status},
        store::{CommitError, StoredStatus},
        trials::Lacking,
    },
};

/// How far back a user's requests make its stratum.
const HISTORY: TimeDelta = TimeDelta::days(7);
/// How long ago that may be.
const OLDEST: TimeDelta = TimeDelta::days(30);

/// How a rollout is to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Takes over salt and algorithm of the newest rollout of the same plan, so that the same users
    /// come first.
    pub keep_users: bool,
    /// Users may lose the model that an earlier rollout or the live share gave them.
    pub take_back: bool,
}

/// Whom a rollout is about to divide, and what is known of them.
struct Users {
    algorithm: Algorithm,
    salt: String,
    strata: Strata,
}

/// While it lives, a person's change is being written.
struct Writing<'a>(&'a Controller);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().writing = None;
    }
}

impl Controller {
    /// Begins a rollout with a plan of the library, or with one given as TOML (a text of more than
    /// one line), and says whom that moves. One that takes users back has to be meant so.
    pub async fn start(
        &self,
        plan: &str,
        reason: &str,
        actor: &Actor,
        wishes: Wishes,
    ) -> Result<(Status, UserMoves), ControlError> {
        let plan = self.plan(plan)?;
        let by = Author::new(reason, actor)?;
        self.refuse_now(&mut *self.writer.lock().await, &plan)
            .await?;
        let now = self.world.now();
        self.refuse_untried(&plan, now.wall).await?;
        let placebo = self.newest_placebo(&plan, now.wall).await?;
        // A week of events takes seconds to read. Nothing else waits meanwhile: neither events that are to be
        // stored, nor the lease.
        let users = self.users(&plan, wishes.keep_users, now.wall).await?;
        let mut writer = self.writer.lock().await;
        self.refuse_now(&mut writer, &plan).await?;
        let now = self.world.now();
        let beginning = self.beginning(plan, users);
        let draw = Draw {
            salt: &beginning.salt,
            algorithm: beginning.algorithm,
            share: beginning.plan.share_of(0),
        };
        let mut moves = UserMoves::of(&beginning.plan, draw, &self.plans().known, &self.flags);
        if moves.taken_back > 0.0 && !wishes.take_back {
            return Err(ControlError::TakesBack { moves });
        }
        moves.words.extend(placebo);
        let begun = Rollout::begin(beginning, moves.words.clone(), by, now, &self.world);
        let status = begun.rollout.status.clone();
        self.commit(&mut writer, begun, now).await?;
        self.hurry.notify_one();
        Ok((status, moves))
    }

    /// Does what a person wants. Lowering comes into force before anything is waited for; all else is
    /// written first.
    pub async fn apply(&self, mut command: Command) -> Result<Status, ControlError> {
        command.author()?;
        command.id = self.id_of(&command.id).await?.into_owned();
        if self.inner.lock().get(&command.id).is_none() {
            return Err(self.replaced(&command.id).await?);
        }
        if let Some(lowered) = self.lower(&command)? {
            let mut writer = self.writer.lock().await;
            if self.take_control(&mut writer).await {
                let now = self.world.now();
                let prepared = self.inner.lock().prepare(Intent::Flush, now, &self.world);
                // What fails is logged, stays owed, and is tried again by the next tick.
                let _ = self.write(&mut writer, prepared, now).await;
            }
            return Ok(lowered);
        }
        let mut writer = self.writer.lock().await;
        if !self.take_control(&mut writer).await {
            return Err(ControlError::NotInControl);
        }
        self.look();
        let now = self.world.now();
        let _writing = Writing(self);
        let transition = {
            let mut inner = self.inner.lock();
            let rollout = inner.known(&command.id)?;
            let kind = rollout.obey(&command, now)?;
            let transition = rollout.transition(kind, command.author()?, now, &self.world);
            // Checked and announced in one step.
            inner.writing = Some(transition.rollout.status.clone());
            transition
        };
        let status = transition.rollout.status.clone();
        self.commit(&mut writer, transition, now).await?;
        Ok(status)
    }

    /// Brings a change into force at once if it lowers the share.
    fn lower(&self, command: &Command) -> Result<Option<Status>, ControlError> {
        let now = self.world.now();
        let mut inner = self.inner.lock();
        if !inner.is_numbering {
            return Err(ControlError::NotInControl);
        }
        let rollout = inner.known(&command.id)?;
        let kind = rollout.obey(command, now)?;
        if !kind.lowers(rollout.status.share) {
            return Ok(None);
        }
        // A rollback waits for nobody, so it goes on above what is being written.
        let is_writing =
            |status: &&Status| status.id == command.id && kind != TransitionKind::RollBack;
        if let Some(status) = inner.writing.as_ref().filter(is_writing) {
            return Err(ControlError::Stale {
                based_on: command.based_on,
                current: Box::new(status.clone()),
            });
        }
        let rollout = inner.known_mut(&command.id)?;
        let action = rollout.lower(kind, command.author()?, now, &self.world);
        let status = rollout.status.clone();
        self.announce(&mut inner, &command.id, action, now);
        Ok(Some(status))
    }

    /// Writes a change and brings it into force.
    async fn commit(
        &self,
        writer: &mut WriteLease,
        transition: Transition,
        now: Moment,
    ) -> Result<(), ControlError> {
        let id = transition.audit.rollout_id.clone();
        let intent = Intent::Change(Box::new(transition));
        let prepared = self.inner.lock().prepare(intent, now, &self.world);
        let written = self.write(writer, prepared, now).await;
        written.map_err(|error| match error {
            CommitError::Stale { based_on, .. } => match self.inner.lock().known(&id) {
                Ok(rollout) => ControlError::Stale {
                    based_on,
                    current: Box::new(rollout.status.clone()),
                },
                Err(unknown) => unknown,
            },
            CommitError::Fenced => ControlError::NotInControl,
            CommitError::Store(error) => ControlError::Store(error),
        })
    }

    /// Why a rollout that decides about nothing any more cannot be changed.
    async fn replaced(&self, id: &str) -> Result<ControlError, ControlError> {
        let old = self.archive.rollout(id).await?;
        let inner = self.inner.lock();
        let heirs = inner
            .rollouts
            .iter()
            .filter(|it| it.plan.overlaps(&old.plan));
        let heirs: Vec<_> = heirs.map(|it| format!("`{}`", it.status.id)).collect();
        Ok(ControlError::Refused {
            why: format!("newer rollouts have taken its place: {}", heirs.join(", ")),
            current: Box::new(old.status),
        })
    }

    fn plan(&self, name_or_text: &str) -> Result<Plan, ControlError> {
        if Plan::is_text(name_or_text) {
            return Ok(self.validate(name_or_text)?);
        }
        let name = name_or_text.trim();
        let plans = self.plans();
        plans.library.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = plans.library.plans().map(|it| it.name.as_str()).collect();
            ControlError::UnknownPlan {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    fn refuse_overlap(&self, plan: &Plan) -> Result<(), ControlError> {
        let inner = self.inner.lock();
        let mut live = inner.rollouts.iter().filter(|it| it.is_live());
        match live.find(|it| it.plan.overlaps(plan)) {
            Some(rollout) => Err(ControlError::Overlaps {
                id: rollout.status.id.clone(),
                plan: rollout.status.plan.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A plan may demand a trial of whatever it compares.
    async fn refuse_untried(&self, plan: &Plan, now: DateTime<Utc>) -> Result<(), ControlError> {
        let Some(demand) = &plan.trial else {
            return Ok(());
        };
        let mut lacking = Vec::new();
        for models in self.plans().known.models_of(plan) {
            let Models {
                tasks,
                control,
                candidate,
            } = models;
            let (Some(control), Some(candidate)) = (control.first(), candidate.first()) else {
                continue;
            };
            if control == candidate {
                continue;
            }
            for task in tasks {
                let newest = self.store.newest_trial(&task, control, candidate).await;
                let newest = newest.map_err(ControlError::Store)?;
                if let Some(why) = demand.lacks(newest.as_ref(), now) {
                    lacking.push(Lacking {
                        task,
                        control: control.clone(),
                        candidate: candidate.clone(),
                        why,
                    });
                }
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let why = demand.refusal(&plan.name, &lacking);
        Err(ControlError::Untried { why })
    }

    /// What the newest placebo of a plan says, for whoever starts it. A plan may demand one.
    async fn newest_placebo(
        &self,
        plan: &Plan,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, ControlError> {
        let newest = self.store.newest_placebo(&plan.name).await;
        let newest = match (newest, &plan.placebo) {
            (Ok(newest), _) => newest,
            (Err(error), Some(_)) => return Err(ControlError::Store(error)),
            // It is only announced.
            (Err(_), None) => None,
        };
        let demand = plan.placebo.as_ref();
        if let Some(why) = demand.and_then(|it| it.refusal(&plan.name, newest.as_ref(), now)) {
            return Err(ControlError::WithoutPlacebo { why });
        }
        Ok(newest.map(|kept| capital(&kept.in_words())))
    }

    /// Refuses a plan that this process may not begin at this moment.
    async fn refuse_now(&self, writer: &mut WriteLease, plan: &Plan) -> Result<(), ControlError> {
        if !self.take_control(writer).await {
            return Err(ControlError::NotInControl);
        }
        let now = self.world.now().wall;
        self.refuse_overlap(plan)?;
        let opens = plan.opens_at(now);
        if opens > now {
            let plan = plan.name.clone();
            return Err(ControlError::Closed { plan, opens });
        }
        Ok(())
    }

    /// Draws the users of a plan, or those of its newest rollout again.
    async fn users(
        &self,
        plan: &Plan,
        keep_users: bool,
        now: DateTime<Utc>,
    ) -> Result<Users, ControlError> {
        let mut salt = format!("{:032x}", self.world.random());
        let mut algorithm = plan.algorithm;
        let mut first_drawn = now;
        if keep_users {
            let stored = self.archive.list().await?;
            // A damaged one may be whose users are to stay.
            let read = stored.iter().map(StoredStatus::read);
            let statuses: Vec<_> = read
                .collect::<Result<_, _>>()
                .map_err(ControlError::Store)?;
            if let Some(status) = statuses.iter().find(|it| it.plan == plan.name) {
                (salt, algorithm) = (status.salt.clone(), status.algorithm);
            }
            let same = statuses.iter().filter(|it| it.salt == salt);
            first_drawn = same.map(|it| it.started_at).fold(first_drawn, Ord::min);
        }
        Ok(Users {
            strata: self.strata(first_drawn, now, &plan.tasks).await?,
            algorithm,
            salt,
        })
    }

    fn beginning(&self, plan: Plan, users: Users) -> Beginning {
        Beginning {
            algorithm: users.algorithm,
            salt: users.salt,
            strata: users.strata,
            models: self.plans().known.models_of(&plan),
            cursor: self.inner.lock().last_seq(),
            plan,
        }
    }

    /// From the week before the users were first drawn: what a candidate did to its users since would
    /// hide what the next one does. A week that is long past says nothing of them.
    async fn strata(
        &self,
        first_drawn: DateTime<Utc>,
        now: DateTime<Utc>,
        tasks: &[String],
    ) -> Result<Strata, ControlError> {
        if now - first_drawn > OLDEST {
            return Ok(Strata::default());
        }
        let (from, to) = (first_drawn - HISTORY, first_drawn);
        let history = self
            .store
            .history_by_subject(from.timestamp_millis(), to.timestamp_millis(), tasks)
            .await
            .map_err(ControlError::Store)?;
        Ok(Strata::new(history))
    }
}

impl Memory {
    fn known(&self, id: &str) -> Result<&Rollout, ControlError> {
        let unknown = || ControlError::UnknownRollout { id: id.to_owned() };
        self.get(id).ok_or_else(unknown)
    }

    fn known_mut(&mut self, id: &str) -> Result<&mut Rollout, ControlError> {
        let unknown = || ControlError::UnknownRollout { id: id.to_owned() };
        self.get_mut(id).ok_or_else(unknown)
    }
}
