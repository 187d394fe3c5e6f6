//! What all processes on one database have used of an account, and how one of them gets a slot.
//!
//! Nobody has slots in stock. A process says a [`Word`] whenever a call of it is due, under the lock of the
//! account's row: it gets the slot, or hears what all others use and waits by that. So the account is used up by
//! whoever has the users, and never above its limits.
//!
//! A word has a number. It is said again with the same number until its answer is here, and counts once.

use serde::{Deserialize, Serialize};

use super::{
    schedule::{DAY_MS, MINUTE, SKEW, day_of},
    store::Used,
};

/// Slots are noted by quarters of a second, so that the record of a busy account stays small. They count until the
/// end of theirs.
const GRAIN_MS: i64 = 250;
/// After so long without a word a process is forgotten, and with it which of its words counted.
const FORGOTTEN_MS: i64 = 600_000;

/// What a process says of an account.
#[derive(Clone, Debug, Default)]
pub struct Word {
    /// Names the process, as long as it knows the account.
    pub holder: String,
    /// Counts its words about this account, those that were answered.
    pub number: u64,
    /// What all processes together may use.
    pub most: Most,
    /// Tokens of a call that wants a slot, where one does.
    pub wants: Option<u32>,
    /// What became of slots, and what was used without being asked for.
    pub changes: Vec<Change>,
    /// Requests of a day, as the provider tells, at least.
    pub at_least: u32,
    /// That day, counted from 1970: while the database was away it may have ended.
    pub at_least_of: i64,
    /// Until when the account rests, in milliseconds since 1970.
    pub rests_until_ms: i64,
}

/// What all processes together may use of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most {
    /// Requests in any 60 seconds.
    pub minute: Option<u32>,
    /// Requests of a day.
    pub day: Option<u32>,
    /// Tokens in any 60 seconds.
    pub tokens: Option<u64>,
}

/// More or less was used at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The time, in milliseconds since 1970.
    pub at_ms: i64,
    /// Requests; less than 0 where a slot was not used.
    pub requests: i64,
    /// Tokens; less than 0 where a request took less than it was thought to.
    pub tokens: i64,
}

/// The last word of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its number.
    pub number: u64,
    /// When it was said, in milliseconds since 1970.
    pub at_ms: i64,
    /// The time of the slot that it was given, and its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<(i64, u32)>,
}

/// What a process hears when it has said a word.
#[derive(Clone, Debug)]
pub struct Given {
    /// The time of its slot, in milliseconds since 1970, where it wanted one and got it.
    pub slot: Option<i64>,
    /// What all have used.
    pub used: Used,
    /// The time of the database, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Used {
    /// Of an account that nobody has said anything of: of a day whose limit is known, half counts as used.
    pub fn unknown(most: &Most, now_ms: i64) -> Self {
        Self {
            day: day_of(now_ms),
            requests: most.day.unwrap_or(0) / 2,
            ..Self::default()
        }
    }

    /// Hears a word. The time of the slot that it is given, where it wants one and there is one.
    pub fn hear(&mut self, word: &Word, now_ms: i64) -> Option<i64> {
        self.advance(now_ms);
        let before = self.last.get(&word.holder).copied().unwrap_or_default();
        // It was given up, and another one was said since.
        if word.number < before.number {
            return None;
        }
        self.version += 1;
        let is_repeated = word.number == before.number;
        if !is_repeated {
            for change in &word.changes {
                self.add(*change);
            }
        }
        if word.at_least_of == self.day {
            self.requests = self.requests.max(word.at_least);
        }
        self.rests_until_ms = self.rests_until_ms.max(word.rests_until_ms);
        // Whoever had the slot does not know of it, and nobody can: it is taken anew.
        if let (true, Some((at_ms, tokens))) = (is_repeated, before.slot) {
            self.add(Change {
                at_ms,
                requests: -1,
                tokens: -i64::from(tokens),
            });
        }
        let slot = word
            .wants
            .filter(|tokens| self.has_room(*tokens, &word.most, now_ms))
            .map(|tokens| {
                let at_ms = (now_ms.div_euclid(GRAIN_MS) + 1) * GRAIN_MS;
                self.add(Change {
                    at_ms,
                    requests: 1,
                    tokens: tokens.into(),
                });
                (at_ms, tokens)
            });
        let (number, at_ms) = (word.number, now_ms);
        let last = Last {
            number,
            at_ms,
            slot,
        };
        self.last.insert(word.holder.clone(), last);
        slot.map(|(at_ms, _)| at_ms)
    }

    /// When slots of the last minute were given, each for itself.
    pub fn slots(&self) -> impl Iterator<Item = i64> {
        let given = self.given.iter();
        let given = given.flat_map(|(at_ms, count)| std::iter::repeat_n(*at_ms, *count as usize));
        self.sent_ms.iter().copied().chain(given)
    }

    fn has_room(&self, tokens: u32, most: &Most, now_ms: i64) -> bool {
        let minute = self.slots().count();
        let of_tokens: u64 = self.tokens.iter().map(|(_, it)| u64::from(*it)).sum();
        self.rests_until_ms <= now_ms
            && most.minute.is_none_or(|most| minute < most as usize)
            && most.day.is_none_or(|most| self.requests < most)
            && most
                .tokens
                .is_none_or(|most| of_tokens + u64::from(tokens) <= most)
    }

    fn add(&mut self, change: Change) {
        let Change {
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
