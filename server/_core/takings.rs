//! What several processes take of limits that hold for all of them together.
//!
//! Each takes at once, and reports once a second what it took; what others report is taken here as well, as if it
//! had been asked for here. So nobody waits for anybody, and a limit holds for all, but for what the others let
//! through in the second before they say so: a burst that reaches N processes at once may be N times the limit. What was
//! too much is missing afterwards, so that over a longer time it is the limit again.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

/// After so long without a word what is known of a name goes.
const FORGOTTEN: Duration = Duration::from_secs(180);

/// Takes here what another process took: whose it is, how much, and the time.
type Take = Box<dyn Fn(&str, u32, DateTime<Utc>) + Send + Sync>;

/// What one process took of a name since it began to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The kind of limit, a colon, and whose it is.
    pub name: String,
    /// Names the process, where it is another one.
    pub holder: String,
    /// When it began to count, in milliseconds since 1970 by its own clock; another begins anew.
    pub since_ms: i64,
    /// How much it took: requests, or what a limit is counted in.
    pub total: i64,
}

/// The takings of this process, and the limits to which those of others are added.
#[derive(Default)]
pub struct Takings {
    own: Mutex<HashMap<String, Own>>,
    others: Mutex<HashMap<(String, String), Other>>,
    takes: Mutex<Vec<(&'static str, Take)>>,
}

struct Own {
    since_ms: i64,
    total: i64,
    told: i64,
    at: Instant,
}

struct Other {
    since_ms: i64,
    total: i64,
    at: Instant,
}

impl fmt::Debug for Takings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takings").finish_non_exhaustive()
    }
}

impl Takings {
    /// Whoever keeps limits of this kind does so with what others take.
    pub fn share(
        &self,
        kind: &'static str,
        take: impl Fn(&str, u32, DateTime<Utc>) + Send + Sync + 'static,
    ) {
        self.takes.lock().push((kind, Box::new(take)));
    }

    /// This process took this of somebody's limit.
    pub fn took(&self, kind: &str, whose: &str, count: u32, now: DateTime<Utc>) {
        let mut own = self.own.lock();
        let own = own.entry(format!("{kind}:{whose}")).or_insert_with(|| Own {
            since_ms: now.timestamp_millis(),
            total: 0,
            told: 0,
            at: Instant::now(),
        });
        own.total += i64::from(count);
        own.at = Instant::now();
    }

    /// What was not reported yet. It counts as reported from now on, unless it is [put back](Takings::put_back).
    pub fn take_new(&self) -> Vec<Taken> {
        let mut own = self.own.lock();
        own.retain(|_, it| it.total > it.told || it.at.elapsed() < FORGOTTEN);
        let untold = own.iter_mut().filter(|(_, it)| it.total > it.told);
        let taken = untold.map(|(name, it)| {
            it.told = it.total;
            Taken {
                name: name.clone(),
                holder: String::new(),
                since_ms: it.since_ms,
                total: it.total,
            }
        });
        taken.collect()
    }

    /// These could not be reported; they are taken again.
    pub fn put_back(&self, taken: &[Taken]) {
        let mut own = self.own.lock();
        for taken in taken {
            if let Some(own) = own.get_mut(&taken.name) {
                own.told = 0;
            }
        }
    }

    /// What others took, as often as they say it. What they took before this process began is theirs.
    pub fn add_others(&self, taken: Vec<Taken>, is_first: bool, now: DateTime<Utc>) {
        let mut news = Vec::new();
        let known_since = now.timestamp_millis() - FORGOTTEN.as_millis() as i64;
        {
            let mut others = self.others.lock();
            others.retain(|_, it| it.at.elapsed() < FORGOTTEN);
            for taken in taken {
                let Taken {
                    name,
                    holder,
                    since_ms,
                    total,
                } = taken;
                let other = Other {
                    since_ms,
                    total,
                    at: Instant::now(),
                };
                let before = others.insert((holder, name.clone()), other);
                let before = before.filter(|it| it.since_ms == since_ms);
                // After a silence it is not known which part of it was heard.
                let is_old = since_ms < known_since;
                let new = match before {
                    Some(it) => total - it.total,
                    None if is_old => 0,
                    None => total,
                };
                if new > 0 && !is_first {
                    news.push((name, u32::try_from(new).unwrap_or(u32::MAX)));
                }
            }
        }
        let takes = self.takes.lock();
        for (name, count) in news {
            let Some((kind, whose)) = name.split_once(':') else {
                continue;
            };
            for (_, take) in takes.iter().filter(|(it, _)| *it == kind) {
                take(whose, count, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    fn from(holder: &str, taken: Vec<Taken>) -> Vec<Taken> {
        let of = |it: Taken| Taken {
            holder: holder.to_owned(),
            ..it
        };
        taken.into_iter().map(of).collect()
    }

    #[test]
    fn each_taking_of_another_is_taken_here_once() {
        let (first, second) = (Takings::default(), Takings::default());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let heard = taken.clone();
        second.share("key", move |whose, count, _| {
            heard.lock().push((whose.to_owned(), count));
        });
        let heard = || std::mem::take(&mut *taken.lock());
        first.took("key", "old", 9, at(1));
        second.add_others(from("a", first.take_new()), true, at(9));
        assert_eq!(heard(), [], "from before it began");
        first.took("key", "crm", 2, at(1));
        first.took("key", "crm", 1, at(2));
        first.took("chat", "7", 1, at(2));
        let told = first.take_new();
        assert_eq!(told.len(), 2);
        // Its answer is lost, and the amount is sent again, with more.
        second.add_others(from("a", told.clone()), false, at(9));
        first.put_back(&told);
        first.took("key", "crm", 4, at(3));
        second.add_others(from("a", first.take_new()), false, at(9));
        assert_eq!(heard(), [("crm".to_owned(), 3), ("crm".to_owned(), 4)]);
        assert_eq!(first.take_new(), []);
        // Who begins to count anew took all of it since.
        let anew = Taken {
            name: "key:crm".into(),
            holder: "a".into(),
            since_ms: 50,
            total: 5,
        };
        second.add_others(vec![anew], false, at(9));
        assert_eq!(heard(), [("crm".to_owned(), 5)]);
        // Of somebody who has counted for long and was not heard of lately, nothing is held against a key.
        let long_silent = Taken {
            name: "key:crm".into(),
            holder: "c".into(),
            since_ms: 50,
            total: 5_000_000,
        };
        second.add_others(vec![long_silent], false, at(3_600_000));
        assert_eq!(heard(), []);
    }
}
