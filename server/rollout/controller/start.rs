//! How a rollout begins.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ControlError, Controller,
    entry::{Author, Entry, Next},
    memory,
    moves::{Draw, Moves},
};
use crate::{
    _core::actor::Actor,
    rollout::{
        evidence::Strata,
        observation::{Ledger, Step},
        plan::Plan,
        record::{Action, Record, Standing},
        status::{Moment, State, Status},
        store::AuditRow,
    },
};

/// How a rollout is to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Takes over salt and algorithm of the newest rollout of the same plan, so that the same users
    /// come first.
    pub keep_users: bool,
    /// Users may lose the model that an earlier rollout or the live share gave them.
    pub take_back: bool,
}

/// How far back a user's requests make its stratum.
const HISTORY: TimeDelta = TimeDelta::days(7);

impl Controller {
    /// Begins a rollout with a plan of the library, or with one given as TOML (a text of more than
    /// one line), and says whom that moves. One that takes users back has to be meant so.
    pub async fn start(
        &self,
        plan: &str,
        reason: &str,
        actor: &Actor,
        wishes: Wishes,
    ) -> Result<(Status, Moves), ControlError> {
        let plan = self.plan(plan)?;
        let by = Author::new(reason, actor)?;
        let mut writer = self.writer.lock().await;
        if !self.is_in_control(&mut writer).await {
            return Err(ControlError::NotInControl);
        }
        let now = self.world.now();
        self.refuse_overlap(&plan)?;
        let entry = self.new_entry(plan, by, wishes.keep_users, now).await?;
        let moves = self.moves(
            &entry.plan,
            Draw {
                salt: &entry.status.salt,
                algorithm: entry.status.algorithm,
                share: entry.status.share,
            },
        );
        if moves.taken_back > 0.0 && !wishes.take_back {
            return Err(ControlError::TakesBack { moves });
        }
        let status = entry.status.clone();
        let audit = AuditRow {
            id: self.world.id(now.wall),
            rollout_id: status.id.clone(),
            at: now.wall,
            actor: by.actor.clone(),
            action: Action::Started,
            reason: by.reason.to_owned(),
            before: None,
            after: Standing::of(&status),
            record: Ok(Record {
                cursor: entry.cursor,
                at_ms: now.wall.timestamp_millis(),
                step: Step::None,
                finding: None,
                verdict: None,
                models: Some(status.models_in_words()),
                moves: moves.words.clone(),
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
        Ok((status, moves))
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
            let stored = self.store.statuses().await;
            let stored = stored.map_err(ControlError::Store)?;
            let mut statuses = stored
                .iter()
                .filter_map(|it| memory::status(&it.status, it.version).ok());
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
            released_at: None,
            changed_by: by.actor.clone(),
            reason: by.reason.to_owned(),
            clear_since: None,
            told: Default::default(),
            models: self.models_of(&plan),
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
