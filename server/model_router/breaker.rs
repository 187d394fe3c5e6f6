//! Whether a model is asked at all: one that fails is left alone for a while, and comes back by degrees.
//!
//! ```text
//! closed ──half of enough attempts failed──▶ open ──its rest is over──▶ probing
//!    ▲                                        ▲  ◀──────a probe failed───┘ │
//!    └──all went well── returning ──as above─┘  ◀──3 probes answered──────┘
//! ```
//!
//! Nothing here asks a clock or a network: the time and what became of attempts are handed in.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::config::BreakerConfig;

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts that must have ended within the window; at least 1.
    pub attempts: u32,
    /// How far back it looks, in steps of a tenth of it; more than 0.
    pub window: Duration,
    /// Of these attempts so many percent must have failed, 1 to 100.
    pub failed_percent: u32,
    /// How long it stays open at first. Each probe that fails doubles that, up to twelve times as long.
    pub rest: Duration,
    /// From the last probe until everything is let through; more than 0.
    pub back: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            attempts: 20,
            window: Duration::from_secs(10),
            failed_percent: 50,
            rest: Duration::from_secs(5),
            back: Duration::from_secs(10),
        }
    }
}

impl From<BreakerConfig> for Rules {
    fn from(config: BreakerConfig) -> Self {
        let BreakerConfig {
            attempts,
            window,
            failed_percent,
        } = config;
        Self {
            attempts,
            window,
            failed_percent,
            ..Self::default()
        }
    }
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "State")]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One attempt at a time.
    Probing,
    /// A share of the attempts that grows.
    Returning,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::Probing, Self::Returning];

    /// As it is serialised.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
            Self::Returning => "returning",
        }
    }
}

/// What an attempt says about its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptClass {
    /// It answers.
    Answers,
    /// It fails.
    Fails,
    /// It has too much to do, which counts half.
    IsBusy,
    /// Nothing: the caller left, or the fault was somebody else's.
    Nothing,
}

/// Leave to make one attempt; to be given back to [`Breaker::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    /// How often the breaker had opened.
    opened: u64,
    is_probe: bool,
}

impl Permit {
    /// Whether the next probe waits for this attempt.
    pub(super) fn is_probe(self) -> bool {
        self.is_probe
    }
}

/// Probes in a row that must be answered.
const PROBES: u32 = 3;
/// After a probe that said nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// The share with which a model comes back.
const FIRST_SHARE: f64 = 0.1;
/// While it returns, fewer attempts are enough.
const ATTEMPTS_RETURNING: u32 = 5;
/// How many times as long as the first rest the longest is.
const MAX_REST: u32 = 12;

#[derive(Clone, Copy, Debug)]
enum Now {
    Closed,
    Open {
        until: Instant,
    },
    Probing {
        answered: u32,
        /// When the next probe may go; `None` while one is under way.
        next: Option<Instant>,
    },
    Returning {
        since: Instant,
        /// What the share has saved up; an attempt costs 1.
        credit: f64,
    },
}

/// The breaker of one model.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    rules: Rules,
    now: Now,
    recent: Recent,
    rest: Duration,
    opened: u64,
}

impl Breaker {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: Now::Closed,
            recent: Recent::default(),
            rest: rules.rest,
            opened: 0,
        }
    }

    /// Leave for one attempt, or `None` where the model is to be left alone.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Permit> {
        if self.state(now) == BreakerState::Closed {
            self.close();
        }
        let is_probe = match &mut self.now {
            Now::Closed => false,
            Now::Open { until } if *until > now => return None,
            Now::Open { .. } => {
                self.now = Now::Probing {
                    answered: 0,
                    next: None,
                };
                true
            }
            Now::Probing { next, .. } => {
                next.take_if(|next| *next <= now)?;
                true
            }
            Now::Returning { since, credit } => {
                let elapsed = now.saturating_duration_since(*since).as_secs_f64();
                let share =
                    FIRST_SHARE + (1.0 - FIRST_SHARE) * elapsed / self.rules.back.as_secs_f64();
                *credit += share.min(1.0);
                if *credit < 1.0 {
                    return None;
                }
                *credit -= 1.0;
                false
            }
        };
        let opened = self.opened;
        Some(Permit { opened, is_probe })
    }

    /// Takes note of what became of an attempt; whether the breaker has opened because of it.
    pub(super) fn settle(&mut self, permit: Permit, verdict: AttemptClass, now: Instant) -> bool {
        // Begun before it opened, an attempt says nothing new.
        if permit.opened != self.opened {
            return false;
        }
        if self.state(now) == BreakerState::Closed {
            self.close();
        }
        if let (true, Now::Probing { answered, next }) = (permit.is_probe, &mut self.now) {
            match verdict {
                AttemptClass::Nothing => *next = Some(now + PAUSE),
                AttemptClass::Answers if *answered + 1 < PROBES => {
                    *answered += 1;
                    *next = Some(now);
                }
                AttemptClass::Answers => {
                    self.recent = Recent::default();
                    self.now = Now::Returning {
                        since: now,
                        credit: 0.0,
                    };
                }
                AttemptClass::Fails | AttemptClass::IsBusy => {
                    self.open(now);
                    return true;
                }
            }
            return false;
        }
        if matches!(self.now, Now::Probing { .. } | Now::Open { .. }) {
            return false;
        }
        let halves = match verdict {
            AttemptClass::Answers => 0,
            AttemptClass::IsBusy => 1,
            AttemptClass::Fails => 2,
            AttemptClass::Nothing => return false,
        };
        let (attempts, failed) = self.recent.count(halves, self.rules.window, now);
        let enough = match self.now {
            Now::Returning { .. } => self.rules.attempts.min(ATTEMPTS_RETURNING),
            _ => self.rules.attempts,
        };
        let limit = u64::from(self.rules.failed_percent) * u64::from(attempts);
        // An answer is no reason to open.
        let opens = halves > 0 && attempts >= enough && 50 * u64::from(failed) >= limit;
        if opens {
            self.open(now);
        }
        opens
    }

    /// What it lets through now.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.now {
            Now::Open { until } if until > now => BreakerState::Open,
            Now::Open { .. } | Now::Probing { .. } => BreakerState::Probing,
            Now::Returning { since, .. }
                if now.saturating_duration_since(since) < self.rules.back =>
            {
                BreakerState::Returning
            }
            Now::Closed | Now::Returning { .. } => BreakerState::Closed,
        }
    }

    fn open(&mut self, now: Instant) {
        self.now = Now::Open {
            until: now + self.rest,
        };
        self.rest = (self.rest * 2).min(self.rules.rest * MAX_REST);
        self.recent = Recent::default();
        self.opened += 1;
    }

    fn close(&mut self) {
        self.now = Now::Closed;
        self.rest = self.rules.rest;
    }
}

/// Parts of the window that are counted apart.
const PARTS: usize = 10;

/// The attempts that ended within the window.
#[derive(Clone, Debug, Default)]
struct Recent {
    /// When the current part began.
    began: Option<Instant>,
    current: usize,
    /// Attempts, and failures counted in halves, of each part.
    parts: [(u32, u32); PARTS],
}

impl Recent {
    /// Counts an attempt; all of the window, and their failures in halves.
    fn count(&mut self, halves: u32, window: Duration, now: Instant) -> (u32, u32) {
        let part = (window / PARTS as u32).max(Duration::from_nanos(1));
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_nanos() / part.as_nanos();
        for _ in 0..passed.min(PARTS as u128) {
            self.current = (self.current + 1) % PARTS;
            self.parts[self.current] = (0, 0);
        }
        if passed > 0 {
            self.began = Some(match u32::try_from(passed) {
                Ok(passed) if passed < PARTS as u32 => began + part * passed,
                _ => now,
            });
        }
        let (attempts, failed) = &mut self.parts[self.current];
        *attempts = attempts.saturating_add(1);
        *failed = failed.saturating_add(halves);
        let sum = |(attempts, failed): (u32, u32), part: &(u32, u32)| {
            (
                attempts.saturating_add(part.0),
                failed.saturating_add(part.1),
            )
        };
        self.parts.iter().fold((0, 0), sum)
    }
}

#[cfg(test)]
mod tests;
