//! One quota: that of an account, or that of one model of it. Its schedule, its clocks, and who waits.

mod common;
mod slot;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

pub(super) use self::common::{ANSWER, Keeper};
pub(in crate::model_router) use self::slot::{Bookings, Sent, Slot};
use self::{
    common::OwnReports,
    slot::{TakenSlot, WaitingCall},
};
use super::{
    AccountStanding,
    rest::RestTimes,
    schedule::{
        AccountLimits, Claim, Clocks, ConversationTurn, LeftUntil, Schedule, SlotAnswer,
        SlotRefusal, SlotRequest, day_of,
    },
    used::Used,
};
use crate::{
    _core::{clock, failure_edge::FailureEdge},
    model_router::catalog::{Model, Tier},
};

/// How long a call waits until it is stored that it uses a slot.
const KEEP_TIMEOUT: Duration = Duration::from_millis(500);

/// What is known of an account's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model_router) struct Quota {
    pub(in crate::model_router) limits: AccountLimits,
    /// Requests of this day so far, at least.
    pub(in crate::model_router) used: u32,
    /// Whether it is about models that cost nothing, and no others.
    pub(in crate::model_router) only_free: bool,
}

/// One quota.
pub(super) struct QuotaPool {
    /// The label of its account, as metrics and what is stored name it.
    label: String,
    state: Mutex<State>,
    /// The number of the last slot that is stored as used. Whoever writes holds it.
    stored: tokio::sync::Mutex<u64>,
    pub(super) outage: FailureEdge,
}

#[derive(Default)]
pub(super) struct State {
    /// Of an account, `None` until a quota is known.
    schedule: Option<Schedule>,
    only_free: bool,
    /// Who is told when it has its slot. As bounded as the schedule's queue.
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// What an earlier process used, until a quota is known.
    restored: Option<Used>,
    keeper: Option<Keeper>,
    /// The number of the last slot.
    slots: u64,
    /// What is said of it to a database that gives its slots.
    said: OwnReports,
}

impl State {
    fn gives_slots(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::gives_slots)
    }

    /// Goes on with what stands in the database.
    fn go_on(&mut self, used: &Used, now: Clocks) {
        let is_common = self.gives_slots();
        match &mut self.schedule {
            Some(schedule) if is_common => schedule.adopt(used, now.utc_ms, now),
            Some(schedule) => schedule.restore(used, now),
            None => self.restored = Some(used.clone()),
        }
    }

    /// Whether it is about this model.
    fn is_about(&self, model: &Model) -> bool {
        !self.only_free || model.tier == Tier::Free
    }

    /// Gives free slots to those who wait.
    pub(super) fn pump(&mut self, now: Clocks) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        for number in schedule.due(now) {
            // Who leaves says so first, so whoever is due still listens.
            if let Some(waiter) = self.waiting.remove(&number) {
                let _ = waiter.send(());
            }
        }
    }
}

impl QuotaPool {
    /// That of an account, of which nothing is known yet.
    pub(super) fn of_account(label: &str) -> Arc<Self> {
        Self::new(label, None)
    }

    /// That of a model of an account. It counts what is under way from the beginning.
    pub(super) fn of_model(label: &str) -> Arc<Self> {
        Self::new(label, Some(Schedule::new(AccountLimits::default(), now())))
    }

    fn new(label: &str, schedule: Option<Schedule>) -> Arc<Self> {
        Arc::new(Self {
            label: label.to_owned(),
            state: Mutex::new(State {
                schedule,
                ..State::default()
            }),
            stored: tokio::sync::Mutex::default(),
            outage: FailureEdge::default(),
        })
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether nobody has looked yet what an earlier process used.
    pub(super) fn is_new(&self) -> bool {
        self.state.lock().keeper.is_none()
    }

    /// Goes on with what an earlier process used, where that is known, unless it does already.
    pub(super) fn go_on(&self, keeper: &Keeper, used: Option<Used>) {
        let now = now();
        let mut state = self.state.lock();
        if state.keeper.is_some() {
            return;
        }
        state.keeper = Some(keeper.clone());
        match (used, &mut state.schedule) {
            (Some(used), _) => state.go_on(&used, now),
            (None, Some(schedule)) => {
                let day = schedule.limits().day.unwrap_or(0);
                schedule.used_at_least(day / 2, now);
            }
            (None, None) => {}
        }
    }

    /// The catalog says what it may do.
    pub(super) fn limit(&self, limits: AccountLimits) {
        self.learn(Quota {
            limits,
            used: 0,
            only_free: false,
        });
    }

    /// The catalog says nothing; what it said before ends.
    pub(super) fn forget_limit(&self) {
        let mut state = self.state.lock();
        if !state.only_free
            && let Some(schedule) = &mut state.schedule
        {
            schedule.limit(AccountLimits::default());
            state.pump(now());
        }
    }

    pub(super) fn learn(&self, quota: Quota) {
        let Quota {
            limits,
            used,
            only_free,
        } = quota;
        let now = now();
        let mut state = self.state.lock();
        let restored = state.restored.take();
        let schedule = state
            .schedule
            .get_or_insert_with(|| Schedule::new(limits, now));
        schedule.limit(limits);
        if let Some(restored) = restored {
            state.go_on(&restored, now);
        }
        if let Some(schedule) = &mut state.schedule {
            schedule.used_at_least(used, now);
        }
        state.said.at_least(used, day_of(now.utc_ms));
        state.only_free = only_free;
        state.pump(now);
    }

    /// Whether a quota is known that is about this model.
    pub(super) fn is_limited(&self, model: &Model) -> bool {
        let state = self.state.lock();
        let limits = state.schedule.as_ref().map(Schedule::limits);
        state.is_about(model) && limits.is_some_and(|limits| limits != AccountLimits::default())
    }

    /// The provider takes nothing for so long. Whether it took something before.
    pub(super) fn rest(&self, span: Duration) -> bool {
        let begun = self.with(|schedule, now| {
            let begins = schedule.rest(now.at + span, now.at);
            let until_ms = now.utc_ms.saturating_add(span.as_millis() as i64);
            (
                begins,
                RestTimes {
                    since_ms: now.utc_ms,
                    until_ms,
                },
            )
        });
        let Some((begins, told)) = begun else {
            return false;
        };
        self.state.lock().said.rests(told);
        begins
    }

    /// Whether it is about this model.
    pub(super) fn is_about(&self, model: &Model) -> bool {
        self.state.lock().is_about(model)
    }

    /// How long it takes nothing from now on, where it rests.
    pub(super) fn rests(&self) -> Option<Duration> {
        let now = Instant::now();
        let until = self.state.lock().schedule.as_ref()?.rests(now)?;
        Some(until - now)
    }

    pub(super) fn allow(&self, requests: Option<LeftUntil>, tokens: Option<LeftUntil>, own: u32) {
        self.with(|schedule, _| schedule.allow(requests, tokens, own));
    }

    /// Does something with the schedule, where there is one, after which calls that wait may have their turn.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Schedule, Clocks) -> T) -> Option<T> {
        let now = now();
        let mut state = self.state.lock();
        let done = act(state.schedule.as_mut()?, now);
        state.pump(now);
        Some(done)
    }

    pub(super) fn free_share(&self, model: &Model, now: Clocks) -> Option<f64> {
        let mut state = self.state.lock();
        state.pump(now);
        if !state.is_about(model) {
            return None;
        }
        state.schedule.as_ref()?.share(now.at)
    }

    /// How long a call would wait that comes now.
    pub(super) fn wait(&self, model: &Model, ask: &SlotRequest) -> Duration {
        let now = now();
        let mut state = self.state.lock();
        state.pump(now);
        if !state.is_about(model) {
            return Duration::ZERO;
        }
        let start = state.schedule.as_mut().map(|it| it.forecast(ask, now));
        start.map_or(Duration::ZERO, |it| it.saturating_duration_since(now.at))
    }

    /// A slot for an attempt at this model; `None` where no quota applies to it.
    pub(super) async fn enter(
        self: &Arc<Self>,
        model: &Model,
        ask: SlotRequest,
    ) -> Result<Option<TakenSlot>, SlotRefusal> {
        let mut since = None;
        loop {
            let goes_in = ask.turn == ConversationTurn::GoesOn
                && self.with(|schedule, now| schedule.has_room(ask.user, now)) == Some(true);
            let Some(taken) = self.turn(model, ask).await? else {
                return Ok(None);
            };
            let Some(keeper) = self.keeper() else {
                return Ok(Some(taken));
            };
            if !keeper.gives_slots() {
                self.keep().await;
                return Ok(Some(taken));
            }
            if let Some(taken) = self.claim(&keeper, taken, &ask, &mut since).await? {
                return Ok(Some(taken));
            }
            // It asks again, and would let go of more room than it has gone into.
            if goes_in {
                self.with(|schedule, now| schedule.keep_one(ask.user, now.at));
            }
        }
    }

    /// Who keeps what is used of it, where anything is limited.
    fn keeper(&self) -> Option<Keeper> {
        let state = self.state.lock();
        let limits = state.schedule.as_ref()?.limits();
        state
            .keeper
            .clone()
            .filter(|_| limits != AccountLimits::default())
    }

    /// A slot of this process, as soon as it is this call's turn.
    async fn turn(
        self: &Arc<Self>,
        model: &Model,
        ask: SlotRequest,
    ) -> Result<Option<TakenSlot>, SlotRefusal> {
        let (deadline, waiting, claim) = {
            let mut state = self.state.lock();
            let now = now();
            state.pump(now);
            if !state.is_about(model) {
                return Ok(None);
            }
            let State {
                schedule: Some(schedule),
                waiting,
                ..
            } = &mut *state
            else {
                return Ok(None);
            };
            let tokens = schedule.most_tokens(ask.tokens);
            let ask = SlotRequest { tokens, ..ask };
            let claim = Claim::of(&ask);
            let waiting = match schedule.ask(ask, now) {
                SlotAnswer::Start => None,
                SlotAnswer::Refused(refused) => return Err(self.refuse(refused)),
                SlotAnswer::Wait(number) => {
                    let (turn, told) = oneshot::channel();
                    waiting.insert(number, turn);
                    Some(WaitingCall::new(self.clone(), number, told, claim))
                }
            };
            (ask.deadline, waiting, claim)
        };
        Ok(Some(match waiting {
            Some(waiting) => waiting.taken(deadline).await?,
            None => TakenSlot::new(self.clone(), claim),
        }))
    }

    /// When a call that waits should look again whether it is its turn, if anything is known.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let now = now();
        let mut state = self.state.lock();
        state.pump(now);
        state.schedule.as_mut()?.next_start(now)
    }

    /// A call that waits under this number leaves, holding back what it was told of its turn: what it is told if
    /// it waited in vain.
    pub(super) fn leave(
        &self,
        number: u64,
        told: &mut oneshot::Receiver<()>,
        claim: Claim,
    ) -> Option<SlotRefusal> {
        let now = now();
        let mut state = self.state.lock();
        let is_due = state.waiting.remove(&number).is_none();
        let schedule = state.schedule.as_mut()?;
        let refused = schedule.leave(number, now);
        if is_due && told.try_recv().is_ok() {
            schedule.give_back(claim);
            state.pump(now);
        }
        Some(refused)
    }

    pub(super) fn allowances(&self) -> [Option<LeftUntil>; 2] {
        let now = now();
        let mut state = self.state.lock();
        state.pump(now);
        let schedule = state.schedule.as_ref();
        schedule.map_or([None; 2], |it| it.allowances(now.at))
    }

    pub(super) fn standing(&self) -> Option<AccountStanding> {
        let now = now();
        let mut state = self.state.lock();
        state.pump(now);
        let only_free = state.only_free;
        let schedule = state.schedule.as_ref()?;
        if schedule.limits() == AccountLimits::default() {
            return None;
        }
        let (free_minute, free_day) = schedule.free();
        let (waiting, waited) = schedule.waiting(now.at);
        Some(AccountStanding {
            limits: schedule.limits(),
            only_free,
            free_minute,
            free_day,
            free_tokens: schedule.free_tokens(),
            waiting,
            waited,
            rests: schedule.rests(now.at).map(|until| until - now.at),
        })
    }

    /// Stores that a slot was taken, before it is used. A database that does not answer keeps no call
    /// waiting.
    async fn keep(&self) {
        let slot = {
            let mut state = self.state.lock();
            state.slots += 1;
            state.slots
        };
        let kept = timeout(KEEP_TIMEOUT, async {
            let mut stored = self.stored.lock().await;
            // Another call has stored this slot with its own.
            if *stored >= slot {
                return Ok(());
            }
            let (slots, used, keeper) = {
                let mut state = self.state.lock();
                let slots = state.slots;
                let used = state.schedule.as_mut().map(|it| it.used(now()));
                (slots, used, state.keeper.clone())
            };
            if let (Some(used), Some(keeper)) = (used, keeper) {
                keeper.store.keep_quota(&self.label, &used).await?;
            }
            *stored = slots;
            anyhow::Ok(())
        });
        let error = match kept.await {
            Ok(Ok(())) => {
                if self.outage.ends() {
                    let provider = &self.label;
                    tracing::info!(provider, "what is used of a quota can be stored again");
                }
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the database does not answer".to_owned(),
        };
        if self.outage.begins() {
            tracing::warn!(
                provider = self.label,
                error,
                "what is used of a quota cannot be stored; it is tried with each request"
            );
        }
    }

    /// Calls that wait to be told.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, refused: SlotRefusal) -> SlotRefusal {
        let labels = [
            ("provider", self.label.clone()),
            ("reason", refused.reason.name().to_owned()),
        ];
        metrics::counter!("ai_quota_refused_total", &labels).increment(1);
        refused
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a call that comes is an edge: days are those of the provider"
)]
pub(super) fn now() -> Clocks {
    Clocks {
        at: Instant::now(),
        utc_ms: clock::now().timestamp_millis(),
    }
}
