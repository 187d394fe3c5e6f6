//! What a call holds of a quota: a place in the queue, a slot, a request that is under way.

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::QuotaPool;
use crate::model_router::quota::{
    record::UsageChange,
    schedule::{Claim, SlotRefusal},
};

/// A call that waits for its turn. Dropped, it leaves.
pub(super) struct WaitingCall {
    pool: Arc<QuotaPool>,
    number: u64,
    told: oneshot::Receiver<()>,
    claim: Claim,
    is_over: bool,
}

impl WaitingCall {
    pub(super) fn new(
        pool: Arc<QuotaPool>,
        number: u64,
        told: oneshot::Receiver<()>,
        claim: Claim,
    ) -> Self {
        Self {
            pool,
            number,
            told,
            claim,
            is_over: false,
        }
    }

    /// Its slot, before the deadline.
    pub(super) async fn taken(mut self, deadline: Instant) -> Result<TakenSlot, SlotRefusal> {
        let since = Instant::now();
        loop {
            let wake = self.pool.next_start();
            let wake = wake.map_or(deadline, |wake| wake.min(deadline));
            tokio::select! {
                biased;
                _ = &mut self.told => {
                    self.is_over = true;
                    let labels = [("provider", self.pool.label().to_owned())];
                    metrics::histogram!("ai_quota_wait_seconds", &labels).record(since.elapsed());
                    return Ok(TakenSlot::new(self.pool.clone(), self.claim));
                }
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= deadline && self.told.try_recv().is_err() {
                let refused = self.leave().unwrap_or(SlotRefusal::QUEUE);
                return Err(self.pool.refuse(refused));
            }
        }
    }

    /// What it is told if it waited in vain.
    fn leave(&mut self) -> Option<SlotRefusal> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        self.pool.leave(self.number, &mut self.told, self.claim)
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Leave to send one request, by one quota. Dropped without that, others get it.
pub(in crate::model_router::quota) struct TakenSlot {
    pool: Arc<QuotaPool>,
    claim: Claim,
    /// Its time, in milliseconds since 1970, where the database has given it.
    given: Option<i64>,
    is_sent: bool,
}

/// Where it stands what a request was thought to take.
#[derive(Clone, Copy)]
enum Booked {
    /// In this process, under this number.
    Here(u64),
    /// In the database, at this time, with so many tokens.
    Given { at_ms: i64, tokens: u32 },
}

impl TakenSlot {
    pub(super) fn new(pool: Arc<QuotaPool>, claim: Claim) -> Self {
        Self {
            pool,
            claim,
            given: None,
            is_sent: false,
        }
    }

    pub(super) fn tokens(&self) -> u32 {
        self.claim.tokens
    }

    /// The database has given it.
    pub(super) fn given(mut self, at_ms: i64) -> Self {
        self.given = Some(at_ms);
        let claim = self.claim;
        self.pool.with(|schedule, _| schedule.given(claim));
        self
    }

    /// It is used now.
    fn send(mut self) -> (Arc<QuotaPool>, u32, Booked) {
        self.is_sent = true;
        let (pool, tokens) = (self.pool.clone(), self.claim.tokens);
        let booked = pool.with(|schedule, now| match self.given {
            Some(at_ms) => {
                schedule.send_given(tokens);
                Booked::Given { at_ms, tokens }
            }
            None => Booked::Here(schedule.send(tokens, now)),
        });
        (pool, tokens, booked.unwrap_or(Booked::Here(0)))
    }
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        if self.is_sent {
            return;
        }
        let claim = self.claim;
        match self.given {
            Some(at_ms) => {
                self.pool.with(|schedule, _| schedule.forgo_given(claim));
                self.pool.correct(UsageChange {
                    at_ms,
                    requests: -1,
                    tokens: -i64::from(claim.tokens),
                });
            }
            None => {
                self.pool.with(|schedule, _| schedule.give_back(claim));
            }
        }
    }
}

/// Leave to send one request: by the quota of its model, and by that of the account.
#[derive(Default)]
pub(in crate::model_router) struct Slot(pub(in crate::model_router::quota) [Option<TakenSlot>; 2]);

impl Slot {
    /// It is used now. The first that is given back lives until the request is answered, the second to the end of
    /// the answer.
    pub(in crate::model_router) fn send(self) -> (Sent, Bookings) {
        let (mut sent, mut course) = (Sent::default(), Bookings::default());
        for (place, taken) in self.0.into_iter().enumerate() {
            if let Some((pool, tokens, booked)) = taken.map(TakenSlot::send) {
                sent.0[place] = Some((pool.clone(), tokens));
                course.0[place] = Some((pool, booked));
            }
        }
        (sent, course)
    }
}

/// A request that was sent and not answered.
#[derive(Default)]
pub(in crate::model_router) struct Sent([Option<(Arc<QuotaPool>, u32)>; 2]);

impl Drop for Sent {
    fn drop(&mut self) {
        for (pool, tokens) in self.0.iter().flatten() {
            pool.with(|schedule, _| schedule.answered(*tokens));
        }
    }
}

/// A request that was sent, and where each quota has noted it.
#[derive(Default)]
pub(in crate::model_router) struct Bookings([Option<(Arc<QuotaPool>, Booked)>; 2]);

impl Bookings {
    /// It took so many tokens.
    pub(in crate::model_router) fn took(&self, tokens: u32) {
        for (pool, booked) in self.0.iter().flatten() {
            match *booked {
                Booked::Here(number) => {
                    pool.with(|schedule, _| schedule.settle(number, tokens));
                }
                Booked::Given {
                    at_ms,
                    tokens: thought,
                } if tokens != thought => pool.correct(UsageChange {
                    at_ms,
                    requests: 0,
                    tokens: i64::from(tokens) - i64::from(thought),
                }),
                Booked::Given { .. } => {}
            }
        }
    }

    /// It was the last one of this user's conversation.
    pub(in crate::model_router) fn ends(&self, user: Option<u64>) {
        for (pool, _) in self.0.iter().flatten() {
            pool.with(|schedule, _| schedule.end(user));
        }
    }
}
