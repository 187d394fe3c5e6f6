//! What evidence amounts to at one moment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::arms::PerArm,
    ArmCounts, Effect, Evidence, HOUR_MS, Level, Metric, Promotion, Signal, Timed,
    absolute::{A_TENTH, AbsoluteLimit, absolute, fails_alone},
    finite::{finite, read_finite},
    harm::Harm,
    judged::{JudgeEvidence, Judged},
    stream::Stream,
    uncounted::{Uncounted, UncountedEvidence},
};
use crate::_core::units::Percent;

/// The sample ratio's evidence of a mismatch (α = 0.001).
const MISMATCH: f64 = 1_000.0;

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// Control's requests of the same time.
    Running,
    /// Control's rates as they were when it last had traffic.
    Frozen,
}

/// The evidence of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricEvidence {
    /// What is compared.
    pub metric: Metric,
    /// Its part in the whole, 0 to 1.
    pub weight: f64,
    /// The evidence that the candidate is worse in it; 1 says nothing.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
}

/// Whether users fall on the arms as the share says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampleRatio {
    /// The evidence that they do not.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// 1/E, at most 1: valid at every moment.
    pub p: f64,
    /// They do not.
    pub mismatch: bool,
}

/// What evidence amounts to at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The moment, in milliseconds since 1970.
    pub at_ms: i64,
    /// How alarming it is.
    pub level: Level,
    /// Which test took the rollout back, once one has; it stays.
    pub cause: Option<Signal>,
    /// When that was, in milliseconds since 1970.
    pub decided_at_ms: Option<i64>,
    /// Whether that looks like an outage that may end, and not like the final one within the plan's period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_outage: bool,
    /// In words.
    pub why: String,
    /// The evidence over all metrics that the candidate is worse: rollback at 100 by default.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// By metric.
    pub metrics: Vec<MetricEvidence>,
    /// Which time says what is slow; left out where it is that to the whole answer.
    #[serde(default, skip_serializing_if = "Timed::is_whole")]
    pub timed: Timed,
    /// How many times as often it happens on the candidate, with limits; none in a rollout that an earlier
    /// release began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// The evidence that the candidate fails more than control at all; ten times as much is needed.
    #[serde(deserialize_with = "read_finite")]
    pub crash: f64,
    /// The absolute limit.
    pub absolute: AbsoluteLimit,
    /// Users by arm.
    pub sample_ratio: SampleRatio,
    /// What the candidate is compared with.
    pub reference: Reference,
    /// For the next stage.
    pub promotion: Promotion,
    /// Control's requests.
    pub control: ArmCounts,
    /// The candidate's.
    pub candidate: ArmCounts,
    /// What came that is not counted; none in a rollout that an earlier release ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<UncountedEvidence>,
    /// What a model found that judges answers in pairs; none where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeEvidence>,
}

impl Verdict {
    pub(super) fn of(evidence: &Evidence, now_ms: i64) -> Self {
        let e = overall(evidence);
        let absolute = absolute(evidence);
        let sample_ratio = sample_ratio(evidence);
        let (level, why) = level(evidence, e, &absolute, &sample_ratio, now_ms);
        let PerArm { control, candidate } = evidence.totals;
        Self {
            at_ms: now_ms,
            level,
            cause: evidence.rollback.map(|decided| decided.cause),
            decided_at_ms: evidence.rollback.map(|decided| decided.at_ms),
            is_outage: evidence
                .decided(now_ms)
                .is_some_and(|decided| decided.is_outage),
            why,
            e,
            metrics: metrics(evidence)
                .into_iter()
                .filter(|it| it.metric != Metric::Quality || evidence.answers.is_some())
                .collect(),
            timed: evidence.timed(),
            effects: effects(evidence),
            crash: finite(evidence.crash.value()),
            absolute,
            sample_ratio,
            reference: reference(evidence),
            promotion: Promotion::of(evidence, level),
            control,
            candidate,
            uncounted: evidence
                .uncounted
                .as_ref()
                .map(|it| it.evidence(evidence.edition, now_ms)),
            judge: evidence.judged(),
        }
    }
}

/// The evidence of each metric.
fn metrics(evidence: &Evidence) -> [MetricEvidence; 5] {
    let of = |harm| evidence.streams.value(harm);
    let [errors, p50, p95, p99, feedback, flaws] = Harm::ALL.map(of);
    let values = [errors, (p50 + p95) / 2.0, p99, feedback, flaws].map(finite);
    let weights = evidence.plan.normalised_weights();
    let names = [
        Metric::Errors,
        Metric::Slow,
        Metric::VerySlow,
        Metric::Feedback,
        Metric::Quality,
    ];
    std::array::from_fn(|i| MetricEvidence {
        metric: names[i],
        weight: weights[i],
        e: values[i],
    })
}

/// How many times as often what is judged happens on the candidate.
fn effects(evidence: &Evidence) -> Vec<Effect> {
    let shown = [
        (Harm::Error, Metric::Errors),
        (Harm::AboveP95, Metric::Slow),
        (Harm::AboveP99, Metric::VerySlow),
        (Harm::Flawed, Metric::Quality),
    ];
    let shown = shown.into_iter();
    shown
        .filter_map(|(harm, metric)| evidence.streams.get(harm)?.effect(metric))
        .collect()
}

/// The evidence over all metrics; their mean, which needs no independence.
pub(super) fn overall(evidence: &Evidence) -> f64 {
    let weighted = metrics(evidence).map(|metric| metric.weight * metric.e);
    finite(weighted.iter().sum())
}

/// Which test calls for a rollback, if one does.
pub(super) fn signal(evidence: &Evidence) -> Option<Signal> {
    let rollback = evidence.plan.rollback;
    if evidence.crash.value() >= rollback * A_TENTH {
        return Some(Signal::Crash);
    }
    // The rest of the absolute limit is only worth computing once it is broken.
    if evidence.absolute.value() >= rollback * A_TENTH {
        let absolute = absolute(evidence);
        if absolute.broken
            && !absolute.control_broken
            && fails_alone(evidence)
            && (absolute.worse >= rollback || evidence.share >= Percent::FULL)
        {
            return Some(Signal::AbsoluteLimit);
        }
    }
    if overall(evidence) >= rollback {
        return Some(Signal::Worse);
    }
    if judged(evidence) >= rollback * A_TENTH {
        return Some(Signal::Judge);
    }
    let uncounted = evidence.uncounted.as_ref();
    uncounted.and_then(Uncounted::proven)
}

/// The evidence of the model that judges answers.
fn judged(evidence: &Evidence) -> f64 {
    evidence.judged.as_ref().map_or(1.0, Judged::value)
}

/// Whether for a day only the candidate was asked.
fn is_alone(evidence: &Evidence, now_ms: i64) -> bool {
    let uncounted = evidence.uncounted.as_ref();
    uncounted.is_some_and(|it| it.is_alone(evidence.edition, now_ms))
}

fn sample_ratio(evidence: &Evidence) -> SampleRatio {
    let e = finite(evidence.sample_ratio.value());
    SampleRatio {
        e,
        p: (1.0 / e).min(1.0),
        mismatch: e >= MISMATCH,
    }
}

fn reference(evidence: &Evidence) -> Reference {
    let errors = evidence.streams.get(Harm::Error);
    if errors.is_some_and(Stream::is_frozen) {
        Reference::Frozen
    } else {
        Reference::Running
    }
}

fn level(
    evidence: &Evidence,
    e: f64,
    absolute: &AbsoluteLimit,
    sample_ratio: &SampleRatio,
    now_ms: i64,
) -> (Level, String) {
    let plan = &evidence.plan;
    if let Some(decided) = evidence
        .rollback
        .map(|decided| decided.cause)
        .or(signal(evidence))
    {
        let why = match decided {
            Signal::Worse => "the candidate is worse than the margin tolerates",
            Signal::Crash => "the candidate fails more often than control",
            Signal::AbsoluteLimit => "the candidate fails more than ever allowed, control does not",
            Signal::NoAnswers if is_alone(evidence, now_ms) => {
                "the candidate gives no good answer, and for a day nobody asked control"
            }
            Signal::NoAnswers => "the candidate gives no good answer, control does",
            Signal::Uncounted => "outcomes that are no errors come on the candidate alone",
            Signal::Judge => "the judge model finds the candidate's answers worse than control's",
        };
        return (Level::Rollback, why.to_owned());
    }
    if absolute.broken {
        let why = if absolute.control_broken {
            "both sides are failing"
        } else {
            "the candidate fails more than ever allowed; whether control does too is not clear yet"
        };
        return (Level::Hold, why.to_owned());
    }
    if sample_ratio.mismatch {
        let why = "users do not fall on the arms as the share says";
        return (Level::Hold, why.to_owned());
    }
    let is_held = evidence.held.is_some_and(|held| {
        held.calm_since_ms
            .is_none_or(|since| now_ms.saturating_sub(since) < HOUR_MS)
    });
    let of_judge = judged(evidence);
    if of_judge >= plan.hold {
        let why = format!(
            "the judge model finds the candidate's answers worse than control's: its E is {of_judge:.1}, at least {}",
            plan.hold
        );
        return (Level::Hold, why);
    }
    if e >= plan.hold {
        (Level::Hold, format!("E is {e:.1}, at least {}", plan.hold))
    } else if is_held {
        let e = e.max(of_judge);
        let why = format!("E is {e:.1}, and not yet below {} for an hour", plan.watch);
        (Level::Hold, why)
    } else if e >= plan.watch {
        (
            Level::Watch,
            format!("E is {e:.1}, at least {}", plan.watch),
        )
    } else {
        (Level::Clear, format!("E is {e:.1}, below {}", plan.watch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_beyond_all_numbers_is_read_back_as_it_was_written() {
        let all = MetricEvidence {
            metric: Metric::Errors,
            weight: 0.5,
            e: finite(f64::INFINITY),
        };
        let text = serde_json::to_string(&all).expect("JSON");
        assert_eq!(
            serde_json::from_str::<MetricEvidence>(&text).expect("the same"),
            all
        );
        let earlier = r#"{"metric":"errors","weight":0.5,"e":null}"#;
        assert_eq!(
            serde_json::from_str::<MetricEvidence>(earlier).expect("the same"),
            all
        );
    }
}
