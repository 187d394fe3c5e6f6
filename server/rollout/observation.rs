//! From recorded events to what a rollout is judged on.
//!
//! A [`Ledger`] is fed with nothing but numbered events and the changes of share and stage
//! that the history records, each at its place in the log. Its time is that of the events. So whoever
//! feeds it the log again gets the same ledger, bit for bit.

mod hour;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::hour::Hour;
use super::{
    arms::PerArm,
    evidence::{
        Edition, Evidence, Level, Observation, RequestEnd, Signal, Strata, UncountedEvidence,
        UncountedKind, Verdict,
    },
    finding::{Alarm, Arm, Finding, Proof},
    plan::{Judge, Plan},
};
use crate::{
    _core::{assignment::Variant, units::Percent},
    providers::fault::FaultKind,
    recording::{Event, Outcome},
};

/// What evidence counts of an event: `None` where it speaks against nobody.
///
/// Faults of the client and refusals that concern our whole account are no errors of either arm; they are
/// only watched. A timeout is an error, and slow. A caller who goes away shows how long it took at least, or how
/// long the first words of a stream did.
pub fn observe(event: &Event) -> Option<Observation> {
    let subject = event.subject.filter(|_| event.counted)?;
    let end = match event.outcome {
        Outcome::Success => RequestEnd::Answered,
        Outcome::Refused => RequestEnd::Uncounted(UncountedKind::RefusedAnswer),
        Outcome::Fault(FaultKind::Timeout) => RequestEnd::TimedOut,
        Outcome::Fault(kind) if kind.is_models_fault() && kind.is_like_an_outage() => {
            RequestEnd::Failed
        }
        Outcome::Fault(kind) if kind.is_models_fault() => RequestEnd::FailedAlone,
        Outcome::Cancelled | Outcome::Open => RequestEnd::Unknown,
        Outcome::Fault(kind) if kind.is_accounts() => return None,
        Outcome::Fault(FaultKind::ContextLength) => {
            RequestEnd::Uncounted(UncountedKind::ContextLength)
        }
        Outcome::Fault(FaultKind::Refused) => RequestEnd::Uncounted(UncountedKind::Refused),
        Outcome::Fault(_) => RequestEnd::Uncounted(UncountedKind::BadRequest),
        Outcome::Rated { .. } | Outcome::Judged(_) | Outcome::Unknown => return None,
    };
    Some(Observation {
        // Events are stamped when they happen, observations when the request arrived.
        at_ms: event.at_ms.saturating_sub(event.latency_ms as i64),
        subject,
        variant: event.variant,
        end,
        latency_ms: event.latency_ms,
        first_words_ms: event.first_words_ms(),
        was_open: event.was_open,
        quality: event.quality,
    })
}

/// A change that the ledger has to know, as the history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Step {
    /// Nothing that it has to know.
    None,
    /// A stage begins at a share; a candidate `rho_bad` times worse must not pass it.
    Stage {
        /// The new share.
        share: Percent,
        /// The plan's.
        rho_bad: f64,
    },
    /// The candidate has an outage: nobody gets it, and what takes it back is judged anew.
    Outage,
    /// The share moves, or ends at 0.
    Share {
        /// The new share.
        share: Percent,
    },
}

/// All that a rollout is judged on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    evidence: Evidence,
    /// Since the stage began.
    arms: PerArm<Tally>,
    /// The candidate's last hour, for fixed thresholds.
    hour: Hour,
    /// How many events were folded.
    pub events: u64,
    last_ms: Option<i64>,
    /// When the share in force began. What arrived before was decided by another share, and would
    /// make the users' ratio look wrong; it is not counted.
    share_since_ms: i64,
    /// How many of the events are ratings.
    pub ratings: u64,
    /// The event after which outcomes that are not counted are watched, where a release that knew
    /// nothing of them began the rollout; 0 where no event had come yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watched_after: Option<i64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    requests: u64,
    errors: u64,
    latency_ms: f64,
    #[serde(default)]
    hung: u64,
    /// Streams that were left after their first words: answered, for as long as nobody knows. Not counted by editions before
    /// the eighth.
    #[serde(default, skip_serializing_if = "is_zero")]
    left: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    not_counted: u64,
    /// In microdollars.
    #[serde(default, skip_serializing_if = "is_zero")]
    cost: u64,
    /// Answers that were looked at, and their characters.
    #[serde(default, skip_serializing_if = "is_zero")]
    answers: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    chars: u64,
}

impl Tally {
    /// What it cost, and how long the answer is.
    fn weigh(&mut self, event: &Event) {
        let cost = u64::try_from(event.cost.0).unwrap_or(0);
        self.cost = self.cost.saturating_add(cost);
        if let Some(chars) = event.answer_chars {
            self.answers += 1;
            self.chars += u64::from(chars);
        }
    }
}

impl Ledger {
    /// A ledger without observations.
    pub fn new(plan: &Plan, strata: Strata, started_at_ms: i64) -> Self {
        Self::of_edition(Edition::NEWEST, plan, strata, started_at_ms)
    }

    fn of_edition(edition: Edition, plan: &Plan, strata: Strata, started_at_ms: i64) -> Self {
        let evidence = Evidence::of_edition(edition, &plan.evidence, strata, started_at_ms);
        let mut ledger = Self {
            evidence,
            arms: Default::default(),
            hour: Hour::default(),
            events: 0,
            last_ms: None,
            share_since_ms: started_at_ms,
            ratings: 0,
            watched_after: None,
        };
        if let Some(stage) = plan.stages.first() {
            let (share, rho_bad) = (plan.share_of(0), stage.rho_bad);
            ledger.step(Step::Stage { share, rho_bad }, started_at_ms);
        }
        ledger
    }

    /// A ledger that does as this one did from its beginning, for folding the same log again.
    pub fn anew(&self, plan: &Plan, started_at_ms: i64) -> Self {
        let edition = self.evidence.edition();
        let mut ledger = Self::of_edition(edition, plan, self.strata(), started_at_ms);
        if !self.evidence.is_watching_uncounted() || self.watched_after.is_some() {
            ledger.evidence.watch_uncounted(false);
            ledger.watched_after = self.watched_after;
        }
        ledger
    }

    /// Watches what is not counted from after this event on, if an earlier release did not.
    pub fn watch_after(&mut self, seq: i64) {
        if !self.evidence.is_watching_uncounted() {
            self.evidence.watch_uncounted(true);
            self.watched_after = Some(seq);
        }
    }

    /// Watches from where the other did, also if no event came since.
    pub fn watch_as(&mut self, other: &Self) {
        if let Some(seq) = other.watched_after {
            self.watch_after(seq);
        }
    }

    /// Folds an event of this rollout, made while `share` was in force.
    pub fn fold(&mut self, event: &Event, share: Percent) {
        self.events += 1;
        if let Some(seq) = self.watched_after.filter(|seq| event.seq > *seq) {
            self.watch_after(seq);
        }
        if let (Outcome::Rated { good }, Some(subject)) = (event.outcome, event.subject) {
            self.ratings += 1;
            self.evidence
                .feedback(subject, event.variant, good, event.at_ms);
            return;
        }
        if let Outcome::Judged(judgement) = event.outcome {
            // Control's side of the same pair says the same.
            if event.variant == Variant::Candidate {
                self.evidence.judge(judgement, event.cost, event.at_ms);
            }
            return;
        }
        if let Outcome::Fault(kind) = event.outcome
            && kind.is_accounts()
            && self.evidence.is_watching_uncounted()
        {
            // Fallbacks show it as well as first attempts.
            self.evidence.refuse_account(event.variant, event.at_ms);
            self.arms[event.variant].not_counted += u64::from(event.counted);
            return;
        }
        let observation = observe(event).filter(|it| it.at_ms >= self.share_since_ms);
        let Some(observation) = observation else {
            return;
        };
        let tally = &mut self.arms[observation.variant];
        if !observation.end.is_compared() {
            if self.evidence.is_watching_uncounted() {
                tally.not_counted += 1;
                self.evidence.fold(&observation, share);
            }
            return;
        }
        self.last_ms = self.last_ms.max(Some(event.at_ms));
        self.evidence.fold(&observation, share);
        if observation.end == RequestEnd::Unknown {
            tally.hung += u64::from(event.outcome == Outcome::Open);
            let is_left =
                observation.judged_by(self.evidence.edition()).end == RequestEnd::Answered;
            tally.left += u64::from(is_left);
            return;
        }
        let (is_error, latency_ms) = (observation.end.is_error(), observation.latency_ms);
        tally.requests += 1;
        tally.errors += u64::from(is_error);
        tally.latency_ms += latency_ms;
        if self.evidence.edition() >= Edition::Third {
            tally.weigh(event);
        }
        if observation.variant == Variant::Candidate {
            self.hour.count(event.at_ms, is_error, latency_ms);
        }
    }

    /// Takes note of a change.
    pub fn step(&mut self, step: Step, at_ms: i64) {
        match step {
            Step::None => {}
            Step::Stage { share, rho_bad } => {
                self.share_since_ms = at_ms;
                self.evidence.begin_stage(at_ms, share, rho_bad);
                self.arms = Default::default();
            }
            Step::Outage => {
                self.share_since_ms = at_ms;
                self.evidence.begin_outage(at_ms);
            }
            Step::Share { share } => {
                self.share_since_ms = at_ms;
                self.evidence.advance(at_ms, share);
            }
        }
    }

    /// Whether a rollback is due, by what was folded; a look finds more words, and takes longer.
    pub(super) fn is_rollback_due(&self) -> bool {
        self.evidence.is_rollback_due()
    }

    /// Until when another outage takes the candidate back for good; none where the next one does not.
    pub(super) fn outage_final_until(&self, now_ms: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.evidence.outage_final_until(now_ms)?)
    }

    /// Milliseconds after which a request that is still open is slow.
    pub fn late_after_ms(&self) -> Option<f64> {
        self.evidence.late_after_ms()
    }

    /// What a model found that judges answers.
    pub fn judged(&self) -> Option<super::evidence::JudgeEvidence> {
        self.evidence.judged()
    }

    /// What the plan's judge finds, and the evidence in figures.
    pub fn judge(&self, plan: &Plan, now_ms: i64) -> (Finding, Verdict) {
        let verdict = self.evidence.verdict(now_ms);
        let mean = |sum: f64, count: u64| if count == 0 { 0.0 } else { sum / count as f64 };
        let arm = |tally: &Tally| Arm {
            requests: tally.requests + tally.left,
            errors: tally.errors,
            average_ms: mean(tally.latency_ms, tally.requests),
            average_cost: mean(tally.cost as f64, tally.requests),
            average_chars: mean(tally.chars as f64, tally.answers),
            hung: tally.hung,
            not_counted: tally.not_counted,
        };
        let mut finding = Finding {
            level: verdict.level,
            alarms: alarms(&verdict, plan.judge),
            proof: match &verdict.promotion {
                it if it.proven => Proof::Proven,
                it if it.recommended => Proof::Recommended,
                _ => Proof::None,
            },
            e: verdict.e,
            why: format!("{}; {}", verdict.why, verdict.promotion.why),
            users: verdict.promotion.users,
            candidate: arm(&self.arms.candidate),
            control: arm(&self.arms.control),
            last_request_at: self.last_ms.and_then(DateTime::from_timestamp_millis),
        };
        if finding.excluded_differ().is_some() {
            finding.proof = Proof::None;
        }
        if plan.judge == Judge::Evidence {
            return (finding, verdict);
        }
        if finding.not_counted().is_some() {
            // They judge requests that are counted, and here there may be none. Other evidence that was
            // there before is not what counts here.
            finding.level = Level::Rollback;
            finding
                .alarms
                .retain(|it| !matches!(it, Alarm::LimitBroken | Alarm::Outage));
            return (finding, verdict);
        }
        let judged = self.hour.judge(now_ms);
        finding.level = judged.level;
        finding
            .alarms
            .retain(|it| matches!(it, Alarm::Account | Alarm::ExcludedDiffer { .. }));
        finding.proof = if judged.is_healthy {
            Proof::Proven
        } else {
            Proof::None
        };
        finding.why = judged.why;
        (finding, verdict)
    }

    /// The strata it began with, for folding the same log again.
    pub fn strata(&self) -> Strata {
        self.evidence.strata()
    }
}

/// What stands in the way by the evidence, the gravest first.
fn alarms(verdict: &Verdict, judge: Judge) -> Vec<Alarm> {
    let is_broken =
        verdict.level == Level::Rollback && verdict.cause == Some(Signal::AbsoluteLimit);
    let both_fail = verdict.absolute.broken && verdict.absolute.control_broken;
    let uncounted = verdict.uncounted.as_ref();
    let is_refused = uncounted.is_some_and(|it| it.account.is_some());
    let taken_back = uncounted.and_then(|it| taken_back(it, verdict, judge));
    let differ = uncounted.filter(|_| taken_back.is_none()).and_then(|it| {
        Some(Alarm::ExcludedDiffer {
            kind: it.differs?,
            figures: it.in_words(),
        })
    });
    let judge = verdict.judge.filter(|it| it.stopped.is_some());
    let judge = judge.map(|it| Alarm::JudgeStopped { why: it.in_words() });
    let alarms = [
        verdict.is_outage.then_some(Alarm::Outage),
        is_broken.then_some(Alarm::LimitBroken),
        taken_back,
        both_fail.then_some(Alarm::BothSidesFailing),
        verdict.sample_ratio.mismatch.then_some(Alarm::SampleRatio),
        is_refused.then_some(Alarm::Account),
        differ,
        judge,
    ];
    alarms.into_iter().flatten().collect()
}

/// Whether outcomes that are not counted have taken the candidate back.
fn taken_back(uncounted: &UncountedEvidence, verdict: &Verdict, judge: Judge) -> Option<Alarm> {
    let signal = match judge {
        // The first test that calls for a rollback is what it is taken back for.
        Judge::Evidence => verdict.cause,
        // The other tests take nothing back here, so none may hide this one.
        Judge::Thresholds => uncounted.proven,
    };
    let figures = uncounted.in_words();
    let why = match signal? {
        Signal::NoAnswers => {
            let attempts = uncounted.without_answer;
            let control = if uncounted.is_alone {
                "for a day nobody asked control"
            } else {
                "control does answer"
            };
            let why = format!(
                "the candidate gave no good answer to its last {attempts} first attempts, and {control}"
            );
            if figures.is_empty() {
                why
            } else {
                format!("{why}: {figures}")
            }
        }
        Signal::Uncounted => {
            format!("what is not counted as an error comes on the candidate alone: {figures}")
        }
        Signal::Worse | Signal::Crash | Signal::AbsoluteLimit | Signal::Judge => return None,
    };
    Some(Alarm::NotCounted { why })
}
