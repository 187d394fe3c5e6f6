//! Which call may use an account next, and when: its requests of a minute and of a day, its tokens, and who waits.
//!
//! Nothing here asks a clock or a network. A slot is taken before a request is sent and kept whatever
//! becomes of it; one that was never sent is given back.

mod ask;
mod common;
mod kept;
mod queue;
mod room;
mod start;
mod tokens;

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

pub use self::ask::{AccountLimits, MAX_TURNS, Priority, SlotRefusal, SlotRefusalReason};
pub(in crate::model_router) use self::ask::{ConversationTurn, SlotRequest};
pub(super) use self::{
    ask::{Claim, Clocks, SlotAnswer},
    start::LeftUntil,
};
use self::{
    queue::{Queue, Waiter},
    room::KeptRoom,
    start::Need,
    tokens::Tokens,
};
use super::rest::Rest;

/// The account's clock may differ from ours, and a request may travel, for so long.
pub(super) const SKEW: Duration = Duration::from_secs(2);
pub(super) const MINUTE: Duration = Duration::from_secs(60 + SKEW.as_secs());
pub(super) const DAY_MS: i64 = 86_400_000;
/// Of what a minute has, in percent; the rest is for requests that were sent twice unseen, and for tokens that
/// are counted otherwise.
const USED_PERCENT: u32 = 95;
/// Calls that wait, of one user and in all.
const MAX_USER: usize = 8;
const MAX_WAITING: usize = 256;
/// After so long a background call gets one slot in ten, whoever else waits.
const STARVED: Duration = Duration::from_secs(60);
const TENTH: u32 = 10;

/// One account, or one model of it.
#[derive(Debug)]
pub(super) struct Schedule {
    limits: AccountLimits,
    /// When requests were sent, the oldest first; of the last minute.
    sent: VecDeque<Instant>,
    /// Slots that were taken and nothing was sent with yet.
    taken: u32,
    tokens: Tokens,
    day: i64,
    /// Slots of that day, sent or taken.
    used: u32,
    rest: Option<Rest>,
    /// What the provider said with its last answer, of requests and of tokens.
    allowed: Option<LeftUntil>,
    allowed_tokens: Option<LeftUntil>,
    /// Requests that were sent and not answered.
    in_flight: u32,
    /// Room that is kept for conversations, the oldest first, and all of it together.
    holds: VecDeque<KeptRoom>,
    held: u32,
    queues: [Queue; 4],
    last: u64,
    /// Slots since a background call got one before others.
    since_starved: u32,
}

impl Schedule {
    pub(super) fn new(limits: AccountLimits, now: Clocks) -> Self {
        Self {
            limits,
            sent: VecDeque::new(),
            taken: 0,
            tokens: Tokens::default(),
            day: day_of(now.utc_ms),
            used: 0,
            rest: None,
            allowed: None,
            allowed_tokens: None,
            in_flight: 0,
            holds: VecDeque::new(),
            held: 0,
            queues: Default::default(),
            last: 0,
            since_starved: TENTH,
        }
    }

    /// The account may do so much.
    pub(super) fn limit(&mut self, limits: AccountLimits) {
        self.limits = limits;
    }

    /// What the account may do.
    pub(super) fn limits(&self) -> AccountLimits {
        self.limits
    }

    /// The account takes nothing until then. Whether it took something before.
    pub(super) fn rest(&mut self, until: Instant, now: Instant) -> bool {
        let begins = until > now && self.rests(now).is_none();
        self.know(Rest::new(until, until.saturating_duration_since(now)), now);
        begins
    }

    /// Knows of a rest beside what is known.
    fn know(&mut self, told: Rest, now: Instant) {
        // Also one that has ended, while those who waited for that go little by little: a refusal lets nobody go sooner.
        let before = self.rest.filter(|it| !it.is_over(now));
        self.rest = Some(before.map_or(told, |it| it.or(told)));
    }

    /// Until when it takes nothing, where it rests.
    pub(super) fn rests(&self, now: Instant) -> Option<Instant> {
        self.rest.map(|it| it.until).filter(|until| *until > now)
    }

    /// The provider says with an answer how many more requests and tokens it takes. That can only lower what is
    /// known: requests that are under way may not be counted in it, but for the one that was answered, which was
    /// thought to take `own` tokens.
    pub(super) fn allow(
        &mut self,
        requests: Option<LeftUntil>,
        tokens: Option<LeftUntil>,
        own: u32,
    ) {
        let others = self.in_flight.saturating_sub(1).saturating_add(self.taken);
        if let Some(told) = requests {
            self.allowed = Some(told.less(others.into()));
        }
        if let Some(told) = tokens {
            let others = self.tokens.under_way().saturating_sub(own.into());
            self.allowed_tokens = Some(told.less(others));
        }
    }

    /// What the provider said of requests and of tokens, as far as it holds still.
    pub(super) fn allowances(&self, now: Instant) -> [Option<LeftUntil>; 2] {
        [self.allowed, self.allowed_tokens].map(|it| it.filter(|it| it.until > now))
    }

    /// A request that was sent is answered; it was thought to take so many tokens.
    pub(super) fn answered(&mut self, tokens: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens.answered(tokens);
    }

    /// A request took so many tokens, and was thought to take others.
    pub(super) fn settle(&mut self, number: u64, tokens: u32) {
        self.tokens.settle(number, tokens);
    }

    /// A call comes.
    pub(super) fn ask(&mut self, ask: SlotRequest, now: Clocks) -> SlotAnswer {
        self.advance(now);
        let goes_in = ask.turn == ConversationTurn::GoesOn && self.release(ask.user);
        let told = self.answer(&ask, now);
        if goes_in && matches!(told, SlotAnswer::Refused(_)) {
            // It may come again, in this call too where it has not waited for a rest yet.
            self.keep_one(ask.user, now.at);
        }
        told
    }

    fn answer(&mut self, ask: &SlotRequest, now: Clocks) -> SlotAnswer {
        let calls = self.calls(ask.turn);
        let tokens = self.most_tokens(ask.tokens);
        let need = self.ahead(ask) + Need::of(calls, tokens);
        let (start, reason) = self.start_of(need, now);
        if let Some(refused) = ask.is_spare.then(|| self.keeps(now)).flatten() {
            return SlotAnswer::Refused(refused);
        }
        if start <= now.at {
            self.start(ask.user, calls, tokens, now.at);
            return SlotAnswer::Start;
        }
        let after = start - now.at;
        if let Some(until) = self.rested(need, now.at).filter(|_| !ask.waits_out_rest) {
            let (after, reason) = (until - now.at, SlotRefusalReason::Rest);
            return SlotAnswer::Refused(SlotRefusal { after, reason });
        }
        if start > ask.deadline {
            return SlotAnswer::Refused(SlotRefusal { after, reason });
        }
        let waiting: usize = self.queues.iter().map(|queue| queue.len).sum();
        let of_user = self
            .queues
            .iter()
            .map(|queue| queue.len_of(ask.user))
            .sum::<usize>();
        if waiting >= MAX_WAITING || (ask.user.is_some() && of_user >= MAX_USER) {
            let reason = SlotRefusalReason::Queue;
            return SlotAnswer::Refused(SlotRefusal { after, reason });
        }
        self.last += 1;
        let waiter = Waiter {
            number: self.last,
            deadline: ask.deadline,
            since: now.at,
            calls,
            tokens,
        };
        self.queues[ask.queue()].push(ask.user, waiter);
        SlotAnswer::Wait(self.last)
    }

    /// When a call would start that comes now.
    pub(super) fn forecast(&mut self, ask: &SlotRequest, now: Clocks) -> Instant {
        self.advance(now);
        // Room that is kept for it is no room for others.
        let is_kept =
            |hold: &KeptRoom| ask.turn == ConversationTurn::GoesOn && hold.is_of(ask.user);
        if self.holds.iter().any(is_kept) {
            return self.rested(Need::of(1, 0), now.at).unwrap_or(now.at);
        }
        let own = Need::of(self.calls(ask.turn), self.most_tokens(ask.tokens));
        self.start_of(self.ahead(ask) + own, now).0
    }

    /// Those who have waited and have a slot now. Who waited in vain is left out from here on.
    pub(super) fn due(&mut self, now: Clocks) -> Vec<u64> {
        self.advance(now);
        for queue in &mut self.queues {
            queue.forget_late(now.at);
        }
        let mut due = Vec::new();
        while let Some(next) = self.next(now.at)
            && self.start_of(next.need, now).0 <= now.at
        {
            let Some((user, waiter)) = self.queues[next.queue].pop() else {
                break;
            };
            self.since_starved = match next.is_starved {
                true => 0,
                false => self.since_starved.saturating_add(1),
            };
            let calls = self.fitting(waiter.calls);
            self.start(user, calls, waiter.tokens, now.at);
            due.push(waiter.number);
        }
        due
    }

    /// When the next of those who wait may start; `None` where nobody waits.
    pub(super) fn next_start(&mut self, now: Clocks) -> Option<Instant> {
        self.advance(now);
        let next = self.next(now.at)?;
        Some(self.start_of(next.need, now).0)
    }

    /// One who waits has left; what it is told if it waited in vain.
    pub(super) fn leave(&mut self, number: u64, now: Clocks) -> SlotRefusal {
        self.advance(now);
        let before: usize = self.queues.iter().map(|queue| queue.len).sum();
        let tokens = self.queues.iter().map(|queue| queue.tokens).sum();
        for queue in &mut self.queues {
            queue.retain(|waiter| waiter.number != number);
        }
        let before = before.saturating_sub(1);
        let need = Need {
            before,
            ahead: before,
            tokens,
        };
        let (start, reason) = self.start_of(need, now);
        let after = start
            .saturating_duration_since(now.at)
            .max(Duration::from_secs(1));
        SlotRefusal { after, reason }
    }

    /// A taken slot is used now, for so many tokens. The number by which they are settled.
    pub(super) fn send(&mut self, tokens: u32, now: Clocks) -> u64 {
        self.advance(now);
        self.taken = self.taken.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_add(1);
        if self.limits != AccountLimits::default() {
            self.sent.push_back(now.at);
        }
        self.tokens
            .send(tokens, now.at, self.limits.tokens.is_some())
    }

    /// A taken slot is not used, and neither is what was kept for the conversation that it was to begin.
    pub(super) fn give_back(&mut self, claim: Claim) {
        let tokens = claim.tokens;
        if let Some(user) = claim.conversation() {
            self.forgo(user);
        }
        self.taken = self.taken.saturating_sub(1);
        self.used = self.used.saturating_sub(1);
        if let Some(rest) = &mut self.rest {
            rest.stay();
        }
        self.tokens.give_back(tokens);
        self.give_allowance_back(tokens);
    }

    fn give_allowance_back(&mut self, tokens: u32) {
        if let Some(allowed) = &mut self.allowed {
            allowed.left = allowed.left.saturating_add(1);
        }
        if let Some(allowed) = &mut self.allowed_tokens {
            allowed.left = allowed.left.saturating_add(tokens.into());
        }
    }

    /// How many wait, and how long the one has waited that came first.
    pub(super) fn waiting(&self, now: Instant) -> (usize, Duration) {
        let len = self.queues.iter().map(|queue| queue.len).sum();
        let oldest = self.queues.iter().filter_map(Queue::oldest).min();
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (len, waited)
    }

    fn take(&mut self, tokens: u32) {
        self.taken += 1;
        self.used = self.used.saturating_add(1);
        self.tokens.take(tokens);
        if let Some(allowed) = &mut self.allowed {
            allowed.left = allowed.left.saturating_sub(1);
        }
        if let Some(allowed) = &mut self.allowed_tokens {
            allowed.left = allowed.left.saturating_sub(tokens.into());
        }
    }

    /// Forgets what is past. A clock that goes back over midnight gives no day twice; one that goes back
    /// further was wrong before, and what was used counts for the day that it shows now.
    fn advance(&mut self, now: Clocks) {
        let is_old = |sent: &Instant| now.at.saturating_duration_since(*sent) >= MINUTE;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
        self.tokens.forget(now.at);
        self.rest = self.rest.filter(|it| !it.is_over(now.at));
        while let Some(hold) = self.holds.front().filter(|hold| hold.until <= now.at) {
            self.held = self.held.saturating_sub(hold.rest);
            self.holds.pop_front();
        }
        for allowed in [&mut self.allowed, &mut self.allowed_tokens] {
            if allowed.is_some_and(|it| it.until <= now.at) {
                *allowed = None;
            }
        }
        let day = day_of(now.utc_ms);
        if day < self.day - 1 {
            self.day = day;
        }
        if day > self.day {
            self.day = day;
            // What was taken before midnight is sent after it, and what has just been sent may arrive then.
            let is_late = |sent: &&Instant| now.at.saturating_duration_since(**sent) < SKEW * 2;
            let late = self.sent.iter().filter(is_late).count();
            self.used = self
                .taken
                .saturating_add(u32::try_from(late).unwrap_or(u32::MAX));
        }
    }

    /// What those need together that come before this call.
    fn ahead(&self, ask: &SlotRequest) -> Need {
        let queue = ask.queue();
        let (before, own) = (&self.queues[..queue], &self.queues[queue]);
        let of_own = own.ahead_of(ask.user);
        // Of their own queue, those take as much as others on average.
        let tokens = own.tokens.saturating_mul(of_own as u64) / (own.len.max(1) as u64);
        let ahead = before.iter().map(|queue| queue.len).sum::<usize>() + of_own;
        Need {
            before: ahead,
            ahead,
            tokens: before.iter().map(|queue| queue.tokens).sum::<u64>() + tokens,
        }
    }

    /// Whose turn it is.
    fn next(&self, now: Instant) -> Option<NextWaiter> {
        let background = &self.queues[SlotRequest::BACKGROUND];
        let is_starved = |since| now.saturating_duration_since(since) > STARVED;
        let is_due = self.since_starved.saturating_add(1) >= TENTH;
        let is_starved = is_due && background.oldest().is_some_and(is_starved);
        let queue = match is_starved {
            true => SlotRequest::BACKGROUND,
            false => self.queues.iter().position(|queue| queue.len > 0)?,
        };
        let waiter = self.queues[queue].next()?;
        Some(NextWaiter {
            queue,
            need: Need::of(self.fitting(waiter.calls), waiter.tokens),
            is_starved,
        })
    }
}

/// Whose turn it is.
struct NextWaiter {
    queue: usize,
    need: Need,
    /// Whether it is a background call before others.
    is_starved: bool,
}

/// The day of an account to which a request counts, from 1970.
pub(super) fn day_of(utc_ms: i64) -> i64 {
    utc_ms
        .saturating_sub(SKEW.as_millis() as i64)
        .div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests;
