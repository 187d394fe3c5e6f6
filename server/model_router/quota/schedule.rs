//! Which call may use an account next, and when: its requests of a minute and of a day, and who waits.
//!
//! Nothing here asks a clock or a network. A slot is taken before a request is sent and kept whatever
//! becomes of it; one that was never sent is given back.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

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
    pub(in crate::model_router) priority: Priority,
    /// Whose it is; calls without a user share one.
    pub(in crate::model_router) user: Option<u64>,
    /// When it must have started.
    pub(in crate::model_router) deadline: Instant,
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
    queues: [Queue; 3],
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

    /// A call comes.
    pub(super) fn ask(&mut self, ask: Ask, now: Moment) -> Told {
        self.advance(now);
        let ahead = self.ahead(&ask);
        let (start, reason) = self.start_of(ahead, now);
        if start <= now.at {
            self.take();
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
        };
        self.queues[ask.priority as usize].push(ask.user, waiter);
        Told::Wait(self.last)
    }

    /// Those who have waited and have a slot now. Who waited in vain is left out from here on.
    pub(super) fn due(&mut self, now: Moment) -> Vec<u64> {
        self.advance(now);
        for queue in &mut self.queues {
            queue.forget_late(now.at);
        }
        let mut due = Vec::new();
        while self.queues.iter().any(|queue| queue.len > 0) && self.start_of(0, now).0 <= now.at {
            let Some(number) = self.pop(now.at) else {
                break;
            };
            self.take();
            due.push(number);
        }
        due
    }

    /// When the next of those who wait may start; `None` where nobody waits.
    pub(super) fn next_start(&mut self, now: Moment) -> Option<Instant> {
        self.advance(now);
        let waits = self.queues.iter().any(|queue| queue.len > 0);
        waits.then(|| self.start_of(0, now).0)
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
        self.sent.push_back(now.at);
    }

    /// A taken slot is not used.
    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
        self.used = self.used.saturating_sub(1);
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
            .map(|it| it.saturating_sub(busy.saturating_add(self.taken)));
        let day = self.limits.day.map(|day| day.saturating_sub(self.used));
        (minute, day)
    }

    fn minute(&self) -> Option<u32> {
        let usable = |minute: u32| (u64::from(minute) * u64::from(USED_PERCENT) / 100) as u32;
        self.limits.minute.map(|minute| usable(minute).max(1))
    }

    fn take(&mut self) {
        self.taken += 1;
        self.used = self.used.saturating_add(1);
    }

    /// Forgets what is past. A clock that goes back over midnight gives no day twice; one that goes back
    /// further was wrong before, and what was used counts for the day that it shows now.
    fn advance(&mut self, now: Moment) {
        let is_old = |sent: &Instant| now.at.saturating_duration_since(*sent) >= MINUTE;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
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
            let taken = self.taken as usize;
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
            let left = day.saturating_sub(self.used) as usize;
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
        (start, reason)
    }

    /// How many of those who wait come before this call.
    fn ahead(&self, ask: &Ask) -> usize {
        let priority = ask.priority as usize;
        let before: usize = self.queues[..priority].iter().map(|queue| queue.len).sum();
        before + self.queues[priority].ahead_of(ask.user)
    }

    /// The next who waits.
    fn pop(&mut self, now: Instant) -> Option<u64> {
        self.since_starved = self.since_starved.saturating_add(1);
        let background = &mut self.queues[Priority::Background as usize];
        let is_starved = |since| now.saturating_duration_since(since) > STARVED;
        if self.since_starved >= TENTH && background.oldest().is_some_and(is_starved) {
            self.since_starved = 0;
            return background.pop();
        }
        self.queues.iter_mut().find_map(Queue::pop)
    }
}

fn day_of(utc_ms: i64) -> i64 {
    utc_ms
        .saturating_sub(SKEW.as_millis() as i64)
        .div_euclid(DAY_MS)
}

/// One who waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    number: u64,
    deadline: Instant,
    since: Instant,
}

/// Those of one priority, by user; the users have their turns. As small as [`MAX_WAITING`] keeps it.
#[derive(Debug, Default)]
struct Queue {
    users: VecDeque<(Option<u64>, Vec<Waiter>)>,
    len: usize,
}

impl Queue {
    fn push(&mut self, user: Option<u64>, waiter: Waiter) {
        self.len += 1;
        match self.users.iter_mut().find(|(known, _)| *known == user) {
            Some((_, waiters)) => waiters.push(waiter),
            None => self.users.push_back((user, vec![waiter])),
        }
    }

    /// The next user's most urgent call.
    fn pop(&mut self) -> Option<u64> {
        let (user, mut waiters) = self.users.pop_front()?;
        let urgent = waiters
            .iter()
            .enumerate()
            .min_by_key(|(_, it)| (it.deadline, it.number));
        let place = urgent.map(|(place, _)| place)?;
        let waiter = waiters.remove(place);
        if !waiters.is_empty() {
            self.users.push_back((user, waiters));
        }
        self.len -= 1;
        Some(waiter.number)
    }

    fn len_of(&self, user: Option<u64>) -> usize {
        let mut users = self.users.iter();
        let own = users.find(|(known, _)| *known == user);
        own.map_or(0, |(_, waiters)| waiters.len())
    }

    /// How many come before another call of this user.
    fn ahead_of(&self, user: Option<u64>) -> usize {
        let own = self.len_of(user);
        let turns = |(known, waiters): &(Option<u64>, Vec<Waiter>)| {
            if *known == user {
                own
            } else {
                waiters.len().min(own + 1)
            }
        };
        self.users.iter().map(turns).sum()
    }

    fn oldest(&self) -> Option<Instant> {
        let all = self.users.iter().flat_map(|(_, waiters)| waiters);
        all.map(|waiter| waiter.since).min()
    }

    fn forget_late(&mut self, now: Instant) {
        self.retain(|waiter| waiter.deadline > now);
    }

    fn retain(&mut self, keep: impl Fn(&Waiter) -> bool) {
        for (_, waiters) in &mut self.users {
            waiters.retain(&keep);
        }
        self.users.retain(|(_, waiters)| !waiters.is_empty());
        self.len = self.users.iter().map(|(_, waiters)| waiters.len()).sum();
    }
}

#[cfg(test)]
mod tests;
