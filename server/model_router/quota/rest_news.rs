//! What the log says of rests: when something begins to rest, once a minute while its provider goes on refusing, and
//! when that is over. A provider that says "in a second" each second would else fill it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two lines about one thing that rests again and again, and after its last rest before it is over.
const PAUSE: Duration = Duration::from_secs(60);

/// What rests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resting {
    /// All that an account asks for.
    Account,
    /// What costs nothing.
    Tier,
    /// A model.
    Model(Arc<str>),
}

impl Resting {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Tier => "tier",
            Self::Model(_) => "model",
        }
    }
}

/// What is to be logged of a rest that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestLine {
    /// It is the first.
    Begins,
    /// So many have begun since the last line.
    Again(u32),
}

/// Rests that follow one another.
struct Series {
    /// The end of the last.
    until: Instant,
    told_at: Instant,
    /// Those since then.
    untold: u32,
    all: u32,
}

/// The series under way, by account.
#[derive(Default)]
pub(super) struct RestNews {
    /// Whether there is any, for those who answer.
    has_any: AtomicBool,
    series: Mutex<HashMap<(String, Resting), Series>>,
}

impl RestNews {
    /// A rest begins. Returns what is to be logged of it.
    pub(super) fn begins(
        &self,
        account: &str,
        what: Resting,
        until: Instant,
        now: Instant,
    ) -> Option<RestLine> {
        let mut all = self.series.lock();
        self.has_any.store(true, Ordering::Relaxed);
        let key = (account.to_owned(), what);
        let Some(series) = all.get_mut(&key) else {
            let series = Series {
                until,
                told_at: now,
                untold: 0,
                all: 1,
            };
            all.insert(key, series);
            return Some(RestLine::Begins);
        };
        series.until = series.until.max(until);
        series.untold += 1;
        series.all += 1;
        if now - series.told_at < PAUSE {
            return None;
        }
        series.told_at = now;
        Some(RestLine::Again(std::mem::take(&mut series.untold)))
    }

    /// The account has answered: what is over of that which was `about` it, and how many rests it was.
    pub(super) fn answered(
        &self,
        account: &str,
        about: impl Fn(&Resting) -> bool,
        now: Instant,
    ) -> Vec<(Resting, u32)> {
        if !self.has_any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut all = self.series.lock();
        let is_over = |(label, what): &(String, Resting), series: &mut Series| {
            label == account && about(what) && now >= series.until + PAUSE
        };
        let over = all.extract_if(is_over);
        let over = over.map(|((_, what), series)| (what, series.all)).collect();
        self.has_any.store(!all.is_empty(), Ordering::Relaxed);
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_refuses_each_second_is_told_of_once_a_minute_and_when_it_is_over() {
        let news = RestNews::default();
        let second = Duration::from_secs(1);
        let mut lines = Vec::new();
        for n in 0..150 {
            let now = Instant::now();
            assert!(news.answered("p", |_| true, now).is_empty(), "{n}");
            let line = news.begins("p", Resting::Account, now + second, now);
            lines.extend(line.map(|line| (n, line)));
            tokio::time::advance(second).await;
        }
        let again = RestLine::Again(60);
        assert_eq!(lines, [(0, RestLine::Begins), (60, again), (120, again)]);
        tokio::time::advance(PAUSE).await;
        let now = Instant::now();
        let over = |account: &str, what: Resting| news.answered(account, |it| *it == what, now);
        assert_eq!(over("other", Resting::Account), []);
        assert_eq!(over("p", Resting::Tier), []);
        assert_eq!(over("p", Resting::Account), [(Resting::Account, 150)]);
        assert_eq!(over("p", Resting::Account), []);
        let line = news.begins("p", Resting::Account, now + second, now);
        assert_eq!(line, Some(RestLine::Begins));
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_for_long_is_not_over_before() {
        let news = RestNews::default();
        let (now, day) = (Instant::now(), Duration::from_secs(86_400));
        let model = || Resting::Model("m".into());
        news.begins("p", model(), now + day, now);
        tokio::time::advance(day).await;
        assert_eq!(news.answered("p", |_| true, Instant::now()), []);
        tokio::time::advance(PAUSE).await;
        let over = news.answered("p", |_| true, Instant::now());
        assert_eq!(over, [(model(), 1)]);
    }
}
