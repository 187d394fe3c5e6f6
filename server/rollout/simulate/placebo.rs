//! Placebo rollouts: how often a plan would have taken nothing back, on one's own traffic.
//!
//! The first attempts that control has answered are divided anew by random salts, so that both arms have the same
//! models. The judge that ships then follows the plan through its stages. Whatever it holds or takes back, it
//! does without a cause. That is valid however users, sessions and outages are.
//!
//! Left out are ratings, refusals of the account, and who asks for a model by its name, which an event does not
//! say. Every stage is taken to be proven at the end of its soak.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZero,
    sync::Arc,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    cores::{Progress, on_threads},
    proportion,
    random::Random,
};
use crate::{
    _core::{assignment::Variant, units::Percent},
    recording::Event,
    rollout::{
        evidence::{Evidence, Level, Observation, Signal, Strata, UserHistory, Verdict},
        observation,
        placebos::{KeptPlacebo, Placebo, PlaceboStage},
        plan::Plan,
    },
};

/// Left out beyond each limit: both hold with a probability of 95 %.
const ALPHA: f64 = 0.025;
/// What the tests of a rollout may err together, times the evidence that takes it back: the metrics together 1, the
/// crash detector and the absolute limit a tenth each, as they need ten times as much (docs/statistics.md).
const FAMILY: f64 = 1.2;
/// Of the server's own, not of a task's users.
const DIRECT: &str = "direct";

/// Control's traffic, to be divided.
#[derive(Default)]
pub struct ControlLog {
    tasks: Vec<String>,
    most: usize,
    requests: HashSet<Arc<str>>,
    observations: Vec<Observation>,
    left_out: u64,
    strata: Strata,
}

impl ControlLog {
    /// Of these tasks, or of all where there are none; of the first `most` requests, as a rollout's beginning has to
    /// be among them.
    pub fn of(tasks: &[String], most: usize) -> Self {
        Self {
            tasks: tasks.to_vec(),
            most,
            ..Self::default()
        }
    }

    /// Adds an event, if it is the first of a request that control has answered; they come in their order.
    pub fn add(&mut self, event: &Event) {
        let is_covered = match &*self.tasks {
            [] => *event.task != *DIRECT,
            tasks => tasks.iter().any(|task| **task == *event.task),
        };
        let (is_fallback, is_candidate) = (event.position > 0, event.variant == Variant::Candidate);
        if !is_covered || !event.outcome.is_end() || is_fallback || is_candidate {
            return;
        }
        let counted = Event {
            counted: true,
            was_open: false,
            ..event.clone()
        };
        let Some(observation) = observation::observe(&counted) else {
            return;
        };
        if self.observations.len() == self.most {
            self.left_out += 1;
        // A model may be asked twice for one request.
        } else if self.requests.insert(event.request_id.clone()) {
            self.observations.push(observation);
        }
    }

    /// Ends it, with what users did in the week before.
    pub fn after(mut self, history: Vec<UserHistory>) -> Self {
        self.strata = Strata::new(history);
        self.requests = HashSet::new();
        self.observations.sort_by_key(|it| it.at_ms);
        self
    }

    /// A simulated one.
    pub(super) fn simulated(observations: Vec<Observation>, strata: Strata) -> Self {
        Self {
            observations,
            strata,
            ..Self::default()
        }
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.observations.len()
    }
}

/// Where they are kept, and what they are made of.
#[async_trait]
pub trait PlaceboStore: Send + Sync {
    /// Keeps one.
    async fn add_placebo(&self, placebo: &KeptPlacebo) -> anyhow::Result<()>;

    /// The newest ones, the newest first, at most `limit`.
    async fn placebos(&self, limit: u32) -> anyhow::Result<Vec<KeptPlacebo>>;

    /// What control answered of these tasks, or of all where there are none, from a time on; the first requests, at most
    /// `most`.
    async fn control_traffic(
        &self,
        tasks: &[String],
        span: (DateTime<Utc>, DateTime<Utc>),
        most: usize,
    ) -> anyhow::Result<ControlLog>;
}

/// One rollout.
#[derive(Default)]
struct Seen {
    /// By stage.
    held: Vec<bool>,
    taken_back: Option<(usize, String)>,
}

/// Makes so many rollouts of a plan, on so many threads; `progress` is called with how many are done, from any thread.
pub fn run(
    plan: &Plan,
    log: &ControlLog,
    rollouts: u32,
    seed: u64,
    threads: NonZero<usize>,
    progress: &(dyn Fn(u32) + Sync),
) -> Placebo {
    let numbers: Vec<u32> = (0..rollouts).collect();
    let made = |number: &u32| one(plan, log, Random::new(seed, 0, (*number).into()).next());
    let seen = on_threads(threads, &numbers, made, &|Progress { done, .. }| {
        progress(u32::try_from(done).unwrap_or(u32::MAX));
    });
    summed_up(plan, log, &seen)
}

/// Where stages begin, in milliseconds since the rollout does, and where the last one ends.
fn begins(plan: &Plan) -> Vec<i64> {
    let mut at = 0;
    let mut begins = vec![at];
    for stage in &plan.stages {
        at += i64::try_from(stage.soak.as_millis()).unwrap_or(i64::MAX / 64);
        begins.push(at);
    }
    begins
}

fn one(plan: &Plan, log: &ControlLog, salt: u64) -> Seen {
    let mut seen = Seen {
        held: vec![false; plan.stages.len()],
        taken_back: None,
    };
    let Some(first) = log.observations.first() else {
        return seen;
    };
    let (begins, began_ms) = (begins(plan), first.at_ms);
    let mut evidence = Evidence::new(&plan.evidence, log.strata.clone(), began_ms);
    let (mut stage, mut share) = (0, Percent::ZERO);
    let mut held_until = i64::MIN;
    for observation in &log.observations {
        let at_ms = observation.at_ms;
        let is_over = begins
            .get(stage + 1)
            .is_some_and(|end| at_ms - began_ms >= *end);
        if is_over || share == Percent::ZERO {
            note(&evidence, at_ms, seen.held.get_mut(stage));
            stage = begins
                .iter()
                .filter(|begin| at_ms - began_ms >= **begin)
                .count()
                - 1;
            let Some(wanted) = plan.stages.get(stage) else {
                break;
            };
            share = plan.share_of(stage);
            evidence.begin_stage(at_ms, share, wanted.rho_bad);
        }
        let is_candidate = is_drawn(observation.subject, salt, share);
        // During an outage everybody is on control.
        let is_out = at_ms < held_until;
        let in_force = if is_out { Percent::ZERO } else { share };
        let request = Observation {
            variant: if is_candidate && !is_out {
                Variant::Candidate
            } else {
                Variant::Control
            },
            ..*observation
        };
        let level = fold(&mut evidence, request, in_force);
        if level >= Level::Hold
            && let Some(held) = seen.held.get_mut(stage)
        {
            *held = true;
        }
        if level == Level::Rollback {
            if !evidence.is_outage() {
                let by = by(&evidence.verdict(at_ms));
                seen.taken_back = Some((stage, by));
                return seen;
            }
            evidence.begin_outage(at_ms);
            held_until = at_ms.saturating_add_unsigned(plan.evidence.outage_calm_ms);
        }
    }
    let end_ms = log.observations.last().map_or(began_ms, |it| it.at_ms);
    note(&evidence, end_ms, seen.held.get_mut(stage));
    seen
}

/// Notes whether something else holds it than its evidence: what is not counted, or the ratio of users.
fn note(evidence: &Evidence, now_ms: i64, held: Option<&mut bool>) {
    let verdict = evidence.verdict(now_ms);
    let differs = verdict.uncounted.is_some_and(|it| it.differs.is_some());
    if let Some(held) = held {
        *held |= differs || verdict.sample_ratio.mismatch;
    }
}

/// Whether this salt puts a user into the candidate.
fn is_drawn(subject: u64, salt: u64, share: Percent) -> bool {
    Random::new(salt, subject, 0).unit() < share.get() / 100.0
}

/// Folds a request, and before that what was seen of it while it was open.
fn fold(evidence: &mut Evidence, mut request: Observation, share: Percent) -> Level {
    let late_ms = evidence.late_after_ms();
    if late_ms.is_some_and(|late_ms| request.waited_ms() > late_ms) {
        evidence.fold(&request.while_open(request.waited_ms()), share);
        request.was_open = true;
    }
    evidence.fold(&request, share)
}

/// What took it back.
fn by(verdict: &Verdict) -> String {
    match verdict.cause {
        Some(Signal::Worse) | None => {
            let part = |a: f64, b: f64| a * b;
            let worst = verdict
                .metrics
                .iter()
                .max_by(|a, b| part(a.weight, a.e).total_cmp(&part(b.weight, b.e)));
            worst.map_or("unknown".to_owned(), |it| it.metric.to_string())
        }
        Some(Signal::Crash) => "crash".to_owned(),
        Some(Signal::AbsoluteLimit) => "absolute-limit".to_owned(),
        Some(Signal::NoAnswers) => "no-answers".to_owned(),
        Some(Signal::Uncounted) => "uncounted".to_owned(),
        Some(Signal::Judge) => "judge".to_owned(),
    }
}

fn summed_up(plan: &Plan, log: &ControlLog, seen: &[Seen]) -> Placebo {
    const HOUR_MS: f64 = 3_600_000.0;
    let span_ms = match (log.observations.first(), log.observations.last()) {
        (Some(first), Some(last)) => last.at_ms - first.at_ms,
        _ => 0,
    };
    let count = |is: &dyn Fn(&Seen) -> bool| {
        u32::try_from(seen.iter().filter(|it| is(it)).count()).unwrap_or(u32::MAX)
    };
    let begins = begins(plan);
    let stages = begins.windows(2).enumerate().map(|(n, window)| {
        let [begin, end] = window else {
            return PlaceboStage::default();
        };
        PlaceboStage {
            share: plan.share_of(n).get(),
            hours: (span_ms.min(*end) - begin).max(0) as f64 / HOUR_MS,
            soak_hours: (end - begin) as f64 / HOUR_MS,
            held: count(&|it| it.held.get(n) == Some(&true) && it.taken_back.is_none()),
            taken_back: count(&|it| it.taken_back.as_ref().is_some_and(|(stage, _)| *stage == n)),
        }
    });
    let mut by = BTreeMap::new();
    for (_, cause) in seen.iter().filter_map(|it| it.taken_back.as_ref()) {
        *by.entry(cause.clone()).or_insert(0) += 1;
    }
    let rollouts = count(&|_| true);
    let taken_back = count(&|it| it.taken_back.is_some());
    let users: HashSet<u64> = log.observations.iter().map(|it| it.subject).collect();
    Placebo {
        plan: plan.name.clone(),
        rollouts,
        requests: log.requests(),
        left_out: log.left_out,
        users: users.len(),
        days: span_ms as f64 / HOUR_MS / 24.0,
        stages: stages.collect(),
        held: count(&|it| it.held.contains(&true) && it.taken_back.is_none()),
        taken_back,
        limits: proportion::limits(taken_back, rollouts, ALPHA),
        alpha: (FAMILY / plan.evidence.rollback).min(1.0),
        by,
    }
}

#[cfg(test)]
mod tests;
