//! The stream of requests that users with habits make.

use super::{
    super::{
        super::evidence::{Observation, RequestEnd, Strata, UncountedKind, UserHistory},
        random::Random,
    },
    Arrivals, BEGIN_MS, DAY_MS, Flaws, HOUR_MS, NotCounted, Scenario, Side, StreamingTraffic,
    habits::{self, Habits, SimulatedUser},
};
use crate::{_core::assignment::Variant, providers::quality::Quality};

const MINUTE_MS: f64 = 60_000.0;
/// Our own time limit.
const TIME_LIMIT_MS: f64 = 60_000.0;
/// How long an impatient user waits.
const PATIENCE_MS: f64 = 8_000.0;
/// How often it then asks again.
const ASKS_AGAIN: f64 = 0.7;
/// Days that have an outage of their own, where there is one each day.
const DAYS: usize = 90;

/// An endless stream of observations.
pub(in super::super) struct Traffic {
    scenario: Scenario,
    random: Random,
    users: Vec<SimulatedUser>,
    history: Vec<UserHistory>,
    /// Indices of users, each as often as its volume asks.
    by_volume: Vec<u32>,
    sessions: Vec<(usize, u32)>,
    /// When which user asks again.
    again: Vec<(f64, usize)>,
    latencies: Vec<f64>,
    /// When outages begin, by day.
    outages: Vec<f64>,
    elapsed_ms: f64,
}

impl Traffic {
    pub(in super::super) fn new(scenario: Scenario, mut random: Random) -> Self {
        // A log-normal latency of median 1.2 s, σ 0.6, as 4,096 equally likely values.
        let latencies: Vec<f64> = (0..4_096)
            .map(|_| 1_200.0 * (0.6 * random.normal()).exp())
            .collect();
        let (users, history, by_volume) = habits::draw(&scenario, &latencies, &mut random);
        let outages = match scenario.outage {
            None => Vec::new(),
            Some(outage) if outage.is_daily => (0..DAYS)
                .map(|day| (day as f64 + random.unit()) * DAY_MS)
                .collect(),
            Some(_) => vec![6.0 * DAY_MS * random.unit()],
        };
        Self {
            scenario,
            random,
            users,
            history,
            by_volume,
            sessions: Vec::new(),
            again: Vec::new(),
            latencies,
            outages,
            elapsed_ms: 0.0,
        }
    }

    /// What the users did in the week before.
    pub(in super::super) fn strata(&self) -> Strata {
        Strata::new(self.history.iter().copied())
    }

    /// Hours since the beginning.
    pub(in super::super) fn elapsed_hours(&self) -> f64 {
        self.elapsed_ms / HOUR_MS
    }

    /// Seconds since the last outage began; none before the first.
    pub(in super::super) fn seconds_of_outage(&self) -> Option<f64> {
        let since = self.outages.iter().map(|begin| self.elapsed_ms - begin);
        let since = since.filter(|since_ms| *since_ms >= 0.0);
        since.reduce(f64::min).map(|since_ms| since_ms / 1_000.0)
    }

    /// Moves the clock to the next request; whose it is, `None` for a new user.
    fn arrive(&mut self) -> Option<usize> {
        let mut rate = self.scenario.requests_per_day / DAY_MS;
        if self.scenario.arrivals == Arrivals::Daily {
            rate *= 1.0 + 0.6 * (std::f64::consts::TAU * self.elapsed_ms / DAY_MS).sin();
        }
        let next_ms = self.elapsed_ms + self.random.exponential() / rate;
        let soonest =
            (0..self.again.len()).min_by(|a, b| self.again[*a].0.total_cmp(&self.again[*b].0));
        if let Some(soonest) = soonest
            && self.again[soonest].0 <= next_ms
        {
            // Arrivals have no memory, so the other one can be drawn anew.
            let (at_ms, user) = self.again.swap_remove(soonest);
            self.elapsed_ms = self.elapsed_ms.max(at_ms);
            return Some(user);
        }
        self.elapsed_ms = next_ms;
        let random = &mut self.random;
        match self.scenario.arrivals {
            _ if self.users.is_empty() => None,
            Arrivals::Sessions(length) => {
                while self.sessions.len() < 3 || (self.sessions.len() < 5 && random.happens(0.1)) {
                    self.sessions.push((random.below(self.users.len()), length));
                }
                let session = random.below(self.sessions.len());
                let (user, left) = &mut self.sessions[session];
                let user = *user;
                *left -= 1;
                if *left == 0 {
                    self.sessions.swap_remove(session);
                }
                Some(user)
            }
            _ => Some(self.by_volume[random.below(self.by_volume.len())] as usize),
        }
    }

    /// How often requests to an arm fail because of an outage.
    fn outage(&self, arm: Variant) -> f64 {
        let Some(outage) = self.scenario.outage else {
            return 0.0;
        };
        let is_hit = match outage.of {
            Side::Both => true,
            Side::Candidate => arm == Variant::Candidate,
            Side::Control => arm == Variant::Control,
        };
        let since = |begin: &f64| self.elapsed_ms - begin;
        let is_now = self
            .outages
            .iter()
            .any(|begin| (0.0..outage.minutes * MINUTE_MS).contains(&since(begin)));
        if is_hit && is_now { outage.rate } else { 0.0 }
    }

    /// Whether it ends in a way that is not counted.
    fn not_counted(&mut self, habits: &Habits, is_bad: bool) -> Option<RequestEnd> {
        let more = match self.scenario.not_counted {
            NotCounted::Never => return None,
            NotCounted::More(more) if is_bad => more,
            _ => 0.0,
        };
        let (rate, kind) = habits.not_counted;
        if self.random.happens(rate) {
            Some(RequestEnd::Uncounted(kind))
        } else if self.random.happens(more) {
            Some(RequestEnd::Uncounted(UncountedKind::RefusedAnswer))
        } else {
            None
        }
    }

    /// What the answer is, where there is one that is looked at.
    fn quality(&mut self, habits: &Habits, is_bad: bool, end: RequestEnd) -> Option<Quality> {
        let Scenario {
            flaws,
            flaws_ratio,
            more_flaws,
            ..
        } = self.scenario;
        if flaws == Flaws::Unseen || end != RequestEnd::Answered {
            return None;
        }
        let mut rate = habits.flaw_rate;
        if is_bad {
            rate = (rate * flaws_ratio).min(1.0);
            rate += (1.0 - rate) * more_flaws;
        }
        Some(if self.random.happens(rate) {
            Quality::Truncated
        } else {
            Quality::Good
        })
    }

    /// The next request.
    pub(in super::super) fn next(&mut self) -> Observation {
        let index = self.arrive();
        let user = match index {
            Some(index) => self.users[index],
            None => SimulatedUser::new(Habits::common(&self.scenario), &mut self.random),
        };
        let hours = self.elapsed_hours();
        let share = self.scenario.share_at(hours).get() / 100.0;
        let variant = if user.bucket < share {
            Variant::Candidate
        } else {
            Variant::Control
        };
        let is_bad = variant == Variant::Candidate && hours >= self.scenario.bad_from_hour;
        let mut error_rate = user.habits.error_rate.max(self.outage(variant));
        let mut latency_ms = self.latencies[self.random.below(self.latencies.len())];
        latency_ms *= user.habits.length(&mut self.random);
        if is_bad {
            // A candidate that always fails does so with a user of whom control's requests never do.
            error_rate = match self.scenario.ratio {
                f64::INFINITY => 1.0,
                ratio => error_rate * ratio,
            };
            latency_ms *= self.scenario.slower;
        }
        let streams = self.scenario.streams;
        let streams = streams.map(|it| if is_bad { it } else { StreamingTraffic::ALL });
        let took = user.habits.answer(latency_ms, streams, &mut self.random);
        let (mut latency_ms, mut first_words_ms) = (took.whole_ms, took.first_words_ms);
        // Who reads a stream waits for nothing more than these, and they are what is limited.
        let waited_ms = first_words_ms.unwrap_or(latency_ms);
        let mut end = match self.not_counted(&user.habits, is_bad) {
            Some(end) => end,
            None if self.random.happens(error_rate) => RequestEnd::Failed,
            None if waited_ms > TIME_LIMIT_MS => RequestEnd::TimedOut,
            None => RequestEnd::Answered,
        };
        let quality = self.quality(&user.habits, is_bad, end);
        if waited_ms > TIME_LIMIT_MS {
            latency_ms = TIME_LIMIT_MS;
        }
        let is_impatient = self.scenario.impatient;
        if is_impatient && waited_ms > PATIENCE_MS {
            (latency_ms, end) = (PATIENCE_MS, RequestEnd::Unknown);
        }
        if !matches!(
            end,
            RequestEnd::Answered | RequestEnd::Uncounted(UncountedKind::RefusedAnswer)
        ) {
            // What fails does so when the first words would have come.
            latency_ms = latency_ms.min(first_words_ms.take().unwrap_or(latency_ms));
        }
        let is_in_vain = end == RequestEnd::Failed || end == RequestEnd::Unknown;
        if let Some(index) = index
            && is_impatient
            && is_in_vain
            && self.random.happens(ASKS_AGAIN)
        {
            self.again.push((self.elapsed_ms + latency_ms, index));
        }
        Observation {
            at_ms: BEGIN_MS + self.elapsed_ms as i64,
            subject: user.subject,
            variant,
            end,
            latency_ms,
            first_words_ms,
            was_open: false,
            quality,
        }
    }
}
