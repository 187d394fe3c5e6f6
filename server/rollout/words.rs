//! Why something is decided, in the words that its history and its alert begin with.

use super::{
    decision::RollbackReason,
    evidence::{ArmCounts, Metric, Signal, Verdict},
    plan::{Judge, Plan},
};

/// Why a candidate is taken back that is worse: by which metric, and the figures of both sides.
pub(super) fn worse(plan: &Plan, verdict: &Verdict) -> String {
    let worse = RollbackReason::Worse.to_string();
    if let (Judge::Evidence, Some(Signal::Judge), Some(judge)) =
        (plan.judge, verdict.cause, &verdict.judge)
    {
        return format!("{worse}: {}", judge.in_words());
    }
    let part = |metric: &Metric| {
        let of = verdict.metrics.iter().find(|it| it.metric == *metric);
        of.map_or(0.0, |it| it.weight * it.e)
    };
    let worst = verdict.metrics.iter().map(|it| it.metric);
    let worst = worst.max_by(|a, b| part(a).total_cmp(&part(b)));
    match worst.map(|metric| figures(metric, verdict)) {
        Some(figures) if plan.judge == Judge::Evidence => format!("{worse}: {figures}"),
        _ => worse,
    }
}

/// What both sides have of a metric.
fn figures(metric: Metric, verdict: &Verdict) -> String {
    let [candidate, control] = [&verdict.candidate, &verdict.control];
    let effect = verdict.effects.iter().find(|it| it.metric == metric);
    match metric {
        Metric::Errors => {
            let failed = |arm: &ArmCounts| format!("{} of {}", arm.errors, arm.requests);
            let (candidate, control) = (failed(candidate), failed(control));
            format!("of its requests {candidate} failed, of control's {control}")
        }
        Metric::Quality => {
            let (candidate, control) = (candidate.flaws(), control.flaws());
            format!("flawed are {candidate}, and on control {control}")
        }
        Metric::Feedback => {
            let bad = |arm: &ArmCounts| {
                format!(
                    "{} of {}",
                    arm.bad_ratings,
                    arm.bad_ratings + arm.good_ratings
                )
            };
            let (candidate, control) = (bad(candidate), bad(control));
            format!("of its answers users rated {candidate} bad, of control's {control}")
        }
        Metric::Slow | Metric::VerySlow => match effect {
            Some(effect) => format!(
                "times as often as on control: {effect}, by {}",
                verdict.timed
            ),
            None => format!("in the metric {metric}, by {}", verdict.timed),
        },
    }
}

/// Why a person is asked, with what the proof lacks.
pub(super) fn asked(plan: &Plan, reason: &str, verdict: &Verdict) -> String {
    match plan.judge {
        Judge::Evidence => format!("{reason}: {}", verdict.promotion.why),
        Judge::Thresholds => reason.to_owned(),
    }
}
