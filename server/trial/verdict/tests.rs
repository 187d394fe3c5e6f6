//! Simulated trials of known rates.

use super::*;
use crate::{_core::units::Microdollars, providers::fault::FaultKind};

/// Uniform on 0 to 1.
pub(in crate::trial) fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a model answers.
#[derive(Clone, Copy)]
struct Model {
    error: f64,
    flaw: f64,
    latency_ms: f64,
    cost: i64,
}

const USUAL: Model = Model {
    error: 0.03,
    flaw: 0.1,
    latency_ms: 800.0,
    cost: 40,
};

/// A prompt's own hardness is shared by both answers.
fn answer(model: Model, hardness: f64, random: &mut impl FnMut() -> f64) -> TrialAnswer {
    let failed = random() < model.error;
    let kind = random();
    let flawed = random() < model.flaw * 2.0 * hardness;
    let flaw = match kind {
        ..0.25 => Quality::Refused,
        ..0.5 => Quality::Truncated,
        ..0.75 => Quality::SchemaInvalid,
        _ => Quality::WrongLanguage,
    };
    let noise = (random() + random() - 1.0).exp();
    TrialAnswer {
        fault: failed.then_some(FaultKind::Upstream),
        quality: (!failed).then_some(if flawed { flaw } else { Quality::Good }),
        latency_ms: model.latency_ms * (0.5 + hardness) * noise,
        tokens: Some(100),
        cost: Some(Microdollars(
            (model.cost as f64 * (0.5 + hardness) * noise) as i64,
        )),
        chars: 200,
        holds: None,
    }
}

const ALL: Asks = Asks {
    schema: true,
    language: true,
    expect: false,
};

fn trial(control: Model, candidate: Model, pairs: usize, seed: u64) -> TrialResult {
    let pairs = simulated(control, candidate, pairs, seed);
    judge(&pairs, &metrics([ALL]), Margins::default())
}

fn simulated(control: Model, candidate: Model, pairs: usize, seed: u64) -> Vec<Pair> {
    let mut random = random(seed);
    (0..pairs)
        .map(|_| {
            let hardness = random();
            Pair {
                asks: ALL,
                answers: PerArm {
                    control: answer(control, hardness, &mut random),
                    candidate: answer(candidate, hardness, &mut random),
                },
            }
        })
        .collect()
}

fn of(result: &TrialResult, metric: TrialMetric) -> &TrialFigures {
    let mut metrics = result.metrics.iter();
    metrics.find(|it| it.metric == metric).unwrap()
}

#[test]
fn equal_models_are_called_worse_in_at_most_one_of_twenty_trials() {
    let runs = 200;
    let worse = (0..runs).filter(|run| {
        let pairs = simulated(USUAL, USUAL, 200, run * 7 + 3);
        verdict(&pairs, &metrics([ALL]), Margins::default()) == TrialVerdict::Worse
    });
    // 5 % would be 10.
    assert!(worse.count() <= 10);
}

#[test]
fn a_worse_candidate_is_found_by_the_metric_in_which_it_is() {
    for (candidate, metric) in [
        (
            Model {
                error: 0.2,
                ..USUAL
            },
            TrialMetric::Errors,
        ),
        (
            Model {
                latency_ms: 1_600.0,
                ..USUAL
            },
            TrialMetric::Latency,
        ),
        (Model { cost: 120, ..USUAL }, TrialMetric::Cost),
    ] {
        let found = (0..20).filter(|seed| {
            let result = trial(USUAL, candidate, 200, seed * 3 + 1);
            result.verdict == TrialVerdict::Worse
                && of(&result, metric).verdict == TrialVerdict::Worse
        });
        let found = found.count();
        assert!(found >= 18, "{metric:?}: {found} of 20");
    }
}

#[test]
fn equal_models_are_no_worse_in_most_trials_and_a_bad_one_never() {
    let calm = Model {
        error: 0.01,
        flaw: 0.02,
        ..USUAL
    };
    let proven = (0..20)
        .filter(|seed| trial(calm, calm, 200, seed * 5 + 1).verdict == TrialVerdict::NoWorse);
    assert!(proven.count() >= 12);
    let bad = Model {
        error: 0.12,
        ..calm
    };
    let proven = (0..60).filter(|seed| {
        let result = trial(calm, bad, 200, seed * 5 + 2);
        of(&result, TrialMetric::Errors).verdict == TrialVerdict::NoWorse
    });
    // 11 points more, where 5 are tolerated: 5 % of 60 would be 3.
    assert!(proven.count() <= 3);
}

#[test]
fn what_is_not_proven_says_how_many_more_prompts_would() {
    let perfect = Model {
        error: 0.0,
        flaw: 0.0,
        ..USUAL
    };
    let result = trial(perfect, perfect, 20, 4);
    let errors = of(&result, TrialMetric::Errors);
    assert_eq!(errors.verdict, TrialVerdict::NotProven);
    assert!(errors.more.is_some_and(|more| (20..150).contains(&more)));
    assert_eq!(result.verdict, TrialVerdict::NotProven);
    let none = judge(&[], &metrics([Asks::default()]), Margins::default());
    assert_eq!(none.verdict, TrialVerdict::NotProven);
    assert!(none.metrics.iter().all(|it| it.more.is_none()));
}

#[test]
fn a_pair_speaks_of_what_it_can_be_compared_by() {
    let good = TrialAnswer {
        fault: None,
        quality: Some(Quality::Good),
        latency_ms: 100.0,
        tokens: None,
        cost: None,
        chars: 10,
        holds: Some(false),
    };
    let failed = TrialAnswer {
        fault: Some(FaultKind::Timeout),
        quality: None,
        ..good.clone()
    };
    let turned_away = TrialAnswer {
        fault: Some(FaultKind::Refused),
        ..failed.clone()
    };
    let pair = |candidate: &TrialAnswer| Pair {
        asks: Asks::default(),
        answers: PerArm {
            control: good.clone(),
            candidate: candidate.clone(),
        },
    };
    let seen = |metric, candidate| values(metric, &pair(candidate)).map(|it| it.candidate);
    assert_eq!(seen(TrialMetric::Errors, &failed), Some(1.0));
    assert_eq!(seen(TrialMetric::Refused, &failed), None);
    assert_eq!(seen(TrialMetric::Latency, &failed), None);
    assert_eq!(seen(TrialMetric::Errors, &turned_away), Some(0.0));
    assert_eq!(seen(TrialMetric::Refused, &turned_away), Some(1.0));
    assert_eq!(seen(TrialMetric::Truncated, &turned_away), None);
    assert_eq!(seen(TrialMetric::SchemaInvalid, &good), None, "not asked");
    assert_eq!(seen(TrialMetric::Cost, &good), None, "not known");
    assert_eq!(seen(TrialMetric::WrongAnswer, &good), None, "not asked");
    let asked = Pair {
        asks: Asks {
            expect: true,
            ..Asks::default()
        },
        ..pair(&good)
    };
    let wrong = values(TrialMetric::WrongAnswer, &asked);
    assert_eq!(wrong, Some([1.0, 1.0].into()));
    assert_eq!(log_ratio(0.0, 0.0), 0.0);
    assert_eq!((log_ratio(1.0, 0.0), log_ratio(0.0, 1.0)), (1.0, -1.0));
    assert!((log_ratio(2.0, 1.0) - 0.5).abs() < 1e-12);
}
