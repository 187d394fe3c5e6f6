//! When a call may start, by all that limits it.

use std::{ops::Add, time::Duration};

use tokio::time::Instant;

use super::{
    Clocks, DAY_MS, KeptRoom, MINUTE, SKEW, Schedule, SlotRefusal, SlotRefusalReason, TENTH,
    USED_PERCENT,
};

/// No forecast is longer.
const LONGEST: Duration = Duration::from_secs(864_000);

/// What a call needs, and those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Requests besides its own one: those that come before, and those that its conversation makes after it.
    pub(super) before: usize,
    /// Those among them that come before.
    pub(super) ahead: usize,
    /// Tokens, its own among them.
    pub(super) tokens: u64,
}

impl Need {
    /// Of a call that needs room for so many requests, itself among them; at least 1.
    pub(super) fn of(calls: u32, tokens: u32) -> Self {
        Self {
            before: calls.saturating_sub(1) as usize,
            ahead: 0,
            tokens: tokens.into(),
        }
    }
}

impl Add for Need {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            before: self.before.saturating_add(other.before),
            ahead: self.ahead.saturating_add(other.ahead),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// What a provider says that it takes: so much more, until then.
#[derive(Clone, Copy, Debug)]
pub(in crate::model_router::quota) struct LeftUntil {
    pub(in crate::model_router::quota) left: u64,
    /// Of how much, where it says.
    pub(in crate::model_router::quota) of: Option<u64>,
    pub(in crate::model_router::quota) until: Instant,
}

impl LeftUntil {
    pub(super) fn less(self, others: u64) -> Self {
        let left = self.left.saturating_sub(others);
        Self { left, ..self }
    }

    fn share(self) -> Option<f64> {
        match (self.left, self.of) {
            (0, _) => Some(0.0),
            (left, Some(of)) => Some((left as f64 / of.max(1) as f64).min(1.0)),
            (_, None) => None,
        }
    }
}

impl Schedule {
    /// Slots that are free now: of the minute, and of the day.
    pub(in crate::model_router::quota) fn free(&self) -> (Option<u32>, Option<u32>) {
        let busy = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        let busy = busy.saturating_add(self.taken).saturating_add(self.held);
        let minute = self.minute().map(|it| it.saturating_sub(busy));
        let used = self.used.saturating_add(self.held);
        let day = self.limits.day.map(|day| day.saturating_sub(used));
        (minute, day)
    }

    /// Tokens of the minute that are free now.
    pub(in crate::model_router::quota) fn free_tokens(&self) -> Option<u32> {
        let left = self
            .token_minute()?
            .saturating_sub(self.tokens.of_the_minute());
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Which part of all that is limited is free, from 0 to 1; `None` where nothing is.
    pub(in crate::model_router::quota) fn share(&self, now: Instant) -> Option<f64> {
        if self.rests(now).is_some() {
            return Some(0.0);
        }
        let (minute, day) = self.free();
        let part = |free: Option<u32>, of: Option<u32>| {
            Some((f64::from(free?) / f64::from(of?.max(1))).min(1.0))
        };
        let parts = [
            part(minute, self.minute()),
            part(day, self.limits.day),
            part(self.free_tokens(), self.limits.tokens),
            self.allowed.and_then(LeftUntil::share),
            self.allowed_tokens.and_then(LeftUntil::share),
        ];
        parts.into_iter().flatten().reduce(f64::min)
    }

    /// Requests of a minute that are used here.
    pub(super) fn minute(&self) -> Option<u32> {
        let usable = |minute: u32| (u64::from(minute) * u64::from(USED_PERCENT) / 100) as u32;
        self.limits.minute.map(|minute| usable(minute).max(1))
    }

    /// Tokens of a minute that are used here.
    pub(super) fn token_minute(&self) -> Option<u64> {
        let usable = |tokens: u32| u64::from(tokens) * u64::from(USED_PERCENT) / 100;
        self.limits.tokens.map(|tokens| usable(tokens).max(1))
    }

    /// Tokens that one request counts for: no more than a minute has, or it would wait for ever.
    pub(in crate::model_router::quota) fn most_tokens(&self, tokens: u32) -> u32 {
        let told = self.allowed_tokens.and_then(|it| it.of);
        let most = [self.token_minute(), told].into_iter().flatten().min();
        let most = most.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
        tokens.min(most.max(1))
    }

    /// When the call may start that needs this, and what keeps it from starting earlier.
    pub(super) fn start_of(&self, need: Need, now: Clocks) -> (Instant, SlotRefusalReason) {
        let rests = match self.rested(need, now.at) {
            Some(until) => (until, SlotRefusalReason::Rest),
            None => (now.at, SlotRefusalReason::Minute),
        };
        let minute = (self.minute_start(need, now.at), SlotRefusalReason::Minute);
        let tokens = (self.token_start(need, now.at), SlotRefusalReason::Tokens);
        let allowed = |told: Option<LeftUntil>, is_short: fn(u64, Need) -> bool| {
            told.filter(|it| is_short(it.left, need))
                .map(|it| it.until)
                .unwrap_or(now.at)
        };
        let requests = allowed(self.allowed, |left, need| need.before as u64 >= left);
        let told_tokens = allowed(self.allowed_tokens, |left, need| need.tokens > left);
        let day = (self.day_start(need, now), SlotRefusalReason::Day);
        [
            minute,
            (requests, SlotRefusalReason::Minute),
            tokens,
            (told_tokens, SlotRefusalReason::Tokens),
            day,
        ]
        .into_iter()
        .fold(
            rests,
            |latest, it| {
                if it.0 > latest.0 { it } else { latest }
            },
        )
    }

    /// What is told to a call that may not have the last tenth of the minute or of the day; `None` where more
    /// is left.
    pub(super) fn keeps(&self, now: Clocks) -> Option<SlotRefusal> {
        let (minute, day) = self.free();
        let is_kept = |free: Option<u32>, of: Option<u32>| {
            free.zip(of)
                .is_some_and(|(free, of)| free <= of.div_ceil(TENTH))
        };
        let (reason, beyond) = match (
            is_kept(day, self.limits.day),
            is_kept(minute, self.minute()),
        ) {
            (true, _) => (SlotRefusalReason::Day, day),
            (false, true) => (SlotRefusalReason::Minute, minute),
            (false, false) => return None,
        };
        let need = Need {
            before: beyond.unwrap_or(0) as usize,
            ahead: 0,
            tokens: 0,
        };
        let start = self.start_of(need, now).0;
        let after = start
            .saturating_duration_since(now.at)
            .max(Duration::from_secs(1));
        Some(SlotRefusal { after, reason })
    }

    /// When the account, which rests or has just rested, may be asked for this; `None` where that is now.
    pub(super) fn rested(&self, need: Need, now: Instant) -> Option<Instant> {
        let start = self.rest?.start(need.ahead);
        (start > now).then_some(start)
    }

    fn minute_start(&self, need: Need, now: Instant) -> Instant {
        let Some(minute) = self.minute() else {
            return now;
        };
        let minute = minute as usize;
        let busy = self.sent.len() + (self.taken + self.held) as usize;
        let free = minute.saturating_sub(busy);
        // Where a limit was lowered, more are out than slots.
        let surplus = busy.saturating_sub(minute);
        let (round, place) = (need.before / minute, need.before % minute);
        let at = match place.checked_sub(free) {
            None => now,
            Some(place) => self.freed(place + surplus).unwrap_or(now + MINUTE),
        };
        let rounds = u32::try_from(round).unwrap_or(u32::MAX);
        at + MINUTE.saturating_mul(rounds).min(LONGEST)
    }

    /// When the slot of the minute is free that is free as the `place`th; `None` where it was taken and not
    /// used yet.
    fn freed(&self, place: usize) -> Option<Instant> {
        let sent = self.sent.iter().map(|sent| *sent + MINUTE);
        if self.held == 0 {
            return sent.clone().nth(place);
        }
        let mut all: Vec<_> = sent.chain(self.lapses()).collect();
        all.sort_unstable();
        all.get(place).copied()
    }

    /// When each slot lapses that is kept for a conversation, the first first.
    fn lapses(&self) -> impl Iterator<Item = Instant> {
        let each = |hold: &KeptRoom| std::iter::repeat_n(hold.until, hold.rest as usize);
        self.holds.iter().flat_map(each)
    }

    fn day_start(&self, need: Need, now: Clocks) -> Instant {
        let Some(day) = self.limits.day else {
            return now.at;
        };
        let left = day.saturating_sub(self.used) as usize;
        let free = left.saturating_sub(self.held as usize);
        if need.before < free {
            return now.at;
        }
        // What is kept for conversations and not used is free again before the day ends.
        if need.before < left
            && let Some(lapse) = self.lapses().nth(need.before - free)
        {
            return lapse;
        }
        let days = match (day as usize, need.before.saturating_sub(left)) {
            (0, _) => 365,
            (day, beyond) => (beyond / day) as i64,
        };
        let ends_ms = (self.day + 1 + days).saturating_mul(DAY_MS) + SKEW.as_millis() as i64;
        let until = u64::try_from(ends_ms.saturating_sub(now.utc_ms)).unwrap_or(0);
        now.at + Duration::from_millis(until)
    }

    fn token_start(&self, need: Need, now: Instant) -> Instant {
        let Some(minute) = self.token_minute() else {
            return now;
        };
        let rounds = need.tokens.saturating_sub(1) / minute;
        let room = minute - (need.tokens - rounds * minute);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.tokens.below(room, now) + MINUTE.saturating_mul(rounds).min(LONGEST)
    }
}
