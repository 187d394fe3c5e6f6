//! How a rollout went, from its log, which is folded again.
//!
//! What was known is looked at before each decision, and between decisions some hundred times over the whole, so that a
//! picture of a month is as large as one of an hour.

use chrono::{DateTime, Utc};

use super::{
    arms::PerArm,
    evidence::{Effect, Verdict},
    observation::observe,
    plan::Plan,
    record::Action,
    replay::{LogStep, Passing},
    status::Status,
};
use crate::_core::units::Percent;

/// Stretches of time that a rollout is divided into.
const STRETCHES: i64 = 240;

/// What was known at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CourseLook {
    /// The moment, in milliseconds since 1970.
    pub at_ms: i64,
    /// The evidence over all metrics that the candidate is worse.
    pub e: f64,
    /// How many times as often what is judged happens on the candidate.
    pub effects: Vec<Effect>,
    /// Whether it is kept as it was found, and not folded again.
    is_stored: bool,
}

impl CourseLook {
    fn of(verdict: &Verdict, is_stored: bool) -> Self {
        Self {
            at_ms: verdict.at_ms,
            e: verdict.e,
            effects: verdict.effects.clone(),
            is_stored,
        }
    }
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CourseChange {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was done.
    pub action: Action,
    /// The share from then on.
    pub share: Percent,
    /// The stage from then on, counted from 0.
    pub stage: usize,
}

/// What an arm had in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmTraffic {
    /// Counted requests that ended.
    pub requests: u32,
    /// Of them failed.
    pub errors: u32,
    /// How long all of them took.
    pub latency_ms: f64,
}

/// How a rollout went.
#[derive(Clone, Debug)]
pub struct Course {
    /// The rollout as it is.
    pub status: Status,
    /// What was wanted; known once something was seen.
    pub plan: Option<Plan>,
    /// When it began and ended, or is looked at, in milliseconds since 1970.
    pub span: (i64, i64),
    /// What was known, oldest first.
    pub looks: Vec<CourseLook>,
    /// What was done, oldest first.
    pub changes: Vec<CourseChange>,
    /// Traffic by stretch, of equal length over the whole time.
    pub traffic: Vec<PerArm<ArmTraffic>>,
    /// Events that count.
    pub counted: u64,
    /// Events that are no longer in the log one by one, so that nothing is drawn of them.
    pub gone: u64,
    last_ms: i64,
    next_look_ms: i64,
}

impl Course {
    /// Of a rollout, up to a moment.
    pub fn new(status: &Status, until: DateTime<Utc>) -> Self {
        let began = status.started_at.timestamp_millis();
        let ended = until.timestamp_millis().max(began + STRETCHES);
        Self {
            status: status.clone(),
            plan: None,
            span: (began, ended),
            looks: Vec::new(),
            changes: Vec::new(),
            traffic: vec![PerArm::default(); STRETCHES as usize],
            counted: 0,
            gone: 0,
            last_ms: began,
            next_look_ms: began,
        }
    }

    /// How long a stretch is, in milliseconds.
    pub fn stretch_ms(&self) -> f64 {
        (self.span.1 - self.span.0) as f64 / STRETCHES as f64
    }

    /// Takes up what is known at a place of the log.
    pub fn see(&mut self, passing: &Passing<'_>) {
        if self.plan.is_none() {
            self.plan = Some(passing.plan.clone());
        }
        match passing.next {
            LogStep::Event(event) => {
                if event.at_ms >= self.next_look_ms && self.counted > 0 {
                    self.look(passing, self.last_ms);
                    self.next_look_ms = event.at_ms + self.stretch_ms() as i64;
                }
                self.last_ms = self.last_ms.max(event.at_ms);
                let observed = observe(event).filter(|it| it.end.is_compared());
                let Some(observed) = observed.filter(|_| event.outcome.is_end()) else {
                    return;
                };
                self.counted += 1;
                let place = (event.at_ms - self.span.0) as f64 / self.stretch_ms();
                let last = self.traffic.len() - 1;
                // A place before the start is that of the start.
                let traffic = &mut self.traffic[(place.max(0.0) as usize).min(last)];
                let arm = &mut traffic[observed.variant];
                arm.requests += 1;
                arm.errors += u32::from(observed.end.is_error());
                arm.latency_ms += observed.latency_ms;
            }
            LogStep::Decision(row) => {
                let at_ms = row.at.timestamp_millis();
                self.last_ms = self.last_ms.max(at_ms);
                // What was found then, as the events of then may be rolled up.
                let record = row.record.as_ref().ok();
                if let Some(verdict) = record.and_then(|it| it.verdict.as_ref()) {
                    self.looks.push(CourseLook::of(verdict, true));
                }
                self.changes.push(CourseChange {
                    at_ms,
                    action: row.action,
                    share: row.after.share,
                    stage: row.after.stage,
                });
            }
            LogStep::End if self.counted > 0 => self.look(passing, self.last_ms),
            LogStep::End => {}
        }
    }

    fn look(&mut self, passing: &Passing<'_>, at_ms: i64) {
        let (_, verdict) = passing.ledger.judge(passing.plan, at_ms);
        self.looks.push(CourseLook::of(&verdict, false));
    }

    /// Takes up that so many events are no longer in the log one by one. What was made of the others says too little, so
    /// only what was stored counts: the decisions, and `last`, what is known now.
    pub fn lacks(&mut self, gone: u64, last: &Verdict) {
        self.gone = gone;
        self.looks.retain(|look| look.is_stored);
        self.looks.push(CourseLook::of(last, true));
    }
}
