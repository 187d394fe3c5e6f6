//! What a trial found, and which trial a plan demands before a rollout may begin.
//!
//! A trial puts the same prompts to both models before any user gets the candidate; how it is judged stands
//! in [`crate::trial`]. What is kept of it are its figures, never a text.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span;
use crate::_core::{actor::Actor, units::counted};

/// What is compared in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrialMetric {
    /// No answer came, by a fault of the model, its provider or the prompt's length.
    Errors,
    /// The model, or its provider, said that it will not answer.
    Refused,
    /// A limit of tokens cut the answer off.
    Truncated,
    /// The answer was not JSON of the schema that the prompt asks for.
    SchemaInvalid,
    /// The answer was in another language than the prompt.
    WrongLanguage,
    /// The answer did not hold what the prompt expects.
    WrongAnswer,
    /// How long an answer took.
    Latency,
    /// What an answer cost.
    Cost,
}

impl TrialMetric {
    /// As it is stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Refused => "refused",
            Self::Truncated => "truncated",
            Self::SchemaInvalid => "schema-invalid",
            Self::WrongLanguage => "wrong-language",
            Self::WrongAnswer => "wrong-answer",
            Self::Latency => "latency",
            Self::Cost => "cost",
        }
    }

    /// Whether it is shown as a ratio. The others are shares of answers and shown as their difference.
    pub const fn is_ratio(self) -> bool {
        matches!(self, Self::Latency | Self::Cost)
    }
}

/// What is proven of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrialVerdict {
    /// It is worse than control.
    Worse,
    /// It is no worse than control by more than the margin.
    NoWorse,
    /// Neither is proven.
    NotProven,
}

impl fmt::Display for TrialVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worse => "worse",
            Self::NoWorse => "no worse",
            Self::NotProven => "not proven",
        })
    }
}

/// One metric of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialFigures {
    /// What is compared.
    pub metric: TrialMetric,
    /// What is proven.
    pub verdict: TrialVerdict,
    /// Pairs of answers that say something of it.
    pub pairs: u64,
    /// Control's mean: a share from 0 to 1, milliseconds, or millionths of a US dollar; left out without pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<f64>,
    /// The candidate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<f64>,
    /// The candidate's share minus control's; of latency and cost, the geometric mean of the candidate's divided by
    /// control's, each ratio cut at 4 and at one by 4. Left out without pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<f64>,
    /// The effect is not below this. Both limits together hold whenever the trial is stopped, with a probability
    /// of 95 %.
    pub low: f64,
    /// It is not above this.
    pub high: f64,
    /// The effect that is tolerated.
    pub margin: f64,
    /// The natural logarithm of the evidence that the candidate is worse.
    pub log_e_worse: f64,
    /// The same, that it is no worse by more than the margin.
    pub log_e_no_worse: f64,
    /// About how many more pairs would prove one of the two, if they are like those so far; left out where none would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
}

/// What a trial found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialResult {
    /// `worse` where one metric is, `no-worse` where all are that could be compared.
    pub verdict: TrialVerdict,
    /// Prompts that both models were asked.
    pub pairs: u64,
    /// By metric.
    #[schemars(length(max = 20))]
    pub metrics: Vec<TrialFigures>,
}

/// A trial that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// UUIDv7 text.
    pub id: String,
    /// When its first answer came.
    pub at: DateTime<Utc>,
    /// By whom.
    pub actor: Actor,
    /// The task whose models were compared.
    pub task: String,
    /// Control's primary model.
    pub control: String,
    /// The candidate's.
    pub candidate: String,
    /// What it found.
    pub result: TrialResult,
}

/// Margins are compared as they were typed.
const ROUNDING: f64 = 1e-9;

/// Where trials are kept.
#[async_trait]
pub trait TrialStore: Send + Sync {
    /// Keeps one.
    async fn add_trial(&self, trial: &Trial) -> anyhow::Result<()>;

    /// The newest ones, the newest first, at most `limit`.
    async fn trials(&self, limit: u32) -> anyhow::Result<Vec<Trial>>;
}

/// The trial that a plan demands before its rollout begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialDemand {
    /// `no-worse`, or `not-proven` where it is enough that the candidate is not shown to be worse.
    pub verdict: TrialVerdict,
    /// Prompts that both models were asked, at least.
    pub pairs: u64,
    /// How long ago its first answer came, at most.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub max_age: Duration,
    /// The margin of shares that it may have been judged by, at most: from 0 to 1.
    pub margin: f64,
    /// The same of latency and cost, as a ratio.
    pub ratio: f64,
}

impl TrialDemand {
    /// Why the newest trial of two models does not do; `None` where it does.
    pub fn lacks(&self, newest: Option<&Trial>, now: DateTime<Utc>) -> Option<String> {
        let Some(Trial { at, result, .. }) = newest else {
            return Some("none is recorded".to_owned());
        };
        let day = at.format("%Y-%m-%d");
        let says = result.verdict;
        let does = says == TrialVerdict::NoWorse || says == self.verdict;
        if !does {
            return Some(format!("the newest, of {day}, says `{says}`"));
        }
        if result.pairs < self.pairs {
            let pairs = counted(result.pairs, "prompt");
            return Some(format!("the newest, of {day}, has only {pairs}"));
        }
        let tolerates_more = |it: &&TrialFigures| {
            let most = if it.metric.is_ratio() {
                self.ratio
            } else {
                self.margin
            };
            it.margin > most + ROUNDING
        };
        if says == TrialVerdict::NoWorse
            && let Some(figures) = result.metrics.iter().find(tolerates_more)
        {
            let metric = figures.metric.name();
            return Some(format!(
                "the newest, of {day}, tolerates more of `{metric}` than the plan does"
            ));
        }
        let max_age = TimeDelta::from_std(self.max_age).unwrap_or(TimeDelta::MAX);
        (now - at > max_age).then(|| format!("the newest, of {day}, is too old"))
    }

    /// What is demanded, in words.
    fn words(&self) -> String {
        let says = match self.verdict {
            TrialVerdict::NoWorse => "shows the candidate no worse by more than the margin",
            TrialVerdict::NotProven | TrialVerdict::Worse => "does not show the candidate worse",
        };
        let age = humantime::format_duration(self.max_age);
        let pairs = counted(self.pairs, "prompt");
        let (points, ratio) = (self.margin * 100.0, self.ratio);
        format!(
            "{says}, with at least {pairs}, a margin of at most {points:.0} points and a ratio of {ratio}, begun within {age}"
        )
    }

    /// Why a rollout of this plan may not begin yet, for the models that have no such trial.
    pub fn refusal(&self, plan: &str, lacking: &[Lacking]) -> String {
        let each = lacking.iter().map(|it| {
            let Lacking {
                task,
                control,
                candidate,
                why,
            } = it;
            format!("of task `{task}`, `{candidate}` against `{control}`: {why}")
        });
        let each: Vec<_> = each.collect();
        format!(
            "plan `{plan}` demands a trial that {}; {}. \
             `modelramp trial PROMPTS.jsonl --plan {plan}` makes one",
            self.words(),
            each.join("; ")
        )
    }
}

/// Two models that a plan demands a trial of, and that have none that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Whose models they are.
    pub task: String,
    /// Control's primary.
    pub control: String,
    /// The candidate's.
    pub candidate: String,
    /// What is missing.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(verdict: TrialVerdict, pairs: u64, days: i64) -> Trial {
        Trial {
            id: "t".into(),
            at: DateTime::UNIX_EPOCH - TimeDelta::days(days),
            actor: Actor::User(1),
            task: "chat".into(),
            control: "old".into(),
            candidate: "new".into(),
            result: TrialResult {
                verdict,
                pairs,
                metrics: Vec::new(),
            },
        }
    }

    #[test]
    fn a_demand_says_what_is_missing() {
        let demand = |verdict| TrialDemand {
            verdict,
            pairs: 100,
            max_age: Duration::from_secs(30 * 86_400),
            margin: 0.1,
            ratio: 1.5,
        };
        let now = DateTime::UNIX_EPOCH;
        let strict = demand(TrialVerdict::NoWorse);
        let lacks = |trial: Option<Trial>| strict.lacks(trial.as_ref(), now);
        assert_eq!(lacks(None).unwrap(), "none is recorded");
        for (trial, why) in [
            (trial(TrialVerdict::Worse, 100, 0), "says `worse`"),
            (trial(TrialVerdict::NotProven, 100, 0), "says `not proven`"),
            (trial(TrialVerdict::NoWorse, 99, 0), "only 99 prompts"),
            (trial(TrialVerdict::NoWorse, 100, 31), "too old"),
        ] {
            let said = lacks(Some(trial)).unwrap();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(lacks(Some(trial(TrialVerdict::NoWorse, 100, 30))), None);
        let mut tolerant = trial(TrialVerdict::NoWorse, 100, 0);
        tolerant.result.metrics = vec![TrialFigures {
            metric: TrialMetric::Errors,
            verdict: TrialVerdict::NoWorse,
            pairs: 100,
            control: None,
            candidate: None,
            effect: None,
            low: 0.0,
            high: 0.0,
            margin: 0.1,
            log_e_worse: 0.0,
            log_e_no_worse: 3.0,
            more: None,
        }];
        assert_eq!(lacks(Some(tolerant.clone())), None);
        tolerant.result.metrics[0].margin = 0.2;
        let said = lacks(Some(tolerant)).unwrap();
        assert!(said.contains("tolerates more of `errors`"), "{said}");
        let mild = demand(TrialVerdict::NotProven);
        let unproven = trial(TrialVerdict::NotProven, 100, 0);
        assert_eq!(mild.lacks(Some(&unproven), now), None);
        let worse = trial(TrialVerdict::Worse, 100, 0);
        assert!(mild.lacks(Some(&worse), now).is_some());
    }
}
