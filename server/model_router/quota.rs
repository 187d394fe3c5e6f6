//! The requests that our accounts at providers may make, and the calls that wait for them.
//!
//! An account has a quota where the catalog, or the provider itself, tells one. Each attempt takes a
//! slot of it before it is sent. [`schedule`] decides whose turn it is; here are the clocks and the
//! futures that wait.

pub mod schedule;
pub mod store;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::Utc;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

use self::{
    schedule::{Ask, Limits, Moment, Refused, Schedule, Told},
    store::{QuotaStore, Used},
};
use super::catalog::{Catalog, Model, Provider, Tier};
use crate::_core::outage::Outage;

/// The accounts, by their labels: the provider's name, and for another account there `NAME/ACCOUNT`.
#[derive(Default)]
pub(super) struct Quotas {
    accounts: HashMap<String, Arc<Account>>,
    /// Where what is used is kept.
    keeper: Mutex<Option<Keeper>>,
}

/// Keeps what was used, where it is to outlive the process.
type Keeper = Arc<dyn QuotaStore>;

/// What is known of an account's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) limits: Limits,
    /// Requests of this day so far, at least.
    pub(super) used: u32,
    /// Whether it is about models that cost nothing, and no others.
    pub(super) only_free: bool,
}

/// How an account stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// What it may do.
    pub limits: Limits,
    /// Whether that is about models that cost nothing, and no others.
    pub only_free: bool,
    /// Slots of this minute that are free, where it is limited.
    pub free_minute: Option<u32>,
    /// The same of this day.
    pub free_day: Option<u32>,
    /// Calls that wait.
    pub waiting: usize,
    /// How long the first of them has.
    pub waited: Duration,
}

struct Account {
    /// Its label, as metrics and what is stored name it.
    provider: String,
    state: Mutex<State>,
    /// The number of the last slot that is stored as used. Whoever writes holds it.
    stored: tokio::sync::Mutex<u64>,
    outage: Outage,
}

#[derive(Default)]
struct State {
    /// `None` until a quota is told.
    schedule: Option<Schedule>,
    only_free: bool,
    /// Who is told when it has its slot. As bounded as the schedule's queue.
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// What an earlier process used, until a quota is told.
    restored: Option<Used>,
    keeper: Option<Keeper>,
    /// The number of the last slot.
    slots: u64,
}

impl State {
    /// Gives free slots to those who wait.
    fn pump(&mut self, now: Moment) {
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

impl Quotas {
    /// The accounts of a catalog, with the quotas that it tells.
    pub(super) fn new(catalog: &Catalog) -> Self {
        Self::default().renewed(catalog)
    }

    /// The accounts of another catalog. One at a provider of the same name goes on with what it has used;
    /// what a provider told holds until it tells something else.
    pub(super) fn renewed(&self, catalog: &Catalog) -> Self {
        let account = |(label, quota): (String, Option<Limits>)| {
            let account = self.accounts.get(&label).cloned();
            let account = account.unwrap_or_else(|| Arc::new(Account::new(&label)));
            match quota {
                Some(limits) => account.limit(limits),
                None => account.forget_limit(),
            }
            (label, account)
        };
        let accounts = catalog.providers.iter().flat_map(Provider::accounts);
        Self {
            accounts: accounts.map(account).collect(),
            keeper: Mutex::new(self.keeper.lock().clone()),
        }
    }

    /// Goes on with what was kept of accounts that are new here. What cannot be read counts as not kept.
    pub(super) async fn catch_up(&self) {
        let keeper = self.keeper.lock().clone();
        let is_new = |account: &Arc<Account>| account.state.lock().keeper.is_none();
        if let Some(keeper) = keeper
            && self.accounts.values().any(is_new)
            && let Err(error) = self.restore(keeper).await
        {
            let error = format!("{error:#}");
            tracing::warn!(error, "what new accounts have used cannot be read");
        }
    }

    /// Goes on with what an earlier process used, and keeps what this one uses. Where nothing is known of a
    /// day whose limit the catalog tells, half of it counts as used.
    pub(super) async fn restore(&self, keeper: Keeper) -> anyhow::Result<()> {
        *self.keeper.lock() = Some(keeper.clone());
        let mut kept: HashMap<_, _> = keeper.quotas().await?.into_iter().collect();
        for (provider, account) in &self.accounts {
            let now = now();
            let mut state = account.state.lock();
            // It goes on as it is.
            if state.keeper.is_some() {
                continue;
            }
            state.keeper = Some(keeper.clone());
            let used = kept.remove(provider);
            match (&mut state.schedule, used) {
                (Some(schedule), Some(used)) => schedule.restore(&used, now),
                (Some(schedule), None) => {
                    let day = schedule.limits().day.unwrap_or(0);
                    schedule.used_at_least(day / 2, now);
                }
                (None, used) => state.restored = used,
            }
        }
        Ok(())
    }

    /// A provider tells what our account may do.
    pub(super) fn learn(&self, label: &str, quota: Quota) {
        if let Some(account) = self.accounts.get(label) {
            account.learn(quota);
        }
    }

    /// A provider takes nothing from our account for so long.
    pub(super) fn rest(&self, label: &str, after: Duration) {
        let Some(account) = self.accounts.get(label) else {
            return;
        };
        if let Some(schedule) = &mut account.state.lock().schedule {
            schedule.rest(Instant::now() + after.min(LONGEST_REST));
        }
    }

    /// A provider says with an answer that it takes so many more requests of our account until then.
    pub(super) fn allow(&self, label: &str, left: u32, until: Instant) {
        let Some(account) = self.accounts.get(label) else {
            return;
        };
        let now = now();
        let mut state = account.state.lock();
        let schedule = state
            .schedule
            .get_or_insert_with(|| Schedule::new(Limits::default(), now));
        schedule.allow(left, until);
    }

    /// Which part of an account's quota is free, from 0 to 1, where one is known and applies to this model.
    pub(super) fn free_share(&self, label: &str, model: &Model) -> Option<f64> {
        let mut state = self.accounts.get(label)?.state.lock();
        state.pump(now());
        if state.only_free && model.tier != Tier::Free {
            return None;
        }
        let schedule = state.schedule.as_ref()?;
        let (limits, (minute, day)) = (schedule.limits(), schedule.free());
        let share =
            |free: Option<u32>, of: Option<u32>| Some(f64::from(free?) / f64::from(of?.max(1)));
        let shares = [share(minute, limits.minute), share(day, limits.day)];
        shares.into_iter().flatten().reduce(f64::min)
    }

    /// A slot of this account for an attempt at this model, as soon as it is this call's turn.
    pub(super) async fn enter(
        &self,
        label: &str,
        model: &Model,
        ask: Ask,
    ) -> Result<Slot, Refused> {
        let Some(account) = self.accounts.get(label) else {
            return Ok(Slot::default());
        };
        let waiting = {
            let mut state = account.state.lock();
            let now = now();
            state.pump(now);
            let State {
                schedule: Some(schedule),
                only_free,
                waiting,
                ..
            } = &mut *state
            else {
                return Ok(Slot::default());
            };
            if *only_free && model.tier != Tier::Free {
                return Ok(Slot::default());
            }
            match schedule.ask(ask, now) {
                Told::Start => None,
                Told::Refused(refused) => return Err(account.refuse(refused)),
                Told::Wait(number) => {
                    let (turn, told) = oneshot::channel();
                    waiting.insert(number, turn);
                    Some(Waiting {
                        account: account.clone(),
                        number,
                        told,
                        is_over: false,
                    })
                }
            }
        };
        let slot = match waiting {
            Some(waiting) => waiting.slot(ask.deadline).await?,
            None => Slot(Some(account.clone())),
        };
        account.keep().await;
        Ok(slot)
    }

    /// How an account stands; `None` where no quota is known.
    pub(super) fn standing(&self, label: &str) -> Option<Standing> {
        let mut state = self.accounts.get(label)?.state.lock();
        let now = now();
        state.pump(now);
        let only_free = state.only_free;
        let schedule = state.schedule.as_ref()?;
        if schedule.limits() == Limits::default() {
            return None;
        }
        let (free_minute, free_day) = schedule.free();
        let (waiting, waited) = schedule.waiting(now.at);
        Some(Standing {
            limits: schedule.limits(),
            only_free,
            free_minute,
            free_day,
            waiting,
            waited,
        })
    }
}

/// How long a call waits until it is stored that it uses a slot.
const KEEP_TIMEOUT: Duration = Duration::from_millis(500);
/// A provider that names a longer time is asked after that anyhow.
const LONGEST_REST: Duration = Duration::from_secs(25 * 3_600);

impl Account {
    fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            state: Mutex::default(),
            stored: tokio::sync::Mutex::default(),
            outage: Outage::default(),
        }
    }

    /// The catalog says what it may do.
    fn limit(&self, limits: Limits) {
        self.learn(Quota {
            limits,
            used: 0,
            only_free: false,
        });
    }

    /// The catalog says nothing; what it said before ends.
    fn forget_limit(&self) {
        let mut state = self.state.lock();
        if !state.only_free
            && let Some(schedule) = &mut state.schedule
        {
            schedule.limit(Limits::default());
            state.pump(now());
        }
    }

    fn learn(&self, quota: Quota) {
        let Quota {
            limits,
            used,
            only_free,
        } = quota;
        let now = now();
        let mut state = self.state.lock();
        let schedule = state
            .schedule
            .get_or_insert_with(|| Schedule::new(limits, now));
        schedule.limit(limits);
        if let Some(restored) = state.restored.take()
            && let Some(schedule) = &mut state.schedule
        {
            schedule.restore(&restored, now);
        }
        if let Some(schedule) = &mut state.schedule {
            schedule.used_at_least(used, now);
        }
        state.only_free = only_free;
        state.pump(now);
    }

    /// Stores that a slot was taken, before it is used. A database that does not answer keeps no call
    /// waiting.
    async fn keep(&self) {
        let slot = {
            let mut state = self.state.lock();
            let is_limited = |it: &Schedule| it.limits() != Limits::default();
            if state.keeper.is_none() || !state.schedule.as_ref().is_some_and(is_limited) {
                return;
            }
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
                keeper.keep_quota(&self.provider, &used).await?;
            }
            *stored = slots;
            anyhow::Ok(())
        });
        let error = match kept.await {
            Ok(Ok(())) => {
                if self.outage.ends() {
                    let provider = &self.provider;
                    tracing::info!(provider, "what is used of a quota can be stored again");
                }
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the database does not answer".to_owned(),
        };
        if self.outage.begins() {
            tracing::warn!(
                provider = self.provider,
                error,
                "what is used of a quota cannot be stored; it is tried with each request"
            );
        }
    }

    fn refuse(&self, refused: Refused) -> Refused {
        let labels = [
            ("provider", self.provider.clone()),
            ("reason", refused.reason.name().to_owned()),
        ];
        metrics::counter!("ai_quota_refused_total", &labels).increment(1);
        refused
    }
}

/// A call that waits for its turn. Dropped, it leaves.
struct Waiting {
    account: Arc<Account>,
    number: u64,
    told: oneshot::Receiver<()>,
    is_over: bool,
}

impl Waiting {
    async fn slot(mut self, deadline: Instant) -> Result<Slot, Refused> {
        let since = Instant::now();
        loop {
            let wake = {
                let mut state = self.account.state.lock();
                let now = now();
                state.pump(now);
                state.schedule.as_mut().and_then(|it| it.next_start(now))
            };
            let wake = wake.map_or(deadline, |wake| wake.min(deadline));
            tokio::select! {
                biased;
                _ = &mut self.told => {
                    self.is_over = true;
                    let labels = [("provider", self.account.provider.clone())];
                    metrics::histogram!("ai_quota_wait_seconds", &labels).record(since.elapsed());
                    return Ok(Slot(Some(self.account.clone())));
                }
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= deadline && self.told.try_recv().is_err() {
                let refused = self.leave().unwrap_or(Refused::QUEUE);
                return Err(self.account.refuse(refused));
            }
        }
    }

    /// What it is told if it waited in vain.
    fn leave(&mut self) -> Option<Refused> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut state = self.account.state.lock();
        let now = now();
        let is_due = state.waiting.remove(&self.number).is_none();
        let schedule = state.schedule.as_mut()?;
        let refused = schedule.leave(self.number, now);
        if is_due && self.told.try_recv().is_ok() {
            schedule.give_back();
            state.pump(now);
        }
        Some(refused)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Leave to send one request. Dropped without that, others get it.
#[derive(Default)]
pub(super) struct Slot(Option<Arc<Account>>);

impl Slot {
    /// It is used now. What is given back lives until the request is answered.
    pub(super) fn send(mut self) -> Sent {
        let account = self.0.take();
        if let Some(account) = &account
            && let Some(schedule) = &mut account.state.lock().schedule
        {
            schedule.send(now());
        }
        Sent(account)
    }
}

/// A request that was sent and not answered.
#[derive(Default)]
pub(super) struct Sent(Option<Arc<Account>>);

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(account) = self.0.take()
            && let Some(schedule) = &mut account.state.lock().schedule
        {
            schedule.answered();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(account) = self.0.take() {
            let mut state = account.state.lock();
            if let Some(schedule) = &mut state.schedule {
                schedule.give_back();
            }
            state.pump(now());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a call that comes is an edge: days are those of the provider"
)]
fn now() -> Moment {
    Moment {
        at: Instant::now(),
        utc_ms: Utc::now().timestamp_millis(),
    }
}

#[cfg(test)]
mod tests;
