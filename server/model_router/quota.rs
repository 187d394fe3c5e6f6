//! The requests and tokens that our accounts at providers may take, and the calls that wait for them.
//!
//! An account has a quota where the catalog, or the provider itself, names one. What a provider says with an
//! answer is about the model that was asked, so that each model of an account has a quota of its own beside that
//! of the whole. Each attempt takes a slot of both before it is sent. [`schedule`] decides whose turn it is,
//! [`pool`] has the clocks and the queues, and what a call holds of them. Where processes share a database, a slot of the
//! account is the database's to give: [`pool`] asks for it, [`record`] gives it.

mod free;
mod pool;
pub mod record;
mod rest;
mod rest_news;
pub mod schedule;
mod sharing;
pub mod store;
pub mod used;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, SecondsFormat};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

pub(super) use self::pool::{Bookings, Quota, Sent, Slot};
use self::{
    pool::{Keeper, QuotaPool, now},
    rest_news::{RestLine, RestNews, Resting},
    schedule::{AccountLimits, LeftUntil, SlotRefusal, SlotRequest},
    store::QuotaStore,
};
use super::catalog::{Catalog, Model, Provider, Tier};
use crate::providers::{self, fault::LimitScope, retry_after};

/// How long a new catalog waits for what is kept of its accounts.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The accounts, by their labels: the provider's name, and for another account there `NAME/ACCOUNT`.
#[derive(Default)]
pub(super) struct Quotas {
    accounts: HashMap<String, Account>,
    /// Where what is used is kept.
    keeper: Mutex<Option<Keeper>>,
    /// Whether tokens are limited anywhere, so that it is worth counting them.
    counts_tokens: AtomicBool,
    rest_news: Arc<RestNews>,
}

/// One account.
struct Account {
    whole: Arc<QuotaPool>,
    /// What its provider said of each model with answers.
    models: HashMap<Arc<str>, Arc<QuotaPool>>,
    /// Those among them that cost nothing, or whose price is not known.
    free: HashSet<Arc<str>>,
    /// Those of which the catalog says that they cost nothing.
    said_free: HashSet<Arc<str>>,
}

impl Account {
    /// Lets these models rest. Whether one of them did not before.
    fn rest(&self, span: Duration, rests: impl Fn(&Arc<str>) -> bool) -> bool {
        let pools = self.models.iter().filter(|(name, _)| rests(name));
        pools.fold(false, |begins, (_, pool)| pool.rest(span) || begins)
    }
}

/// How an account stands.
#[derive(Clone, Copy, Debug)]
pub struct AccountStanding {
    /// What it may do.
    pub limits: AccountLimits,
    /// Whether that is about models that cost nothing, and no others.
    pub only_free: bool,
    /// Slots of this minute that are free, where it is limited.
    pub free_minute: Option<u32>,
    /// The same of this day.
    pub free_day: Option<u32>,
    /// Tokens of this minute that are free, where they are limited.
    pub free_tokens: Option<u32>,
    /// Calls that wait.
    pub waiting: usize,
    /// How long the first of them has.
    pub waited: Duration,
    /// How long its provider takes nothing, where it said so.
    pub rests: Option<Duration>,
}

/// What a provider said with its last answer of one model of an account, and is in force still.
#[derive(Clone, Debug)]
pub struct AllowedByProvider {
    /// The model's name in the catalog.
    pub model: Arc<str>,
    /// Requests that it takes.
    pub requests: Option<AllowedLeft>,
    /// Tokens that it takes.
    pub tokens: Option<AllowedLeft>,
    /// How long it takes nothing, where it said so of this model, or of an account of which no quota is known.
    pub rests: Option<Duration>,
}

/// How many requests or tokens a provider takes.
#[derive(Clone, Copy, Debug)]
pub struct AllowedLeft {
    /// So many more, less those that are under way.
    pub left: u64,
    /// Of so many, where it says.
    pub of: Option<u64>,
    /// Until all of them may be had again.
    pub resets_in: Duration,
}

impl Quotas {
    /// The accounts of a catalog, with the quotas that it names.
    pub(super) fn new(catalog: &Catalog) -> Self {
        Self::default().renewed(catalog)
    }

    /// The accounts of another catalog. One at a provider of the same name goes on with what it has used;
    /// what a provider said holds until it says something else.
    pub(super) fn renewed(&self, catalog: &Catalog) -> Self {
        let account = |provider: &Provider, label: String, quota: Option<AccountLimits>| {
            let before = self.accounts.get(&label);
            let whole = before.map_or_else(|| QuotaPool::of_account(&label), |it| it.whole.clone());
            match quota {
                Some(limits) => whole.limit(limits),
                None => whole.forget_limit(),
            }
            let models = catalog.models.iter();
            let models = models.filter(|it| it.provider == provider.name);
            let free = models.clone().filter(|it| it.tier == Tier::Free);
            let said_free = free.clone().filter(|it| it.is_priced);
            let said_free = said_free.map(|it| it.base().clone()).collect();
            let free = free.map(|it| it.base().clone()).collect();
            let models = models.map(|it| {
                let pool = before.and_then(|before| before.models.get(it.base()));
                let pool = pool.cloned().unwrap_or_else(|| QuotaPool::of_model(&label));
                (it.base().clone(), pool)
            });
            let models = models.collect();
            let account = Account {
                whole,
                models,
                free,
                said_free,
            };
            (label, account)
        };
        let accounts: HashMap<_, _> = catalog
            .providers
            .iter()
            .flat_map(|provider| {
                let accounts = provider.accounts().into_iter();
                accounts.map(move |(label, quota)| account(provider, label, quota))
            })
            .collect();
        let limits = catalog.providers.iter().flat_map(Provider::accounts);
        let counts_tokens = limits.filter_map(|(_, it)| it?.tokens).next().is_some()
            || self.counts_tokens.load(Ordering::Relaxed);
        Self {
            accounts,
            keeper: Mutex::new(self.keeper.lock().clone()),
            counts_tokens: counts_tokens.into(),
            rest_news: self.rest_news.clone(),
        }
    }

    /// Goes on with what was kept of accounts that are new here. What cannot be read in time counts as not kept.
    pub(super) async fn catch_up(&self) {
        let keeper = self.keeper.lock().clone();
        let Some(keeper) = keeper.filter(|_| self.accounts.values().any(|it| it.whole.is_new()))
        else {
            return;
        };
        let read = timeout(READ_TIMEOUT, keeper.store.quotas()).await;
        let kept = read.unwrap_or_else(|_| Err(anyhow::anyhow!("the database does not answer")));
        let kept = kept.unwrap_or_else(|error| {
            let error = format!("{error:#}");
            tracing::warn!(error, "what new accounts have used cannot be read");
            Vec::new()
        });
        self.go_on(&keeper, kept);
    }

    /// Goes on with what an earlier process used, and keeps what this one uses. Where nothing is known of a
    /// day whose limit the catalog names, half of it counts as used.
    pub(super) async fn restore(&self, store: Arc<dyn QuotaStore>) -> anyhow::Result<()> {
        let keeper = Keeper::new(store);
        *self.keeper.lock() = Some(keeper.clone());
        let kept = keeper.store.quotas().await?;
        self.go_on(&keeper, kept);
        Ok(())
    }

    fn go_on(&self, keeper: &Keeper, kept: Vec<(String, used::Used)>) {
        let mut kept: HashMap<_, _> = kept.into_iter().collect();
        for (label, account) in &self.accounts {
            account.whole.go_on(keeper, kept.remove(label));
        }
    }

    /// A provider says what our account may do.
    pub(super) fn learn(&self, label: &str, quota: Quota) {
        if let Some(account) = self.accounts.get(label) {
            account.whole.learn(quota);
        }
    }

    /// A provider that was asked for this model takes nothing from our account for so long: nothing of what its limit is
    /// about, by its words, else by what is known of the account and of the model.
    ///
    /// Where no quota of the model is known, a wait that no limit lasts tells nothing, and its models rest, each by
    /// itself: a short rest of all of them must not become as long as one of those that cost nothing.
    pub(super) fn rest(&self, label: &str, model: &Model, after: Duration, scope: LimitScope) {
        let Some(account) = self.accounts.get(label) else {
            return;
        };
        let is_limited = account.whole.is_limited(model);
        let span = retry_after::bounded(after);
        if span < after && !is_limited {
            return;
        }
        let is_asked = |name: &Arc<str>| name == model.base();
        let is_of_free = || account.whole.standing().is_some_and(|it| it.only_free);
        let (begins, what) = match (scope, is_limited, model.tier) {
            (LimitScope::Model, ..) => {
                let begins = account.rest(span, is_asked);
                (begins, Resting::Model(model.base().clone()))
            }
            (LimitScope::Free, true, _) if is_of_free() => {
                (account.whole.rest(span), Resting::Tier)
            }
            (LimitScope::Free, ..) => {
                // Of a model without prices nobody has said that it costs nothing.
                let is_free = |name: &Arc<str>| is_asked(name) || account.said_free.contains(name);
                (account.rest(span, is_free), Resting::Tier)
            }
            (LimitScope::Account, true, _) => (account.whole.rest(span), Resting::Account),
            (LimitScope::Account, false, Tier::Free) => {
                let is_free = |name: &Arc<str>| account.free.contains(name);
                (account.rest(span, is_free), Resting::Tier)
            }
            (LimitScope::Account, false, _) => (account.rest(span, |_| true), Resting::Account),
        };
        if begins {
            self.tell_of_rest(label, model, what, span);
        }
    }

    fn tell_of_rest(&self, label: &str, model: &Model, what: Resting, span: Duration) {
        let (rests, now) = (what.name(), now());
        let until_ms = now.utc_ms.saturating_add(span.as_millis() as i64);
        let until = DateTime::from_timestamp_millis(until_ms).unwrap_or_default();
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let model = &*model.name;
        match self.rest_news.begins(label, what, now.at + span, now.at) {
            Some(RestLine::Begins) => tracing::warn!(
                account = label,
                model,
                rests,
                until,
                "the provider takes no more requests from our account for now"
            ),
            Some(RestLine::Again(times)) => tracing::warn!(
                account = label,
                model,
                rests,
                until,
                times,
                "the provider goes on refusing our account"
            ),
            None => {}
        }
    }

    /// A provider has answered a request of this account for this model.
    pub(super) fn answered(&self, label: &str, model: &Model) {
        let is_about = |what: &Resting| match what {
            Resting::Account => true,
            Resting::Tier => model.tier == Tier::Free,
            Resting::Model(name) => name == model.base(),
        };
        for (what, times) in self.rest_news.answered(label, is_about, Instant::now()) {
            tracing::info!(
                account = label,
                model = &*model.name,
                rests = what.name(),
                times,
                "the provider takes requests from our account again"
            );
        }
    }

    /// How long nothing is taken from this account for this model, where its provider said so.
    pub(super) fn rests(&self, label: &str, model: &Model) -> Option<Duration> {
        let account = self.accounts.get(label)?;
        let of_whole = Some(&account.whole).filter(|it| it.is_about(model));
        let of_model = account.models.get(model.base());
        let pools = [of_whole, of_model].into_iter().flatten();
        pools.filter_map(|it| it.rests()).max()
    }

    /// A provider says with an answer of this model how many more requests and tokens it takes of our account for
    /// it; the request was thought to take `own` tokens.
    pub(super) fn allow(
        &self,
        label: &str,
        model: &Model,
        told: &providers::Allowance,
        at: Instant,
        own: u32,
    ) {
        let account = self.accounts.get(label);
        let Some(pool) = account.and_then(|it| it.models.get(model.base())) else {
            return;
        };
        // Each process hears what is left for all; its even part of that is its own.
        let live = self.keeper.lock().as_ref().map_or(1, Keeper::live);
        let allowance = |left: providers::Left| LeftUntil {
            left: left.left / live,
            of: left.of,
            until: at + left.span,
        };
        if told.tokens.is_some() {
            self.counts_tokens.store(true, Ordering::Relaxed);
        }
        pool.allow(
            told.requests.map(allowance),
            told.tokens.map(allowance),
            own,
        );
    }

    /// Whether tokens are limited anywhere.
    pub(super) fn counts_tokens(&self) -> bool {
        self.counts_tokens.load(Ordering::Relaxed)
    }

    /// Which part of what an account may do is free for this model, from 0 to 1, where anything is limited.
    pub(super) fn free_share(&self, label: &str, model: &Model) -> Option<f64> {
        let account = self.accounts.get(label)?;
        let now = now();
        let of_model = account.models.get(model.base());
        let of_model = of_model.and_then(|it| it.free_share(model, now));
        let of_whole = account.whole.free_share(model, now);
        [of_model, of_whole].into_iter().flatten().reduce(f64::min)
    }

    /// How long a call would wait for such a slot that comes now; not at all where no quota applies.
    pub(super) fn wait(&self, label: &str, model: &Model, ask: &SlotRequest) -> Duration {
        let Some(account) = self.accounts.get(label) else {
            return Duration::ZERO;
        };
        let of_model = account.models.get(model.base());
        let of_model = of_model.map_or(Duration::ZERO, |it| it.wait(model, ask));
        of_model.max(account.whole.wait(model, ask))
    }

    /// A slot of this account for an attempt at this model, as soon as it is this call's turn: first for the
    /// model, then for the account as a whole.
    pub(super) async fn enter(
        &self,
        label: &str,
        model: &Model,
        ask: SlotRequest,
    ) -> Result<Slot, SlotRefusal> {
        let Some(account) = self.accounts.get(label) else {
            return Ok(Slot::default());
        };
        let of_model = match account.models.get(model.base()) {
            Some(pool) => pool.enter(model, ask).await?,
            None => None,
        };
        let of_whole = account.whole.enter(model, ask).await?;
        Ok(Slot([of_model, of_whole]))
    }

    /// What providers said of the models of an account, by their names.
    pub(super) fn allowed(&self, label: &str) -> Vec<AllowedByProvider> {
        let now = Instant::now();
        let left = |told: LeftUntil| AllowedLeft {
            left: told.left,
            of: told.of,
            resets_in: told.until - now,
        };
        let account = self.accounts.get(label);
        let pools = account.into_iter().flat_map(|it| &it.models);
        let allowed = pools.filter_map(|(model, pool)| {
            let [requests, tokens] = pool.allowances().map(|it| it.map(left));
            let (model, rests) = (model.clone(), pool.rests());
            (requests.is_some() || tokens.is_some() || rests.is_some()).then_some(
                AllowedByProvider {
                    model,
                    requests,
                    tokens,
                    rests,
                },
            )
        });
        let mut allowed: Vec<_> = allowed.collect();
        allowed.sort_by(|a, b| a.model.cmp(&b.model));
        allowed
    }

    /// How an account stands; `None` where no quota is known.
    pub(super) fn standing(&self, label: &str) -> Option<AccountStanding> {
        self.accounts.get(label)?.whole.standing()
    }
}

#[cfg(test)]
mod tests;
