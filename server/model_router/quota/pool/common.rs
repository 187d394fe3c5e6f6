//! A quota that several processes use: how a call gets its slot from the database, and what is reported of it later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{QuotaPool, now, slot::TakenSlot};
use crate::model_router::quota::{
    record::{AccountReport, UsageChange},
    rest::RestTimes,
    schedule::{AccountLimits, Priority, Schedule, SlotRefusal, SlotRequest},
    store::QuotaStore,
    used::Used,
};

/// How long an answer may take. A slot is sent soon after it was given, or it would count for another minute at the
/// provider.
pub(in crate::model_router::quota) const ANSWER: Duration = Duration::from_secs(1);
/// The same where there is nobody else who could use the account.
const ALONE: Duration = Duration::from_millis(500);
/// How long a call waits for a database that is away: another model may answer it, or whoever asks may come again.
const AWAY: Duration = Duration::from_secs(6);
/// Between two questions of a call while the database is away.
const RETRY: Duration = Duration::from_millis(250);
/// After an account was used up by others, before a call looks again.
const USED_UP: Duration = Duration::from_millis(20);
/// Changes that are kept while the database is away; older ones are summed up.
const MOST_CHANGES: usize = 1_000;

/// Keeps what was used, where it is to outlive the process, and where others use it as well.
#[derive(Clone)]
pub(in crate::model_router::quota) struct Keeper {
    pub(in crate::model_router::quota) store: Arc<dyn QuotaStore>,
    /// Processes on the database; 0 until that is known.
    live: Arc<AtomicU32>,
}

impl Keeper {
    pub(in crate::model_router::quota) fn new(store: Arc<dyn QuotaStore>) -> Self {
        Self {
            store,
            live: Arc::default(),
        }
    }

    /// Whether slots are the database's to give.
    pub(in crate::model_router::quota) fn gives_slots(&self) -> bool {
        self.store.gives_slots()
    }

    /// So many processes are on the database.
    pub(in crate::model_router::quota) fn note_live(&self, live: u32) {
        self.live.store(live, Ordering::Relaxed);
    }

    fn is_alone(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 1
    }

    /// Processes that use an account, as far as that is known; at least 1.
    pub(in crate::model_router::quota) fn live(&self) -> u64 {
        u64::from(self.live.load(Ordering::Relaxed).max(1))
    }
}

/// What this process reports of an account.
pub(super) struct OwnReports {
    /// Names whoever counts these reports. An account that leaves the catalog and comes back begins to count anew, so
    /// it has another name, or its reports would be taken for late ones.
    holder: String,
    /// How many of its reports were answered.
    number: u64,
    /// How many were made, those that were made again as well.
    times: u64,
    /// Calls that want a slot of the next one.
    wants: Vec<Want>,
    /// What the report says that was not answered yet. Nothing is added to it.
    asked: Option<Unsaid>,
    /// What the next one will.
    unsaid: Unsaid,
    /// The version that is known of what all have used.
    version: i64,
}

impl Default for OwnReports {
    fn default() -> Self {
        Self {
            holder: format!("{:016x}", rand::random::<u64>()),
            number: 0,
            times: 0,
            wants: Vec::new(),
            asked: None,
            unsaid: Unsaid::default(),
            version: 0,
        }
    }
}

/// A call that wants a slot.
struct Want {
    tokens: u32,
    priority: Priority,
    tell: oneshot::Sender<Result<Option<GivenSlot>, NoDatabase>>,
}

/// A slot that the database has given, for whoever asked. If nobody takes it, it is there for others again.
struct GivenSlot {
    pool: Arc<QuotaPool>,
    at_ms: i64,
    tokens: u32,
    is_taken: bool,
}

impl GivenSlot {
    /// Its time, in milliseconds since 1970.
    fn take(mut self) -> i64 {
        self.is_taken = true;
        self.at_ms
    }
}

impl Drop for GivenSlot {
    fn drop(&mut self) {
        if !self.is_taken {
            self.pool.correct(UsageChange {
                at_ms: self.at_ms,
                requests: -1,
                tokens: -i64::from(self.tokens),
            });
        }
    }
}

/// The database did not answer, or refused.
#[derive(Clone, Copy)]
pub(in crate::model_router::quota) struct NoDatabase;

#[derive(Clone, Default)]
struct Unsaid {
    changes: Vec<UsageChange>,
    at_least: u32,
    at_least_of: i64,
    rests: Option<RestTimes>,
}

impl Unsaid {
    fn add(&mut self, change: UsageChange) {
        self.changes.push(change);
        if self.changes.len() > MOST_CHANGES {
            let oldest = self.changes.remove(0);
            self.changes[0].requests += oldest.requests;
            self.changes[0].tokens += oldest.tokens;
        }
    }
}

impl OwnReports {
    pub(super) fn add(&mut self, change: UsageChange) {
        self.unsaid.add(change);
    }

    /// The provider says that so many requests of this day were made.
    pub(super) fn at_least(&mut self, used: u32, day: i64) {
        let unsaid = &mut self.unsaid;
        if unsaid.at_least_of != day {
            (unsaid.at_least, unsaid.at_least_of) = (0, day);
        }
        unsaid.at_least = unsaid.at_least.max(used);
    }

    pub(super) fn rests(&mut self, told: RestTimes) {
        let rests = &mut self.unsaid.rests;
        *rests = Some(rests.map_or(told, |it| it.or(told)));
    }

    fn is_owed(&self) -> bool {
        let unsaid = &self.unsaid;
        self.asked.is_some()
            || !unsaid.changes.is_empty()
            || unsaid.at_least > 0
            || unsaid.rests.is_some()
    }
}

impl QuotaPool {
    /// A slot that was taken here is given by the database; `None` where it has none now, so that the call has to
    /// wait again. `since` is when the call first asked for it and got no answer.
    pub(super) async fn claim(
        self: &Arc<Self>,
        keeper: &Keeper,
        taken: TakenSlot,
        ask: &SlotRequest,
        since: &mut Option<Instant>,
    ) -> Result<Option<TakenSlot>, SlotRefusal> {
        let began = Instant::now();
        let until = ask.deadline.min(*since.get_or_insert(began) + AWAY);
        let tokens = taken.tokens();
        let slot = self.slot(keeper, tokens, ask.priority);
        let given = timeout_at(until.max(began + ANSWER), slot).await;
        match given.unwrap_or(Err(NoDatabase)) {
            Ok(Some(grant)) => Ok(Some(taken.given(grant.take()))),
            Ok(None) => {
                drop(taken);
                *since = None;
                if Instant::now() + USED_UP > ask.deadline {
                    let refused = self.with(|schedule, now| schedule.in_vain(tokens, now));
                    return Err(self.refuse(refused.unwrap_or(SlotRefusal::QUEUE)));
                }
                sleep(USED_UP).await;
                Ok(None)
            }
            Err(NoDatabase) if keeper.is_alone() => Ok(Some(self.use_unasked(taken))),
            Err(NoDatabase) => {
                drop(taken);
                if Instant::now() + RETRY > until {
                    return Err(self.refuse(SlotRefusal::DATABASE));
                }
                sleep(RETRY).await;
                Ok(None)
            }
        }
    }

    /// A slot of the database's, if it has one. Reports are made one after the other; while one is under way, all that want
    /// something gather for the next, which any of them makes for all.
    async fn slot(
        self: &Arc<Self>,
        keeper: &Keeper,
        tokens: u32,
        priority: Priority,
    ) -> Result<Option<GivenSlot>, NoDatabase> {
        loop {
            let (tell, mut told) = oneshot::channel();
            self.state.lock().said.wants.push(Want {
                tokens,
                priority,
                tell,
            });
            let told = tokio::select! {
                biased;
                told = &mut told => told,
                said = self.say(keeper) => match said {
                    Ok(()) => told.await,
                    Err(NoDatabase) => return Err(NoDatabase),
                },
            };
            // Whoever made the report for this one has left before the answer came.
            if let Ok(told) = told {
                return told;
            }
        }
    }

    /// Reports on this account, and tells those who want something of it.
    pub(in crate::model_router::quota) async fn say(
        self: &Arc<Self>,
        keeper: &Keeper,
    ) -> Result<(), NoDatabase> {
        let _turn = self.stored.lock().await;
        let (report, wants) = {
            let mut state = self.state.lock();
            let Some(most) = state.schedule.as_ref().map(|it| it.most()) else {
                for want in std::mem::take(&mut state.said.wants) {
                    let _ = want.tell.send(Ok(None));
                }
                return Ok(());
            };
            let said = &mut state.said;
            let mut wants = std::mem::take(&mut said.wants);
            wants.retain(|it| !it.tell.is_closed());
            // Those of one priority in the order in which they came.
            wants.sort_by_key(|it| it.priority);
            said.times += 1;
            let unsaid = said
                .asked
                .get_or_insert_with(|| std::mem::take(&mut said.unsaid));
            let report = AccountReport {
                holder: said.holder.clone(),
                number: said.number + 1,
                time: said.times,
                most,
                wants: wants.iter().map(|it| it.tokens).collect(),
                changes: unsaid.changes.clone(),
                at_least: unsaid.at_least,
                at_least_of: unsaid.at_least_of,
                rests_until_ms: unsaid.rests.map_or(0, |it| it.until_ms),
                rests_since_ms: unsaid.rests.map_or(0, |it| it.since_ms),
            };
            (report, wants)
        };
        let patience = if keeper.is_alone() { ALONE } else { ANSWER };
        let given = timeout(patience, keeper.store.say(&self.label, &report)).await;
        let given = given.unwrap_or_else(|_| Err(anyhow::anyhow!("the database does not answer")));
        let Some(given) = self.note_outage(given) else {
            for want in wants {
                let _ = want.tell.send(Err(NoDatabase));
            }
            return Err(NoDatabase);
        };
        {
            let mut state = self.state.lock();
            state.said.number += 1;
            state.said.asked = None;
            // Also where a failover took some reports back.
            state.said.version = given.used.version;
        }
        self.adopt(&given.used, given.now_ms);
        for (want, slot) in wants.into_iter().zip(given.slots) {
            let grant = slot.map(|at_ms| GivenSlot {
                pool: self.clone(),
                at_ms,
                tokens: want.tokens,
                is_taken: false,
            });
            // Whoever has left leaves its slot to others.
            let _ = want.tell.send(Ok(grant));
        }
        Ok(())
    }

    /// What all processes have used, at a time of the database.
    pub(in crate::model_router::quota) fn adopt(&self, used: &Used, now_ms: i64) {
        let now = now();
        let mut state = self.state.lock();
        if used.version < state.said.version {
            return;
        }
        state.said.version = used.version;
        let said = &state.said;
        let asked = said.asked.iter().flat_map(|it| it.changes.iter());
        let unsaid: Vec<_> = asked
            .chain(&said.unsaid.changes)
            .filter(|it| it.requests > 0)
            .copied()
            .collect();
        if let Some(schedule) = &mut state.schedule {
            schedule.adopt(used, now_ms, now);
            for change in unsaid {
                let requests = u32::try_from(change.requests).unwrap_or(0);
                let tokens = u32::try_from(change.tokens).unwrap_or(0);
                for _ in 0..requests {
                    schedule.note(now.at, tokens / requests);
                }
            }
        }
        state.pump(now);
    }

    /// Nobody else uses the account, and the database hears of it later.
    fn use_unasked(&self, taken: TakenSlot) -> TakenSlot {
        let now = now();
        let tokens = taken.tokens();
        let mut state = self.state.lock();
        state.said.add(UsageChange {
            at_ms: now.utc_ms,
            requests: 1,
            tokens: tokens.into(),
        });
        if let Some(schedule) = &mut state.schedule {
            schedule.note(now.at, tokens);
        }
        drop(state);
        taken.given(now.utc_ms)
    }

    /// More or less was used than stands in the database.
    pub(super) fn correct(&self, change: UsageChange) {
        self.state.lock().said.add(change);
    }

    fn note_outage<T>(&self, said: anyhow::Result<T>) -> Option<T> {
        let provider = &self.label;
        match said {
            Ok(given) => {
                if self.outage.ends() {
                    tracing::info!(provider, "the database gives slots of a quota again");
                }
                Some(given)
            }
            Err(error) => {
                if self.outage.begins() {
                    let error = format!("{error:#}");
                    tracing::warn!(provider, error, "the database gives no slots of a quota");
                }
                None
            }
        }
    }

    /// Whether anything is to be reported.
    pub(in crate::model_router::quota) fn owes_a_report(&self) -> bool {
        let state = self.state.lock();
        let is_limited = |it: &Schedule| it.limits() != AccountLimits::default();
        state.said.is_owed() && state.schedule.as_ref().is_some_and(is_limited)
    }
}
