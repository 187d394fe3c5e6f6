//! What keys may spend, checked before a call and settled after it.
//!
//! A call reserves what it may need at most, from what the database has granted this process
//! ([`ledger`]), so that most calls wait for nothing. When it is over, or dropped, what it
//! used is counted in place of that.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use metrics::Counter;
use parking_lot::{Mutex, RwLock};

use super::{
    ApiKey, ApiKeyStore, KeyLimits, RateLeft, TooFast,
    ledger::{self, KeyLedger},
    rate::Rate,
};
use crate::_core::{
    amount::Amount, errors::in_full, failure_edge::FailureEdge, takings::Takings, tasks::Tasks,
};

/// Between two reports to the database.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the database has for each.
const PATIENCE: Duration = Duration::from_secs(12);
/// A key that was not used for so long gives back what it was granted.
const IDLE: Duration = Duration::from_secs(5);
/// What is known of it in memory goes after this.
const FORGOTTEN: Duration = Duration::from_secs(120);

const TOKENS: &str = "key_tokens_total";
const COST: &str = "key_cost_microdollars_total";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    metrics::describe_counter!(
        TOKENS,
        "Tokens that programs used, read and written, by key"
    );
    metrics::describe_counter!(
        COST,
        "Millionths of a US dollar that programs spent, by key"
    );
}

/// What all keys spend.
pub struct Spending {
    store: Arc<dyn ApiKeyStore>,
    tasks: Tasks,
    outage: FailureEdge,
    accounts: Mutex<Accounts>,
    /// Of keys that have asked in the last minute. A rate knows no days.
    rates: Mutex<HashMap<String, Rate>>,
    /// Who else lets requests of the same keys through.
    takings: OnceLock<Arc<Takings>>,
    /// Keys and models of which the log has said that a budget in dollars counts nothing.
    unpriced: RwLock<HashMap<String, HashSet<Arc<str>>>>,
}

/// Rates of keys among what processes take of limits.
const KIND: &str = "key";

/// By key and day.
type Accounts = HashMap<(Arc<str>, NaiveDate), Arc<KeyAccount>>;

/// A key's day.
struct KeyAccount {
    key: Arc<str>,
    day: NaiveDate,
    ledger: Mutex<KeyLedger>,
    /// Whoever asks the database for more, or gives back: one at a time.
    granting: Arc<tokio::sync::Mutex<()>>,
    /// What was used, tokens and money, for Prometheus: made with the first call, so that later ones look nothing up.
    series: OnceLock<[Counter; 2]>,
}

/// Why a call may not begin.
#[derive(Debug)]
pub enum SpendingRefused {
    /// The day's budget does not allow it.
    OverBudget(OverBudget),
    /// The database cannot be asked.
    Unknown,
}

/// A budget that does not allow a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverBudget {
    /// What the key may have in a day.
    pub limits: KeyLimits,
    /// What it has spent, and what calls under way have reserved.
    pub spent: Amount,
    /// What the call may need.
    pub needed: Amount,
    /// When the next day begins.
    pub opens_at: DateTime<Utc>,
}

impl OverBudget {
    /// What is left of both, where something is limited.
    pub fn left(&self) -> Amount {
        (self.limits.budget() - self.spent).at_least_zero()
    }
}

impl Spending {
    /// Spending that this store counts. What begins to ask it ends among these tasks.
    pub fn new(store: Arc<dyn ApiKeyStore>, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            store,
            tasks,
            outage: FailureEdge::default(),
            accounts: Mutex::default(),
            rates: Mutex::default(),
            takings: OnceLock::new(),
            unpriced: RwLock::default(),
        })
    }

    /// A key with a budget in dollars asks for a model of which nobody here knows what it costs. The log says so once.
    pub fn counts_nothing(&self, key: &ApiKey, model: &Arc<str>) {
        let is_said = |said: &HashSet<Arc<str>>| said.contains(model);
        // Each request asks, and all but the first only read.
        if self.unpriced.read().get(&key.name).is_some_and(is_said) {
            return;
        }
        let is_new = self
            .unpriced
            .write()
            .entry(key.name.clone())
            .or_default()
            .insert(model.clone());
        // Nobody waits for the log.
        if is_new {
            tracing::warn!(
                key = key.name,
                model = &**model,
                "a budget in dollars counts nothing for this model, unless its provider tells what it charges: the \
                 catalog has no prices for it"
            );
        }
    }

    /// Keeps rates together with the other processes.
    pub fn share(self: &Arc<Self>, takings: &Arc<Takings>) {
        let _ = self.takings.set(takings.clone());
        let spending = Arc::downgrade(self);
        takings.share(KIND, move |name, micros, _| {
            if let Some(spending) = spending.upgrade() {
                let now = Instant::now();
                let mut rates = spending.rates.lock();
                let rate = rates.entry(name.to_owned());
                rate.or_insert_with(|| Rate::new(now))
                    .others_took(micros, now);
            }
        });
    }

    /// Counts a request of a key at its rate; what is left of that, where it has one.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn request(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<Option<RateLeft>, TooFast> {
        let Some(limit) = key.limits.requests_per_minute else {
            return Ok(None);
        };
        let left = {
            let at = Instant::now();
            let mut rates = self.rates.lock();
            let rate = rates.entry(key.name.clone());
            rate.or_insert_with(|| Rate::new(at)).take(limit, at)?
        };
        if let Some(takings) = self.takings.get() {
            takings.took(KIND, &key.name, Rate::micros(limit), now);
        }
        Ok(Some(left))
    }

    /// Reserves what a call may need; what it used is settled when the reservation is dropped.
    ///
    /// # Errors
    ///
    /// Where the budget does not allow it, or the database cannot say whether it does.
    pub async fn reserve(
        self: &Arc<Self>,
        key: &ApiKey,
        need: Amount,
        now: DateTime<Utc>,
    ) -> Result<Reservation, SpendingRefused> {
        let mut reservation = Reservation {
            spending: self.clone(),
            account: self.account(&key.name, now.date_naive()),
            limits: key.limits,
            reserved: None,
            used: Amount::default(),
        };
        reservation.add(need).await?;
        Ok(reservation)
    }

    fn account(&self, name: &str, day: NaiveDate) -> Arc<KeyAccount> {
        let key: Arc<str> = name.into();
        let mut accounts = self.accounts.lock();
        let account = accounts.entry((key.clone(), day)).or_insert_with(|| {
            let now = Instant::now();
            Arc::new(KeyAccount {
                key,
                day,
                ledger: Mutex::new(KeyLedger::new(now)),
                granting: Arc::default(),
                series: OnceLock::new(),
            })
        });
        account.clone()
    }

    /// Writes to the database what it does not know, until the server stops.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        loop {
            let is_stopping = tokio::select! {
                () = &mut stop => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            self.write(if is_stopping { Duration::ZERO } else { IDLE })
                .await;
            if is_stopping {
                return;
            }
        }
    }

    /// Writes to the database what was spent, and gives back what keys were granted that were not used for
    /// `idle`.
    pub async fn write(&self, idle: Duration) {
        let now = Instant::now();
        // What was spent is counted, whatever the budget is.
        let unlimited = KeyLimits::default().budget();
        let accounts: Vec<_> = self.accounts.lock().values().cloned().collect();
        for account in accounts {
            let turn = account.granting.clone().try_lock_owned().ok();
            if turn.is_none() && !idle.is_zero() {
                // The database is asked about this key now; what was spent is written the next time.
                continue;
            }
            let untold = {
                let mut ledger = account.ledger.lock();
                let is_idle = now
                    .checked_sub(idle)
                    .is_some_and(|then| ledger.is_quiet_since(then));
                ledger.take_untold(is_idle)
            };
            if untold == Amount::default() {
                continue;
            }
            // A call that needs what is given back asks for it once the database has it, or it would be refused.
            let gives_back = untold != untold.at_least_zero();
            let _turn = turn.filter(|_| gives_back);
            let told = self
                .store
                .grant(&account.key, account.day, untold, unlimited);
            // A connection that died in silence would keep all keys waiting.
            let told = tokio::time::timeout(PATIENCE, told).await;
            let told =
                told.unwrap_or_else(|_| Err(anyhow::anyhow!("the database does not answer")));
            if note(&self.outage, &account, told).is_err() {
                account.ledger.lock().grant(Amount::default() - untold);
            }
        }
        // One that is full again is as good as a new one.
        self.rates.lock().retain(|_, rate| !rate.is_full(now));
        self.accounts.lock().retain(|_, account| {
            let ledger = account.ledger.lock();
            let then = now.checked_sub(FORGOTTEN);
            let is_quiet = then.is_some_and(|then| ledger.is_quiet_since(then));
            // A call that has just found it would spend from an account that nobody reports.
            let is_found = Arc::strong_count(account) > 1;
            is_found || !(ledger.is_told() && is_quiet)
        });
    }
}

/// What a call has reserved of its key's budget. When it is dropped, what the call used counts in place of
/// that.
pub struct Reservation {
    spending: Arc<Spending>,
    account: Arc<KeyAccount>,
    limits: KeyLimits,
    /// Nothing until the first amount is granted.
    reserved: Option<Amount>,
    used: Amount,
}

impl Reservation {
    /// Whether what a call uses matters before it is over.
    pub fn is_limited(&self) -> bool {
        self.limits.has_budget()
    }

    /// What the call has used so far, all its attempts together.
    pub fn use_up(&mut self, used: Amount) {
        self.used = used;
    }

    /// Reserves more.
    ///
    /// # Errors
    ///
    /// As [`Spending::reserve`].
    pub async fn add(&mut self, more: Amount) -> Result<(), SpendingRefused> {
        loop {
            let Err(_) = self.try_add(more) else {
                return Ok(());
            };
            let turn = self.account.granting.clone().lock_owned().await;
            // Whoever had the turn before may have been granted enough for both.
            let Err(lacks) = self.try_add(more) else {
                return Ok(());
            };
            let (spending, account) = (self.spending.clone(), self.account.clone());
            let limits = self.limits;
            // A caller that leaves now must not lose what the database grants meanwhile.
            let asked = self.spending.tasks.spawn(async move {
                let _turn = turn;
                let asked = account.ask(&*spending.store, lacks, &limits).await;
                note(&spending.outage, &account, asked)
            });
            let Ok(Ok(refused)) = asked.await else {
                return Err(SpendingRefused::Unknown);
            };
            if let Some(spent) = refused {
                // The database counts as spent what it granted this process, which is there for the next call.
                let spent = spent - self.account.ledger.lock().free().at_least_zero();
                return Err(SpendingRefused::OverBudget(OverBudget {
                    limits: self.limits,
                    spent,
                    needed: more,
                    opens_at: self.account.end(),
                }));
            }
        }
    }

    fn try_add(&mut self, more: Amount) -> Result<(), Amount> {
        let mut ledger = self.account.ledger.lock();
        let now = Instant::now();
        match self.reserved {
            None => ledger.reserve(more, &self.limits, now)?,
            Some(_) => ledger.extend(more, &self.limits, now)?,
        }
        self.reserved = Some(self.reserved.unwrap_or_default() + more);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.count(self.used);
        if let Some(reserved) = self.reserved {
            let mut ledger = self.account.ledger.lock();
            ledger.settle(reserved, self.used, Instant::now());
        }
    }
}

impl KeyAccount {
    fn count(&self, used: Amount) {
        let of_key = |name| metrics::counter!(name, "key" => self.key.to_string());
        let [tokens, cost] = self.series.get_or_init(|| [TOKENS, COST].map(of_key));
        tokens.increment(u64::try_from(used.tokens).unwrap_or(0));
        cost.increment(u64::try_from(used.cost.0).unwrap_or(0));
    }

    /// Asks the database for what is lacking; where it grants nothing, what the key has spent.
    async fn ask(
        &self,
        store: &dyn ApiKeyStore,
        lacks: Amount,
        limits: &KeyLimits,
    ) -> anyhow::Result<Option<Amount>> {
        for amount in ledger::wanted(lacks, limits) {
            if store
                .grant(&self.key, self.day, amount, limits.budget())
                .await?
            {
                self.ledger.lock().grant(amount);
                return Ok(None);
            }
        }
        store.spent(&self.key, self.day).await.map(Some)
    }

    /// The end of the day.
    fn end(&self) -> DateTime<Utc> {
        let next = self.day.checked_add_days(Days::new(1)).unwrap_or(self.day);
        next.and_time(NaiveTime::MIN).and_utc()
    }
}

/// Says in the log where an outage of the database begins and where it ends.
fn note<T>(
    outage: &FailureEdge,
    account: &KeyAccount,
    told: anyhow::Result<T>,
) -> anyhow::Result<T> {
    let key = &*account.key;
    match &told {
        Ok(_) if outage.ends() => tracing::info!(key, "what keys spend can be stored again"),
        Err(error) if outage.begins() => {
            let cause = in_full(error.as_ref());
            tracing::error!(
                key,
                cause,
                "what a key spends cannot be stored; it is tried every second, and a key whose budget \
                 needs the database gets 503 meanwhile"
            );
        }
        _ => {}
    }
    told
}

#[cfg(test)]
pub(super) mod tests;
