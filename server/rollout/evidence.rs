//! What a rollout's traffic proves, by tests that stay valid however often one looks.
//!
//! [`Evidence`] is a pure fold: observations in, state out, bit for bit the same whenever the same
//! observations come in the same order under the same shares. Its clock is the latest arrival it has
//! seen; asking for a [`Verdict`] at a later moment closes on a copy what that moment closes, and
//! changes nothing. docs/statistics.md says what is tested and why it stays valid.

mod absolute;
mod alike;
mod answers;
mod classes;
mod compare;
mod counts;
mod edition;
mod effect;
mod finite;
mod harm;
mod judged;
mod kind;
mod limit;
mod looks;
mod metric;
mod mixture;
mod observed;
mod outage;
mod plan;
mod promotion;
mod proof;
mod ratio;
mod reached;
mod signal;
mod slots;
mod stage;
mod stream;
mod threshold;
mod timed;
mod uncounted;
mod users;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::finite::read_finite;
pub use self::{
    absolute::AbsoluteLimit,
    classes::LogLatencies,
    counts::ArmCounts,
    edition::Edition,
    effect::Effect,
    judged::{JudgeEvidence, Stopped},
    kind::UncountedKind,
    metric::Metric,
    observed::{Observation, RequestEnd},
    plan::EvidencePlan,
    promotion::{Promotion, Proven},
    signal::Signal,
    timed::Timed,
    uncounted::{KindEvidence, UncountedEvidence},
    users::{Strata, UserHistory},
    verdict::{MetricEvidence, Reference, SampleRatio, Verdict},
};
use self::{
    answers::AnswerSlots,
    harm::Harm,
    judged::Judged,
    limit::{LastHour, Limit},
    looks::Looks,
    mixture::Restarts,
    outage::{Outages, RecentAttempts},
    ratio::{Ratio, TestDirection},
    reached::{HoldReached, RollbackReached},
    stage::StageEvidence,
    stream::Streams,
    threshold::{Latencies, Thresholds},
    uncounted::Uncounted,
    users::UserSlots,
};
use super::arms::PerArm;
use crate::{
    _core::{
        assignment::Variant,
        units::{Microdollars, Percent},
    },
    recording::Judgement,
};

const HOUR_MS: i64 = 3_600_000;
const HOURS_PER_DAY: u32 = 24;

/// How alarming the evidence is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing speaks against the candidate.
    Clear,
    /// Alert, and freeze the ramp.
    Watch,
    /// No promotion.
    Hold,
    /// Take it back.
    Rollback,
}

/// The whole state of a rollout's evidence; folding the same observations in the same order gives
/// the same state, bit for bit. Its size is bounded, whatever the traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The first in what an earlier release stored.
    #[serde(default)]
    edition: Edition,
    plan: EvidencePlan,
    started_at_ms: i64,
    /// The latest arrival so far; time never goes back.
    clock_ms: i64,
    /// Full hours since the start.
    hour: u32,
    share: Percent,
    users: UserSlots,
    /// None where the quality of answers is not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<AnswerSlots>,
    #[serde(default)]
    looks: Looks,
    streams: Streams,
    latencies: Latencies,
    /// The same of the first words of streams; nothing in editions before the sixth.
    #[serde(default, skip_serializing_if = "Latencies::is_empty")]
    first_words: Latencies,
    crash: Ratio,
    absolute: Limit,
    last_hour: LastHour,
    sample_ratio: Ratio,
    totals: PerArm<ArmCounts>,
    stage: StageEvidence,
    held: Option<HoldReached>,
    rollback: Option<RollbackReached>,
    /// None in what an earlier release stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncounted: Option<Uncounted>,
    /// None where every breach takes the candidate back for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outages: Option<Outages>,
    /// What a model found that judges answers; none before it found anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<Judged>,
    /// Control's last first attempts; not kept by editions before the fifth.
    #[serde(default, skip_serializing_if = "RecentAttempts::is_empty")]
    control: RecentAttempts,
}

impl Evidence {
    /// Nothing seen yet; begins with a first stage whose ρ_bad is 2.
    pub fn new(plan: &EvidencePlan, strata: Strata, started_at_ms: i64) -> Self {
        Self::of_edition(Edition::NEWEST, plan, strata, started_at_ms)
    }

    /// The same, judged as this edition did.
    pub fn of_edition(
        edition: Edition,
        plan: &EvidencePlan,
        strata: Strata,
        started_at_ms: i64,
    ) -> Self {
        let restarts = Restarts::over(plan.planned_hours);
        let [.., quality] = plan.normalised_weights();
        let judges_quality = edition >= Edition::Third && quality > 0.0;
        let (users, answers) = strata.into_parts();
        Self {
            edition,
            looks: Looks::default(),
            plan: plan.clone(),
            started_at_ms,
            clock_ms: started_at_ms,
            hour: 0,
            share: Percent::ZERO,
            users,
            answers: judges_quality.then_some(answers),
            streams: Streams::new(edition, judges_quality, plan.margin, restarts),
            latencies: Latencies::default(),
            first_words: Latencies::default(),
            crash: Ratio::new(TestDirection::Crashing, 1.0, restarts),
            absolute: Limit::above(plan.max_error_rate, restarts),
            last_hour: LastHour::new(started_at_ms),
            sample_ratio: Ratio::new(TestDirection::Either, 1.0, Restarts::NEVER),
            totals: Default::default(),
            stage: StageEvidence::new(edition, plan, started_at_ms, 0, 2.0),
            held: None,
            rollback: None,
            uncounted: Some(Uncounted::new(edition, plan.margin)),
            outages: (plan.outage_period_ms > 0).then(Outages::default),
            judged: None,
            control: RecentAttempts::default(),
        }
    }

    /// The edition of the tests that judge.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// Whether the rollback that is due looks like an outage, and not like the final one within the plan's period.
    pub fn is_outage(&self) -> bool {
        self.rollback.is_some_and(|decided| decided.is_outage)
    }

    /// Until when another outage takes the candidate back for good, in milliseconds since 1970; none where the next one does not.
    pub(super) fn outage_final_until(&self, now_ms: i64) -> Option<i64> {
        let outages = self.outages.as_ref()?;
        outages.final_until(self.edition, now_ms, self.plan.outage_period_ms)
    }

    /// Whether a rollback is due, by what was folded.
    pub(super) fn is_rollback_due(&self) -> bool {
        self.rollback.is_some()
    }

    /// Whether outcomes that are not counted are watched.
    pub fn is_watching_uncounted(&self) -> bool {
        self.uncounted.is_some()
    }

    /// Begins to watch them, or leaves it, as a release did that knew nothing of them.
    pub fn watch_uncounted(&mut self, watch: bool) {
        self.uncounted = watch.then(|| Uncounted::new(self.edition, self.plan.margin));
    }

    /// Folds one observation, made while `share` was in force, and says whether a rollback is due.
    ///
    /// An arrival earlier than the latest one counts as of now.
    pub fn fold(&mut self, observation: &Observation, share: Percent) -> Level {
        self.set_share(share);
        self.reach(observation.at_ms);
        let observation = &observation.judged_by(self.edition);
        // Fixed before this request can move them.
        let time = observation.time(self.edition, self.usual());
        let thresholds = self.latencies_mut(time).thresholds();
        let at_ms = self.clock_ms;
        if let Some(outages) = &mut self.outages
            && observation.variant == Variant::Candidate
            && observation.end != RequestEnd::Unknown
        {
            outages.see(self.edition, at_ms, observation.end.is_answered());
        }
        if self.edition >= Edition::Fifth
            && observation.variant == Variant::Control
            && observation.end != RequestEnd::Unknown
        {
            self.control.see(at_ms, observation.end.is_answered());
        }
        let mut has_moved = match &mut self.uncounted {
            Some(uncounted) => uncounted.fold(self.edition, observation, share, at_ms),
            None => false,
        };
        if !observation.end.is_compared() {
            if has_moved {
                self.settle();
            }
            return self.level_so_far();
        }
        if observation.end != RequestEnd::Unknown {
            has_moved |= self.count(observation, time, share);
        }
        if let (Some(Thresholds { quantiles }), false) = (thresholds, observation.was_open) {
            has_moved |= self.compare_latency(observation, time, quantiles);
        }
        if has_moved {
            self.settle();
        }
        self.level_so_far()
    }

    /// Folds a user's rating of an answer.
    pub fn feedback(&mut self, subject: u64, variant: Variant, good: bool, at_ms: i64) {
        self.reach(at_ms);
        let totals = &mut self.totals[variant];
        totals.good_ratings += u64::from(good);
        totals.bad_ratings += u64::from(!good);
        let mut user = self.users.of(subject);
        let stratum = user.stratum();
        if user.counts(Harm::BadRating, !good, self.plan.cap_per_user_day)
            && self.observe(Harm::BadRating, stratum, variant, !good, 1.0)
        {
            self.settle();
        }
    }

    /// The evidence over all metrics that the candidate is worse, as far as bins are closed.
    pub fn e(&self) -> f64 {
        verdict::overall(self)
    }

    /// Folds what a model found of the candidate's answer, beside control's to the same question.
    pub fn judge(&mut self, judgement: Judgement, cost: Microdollars, at_ms: i64) {
        self.reach(at_ms);
        let margin = self.plan.margin;
        let judged = self.judged.get_or_insert_with(|| Judged::new(margin));
        judged.fold(judgement, cost, at_ms);
        self.settle();
    }

    /// Takes note that the provider refused our account.
    pub fn refuse_account(&mut self, variant: Variant, at_ms: i64) {
        if let Some(uncounted) = &mut self.uncounted {
            uncounted.refuse_account(variant, at_ms);
        }
    }

    /// Puts a share in force from `now_ms` on. Hours are closed by the next observation, and by
    /// [`verdict`](Self::verdict) for its own use, so that a replay without the ticks gives the same
    /// state.
    pub fn advance(&mut self, _now_ms: i64, share: Percent) {
        self.set_share(share);
    }

    /// Begins a stage: promotion is proven anew, against a candidate `rho_bad` times as bad. At a
    /// share of 100 control's rates are frozen, and judge in its place.
    pub fn begin_stage(&mut self, now_ms: i64, share: Percent, rho_bad: f64) {
        self.set_share(share);
        self.stage = StageEvidence::new(self.edition, &self.plan, now_ms, self.hour, rho_bad);
        if let Some(uncounted) = &mut self.uncounted {
            uncounted.begin_share();
        }
        for stream in self.streams.iter_mut() {
            stream.freeze(share >= Percent::FULL);
        }
    }

    /// Nobody gets the candidate while it has an outage. What takes it back is judged anew from then on.
    /// What it has proven in this stage stays, and so does what users are like.
    ///
    /// It follows a breach. So a candidate that is good all the time comes here as seldom as it breaches anything at all, and
    /// beginning anew takes it back no more often (docs/statistics.md, "Beginning anew").
    pub fn begin_outage(&mut self, now_ms: i64) {
        self.set_share(Percent::ZERO);
        let restarts = Restarts::over(self.plan.planned_hours);
        for stream in self.streams.iter_mut() {
            stream.begin_anew(restarts, self.hour);
        }
        self.crash = Ratio::new(TestDirection::Crashing, 1.0, restarts);
        self.crash.reach(self.hour);
        self.absolute = Limit::above(self.plan.max_error_rate, restarts);
        self.absolute.reach(self.hour);
        self.last_hour = LastHour::new(self.clock_ms);
        if let Some(uncounted) = &mut self.uncounted {
            uncounted.begin_anew();
        }
        if let Some(outages) = &mut self.outages {
            outages.begin(self.edition, now_ms);
        }
        (self.held, self.rollback) = (None, None);
    }

    /// Milliseconds after which a request that is still open is slow by every threshold; `None` until
    /// there are thresholds.
    pub fn late_after_ms(&self) -> Option<f64> {
        let of = [&self.latencies, &self.first_words].map(Latencies::thresholds);
        let thresholds = of.into_iter().flatten();
        // Nobody knows which of them it will be.
        let most = thresholds.flat_map(|it| it.quantiles).reduce(f64::max)?;
        let [slowest, floor] = [self.users.classes().slowest(), self.plan.slow_floor_ms];
        Some((most * slowest).max(floor))
    }

    /// The strata it began with, for folding the same log again.
    pub fn strata(&self) -> Strata {
        Strata::of(&self.users, self.answers.as_ref())
    }

    /// What is proven at a moment; changes nothing.
    pub fn verdict(&self, now_ms: i64) -> Verdict {
        if self.hour_at(now_ms) > self.hour {
            let mut then = self.clone();
            then.reach(now_ms);
            Verdict::of(&then, now_ms)
        } else {
            Verdict::of(self, now_ms)
        }
    }

    fn set_share(&mut self, share: Percent) {
        if share != self.share {
            self.close_bins();
            self.share = share;
            if self.edition >= Edition::Second {
                self.looks.begin_share(share);
            }
            if let Some(uncounted) = &mut self.uncounted {
                uncounted.begin_share();
            }
        }
    }

    /// The full hours that have passed since the start; 0 before it.
    fn hour_at(&self, at_ms: i64) -> u32 {
        let hours = at_ms.saturating_sub(self.started_at_ms) / HOUR_MS;
        u32::try_from(hours.max(0)).unwrap_or(u32::MAX)
    }

    /// Moves the clock, and does what full hours do.
    fn reach(&mut self, at_ms: i64) {
        if at_ms <= self.clock_ms {
            return;
        }
        self.clock_ms = at_ms;
        self.last_hour.reach(at_ms);
        let hour = self.hour_at(at_ms);
        if hour == self.hour {
            return;
        }
        self.close_bins();
        let passed = hour - self.hour;
        let is_new_day = hour / HOURS_PER_DAY > self.hour / HOURS_PER_DAY;
        self.hour = hour;
        self.users.begin_hour();
        if is_new_day {
            self.users.begin_day();
            if let Some(answers) = &mut self.answers {
                answers.begin_day();
            }
            if let Some(uncounted) = &mut self.uncounted {
                uncounted.begin_day();
            }
        }
        let rounded = self.edition >= Edition::Sixth;
        self.latencies.reach(passed, rounded);
        self.first_words.reach(passed, rounded);
        for stream in self.streams.iter_mut() {
            stream.reach(hour, passed);
        }
        self.crash.reach(hour);
        self.absolute.reach(hour);
        self.stage.reach(hour);
    }

    /// What a model found that judges answers; none where none has.
    pub fn judged(&self) -> Option<JudgeEvidence> {
        self.judged.as_ref().map(Judged::evidence)
    }
}

#[cfg(test)]
mod tests;
