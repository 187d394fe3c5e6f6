//! What the answers of a trial prove of each metric.
//!
//! Within a pair both models answer the same prompt, so what makes prompts hard or easy cancels out. Each metric makes
//! of a pair a difference from −1 to 1, and [`betting`](super::betting) says what the differences prove. Shares:
//! 1 where only the candidate's answer is bad, −1 where only control's is. Ratios: the logarithm of the candidate's
//! by control's, cut at a ratio of 4 and divided by ln 4.
//!
//! "Worse" is said of any metric with a probability of at most [`ALPHA`] where the candidate is not: each has an equal
//! part of it. "No worse by more than the margin" is said wrongly of a metric with at most that probability.

use super::{
    answer::TrialAnswer,
    betting::{BetSide, Bets, limits},
};
use crate::{
    providers::quality::Quality,
    rollout::{
        arms::PerArm,
        trials::{TrialFigures, TrialMetric, TrialResult, TrialVerdict},
    },
};

/// How likely a wrong verdict may be.
pub const ALPHA: f64 = 0.05;
/// A larger ratio counts as this one, and a smaller than one by it as that.
const LARGEST_RATIO: f64 = 4.0;

/// What is tolerated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margins {
    /// Of shares: by how much the candidate's may be above control's, from 0 to 1.
    pub share: f64,
    /// Of latency and cost: how many times as much the candidate's may be, from 1 to 4.
    pub ratio: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            share: 0.05,
            ratio: 1.25,
        }
    }
}

/// What is asked of the answers to a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptDemands {
    /// They are JSON of a schema.
    pub schema: bool,
    /// They are in the language of the prompt.
    pub language: bool,
    /// They hold what the prompt expects.
    pub expect: bool,
}

/// Both models' answers to a prompt.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What was asked of them.
    pub asks: PromptDemands,
    /// What they were.
    pub answers: PerArm<TrialAnswer>,
}

/// The metrics of a trial whose prompts ask this: fixed before the first answer.
pub fn metrics(asks: impl IntoIterator<Item = PromptDemands>) -> Vec<TrialMetric> {
    let (mut schema, mut language, mut expect) = (false, false, false);
    for it in asks {
        schema |= it.schema;
        language |= it.language;
        expect |= it.expect;
    }
    let all = [
        (TrialMetric::Errors, true),
        (TrialMetric::Refused, true),
        (TrialMetric::Truncated, true),
        (TrialMetric::SchemaInvalid, schema),
        (TrialMetric::WrongLanguage, language),
        (TrialMetric::WrongAnswer, expect),
        (TrialMetric::Latency, true),
        (TrialMetric::Cost, true),
    ];
    let asked = all.into_iter().filter(|(_, is_asked)| *is_asked);
    asked.map(|(metric, _)| metric).collect()
}

/// What pairs prove, in the order in which they were meant to be asked.
pub fn judge(pairs: &[Pair], metrics: &[TrialMetric], margins: Margins) -> TrialResult {
    let all = MetricFigures::of(pairs, metrics, margins);
    TrialResult {
        verdict: overall(&all),
        pairs: pairs.len() as u64,
        metrics: all.iter().map(MetricFigures::tell).collect(),
    }
}

/// The verdict alone, which costs much less.
pub fn verdict(pairs: &[Pair], metrics: &[TrialMetric], margins: Margins) -> TrialVerdict {
    overall(&MetricFigures::of(pairs, metrics, margins))
}

/// Worse where one metric is, no worse where all are that could be compared.
fn overall(all: &[MetricFigures]) -> TrialVerdict {
    let compared = all.iter().filter(|it| !it.differences.is_empty());
    let verdicts: Vec<_> = compared.map(MetricFigures::verdict).collect();
    if verdicts.contains(&TrialVerdict::Worse) {
        TrialVerdict::Worse
    } else if !verdicts.is_empty() && verdicts.iter().all(|it| *it == TrialVerdict::NoWorse) {
        TrialVerdict::NoWorse
    } else {
        TrialVerdict::NotProven
    }
}

/// The evidence at which it counts as no worse, as a logarithm.
fn goal_no_worse() -> f64 {
    (1.0 / ALPHA).ln()
}

/// One metric, pair by pair.
struct MetricFigures {
    metric: TrialMetric,
    /// As it is shown, and as a mean difference.
    margin: (f64, f64),
    /// The evidence at which it counts as worse, as a logarithm.
    goal_worse: f64,
    worse: Bets,
    no_worse: Bets,
    differences: Vec<f64>,
    sums: PerArm<f64>,
}

impl MetricFigures {
    fn of(pairs: &[Pair], metrics: &[TrialMetric], margins: Margins) -> Vec<Self> {
        let of_metric = |metric: &TrialMetric| {
            let mut figures = Self::new(*metric, margins, metrics.len());
            pairs.iter().for_each(|pair| figures.add(pair));
            figures
        };
        metrics.iter().map(of_metric).collect()
    }

    fn new(metric: TrialMetric, margins: Margins, metrics: usize) -> Self {
        let margin = if metric.is_ratio() {
            (margins.ratio, margins.ratio.ln() / LARGEST_RATIO.ln())
        } else {
            (margins.share, margins.share)
        };
        Self {
            metric,
            margin,
            goal_worse: (metrics as f64 / ALPHA).ln(),
            worse: Bets::new(BetSide::Above, 0.0),
            no_worse: Bets::new(BetSide::Below, margin.1),
            differences: Vec::new(),
            sums: PerArm::default(),
        }
    }

    fn add(&mut self, pair: &Pair) {
        let Some(values) = values(self.metric, pair) else {
            return;
        };
        let PerArm { control, candidate } = values;
        self.sums.control += control;
        self.sums.candidate += candidate;
        let difference = if self.metric.is_ratio() {
            log_ratio(candidate, control)
        } else {
            candidate - control
        };
        self.worse.add(difference);
        self.no_worse.add(difference);
        self.differences.push(difference);
    }

    fn verdict(&self) -> TrialVerdict {
        if self.no_worse.best() >= goal_no_worse() {
            TrialVerdict::NoWorse
        } else if self.worse.best() >= self.goal_worse {
            TrialVerdict::Worse
        } else {
            TrialVerdict::NotProven
        }
    }

    fn tell(&self) -> TrialFigures {
        let verdict = self.verdict();
        let (worse, no_worse) = (
            self.worse.more(self.goal_worse),
            self.no_worse.more(goal_no_worse()),
        );
        let more = [worse, no_worse].into_iter().flatten().min();
        let pairs = self.differences.len();
        let mean = |sum: f64| (pairs > 0).then(|| sum / pairs as f64);
        let as_told = |difference: f64| {
            if self.metric.is_ratio() {
                (difference * LARGEST_RATIO.ln()).exp()
            } else {
                difference
            }
        };
        let (low, high) = limits(&self.differences, ALPHA);
        TrialFigures {
            metric: self.metric,
            verdict,
            pairs: pairs as u64,
            control: mean(self.sums.control),
            candidate: mean(self.sums.candidate),
            effect: mean(self.differences.iter().sum()).map(as_told),
            low: as_told(low),
            high: as_told(high),
            margin: self.margin.0,
            log_e_worse: self.worse.log(),
            log_e_no_worse: self.no_worse.log(),
            more: more.filter(|_| verdict == TrialVerdict::NotProven && pairs > 0),
        }
    }
}

/// What a pair says of a metric: 1 for a bad answer and 0 for another, or how much; `None` where it says nothing.
fn values(metric: TrialMetric, pair: &Pair) -> Option<PerArm<f64>> {
    let Pair {
        asks,
        answers: PerArm { control, candidate },
    } = pair;
    let both = |value: &dyn Fn(&TrialAnswer) -> f64| PerArm {
        control: value(control),
        candidate: value(candidate),
    };
    let is = |flaw: Quality| both(&|answer| f64::from(answer.is(flaw)));
    let is_answered = control.is_answered() && candidate.is_answered();
    match metric {
        TrialMetric::Errors => Some(both(&|answer| f64::from(answer.is_error()))),
        TrialMetric::Refused => {
            (!control.is_error() && !candidate.is_error()).then(|| is(Quality::Refused))
        }
        TrialMetric::Truncated => is_answered.then(|| is(Quality::Truncated)),
        TrialMetric::SchemaInvalid => {
            (is_answered && asks.schema).then(|| is(Quality::SchemaInvalid))
        }
        TrialMetric::WrongLanguage => {
            (is_answered && asks.language).then(|| is(Quality::WrongLanguage))
        }
        TrialMetric::WrongAnswer => (is_answered && asks.expect)
            .then(|| both(&|answer| f64::from(answer.holds == Some(false)))),
        TrialMetric::Latency => is_answered.then(|| both(&|answer| answer.latency_ms)),
        TrialMetric::Cost => {
            let (control, candidate) = (control.cost?, candidate.cost?);
            is_answered.then(|| PerArm::from([control, candidate]).map(|it| it.0 as f64))
        }
    }
}

/// From −1 to 1.
fn log_ratio(candidate: f64, control: f64) -> f64 {
    if candidate <= 0.0 && control <= 0.0 {
        return 0.0;
    }
    // Where one is 0 the logarithm is infinite, and cut.
    let log = (candidate.max(0.0) / control.max(0.0)).ln() / LARGEST_RATIO.ln();
    log.clamp(-1.0, 1.0)
}

#[cfg(test)]
pub(super) mod tests {
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

    const ALL: PromptDemands = PromptDemands {
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
        let none = judge(
            &[],
            &metrics([PromptDemands::default()]),
            Margins::default(),
        );
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
            asks: PromptDemands::default(),
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
            asks: PromptDemands {
                expect: true,
                ..PromptDemands::default()
            },
            ..pair(&good)
        };
        let wrong = values(TrialMetric::WrongAnswer, &asked);
        assert_eq!(wrong, Some([1.0, 1.0].into()));
        assert_eq!(log_ratio(0.0, 0.0), 0.0);
        assert_eq!((log_ratio(1.0, 0.0), log_ratio(0.0, 1.0)), (1.0, -1.0));
        assert!((log_ratio(2.0, 1.0) - 0.5).abs() < 1e-12);
    }
}
