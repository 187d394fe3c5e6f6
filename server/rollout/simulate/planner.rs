//! How long a stage needs to see a candidate that is worse, before anybody starts it.

mod limit;
mod proof;

use std::{fmt, time::Duration};

pub use self::proof::ProofNeeds;
use crate::rollout::{
    evidence::EvidencePlan,
    plan::{Gate, Plan},
};

/// Candidates that a stage is asked about: how many times as many errors as control.
pub const RATIOS: [f64; 3] = [2.0, 5.0, 10.0];
/// The evidence that takes a candidate back.
const ROLLBACK: f64 = 100.0;

/// The mean hours that the best possible test would need (Wald's bound) to find a candidate `ratio`
/// times as bad, against a tolerated `margin`, with a hundredth of false alarms. `share` and
/// `baseline` are 0 to 1. Infinite where nothing can be found.
pub fn wald_hours(
    requests_per_day: f64,
    baseline: f64,
    share: f64,
    ratio: f64,
    margin: f64,
) -> f64 {
    let falls_on_candidate = |ratio: f64| share * ratio / (share * ratio + 1.0 - share);
    let (worse, tolerated) = (falls_on_candidate(ratio), falls_on_candidate(margin));
    let per_error =
        worse * (worse / tolerated).ln() + (1.0 - worse) * ((1.0 - worse) / (1.0 - tolerated)).ln();
    let candidate_errors = share * (baseline * ratio).min(1.0);
    let errors_per_hour = requests_per_day / 24.0 * (candidate_errors + (1.0 - share) * baseline);
    let hours = ROLLBACK.ln() / (errors_per_hour * per_error);
    if ratio > margin && hours.is_finite() && hours > 0.0 {
        hours
    } else {
        f64::INFINITY
    }
}

/// What each stage but the last needs before the next one opens, a sentence each.
pub fn needs(plan: &Plan, baseline: f64) -> Vec<String> {
    let stages = plan.stages.iter().enumerate();
    let stages = stages.take(plan.stages.len().saturating_sub(1));
    let words = stages.map(|(n, stage)| {
        let share = plan.share_of(n).get() / 100.0;
        let ProofNeeds {
            metric, requests, ..
        } = ProofNeeds::of(&plan.evidence, baseline, share, stage.rho_bad);
        let percent = baseline * 100.0;
        let proof = if requests.is_finite() {
            format!(
                "proof that it is safe takes about {requests:.0} requests of both arms where {percent} % \
                 of control's fail and the candidate is as good; of {metric} it takes longest"
            )
        } else {
            "its safety cannot be proven, as one arm has no users".to_owned()
        };
        let then = match stage.gate {
            Gate::Manual => "a person is asked after the soak in any case".to_owned(),
            Gate::Automatic => format!(
                "the next stage opens on it, and without it a person is asked after {}",
                asked_after(in_hours(stage.soak), in_hours(stage.min_time))
            ),
        };
        format!("Stage {}: {proof}; {then}", n + 1)
    });
    words.collect()
}

/// What the shipped tests need beyond the bound: bins, the mixtures over ratios and starting hours,
/// and the other metrics' part of the evidence. Simulated delays are 1.5 to 2.1 times the bound
/// (docs/statistics.md); one number for all of them is as exact as a plan has to be.
const OVERHEAD: f64 = 1.8;
/// The smaller arm's requests in the first bin, which has to close.
const FIRST_BIN: f64 = 5.0;

/// What is known before a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpectedTraffic {
    /// Counted requests of both arms.
    pub requests_per_day: f64,
    /// Control's error rate, 0 to 1.
    pub baseline: f64,
    /// Who makes them, where that is known.
    pub users: Option<f64>,
}

/// A stage as it is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStage {
    /// As people call it.
    pub name: String,
    /// Percent of users.
    pub share: f64,
    /// How long it soaks.
    pub hours: f64,
    /// For how many hours its requests must have come.
    pub min_hours: f64,
    /// A candidate this many times worse must not pass.
    pub rho_bad: f64,
    /// What opens the next stage; none follows the last.
    pub gate: Option<Gate>,
    /// Users of the candidate without whom it is not judged.
    pub min_users: u64,
}

impl PlannedStage {
    /// After how many hours a person is asked where it is not proven.
    fn asks_after(&self) -> f64 {
        self.min_hours.max(2.0 * self.hours)
    }
}

/// What a stage can see.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSight {
    /// The stage.
    pub stage: PlannedStage,
    /// The mean hours until a candidate 2, 5 and 10 times as bad is taken back; infinite where the
    /// arms cannot be compared.
    pub needed_hours: [f64; RATIOS.len()],
    /// What it takes to prove that a candidate is no worse.
    pub proof: ProofNeeds,
    /// The mean hours until a candidate that is as good as control is proven no worse; infinite where
    /// that cannot be.
    pub proof_hours: f64,
}

impl StageSight {
    /// Whether it may be proven on a day with fewer errors than usual, though a usual day has too few requests.
    fn is_luck(&self, requests_per_day: f64) -> bool {
        2.0 * requests_per_day >= self.proof.within_a_day
    }

    /// The smallest of [`RATIOS`] that this stage is long enough for; `None` sees nothing.
    pub fn sees(&self) -> Option<f64> {
        self.needed_hours
            .iter()
            .zip(RATIOS)
            .find_map(|(needed, ratio)| (*needed <= self.stage.hours).then_some(ratio))
    }
}

/// How long each stage needs to see a candidate that is worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What it was planned for.
    pub traffic: ExpectedTraffic,
    /// What is judged, and how.
    evidence: EvidencePlan,
    /// In the order of the plan.
    pub stages: Vec<StageSight>,
}

/// Plans for each stage by itself, as if the evidence of the stages before were lost.
pub fn plan(
    traffic: ExpectedTraffic,
    evidence: &EvidencePlan,
    stages: impl IntoIterator<Item = PlannedStage>,
) -> Sight {
    let needed = |share: f64, ratio: f64| {
        let bound = wald_hours(
            traffic.requests_per_day,
            traffic.baseline,
            share,
            ratio,
            evidence.margin,
        );
        let smaller_arm = traffic.requests_per_day / 24.0 * share.min(1.0 - share);
        (OVERHEAD * bound).max(FIRST_BIN / smaller_arm)
    };
    let stages = stages
        .into_iter()
        .map(|stage| {
            let share = stage.share / 100.0;
            let proof = ProofNeeds::of(evidence, traffic.baseline, share, stage.rho_bad);
            StageSight {
                needed_hours: RATIOS.map(|ratio| needed(share, ratio)),
                proof,
                proof_hours: proof.hours(traffic.requests_per_day),
                stage,
            }
        })
        .collect();
    Sight {
        traffic,
        evidence: evidence.clone(),
        stages,
    }
}

impl Sight {
    /// What the stages of a rollout's plan can see.
    pub fn of(plan: &Plan, traffic: ExpectedTraffic) -> Self {
        let stages = plan.stages.iter().enumerate();
        let stages = stages.map(|(n, stage)| PlannedStage {
            name: (n + 1).to_string(),
            share: plan.share_of(n).get(),
            hours: in_hours(stage.soak),
            min_hours: in_hours(stage.min_time),
            rho_bad: stage.rho_bad,
            gate: (!plan.is_last(n)).then_some(stage.gate),
            min_users: stage.min_users,
        });
        self::plan(traffic, &plan.evidence, stages)
    }

    /// A sentence for each stage that will never be judged, or never proven, with what helps.
    pub fn never(&self) -> Vec<String> {
        let mut words = Vec::new();
        for it in &self.stages {
            let PlannedStage {
                name,
                share,
                min_users,
                ..
            } = &it.stage;
            let users = self.traffic.users.map(|users| users * share / 100.0);
            if let Some(users) = users.filter(|users| *users < *min_users as f64) {
                words.push(format!(
                    "Stage {name} gets about {users:.0} of the users and is not judged below {min_users}: a \
                     larger share helps, or a smaller `min_users`, with which single users count for more"
                ));
            }
            if it.stage.gate.is_some()
                && it.proof.requests.is_finite()
                && it.proof_hours.is_infinite()
            {
                words.push(self.unprovable(it));
            }
        }
        words
    }

    fn unprovable(&self, it: &StageSight) -> String {
        let per_day = self.traffic.requests_per_day;
        let ProofNeeds {
            metric,
            within_a_day,
            ..
        } = it.proof;
        let share = [20.0, 30.0, 50.0].into_iter().find(|share| {
            let proof = ProofNeeds::of(
                &self.evidence,
                self.traffic.baseline,
                share / 100.0,
                it.stage.rho_bad,
            );
            *share > it.stage.share && proof.hours(per_day).is_finite()
        });
        let share = share.map_or("no larger share is enough".to_owned(), |share| {
            format!("a share of {share} % is enough")
        });
        format!(
            "Stage {} {}: of {metric} that takes about {within_a_day:.0} requests within one \
             day, as the last day has to agree with the stage, and there are {per_day:.0}. A longer soak does \
             not help; {share}. Otherwise let a person open the gate, and compare both models on the same \
             prompts before",
            it.stage.name,
            if it.is_luck(per_day) {
                "is seldom proven"
            } else {
                "can never be proven"
            }
        )
    }

    /// A sentence for each stage whose automatic gate will ask a person, as proof comes too late.
    pub fn unproven(&self) -> impl Iterator<Item = String> {
        let late = |it: &&StageSight| {
            it.stage.gate == Some(Gate::Automatic)
                && it.proof_hours.is_finite()
                && it.proof_hours > it.stage.asks_after()
        };
        self.stages.iter().filter(late).map(|it| {
            format!(
                "Stage {} takes about {} to be proven, so its automatic gate asks a person after {}",
                it.stage.name,
                in_words(it.proof_hours),
                asked_after(it.stage.hours, it.stage.min_hours)
            )
        })
    }

    /// The stages that are too short to see anything, though they have a control to compare with.
    pub fn blind(&self) -> impl Iterator<Item = &StageSight> {
        let stages = self.stages.iter();
        stages.filter(|it| it.sees().is_none() && it.stage.share < 100.0)
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExpectedTraffic {
            requests_per_day,
            baseline,
            ..
        } = self.traffic;
        let margin = self.evidence.margin;
        writeln!(
            f,
            "{requests_per_day} requests a day, {} % of control's fail, {margin}× is tolerated",
            baseline * 100.0
        )?;
        write!(f, "{:<16}{:>8}{:>10}", "stage", "share", "lasts")?;
        for ratio in RATIOS {
            write!(f, "{:>10}", format!("{ratio}× in"))?;
        }
        for sight in &self.stages {
            let PlannedStage {
                name, share, hours, ..
            } = &sight.stage;
            write!(
                f,
                "\n{name:<16}{:>8}{:>10}",
                format!("{share} %"),
                in_words(*hours)
            )?;
            for needed in sight.needed_hours {
                write!(f, "{:>10}", in_words(needed))?;
            }
            match sight.sees() {
                Some(ratio) => write!(f, "  sees {ratio}× worse, and more")?,
                None if *share >= 100.0 => write!(f, "  no control: judged by frozen rates")?,
                None => write!(f, "  TOO SHORT to see even {}× worse", RATIOS[2])?,
            }
            let proof = in_words(sight.proof_hours);
            let how_often = if sight.is_luck(requests_per_day) {
                "seldom"
            } else {
                "never"
            };
            match sight.stage.gate {
                None => {}
                Some(Gate::Manual) if sight.proof_hours.is_infinite() => {
                    write!(f, "; {how_often} proven, and asks a person")?;
                }
                Some(Gate::Automatic) if sight.proof_hours.is_infinite() => {
                    let asked = in_words(sight.stage.asks_after());
                    write!(f, "; {how_often} proven: ASKS A PERSON after {asked}")?;
                }
                Some(Gate::Manual) => write!(f, "; proven in {proof}, and asks a person")?,
                Some(Gate::Automatic) if sight.proof_hours > sight.stage.asks_after() => {
                    let asked = in_words(sight.stage.asks_after());
                    write!(f, "; proven in {proof}: ASKS A PERSON after {asked}")?;
                }
                Some(Gate::Automatic) => {
                    let promoted = sight.proof_hours.max(*hours).max(sight.stage.min_hours);
                    let promoted = in_words(promoted);
                    write!(f, "; proven in {proof}, so promoted after {promoted}")?;
                }
            }
        }
        write!(
            f,
            "\nWhat is seen is told of errors. ProofNeeds is of every metric with a weight, as if as many answers were \
             flawed as requests fail."
        )?;
        for words in self.above_limit().into_iter().chain(self.never()) {
            write!(f, "\n{words}.")?;
        }
        Ok(())
    }
}

fn in_hours(span: Duration) -> f64 {
    span.as_secs_f64() / 3600.0
}

/// When a person is asked about a stage, and what makes it that late.
fn asked_after(soak: f64, min_time: f64) -> String {
    match min_time > 2.0 * soak {
        true => format!("{}, its `min_time`", in_words(min_time)),
        false => format!("{}, twice the soak", in_words(2.0 * soak)),
    }
}

/// `45 s`, `12 min`, `3.4 h`, `12 d`, `never`.
fn in_words(hours: f64) -> String {
    if !hours.is_finite() {
        "never".to_owned()
    } else if hours < 1.0 / 60.0 {
        format!("{:.0} s", hours * 3600.0)
    } else if hours < 1.0 {
        format!("{:.0} min", hours * 60.0)
    } else if hours < 100.0 {
        format!("{hours:.1} h")
    } else {
        format!("{:.0} d", hours / 24.0)
    }
}

#[cfg(test)]
mod tests;
