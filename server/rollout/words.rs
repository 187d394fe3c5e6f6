//! Why something is decided, in the words that its history and its alert begin with.

use chrono::{DateTime, Utc};

use super::{
    decision::{RollbackReason, Stay, lacks, loses},
    evidence::{ArmCounts, Metric, Signal, Verdict},
    finding::{Arm, Finding, Proof},
    plan::{Judge, Plan},
    status::{Hold, Status},
};

/// Why a candidate is taken back that is worse: by which metric, and the figures of both sides.
pub(super) fn worse(plan: &Plan, finding: &Finding, verdict: &Verdict) -> String {
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
    let worst = match verdict.cause {
        // It sees errors alone, and other metrics may say more than its E by the margin.
        Some(Signal::Crash) => Some(Metric::Errors),
        _ => worst.max_by(|a, b| part(a).total_cmp(&part(b))),
    };
    match worst.map(|metric| figures(metric, finding, verdict)) {
        Some(figures) if plan.judge == Judge::Evidence => format!("{worse}: {figures}"),
        _ => worse,
    }
}

/// What both sides have of a metric.
fn figures(metric: Metric, finding: &Finding, verdict: &Verdict) -> String {
    let [candidate, control] = [&verdict.candidate, &verdict.control];
    let effect = verdict.effects.iter().find(|it| it.metric == metric);
    // Requests of other times and other users are not compared, but are in the sums.
    let compared = || {
        let effect = effect.map_or_else(|| metric.to_string(), ToString::to_string);
        format!("times as often as on control: {effect}, at the same times and among users alike")
    };
    match metric {
        // Since the stage began, as a share of its own makes other sums.
        Metric::Errors if finding.candidate.error_rate() > finding.control.error_rate() => {
            let failed = |arm: &Arm| format!("{} of {}", arm.errors, arm.requests);
            let (candidate, control) = (failed(&finding.candidate), failed(&finding.control));
            format!("of its requests {candidate} failed, of control's {control}")
        }
        Metric::Errors => compared(),
        Metric::Quality if candidate.flawed_rate() <= control.flawed_rate() => compared(),
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

/// Why a person is asked, with what the stage lacks, or the proof.
pub(super) fn asked(
    plan: &Plan,
    status: &Status,
    (finding, verdict): (&Finding, &Verdict),
    now: DateTime<Utc>,
) -> String {
    let stage = plan.stages.get(status.stage);
    let lack = stage.and_then(|stage| Some((stage, lacks(stage, status, finding, now)?)));
    if let Some((stage, lack)) = lack {
        return match lack {
            Stay::Guarded => {
                "the stage is over, and a figure of the candidate is above its guard".into()
            }
            _ => {
                let reason = "twice the stage's time is over, and too little came of the candidate to judge it";
                format!(
                    "{reason}: {} of {} requests, of {} of {} users",
                    finding.candidate.requests,
                    stage.min_requests.max(1),
                    finding.users,
                    stage.min_users
                )
            }
        };
    }
    if loses(plan, finding) {
        let [candidate, control] =
            [&finding.candidate, &finding.control].map(|it| 100.0 * it.lost());
        return format!(
            "the stage is over, and {candidate:.1} % of the candidate's first attempts ended in ways that are not \
             counted, such as refusals of our account, where {control:.1} % of control's did"
        );
    }
    let reason = match finding.proof >= Proof::Recommended {
        true => "the stage is over, and evidence recommends the next one",
        false => "the stage is over, and evidence is inconclusive",
    };
    match plan.judge {
        Judge::Evidence => {
            let why = &verdict.promotion.why;
            // The reason has said so.
            let why = why.strip_prefix("inconclusive: ").unwrap_or(why);
            format!("{reason}: {why}")
        }
        Judge::Thresholds => reason.to_owned(),
    }
}

/// Why the ramp freezes.
pub(super) fn held(because: Hold, verdict: &Verdict) -> String {
    match because {
        // It is at that level by the absolute limit, whatever E is.
        Hold::Evidence if verdict.absolute.broken => verdict.why.clone(),
        because => because.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{evidence::Strata, observation::Ledger, plan::KnownNames};

    #[test]
    fn sums_that_say_the_opposite_are_no_reason() {
        let text = "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\n";
        let plan = Plan::parse(text, "p", &KnownNames::default()).expect("a plan");
        let (mut finding, mut verdict) = Ledger::new(&plan, Strata::default(), 0).judge(&plan, 0);
        if let Some(errors) = verdict.metrics.first_mut() {
            errors.e = 1_000.0;
        }
        let mut told = |candidate, control| {
            (finding.candidate.requests, finding.candidate.errors) = candidate;
            (finding.control.requests, finding.control.errors) = control;
            worse(&plan, &finding, &verdict)
        };
        assert_eq!(
            told((1_000, 50), (9_000, 300)),
            "the candidate is worse than control: of its requests 50 of 1000 failed, of control's 300 of 9000"
        );
        let opposite = told((1_000, 50), (9_000, 600));
        assert!(!opposite.contains("failed"), "{opposite}");
        assert!(opposite.contains("errors not known yet"), "{opposite}");
    }
}
