//! What all processes on one database have used of an account, and how one of them gets a slot.
//!
//! Nobody has slots in stock. A process hands in an [`AccountReport`] whenever calls of it are due, under the lock of the
//! account's row: they get their slots, or learn what all others use and wait by that. So the account is used up by
//! whoever has the users, and never above its limits.
//!
//! A report has a number. It is sent again with the same number until its answer is here, and its changes count once. The
//! slots that it wants are those of the last time.

use super::{
    rest::{self, RestTimes},
    schedule::{DAY_MS, MINUTE, SKEW, day_of},
    used::{LastReport, Most, Used},
};

/// Slots are noted by quarters of a second, so that the record of a busy account stays small. They count until the
/// end of theirs.
const GRAIN_MS: i64 = 250;
/// After so long without a report a process is forgotten, and with it which of its reports counted.
const FORGOTTEN_MS: i64 = 600_000;

/// What a process reports of an account.
#[derive(Clone, Debug, Default)]
pub struct AccountReport {
    /// Names the process, as long as it knows the account.
    pub holder: String,
    /// Counts its reports on this account, those that were answered.
    pub number: u64,
    /// Counts how often anything was reported, from 1: of one number the last time is the greatest.
    pub time: u64,
    /// What all processes together may use.
    pub most: Most,
    /// Tokens of the calls that want a slot, those first that go first.
    pub wants: Vec<u32>,
    /// What became of slots, and what was used without being asked for.
    pub changes: Vec<UsageChange>,
    /// Requests of a day, as the provider says, at least.
    pub at_least: u32,
    /// That day, counted from 1970: while the database was away it may have ended.
    pub at_least_of: i64,
    /// Until when the account rests, in milliseconds since 1970.
    pub rests_until_ms: i64,
    /// When the provider said so.
    pub rests_since_ms: i64,
}

/// More or less was used at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageChange {
    /// The time, in milliseconds since 1970.
    pub at_ms: i64,
    /// Requests; less than 0 where a slot was not used.
    pub requests: i64,
    /// Tokens; less than 0 where a request took less than it was thought to.
    pub tokens: i64,
}

/// The answer to a report.
#[derive(Clone, Debug)]
pub struct ReportAnswer {
    /// The time of each slot that it wanted, in milliseconds since 1970, where it got it.
    pub slots: Vec<Option<i64>>,
    /// What all have used.
    pub used: Used,
    /// The time of the database, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Used {
    /// Of an account of which nothing was reported: of a day whose limit is known, half counts as used.
    pub fn unknown(most: &Most, now_ms: i64) -> Self {
        Self {
            day: day_of(now_ms),
            requests: most.day.unwrap_or(0) / 2,
            ..Self::default()
        }
    }

    /// Takes a report. The time of each slot that it wants, where there is one.
    pub fn take_report(&mut self, report: &AccountReport, now_ms: i64) -> Vec<Option<i64>> {
        self.advance(now_ms);
        let before = self.last.get(&report.holder).copied().unwrap_or_default();
        // It was given up, and another one was made since.
        if (report.number, report.time) <= (before.number, before.time) {
            return vec![None; report.wants.len()];
        }
        self.version += 1;
        let is_repeated = report.number == before.number;
        if !is_repeated {
            for change in &report.changes {
                self.add(*change);
            }
        }
        if report.at_least_of == self.day {
            self.requests = self.requests.max(report.at_least);
        }
        if report.rests_until_ms > 0 {
            let rests = self.rests().or(RestTimes {
                since_ms: report.rests_since_ms,
                until_ms: report.rests_until_ms,
            });
            (self.rests_since_ms, self.rests_until_ms) = (rests.since_ms, rests.until_ms);
        }
        // Whoever had the slots does not know of them, and nobody can: they are taken anew.
        if let (true, Some((at_ms, tokens))) = (is_repeated, before.slot) {
            self.add(UsageChange {
                at_ms,
                requests: -before.slots,
                tokens: -tokens,
            });
        }
        let at_ms = (now_ms.div_euclid(GRAIN_MS) + 1) * GRAIN_MS;
        let mut room = self.room(&report.most, now_ms);
        let mut given = UsageChange {
            at_ms,
            requests: 0,
            tokens: 0,
        };
        let wants = report.wants.iter().map(|tokens| {
            let is_given = room.take(*tokens);
            given.requests += i64::from(is_given);
            given.tokens += i64::from(*tokens) * i64::from(is_given);
            is_given.then_some(at_ms)
        });
        let slots = wants.collect();
        self.add(given);
        let last = LastReport {
            number: report.number,
            time: report.time,
            at_ms: now_ms,
            slot: (given.requests > 0).then_some((at_ms, given.tokens)),
            slots: given.requests,
        };
        self.last.insert(report.holder.clone(), last);
        slots
    }

    /// When slots of the last minute were given, each for itself.
    pub fn slots(&self) -> impl Iterator<Item = i64> {
        let given = self.given.iter();
        let given = given.flat_map(|(at_ms, count)| std::iter::repeat_n(*at_ms, *count as usize));
        self.sent_ms.iter().copied().chain(given)
    }

    /// What is left of all that is limited.
    fn room(&self, most: &Most, now_ms: i64) -> Room {
        let given: usize = self.given.iter().map(|(_, count)| *count as usize).sum();
        let minute = u32::try_from(self.sent_ms.len() + given).unwrap_or(u32::MAX);
        let tokens: u64 = self.tokens.iter().map(|(_, it)| u64::from(*it)).sum();
        let left = |most: Option<u32>, used| most.map_or(u32::MAX, |it| it.saturating_sub(used));
        let requests = left(most.minute, minute).min(left(most.day, self.requests));
        Room {
            requests: requests.min(self.after_rest(now_ms)),
            tokens: most.tokens.map(|most| most.saturating_sub(tokens)),
        }
    }

    /// How many may go now, of all processes together, where the account rests or has just rested.
    fn after_rest(&self, now_ms: i64) -> u32 {
        if self.rests_until_ms > now_ms {
            return 0;
        }
        let since = rest::span(self.rests_until_ms, now_ms);
        rest::most_gone(self.rests().span(), since).saturating_sub(self.gone())
    }

    fn add(&mut self, change: UsageChange) {
        let UsageChange {
            at_ms,
            requests,
            tokens,
        } = change;
        note(&mut self.given, at_ms, requests);
        note(&mut self.tokens, at_ms, tokens);
        if day_of(at_ms) == self.day {
            let used = i64::from(self.requests).saturating_add(requests);
            self.requests = u32::try_from(used.max(0)).unwrap_or(u32::MAX);
        }
    }

    /// Forgets what is past.
    fn advance(&mut self, now_ms: i64) {
        let from_ms = now_ms - MINUTE.as_millis() as i64;
        self.sent_ms.retain(|at_ms| *at_ms > from_ms);
        self.given.retain(|(at_ms, _)| *at_ms > from_ms);
        self.tokens.retain(|(at_ms, _)| *at_ms > from_ms);
        self.last
            .retain(|_, last| last.at_ms > now_ms - FORGOTTEN_MS);
        let day = day_of(now_ms);
        if day > self.day {
            self.day = day;
            // What has just been given is sent, or arrives, after midnight.
            let midnight_ms = day * DAY_MS;
            let late_ms = midnight_ms - SKEW.as_millis() as i64;
            let late = self.slots().filter(|at_ms| *at_ms >= late_ms).count();
            self.requests = u32::try_from(late).unwrap_or(u32::MAX);
        }
    }
}

/// What an account has left.
struct Room {
    requests: u32,
    tokens: Option<u64>,
}

impl Room {
    /// Takes a slot with so many tokens, where there is one.
    fn take(&mut self, tokens: u32) -> bool {
        let tokens = u64::from(tokens);
        if self.requests == 0 || self.tokens.is_some_and(|left| left < tokens) {
            return false;
        }
        self.requests -= 1;
        self.tokens = self.tokens.map(|left| left - tokens);
        true
    }
}

/// Adds to what is noted at a time, of which there is never less than nothing.
fn note(noted: &mut Vec<(i64, u32)>, at_ms: i64, more: i64) {
    let count = |before: u32| {
        let sum = i64::from(before).saturating_add(more).max(0);
        u32::try_from(sum).unwrap_or(u32::MAX)
    };
    match noted.iter().position(|(it, _)| *it == at_ms) {
        Some(place) => noted[place].1 = count(noted[place].1),
        None if more > 0 => noted.push((at_ms, count(0))),
        None => {}
    }
    noted.retain(|(_, count)| *count > 0);
}

#[cfg(test)]
mod tests;
