//! Which call may use an account next, and when: its requests of a minute and of a day, and who waits.
//!
//! Nothing here asks a clock or a network. A slot is taken before a request is sent and kept whatever
//! becomes of it; one that was never sent is given back.

mod queue;
mod room;

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use self::{
    queue::{Queue, Waiter},
    room::Hold,
};
use super::store::Used;

/// Requests that an account may make; at least one of the two is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In any 60 seconds.
    pub minute: Option<u32>,
    /// From midnight to midnight, UTC.
    pub day: Option<u32>,
}

/// How urgent a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A person waits.
    #[default]
    Interactive,
    /// Nobody waits, but it should not take for ever.
    Background,
    /// When nothing else is to be done.
    Batch,
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// For spans; never goes back.
    pub(super) at: Instant,
    /// For days, in milliseconds since 1970; may go back.
    pub(super) utc_ms: i64,
}

/// A call that wants a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::model_router) struct Ask {
    /// Whether control's share is closed to it: what a rollout asks besides its users' own requests.
    pub(in crate::model_router) is_spare: bool,
    /// How it belongs to a conversation with tools.
    pub(in crate::model_router) turn: Turn,
    pub(in crate::model_router) priority: Priority,
    /// Whose it is; calls without a user share one.
    pub(in crate::model_router) user: Option<u64>,
    /// When it must have started.
    pub(in crate::model_router) deadline: Instant,
}

/// Requests that a conversation may say it takes, at most.
pub const MAX_TURNS: u32 = 16;

/// How a call belongs to a conversation with tools, which is several requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model_router) enum Turn {
    /// Not at all.
    #[default]
    Alone,
    /// It begins one of so many requests, itself among them: it starts when there is room for all.
    Begins(u32),
    /// It goes on with one: it goes before others, into the room that was kept.
    GoesOn,
}

/// What a call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has a slot.
    Start,
    /// It waits under this number.
    Wait(u64),
    /// It could not start in time.
    Refused(Refused),
}

/// Why a call gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When to come back.
    pub after: Duration,
    /// What is used up.
    pub reason: Reason,
}

impl Refused {
    /// There is no place to wait.
    pub(in crate::model_router) const QUEUE: Self = Self {
        after: Duration::from_secs(1),
        reason: Reason::Queue,
    };
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The requests of a minute.
    Minute,
    /// The requests of the day.
    Day,
    /// The places to wait in, of this user or of all.
    Queue,
}

impl Reason {
    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Queue => "queue",
        }
    }
}

/// The account's clock may differ from ours, and a request may travel, for so long.
const SKEW: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60 + SKEW.as_secs());
const DAY_MS: i64 = 86_400_000;
/// Of a minute's requests, in percent; the rest is for requests that were sent twice unseen.
const USED_PERCENT: u32 = 95;
/// Calls that wait, of one user and in all.
const MAX_USER: usize = 8;
const MAX_WAITING: usize = 256;
/// After so long a background call gets one slot in ten, whoever else waits.
const STARVED: Duration = Duration::from_secs(60);
const TENTH: u32 = 10;
/// One account.
#[derive(Debug)]
pub(super) struct Schedule {
    limits: Limits,
    /// When requests were sent, the oldest first; of the last minute.
    sent: VecDeque<Instant>,
    /// Slots that were taken and nothing was sent with yet.
    taken: u32,
    day: i64,
    /// Slots of that day, sent or taken.
    used: u32,
    rests_until: Option<Instant>,
    /// What the provider said with its last answer.
    allowance: Option<Allowance>,
    /// Requests that were sent and not answered.
    in_flight: u32,
    /// Room that is kept for conversations, the oldest first, and all of it together.
    holds: VecDeque<Hold>,
    held: u32,
    queues: [Queue; 4],
    last: u64,
    /// Slots since a background call got one before others.
    since_starved: u32,
}

impl Schedule {
    pub(super) fn new(limits: Limits, now: Moment) -> Self {
        Self {
            limits,
            sent: VecDeque::new(),
            taken: 0,
            day: day_of(now.utc_ms),
            used: 0,
            rests_until: None,
            allowance: None,
            in_flight: 0,
            holds: VecDeque::new(),
            held: 0,
            queues: Default::default(),
            last: 0,
            since_starved: TENTH,
        }
    }

    /// The account may make so many requests.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// At least so many requests of this day were made, by whomever.
    pub(super) fn used_at_least(&mut self, used: u32, now: Moment) {
        self.advance(now);
        self.used = self.used.max(used.saturating_add(self.taken));
    }

    /// What the account may do.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// What was used so far; a slot that is taken counts as used now.
    pub(super) fn used(&mut self, now: Moment) -> Used {
        self.advance(now);
        let ago = |sent: &Instant| now.at.saturating_duration_since(*sent).as_millis() as i64;
        let sent = self
            .sent
            .iter()
            .map(|sent| now.utc_ms.saturating_sub(ago(sent)));
        let taken = std::iter::repeat_n(now.utc_ms, self.taken as usize);
        Used {
            day: self.day,
            requests: self.used,
            sent_ms: sent.chain(taken).collect(),
        }
    }

    /// What was used before, by an earlier process.
    pub(super) fn restore(&mut self, used: &Used, now: Moment) {
        self.advance(now);
        if used.day >= self.day {
            self.used = self.used.saturating_add(used.requests);
        }
        if used.day == self.day + 1 {
            self.day = used.day;
        }
        let mut sent: Vec<_> = used
            .sent_ms
            .iter()
            .map(|sent| {
                let ago = u64::try_from(now.utc_ms.saturating_sub(*sent)).unwrap_or(0);
                now.at
                    .checked_sub(Duration::from_millis(ago))
                    .unwrap_or(now.at)
            })
            .filter(|sent| now.at.saturating_duration_since(*sent) < MINUTE)
            .chain(self.sent.iter().copied())
            .collect();
        sent.sort_unstable();
        self.sent = sent.into();
    }

    /// The account takes nothing until then.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rests_until = self.rests_until.max(Some(until));
    }

    /// The provider says with an answer how many more requests it takes until then. That can only lower what
    /// is known: requests that are under way may not be counted in it.
    pub(super) fn allow(&mut self, left: u32, until: Instant) {
        // The one that was answered is.
        let others = self.in_flight.saturating_sub(1).saturating_add(self.taken);
        let left = left.saturating_sub(others);
        self.allowance = Some(Allowance { left, until });
    }

    /// A request that was sent is answered.
    pub(super) fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A call comes.
    pub(super) fn ask(&mut self, ask: Ask, now: Moment) -> Told {
        self.advance(now);
        if ask.turn == Turn::GoesOn {
            self.release(ask.user);
        }
        let calls = self.calls(ask.turn);
        let ahead = self.ahead(&ask) + (calls - 1) as usize;
        let (start, reason) = self.start_of(ahead, now);
        if let Some(refused) = ask.is_spare.then(|| self.keeps(now)).flatten() {
            return Told::Refused(refused);
        }
        if start <= now.at {
            self.start(ask.user, calls, now.at);
            return Told::Start;
        }
        let after = start - now.at;
        if start > ask.deadline {
            return Told::Refused(Refused { after, reason });
        }
        let waiting: usize = self.queues.iter().map(|queue| queue.len).sum();
        let of_user = self
            .queues
            .iter()
            .map(|queue| queue.len_of(ask.user))
            .sum::<usize>();
        if waiting >= MAX_WAITING || (ask.user.is_some() && of_user >= MAX_USER) {
            let reason = Reason::Queue;
            return Told::Refused(Refused { after, reason });
        }
        self.last += 1;
        let waiter = Waiter {
            number: self.last,
            deadline: ask.deadline,
            since: now.at,
            calls,
        };
        self.queues[ask.queue()].push(ask.user, waiter);
        Told::Wait(self.last)
    }

    /// Those who have waited and have a slot now. Who waited in vain is left out from here on.
    pub(super) fn due(&mut self, now: Moment) -> Vec<u64> {
        self.advance(now);
        for queue in &mut self.queues {
            queue.forget_late(now.at);
        }
        let mut due = Vec::new();
        while let Some(next) = self.next(now.at)
            && self.start_of(next.calls as usize - 1, now).0 <= now.at
        {
            let Some((user, waiter)) = self.queues[next.queue].pop() else {
                break;
            };
            self.since_starved = match next.is_starved {
                true => 0,
                false => self.since_starved.saturating_add(1),
            };
            self.start(user, waiter.calls, now.at);
            due.push(waiter.number);
        }
        due
    }

    /// When the next of those who wait may start; `None` where nobody waits.
    pub(super) fn next_start(&mut self, now: Moment) -> Option<Instant> {
        self.advance(now);
        let next = self.next(now.at)?;
        Some(self.start_of(next.calls as usize - 1, now).0)
    }

    /// One who waits has left; what it is told if it waited in vain.
    pub(super) fn leave(&mut self, number: u64, now: Moment) -> Refused {
        self.advance(now);
        let waiting: usize = self.queues.iter().map(|queue| queue.len).sum();
        for queue in &mut self.queues {
            queue.retain(|waiter| waiter.number != number);
        }
        let (start, reason) = self.start_of(waiting.saturating_sub(1), now);
        let after = start
            .saturating_duration_since(now.at)
            .max(Duration::from_secs(1));
        Refused { after, reason }
    }

    /// A taken slot is used now.
    pub(super) fn send(&mut self, now: Moment) {
        self.advance(now);
        self.taken = self.taken.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_add(1);
        if self.limits != Limits::default() {
            self.sent.push_back(now.at);
        }
    }

    /// A taken slot is not used.
    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
        self.used = self.used.saturating_sub(1);
        if let Some(allowance) = &mut self.allowance {
            allowance.left = allowance.left.saturating_add(1);
        }
    }

    /// How many wait, and how long the one has waited that came first.
    pub(super) fn waiting(&self, now: Instant) -> (usize, Duration) {
        let len = self.queues.iter().map(|queue| queue.len).sum();
        let oldest = self.queues.iter().filter_map(Queue::oldest).min();
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (len, waited)
    }

    /// Slots that are free now: of the minute, and of the day.
    pub(super) fn free(&self) -> (Option<u32>, Option<u32>) {
        let busy = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        let minute = self
            .minute()
            .map(|it| it.saturating_sub(busy.saturating_add(self.taken).saturating_add(self.held)));
        let used = self.used.saturating_add(self.held);
        let day = self.limits.day.map(|day| day.saturating_sub(used));
        (minute, day)
    }

    fn minute(&self) -> Option<u32> {
        let usable = |minute: u32| (u64::from(minute) * u64::from(USED_PERCENT) / 100) as u32;
        self.limits.minute.map(|minute| usable(minute).max(1))
    }

    fn take(&mut self) {
        self.taken += 1;
        self.used = self.used.saturating_add(1);
        if let Some(allowance) = &mut self.allowance {
            allowance.left = allowance.left.saturating_sub(1);
        }
    }

    /// Forgets what is past. A clock that goes back over midnight gives no day twice; one that goes back
    /// further was wrong before, and what was used counts for the day that it shows now.
    fn advance(&mut self, now: Moment) {
        let is_old = |sent: &Instant| now.at.saturating_duration_since(*sent) >= MINUTE;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
        while let Some(hold) = self.holds.front().filter(|hold| hold.until <= now.at) {
            self.held = self.held.saturating_sub(hold.rest);
            self.holds.pop_front();
        }
        if self.allowance.is_some_and(|it| it.until <= now.at) {
            self.allowance = None;
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

    /// When the call may start that has so many before it, and what keeps it from starting earlier.
    fn start_of(&self, ahead: usize, now: Moment) -> (Instant, Reason) {
        let mut start = now.at.max(self.rests_until.unwrap_or(now.at));
        let mut reason = Reason::Minute;
        if let Some(minute) = self.minute() {
            let minute = minute as usize;
            // When each slot of the minute is free again, the first first.
            let taken = (self.taken + self.held) as usize;
            let free = minute.saturating_sub(self.sent.len() + taken);
            // Where a limit was lowered, more are out than slots.
            let surplus = (self.sent.len() + taken).saturating_sub(minute);
            let (round, place) = (ahead / minute, ahead % minute);
            let at = match place.checked_sub(free) {
                None => now.at,
                Some(place) => match self.sent.get(place + surplus) {
                    Some(sent) => *sent + MINUTE,
                    None => now.at + MINUTE,
                },
            };
            let rounds = u32::try_from(round).unwrap_or(u32::MAX);
            start = start.max(
                at + MINUTE
                    .saturating_mul(rounds)
                    .min(Duration::from_secs(864_000)),
            );
        }
        if let Some(day) = self.limits.day {
            let left = day.saturating_sub(self.used.saturating_add(self.held)) as usize;
            if ahead >= left {
                let days = match (day as usize, ahead - left) {
                    (0, _) => 365,
                    (day, beyond) => (beyond / day) as i64,
                };
                let ends_ms =
                    (self.day + 1 + days).saturating_mul(DAY_MS) + SKEW.as_millis() as i64;
                let until = u64::try_from(ends_ms.saturating_sub(now.utc_ms)).unwrap_or(0);
                start = start.max(now.at + Duration::from_millis(until));
                reason = Reason::Day;
            }
        }
        if let Some(allowance) = self.allowance.filter(|it| ahead >= it.left as usize) {
            start = start.max(allowance.until);
        }
        (start, reason)
    }

    /// How many of those who wait come before this call.
    fn ahead(&self, ask: &Ask) -> usize {
        let queue = ask.queue();
        let before: usize = self.queues[..queue].iter().map(|queue| queue.len).sum();
        before + self.queues[queue].ahead_of(ask.user)
    }

    /// Whose turn it is.
    fn next(&self, now: Instant) -> Option<Next> {
        let background = &self.queues[Ask::BACKGROUND];
        let is_starved = |since| now.saturating_duration_since(since) > STARVED;
        let is_due = self.since_starved.saturating_add(1) >= TENTH;
        let is_starved = is_due && background.oldest().is_some_and(is_starved);
        let queue = match is_starved {
            true => Ask::BACKGROUND,
            false => self.queues.iter().position(|queue| queue.len > 0)?,
        };
        Some(Next {
            queue,
            calls: self.queues[queue].next()?.calls,
            is_starved,
        })
    }
}

/// Whose turn it is.
struct Next {
    queue: usize,
    /// Requests that it needs room for; at least 1.
    calls: u32,
    /// Whether it is a background call before others.
    is_starved: bool,
}

impl Ask {
    /// The queue of background calls.
    const BACKGROUND: usize = 2;

    /// Its place among the queues: conversations that go on, then by priority.
    fn queue(&self) -> usize {
        match (self.priority, self.turn) {
            (Priority::Interactive, Turn::GoesOn) => 0,
            (Priority::Interactive, _) => 1,
            (Priority::Background, _) => Self::BACKGROUND,
            (Priority::Batch, _) => 3,
        }
    }
}

/// What a provider says that it takes: so many more requests, until then.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    until: Instant,
}

fn day_of(utc_ms: i64) -> i64 {
    utc_ms
        .saturating_sub(SKEW.as_millis() as i64)
        .div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests;
