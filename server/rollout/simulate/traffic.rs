//! Simulated traffic: users with habits, arms, arrivals, errors and latencies.

use super::{
    super::evidence::{End, Kind, Observation, Strata, UserHistory},
    random::Random,
};
use crate::_core::{assignment::Variant, units::Percent};

pub(super) const HOUR_MS: f64 = 3_600_000.0;
const DAY_MS: f64 = 24.0 * HOUR_MS;
/// Where the simulated clock begins, in milliseconds since 1970.
pub(super) const BEGIN_MS: i64 = 1_700_000_000_000;

/// Users who are scripts that never send what can be answered, where there are such outcomes at all.
const SCRIPTS: f64 = 0.01;

/// Who makes the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Users {
    /// A new one for each request: the ground on which formulas are compared.
    Fresh,
    /// So many, alike.
    Even(usize),
    /// So many; their error rates vary as Beta(.2, 9.8) does, their volumes are log-normal, σ = 1.
    Uneven(usize),
}

/// When they make them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// At the same rate all the time.
    Steady,
    /// 60 % more at one time of the day, 60 % less at another.
    Daily,
    /// Steadily, but three to five users at a time, each with thirty requests.
    Bursts,
}

/// Outcomes that are not counted as errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NotCounted {
    /// None.
    Never,
    /// On both arms alike. Users differ: their rates vary as Beta(.2, 6.5) does, 3 % on average, each by
    /// one kind; and one user in a hundred is a script that never sends what can be answered.
    Alike,
    /// The same; and of the candidate's other requests this share ends so.
    More(f64),
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub users: Users,
    pub arrivals: Arrivals,
    /// Percent of users in the candidate.
    pub share: f64,
    pub requests_per_day: f64,
    /// Control's mean error rate.
    pub baseline: f64,
    /// An hour in which 20 % of both arms fail.
    pub outage: bool,
    /// How many times as often the candidate fails.
    pub ratio: f64,
    /// Outcomes that are no errors.
    pub not_counted: NotCounted,
    /// From this hour on; before, it is like control.
    pub bad_from_hour: f64,
}

impl Scenario {
    /// 10,000 requests a day by 1,000 users, both arms alike.
    pub(super) const fn new(share: f64, baseline: f64) -> Self {
        Self {
            users: Users::Even(1_000),
            arrivals: Arrivals::Steady,
            share,
            requests_per_day: 10_000.0,
            baseline,
            outage: false,
            ratio: 1.0,
            not_counted: NotCounted::Never,
            bad_from_hour: 0.0,
        }
    }

    pub(super) fn percent(&self) -> Percent {
        Percent::new(self.share).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct User {
    subject: u64,
    is_candidate: bool,
    error_rate: f64,
    /// How often what it sends cannot be answered, and how that ends.
    not_counted: (f64, Kind),
}

/// An endless stream of observations.
pub(super) struct Traffic {
    scenario: Scenario,
    random: Random,
    users: Vec<User>,
    /// Indices of users, each as often as its volume asks.
    by_volume: Vec<u32>,
    sessions: Vec<(usize, u32)>,
    latencies: Vec<f64>,
    outage_from_ms: f64,
    elapsed_ms: f64,
    history: Vec<UserHistory>,
}

impl Traffic {
    pub(super) fn new(scenario: Scenario, mut random: Random) -> Self {
        let (count, is_uneven) = match scenario.users {
            Users::Fresh => (0, false),
            Users::Even(count) => (count, false),
            Users::Uneven(count) => (count, true),
        };
        let volumes: Vec<f64> = (0..count)
            .map(|_| {
                if is_uneven {
                    random.normal().exp()
                } else {
                    1.0
                }
            })
            .collect();
        let whole: f64 = volumes.iter().sum();
        let mut by_volume = Vec::new();
        let (mut users, mut history) = (Vec::new(), Vec::new());
        for (index, volume) in (0_u32..).zip(&volumes) {
            let user = User {
                subject: random.next(),
                is_candidate: random.happens(scenario.share / 100.0),
                error_rate: if is_uneven {
                    random.beta(0.2, 9.8) * scenario.baseline / 0.02
                } else {
                    scenario.baseline
                },
                not_counted: match scenario.not_counted {
                    NotCounted::Never => (0.0, Kind::BadRequest),
                    _ => {
                        let kind = Kind::ALL[random.below(Kind::ALL.len())];
                        let rate = if random.happens(SCRIPTS) {
                            1.0
                        } else {
                            random.beta(0.2, 6.5)
                        };
                        (rate, kind)
                    }
                },
            };
            let slots = (volume / whole * 65_536.0).round().max(1.0) as usize;
            by_volume.extend(std::iter::repeat_n(index, slots));
            let requests = 7.0 * scenario.requests_per_day * volume / whole;
            let [ok, errors] = [1.0 - user.error_rate, user.error_rate]
                .map(|part| random.poisson(requests * part));
            history.push(UserHistory {
                subject: user.subject,
                requests: ok + errors,
                errors,
            });
            users.push(user);
        }
        // A log-normal latency of median 1.2 s, σ 0.6, as 4,096 equally likely values.
        let latencies = (0..4_096)
            .map(|_| 1_200.0 * (0.6 * random.normal()).exp())
            .collect();
        let outage_from_ms = 6.0 * DAY_MS * random.unit();
        Self {
            scenario,
            random,
            users,
            by_volume,
            sessions: Vec::new(),
            latencies,
            outage_from_ms,
            elapsed_ms: 0.0,
            history,
        }
    }

    /// What the users did in the week before.
    pub(super) fn strata(&self) -> Strata {
        Strata::new(self.history.iter().copied())
    }

    /// Hours since the beginning.
    pub(super) fn elapsed_hours(&self) -> f64 {
        self.elapsed_ms / HOUR_MS
    }

    fn user(&mut self) -> User {
        let random = &mut self.random;
        let index = match self.scenario.arrivals {
            _ if self.users.is_empty() => {
                return User {
                    subject: random.next(),
                    is_candidate: random.happens(self.scenario.share / 100.0),
                    error_rate: self.scenario.baseline,
                    not_counted: (0.0, Kind::BadRequest),
                };
            }
            Arrivals::Bursts => {
                while self.sessions.len() < 3 || (self.sessions.len() < 5 && random.happens(0.1)) {
                    self.sessions.push((random.below(self.users.len()), 30));
                }
                let session = random.below(self.sessions.len());
                let (user, left) = &mut self.sessions[session];
                let user = *user;
                *left -= 1;
                if *left == 0 {
                    self.sessions.swap_remove(session);
                }
                user
            }
            _ => self.by_volume[random.below(self.by_volume.len())] as usize,
        };
        self.users[index]
    }

    /// The next request.
    pub(super) fn next(&mut self) -> Observation {
        let mut rate = self.scenario.requests_per_day / DAY_MS;
        if self.scenario.arrivals == Arrivals::Daily {
            rate *= 1.0 + 0.6 * (std::f64::consts::TAU * self.elapsed_ms / DAY_MS).sin();
        }
        self.elapsed_ms += self.random.exponential() / rate;
        let user = self.user();
        let mut error_rate = user.error_rate;
        let since_outage = self.elapsed_ms - self.outage_from_ms;
        if self.scenario.outage && (0.0..HOUR_MS).contains(&since_outage) {
            error_rate = error_rate.max(0.2);
        }
        if user.is_candidate && self.elapsed_hours() >= self.scenario.bad_from_hour {
            error_rate *= self.scenario.ratio;
        }
        let mut end = None;
        if self.scenario.not_counted != NotCounted::Never {
            let (rate, kind) = user.not_counted;
            let more = match self.scenario.not_counted {
                NotCounted::More(more)
                    if user.is_candidate && self.elapsed_hours() >= self.scenario.bad_from_hour =>
                {
                    more
                }
                _ => 0.0,
            };
            if self.random.happens(rate) {
                end = Some(End::Uncounted(kind));
            } else if self.random.happens(more) {
                end = Some(End::Uncounted(Kind::RefusedAnswer));
            }
        }
        let latency = self.random.below(self.latencies.len());
        Observation {
            at_ms: BEGIN_MS + self.elapsed_ms as i64,
            subject: user.subject,
            variant: if user.is_candidate {
                Variant::Candidate
            } else {
                Variant::Control
            },
            end: match end {
                Some(end) => end,
                None if self.random.happens(error_rate) => End::Failed,
                None => End::Answered,
            },
            latency_ms: self.latencies[latency],
            was_open: false,
        }
    }
}
