//! How long a stage needs to see a candidate that is worse, before anybody starts it.

mod proof;

use std::fmt;

pub use self::proof::Proof;
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
        let Proof {
            metric, requests, ..
        } = Proof::of(&plan.evidence, baseline, share, stage.rho_bad);
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
                "the next stage opens on it, and without it a person is asked after {}, twice the soak",
                in_words(2.0 * stage.soak.as_secs_f64() / 3600.0)
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
pub struct Traffic {
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
    /// A candidate this many times worse must not pass.
    pub rho_bad: f64,
    /// What opens the next stage; none follows the last.
    pub gate: Option<Gate>,
    /// Users of the candidate without whom it is not judged.
    pub min_users: u64,
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
    pub proof: Proof,
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
    pub traffic: Traffic,
    /// What is judged, and how.
    evidence: EvidencePlan,
    /// In the order of the plan.
    pub stages: Vec<StageSight>,
}

/// Plans for each stage by itself, as if the evidence of the stages before were lost.
pub fn plan(
    traffic: Traffic,
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
            let proof = Proof::of(evidence, traffic.baseline, share, stage.rho_bad);
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
    pub fn of(plan: &Plan, traffic: Traffic) -> Self {
        let stages = plan.stages.iter().enumerate();
        let stages = stages.map(|(n, stage)| PlannedStage {
            name: (n + 1).to_string(),
            share: plan.share_of(n).get(),
            hours: stage.soak.as_secs_f64() / 3600.0,
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
        let Proof {
            metric,
            within_a_day,
            ..
        } = it.proof;
        let share = [20.0, 30.0, 50.0].into_iter().find(|share| {
            let proof = Proof::of(
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
                && it.proof_hours > 2.0 * it.stage.hours
        };
        self.stages.iter().filter(late).map(|it| {
            format!(
                "Stage {} takes about {} to be proven, so its automatic gate asks a person after {}, \
                 twice the soak",
                it.stage.name,
                in_words(it.proof_hours),
                in_words(2.0 * it.stage.hours)
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
        let Traffic {
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
                    let asked = in_words(2.0 * hours);
                    write!(f, "; {how_often} proven: ASKS A PERSON after {asked}")?;
                }
                Some(Gate::Manual) => write!(f, "; proven in {proof}, and asks a person")?,
                Some(Gate::Automatic) if sight.proof_hours > 2.0 * hours => {
                    let asked = in_words(2.0 * hours);
                    write!(f, "; proven in {proof}: ASKS A PERSON after {asked}")?;
                }
                Some(Gate::Automatic) => {
                    let promoted = in_words(sight.proof_hours.max(*hours));
                    write!(f, "; proven in {proof}, so promoted after {promoted}")?;
                }
            }
        }
        write!(
            f,
            "\nWhat is seen is told of errors. Proof is of every metric with a weight, as if as many answers were \
             flawed as requests fail."
        )?;
        for words in self.never() {
            write!(f, "\n{words}.")?;
        }
        Ok(())
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
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_published_table() {
        for (share, hours) in [
            (0.01, [145.0, 13.9, 4.1]),
            (0.05, [31.0, 3.0, 0.9]),
            (0.10, [16.4, 1.66, 0.51]),
            (0.50, [6.5, 0.76, 0.26]),
        ] {
            for (ratio, hours) in RATIOS.into_iter().zip(hours) {
                let bound = wald_hours(10_000.0, 0.02, share, ratio, 1.0);
                assert!(
                    (bound / hours - 1.0).abs() < 0.04,
                    "{share} {ratio}: {bound}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_compared_is_never_seen() {
        for (per_day, baseline, share, ratio) in [
            (0.0, 0.02, 0.1, 5.0),
            (1e4, 0.0, 0.1, 5.0),
            (1e4, 0.02, 0.0, 5.0),
            (1e4, 0.02, 1.0, 5.0),
            (1e4, 0.02, 0.1, 1.0),
            (f64::NAN, 0.02, 0.1, 5.0),
            (-1.0, 0.02, 0.1, 5.0),
        ] {
            let bound = wald_hours(per_day, baseline, share, ratio, 1.25);
            assert_eq!(bound, f64::INFINITY, "{per_day} {baseline} {share} {ratio}");
        }
    }

    #[test]
    fn short_spans_are_told_in_seconds() {
        let spans = [(45.0, "45 s"), (60.0, "1 min"), (90.0 * 60.0, "1.5 h")];
        for (seconds, words) in spans {
            assert_eq!(in_words(seconds / 3600.0), words);
        }
    }

    #[test]
    fn a_short_crash_test_is_called_too_short() {
        let traffic = Traffic {
            requests_per_day: 10_000.0,
            baseline: 0.02,
            users: None,
        };
        let stage = |name: &str, share, hours| PlannedStage {
            name: name.to_owned(),
            share,
            hours,
            rho_bad: 2.0,
            gate: Some(Gate::Automatic),
            min_users: 20,
        };
        let sight = plan(
            traffic,
            &EvidencePlan::default(),
            [
                stage("crash test", 1.0, 2.0),
                stage("first", 10.0, 24.0),
                stage("half", 50.0, 48.0),
                stage("all", 100.0, 168.0),
            ],
        );
        let sees: Vec<_> = sight.stages.iter().map(StageSight::sees).collect();
        assert_eq!(sees, [None, Some(5.0), Some(2.0), None]);
        let text = sight.to_string();
        assert!(
            text.contains("TOO SHORT") && text.contains("frozen"),
            "{text}"
        );
    }

    #[test]
    fn a_stage_that_can_never_be_proven_is_told_with_what_helps() {
        let evidence = EvidencePlan::default();
        let words = |per_day: f64, users: f64| {
            let stage = PlannedStage {
                name: "1".to_owned(),
                share: 10.0,
                hours: 48.0,
                rho_bad: 2.0,
                gate: Some(Gate::Automatic),
                min_users: 20,
            };
            let traffic = Traffic {
                requests_per_day: per_day,
                baseline: 0.02,
                users: Some(users),
            };
            plan(traffic, &evidence, [stage]).to_string()
        };
        // Simulated, 10,000 a day are enough in four of ten rollouts until a person is asked; 20,000 are.
        let few = words(10_000.0, 1_000.0);
        assert!(
            few.contains("seldom proven: ASKS A PERSON after 96.0 h"),
            "{few}"
        );
        assert!(few.contains("Stage 1 is seldom proven: of errors"), "{few}");
        assert!(few.contains("a share of 20 % is enough"), "{few}");
        let fewer = words(5_000.0, 1_000.0);
        assert!(
            fewer.contains("Stage 1 can never be proven: of errors"),
            "{fewer}"
        );
        let many = words(20_000.0, 1_000.0);
        assert!(
            !many.contains("never")
                && !many.contains("seldom")
                && many.contains("so promoted after"),
            "{many}"
        );
        let tiny = words(100.0, 50.0);
        assert!(tiny.contains("no larger share is enough"), "{tiny}");
        assert!(
            tiny.contains("gets about 5 of the users and is not judged below 20"),
            "{tiny}"
        );
    }
}
