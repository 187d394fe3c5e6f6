//! What a model finds that judges answers in pairs: the same question, put to both sides.
//!
//! Each pair is judged twice, the second time with the answers in the other order. Where both say the same, the pair is
//! decided; where each prefers what came first (or last), the judge was inconsistent, and where it says that neither
//! is better, the pair is even. Of decided pairs, control's answer is the better one with a probability of at most
//! m/(1 + m) if the candidate is no worse than the margin m tolerates. So bets on "more often than that" are an
//! e-process whatever users are like and whatever the share is: both sides got the same questions at the same time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    finite::{finite, read_finite},
    mixture::{Mixture, Restarts},
};
use crate::{_core::units::Microdollars, recording::Judgement};

/// How often control's answer may be the better one of a worse candidate, with the weight of each.
const WORSE: [f64; 4] = [0.6, 0.7, 0.85, 0.97];
/// Verdicts by which it is seen whether the judge works.
const LAST: usize = 20;
/// So many of them without a verdict are too many, and so many inconsistent ones.
const MOST_FAILED: usize = 10;
const MOST_INCONSISTENT: usize = 10;
const DAY_MS: i64 = 24 * 3_600_000;

/// Why a judge does not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Half of its last twenty verdicts did not come, or could not be read.
    Fails,
    /// Half of its last twenty verdicts depended on the order of the answers.
    Inconsistent,
}

impl Stopped {
    /// In words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Fails => "half of its last 20 verdicts did not come, or could not be read",
            Self::Inconsistent => {
                "half of its last 20 verdicts changed with the order of the two answers"
            }
        }
    }
}

/// What a judge has found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgeEvidence {
    /// Pairs in which the candidate's answer was better.
    pub better: u64,
    /// In which it was worse.
    pub worse: u64,
    /// In which neither was.
    pub even: u64,
    /// In which the verdict changed with the order of the answers.
    pub inconsistent: u64,
    /// Without a verdict: the judge did not answer, or not as it was asked to.
    pub failed: u64,
    /// The evidence that the candidate's answers are worse than tolerated: a hold at 20, a rollback at 1,000; 1 where
    /// the judge does not count.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// Why it does not count any more, if so.
    pub stopped: Option<Stopped>,
    /// Pairs that were judged on the day (UTC) of the last one.
    pub pairs_that_day: u64,
    /// What they cost, answers and verdicts together, in millionths of a US dollar.
    pub cost_that_day: Microdollars,
    /// When the last pair was judged, in milliseconds since 1970.
    pub last_ms: i64,
}

impl JudgeEvidence {
    /// Pairs of today, and what they cost.
    pub fn used(&self, now_ms: i64) -> (u64, Microdollars) {
        if self.last_ms.div_euclid(DAY_MS) == now_ms.div_euclid(DAY_MS) {
            (self.pairs_that_day, self.cost_that_day)
        } else {
            (0, Microdollars::default())
        }
    }

    /// In a sentence.
    pub fn in_words(&self) -> String {
        let Self {
            better,
            worse,
            even,
            inconsistent,
            failed,
            e,
            ..
        } = self;
        let counts = format!(
            "of {} pairs the candidate's answer was better in {better} and worse in {worse}; {even} were even, \
             {inconsistent} changed with the order, and of {failed} there is no verdict",
            better + worse + even + inconsistent + failed
        );
        match self.stopped {
            Some(stopped) => format!(
                "the judge model does not count any more: {}; {counts}",
                stopped.in_words()
            ),
            None => format!("the judge model: {counts}; E is {e:.2}"),
        }
    }
}

/// The state of it; bounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Judged {
    /// The probability that the null hypothesis allows control.
    null: f64,
    mixture: Mixture,
    /// By judgement, in the order of [`Judgement::ALL`].
    counts: [u64; Judgement::ALL.len()],
    /// The newest last.
    last: Vec<Judgement>,
    stopped: Option<Stopped>,
    pairs_that_day: u64,
    cost_that_day: Microdollars,
    last_ms: i64,
}

impl Judged {
    pub(super) fn new(margin: f64) -> Self {
        let margin = if margin.is_finite() {
            margin.clamp(1.0, 10.0)
        } else {
            1.0
        };
        Self {
            null: margin / (1.0 + margin),
            mixture: Mixture::new(WORSE.len(), Restarts::NEVER),
            counts: Default::default(),
            last: Vec::new(),
            stopped: None,
            pairs_that_day: 0,
            cost_that_day: Microdollars::default(),
            last_ms: i64::MIN,
        }
    }

    /// Folds what was found of a pair.
    pub(super) fn fold(&mut self, judgement: Judgement, cost: Microdollars, at_ms: i64) {
        self.counts[judgement as usize] += 1;
        let at_ms = at_ms.max(self.last_ms);
        if self.last_ms.div_euclid(DAY_MS) != at_ms.div_euclid(DAY_MS) {
            (self.pairs_that_day, self.cost_that_day) = (0, Microdollars::default());
        }
        self.last_ms = at_ms;
        self.pairs_that_day += 1;
        self.cost_that_day.0 = self.cost_that_day.0.saturating_add(cost.0.max(0));
        if self.last.len() >= LAST {
            self.last.remove(0);
        }
        self.last.push(judgement);
        let of = |wanted| self.last.iter().filter(|it| **it == wanted).count();
        if of(Judgement::Failed) >= MOST_FAILED {
            self.stopped.get_or_insert(Stopped::Fails);
        } else if of(Judgement::Inconsistent) >= MOST_INCONSISTENT {
            self.stopped.get_or_insert(Stopped::Inconsistent);
        }
        let null = self.null;
        // An alternative that is no worse than the null hypothesis bets nothing.
        let alternatives = WORSE.map(|it| it.max(null));
        match judgement {
            Judgement::Worse => self.mixture.add(alternatives.map(|it| (it / null).ln())),
            Judgement::Better => {
                let bets = alternatives.map(|it| ((1.0 - it) / (1.0 - null)).ln());
                self.mixture.add(bets);
            }
            Judgement::Even | Judgement::Inconsistent | Judgement::Failed => {}
        }
    }

    /// The evidence that the candidate's answers are worse; 1, which says nothing, where the judge does not count.
    pub(super) fn value(&self) -> f64 {
        match self.stopped {
            Some(_) => 1.0,
            None => self.mixture.value([1.0 / WORSE.len() as f64; WORSE.len()]),
        }
    }

    pub(super) fn evidence(&self) -> JudgeEvidence {
        let [better, worse, even, inconsistent, failed] = self.counts;
        JudgeEvidence {
            better,
            worse,
            even,
            inconsistent,
            failed,
            e: finite(self.value()),
            stopped: self.stopped,
            pairs_that_day: self.pairs_that_day,
            cost_that_day: self.cost_that_day,
            last_ms: self.last_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: Microdollars = Microdollars(10_000);

    fn after(judgements: impl IntoIterator<Item = Judgement>) -> Judged {
        let mut judged = Judged::new(1.25);
        for (minute, judgement) in (0..).zip(judgements) {
            judged.fold(judgement, CENT, minute * 60_000);
        }
        judged
    }

    #[test]
    fn a_candidate_whose_answers_are_always_worse_is_found_in_fifteen_pairs() {
        let found = (1..)
            .find(|pairs| after(std::iter::repeat_n(Judgement::Worse, *pairs)).value() >= 1_000.0);
        assert!(found.is_some_and(|pairs| pairs <= 15), "{found:?}");
        let even = after([Judgement::Even; 100]);
        assert_eq!(even.value(), 1.0, "no difference says nothing");
    }

    /// A hundredth would be 4 of 400; more than 13 have a probability of a ten-thousandth then.
    #[test]
    fn a_candidate_as_bad_as_tolerated_is_rarely_found_however_often_one_looks() {
        let mut state = 7_u64;
        let mut unit = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let found = (0..400).filter(|_| {
            let mut judged = Judged::new(1.25);
            (0..300).any(|_| {
                let worse = unit() < 1.25 / 2.25;
                let judgement = if worse {
                    Judgement::Worse
                } else {
                    Judgement::Better
                };
                judged.fold(judgement, CENT, 0);
                judged.value() >= 100.0
            })
        });
        let found = found.count();
        assert!(found <= 13, "{found} of 400");
    }

    #[test]
    fn a_judge_that_fails_or_goes_by_the_order_stops_counting_and_says_so() {
        for (judgement, stopped) in [
            (Judgement::Failed, Stopped::Fails),
            (Judgement::Inconsistent, Stopped::Inconsistent),
        ] {
            let pairs = |count| {
                let bad = std::iter::repeat_n(judgement, count);
                after(std::iter::repeat_n(Judgement::Worse, 30).chain(bad))
            };
            let works = pairs(9).evidence();
            assert!(works.stopped.is_none() && works.e > 1_000.0);
            let judged = pairs(10);
            let evidence = judged.evidence();
            assert_eq!((evidence.stopped, evidence.e), (Some(stopped), 1.0));
            assert!(evidence.in_words().contains(stopped.in_words()));
            let mut later = judged;
            (0..50).for_each(|_| later.fold(Judgement::Worse, CENT, 0));
            assert_eq!(later.value(), 1.0, "it stays so");
        }
    }

    #[test]
    fn what_a_day_used_is_known() {
        let mut judged = Judged::new(1.25);
        for at_ms in [DAY_MS - 2, DAY_MS - 1, DAY_MS, DAY_MS + 1, DAY_MS + 2] {
            judged.fold(Judgement::Even, CENT, at_ms);
        }
        let evidence = judged.evidence();
        assert_eq!(evidence.used(DAY_MS + 9), (3, Microdollars(30_000)));
        assert_eq!(evidence.used(2 * DAY_MS), (0, Microdollars(0)));
        assert_eq!(evidence.even, 5);
    }
}
