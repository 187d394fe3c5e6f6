//! How long a stage needs to see a candidate that is worse, before anybody starts it.

use std::fmt;

use crate::rollout::plan::{Gate, Plan};

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

/// The evidence that promotes without a person, in the mean of two tests with seven alternatives each.
const PROOF: f64 = 100.0 * 2.0 * 7.0;

/// The mean requests of both arms until a candidate as good as control is proven no worse: by its ratio
/// to control, or by failing more rarely than `good` (0 to 1), whichever is sooner.
pub fn proof_requests(baseline: f64, share: f64, rho_bad: f64, good: f64) -> f64 {
    let divergence = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    let bad = share * rho_bad / (share * rho_bad + 1.0 - share);
    let by_ratio = PROOF.ln() / (baseline * divergence(share, bad));
    let by_rate = if baseline < good {
        PROOF.ln() / (share * divergence(baseline, good))
    } else {
        f64::INFINITY
    };
    let requests = [by_ratio, by_rate]
        .into_iter()
        .filter(|it| it.is_finite() && *it > 0.0)
        .fold(f64::INFINITY, f64::min);
    requests.ceil()
}

/// What each stage but the last needs before the next one opens, a sentence each.
pub fn needs(plan: &Plan, baseline: f64) -> Vec<String> {
    let stages = plan.stages.iter().enumerate();
    let stages = stages.take(plan.stages.len().saturating_sub(1));
    let words = stages.map(|(n, stage)| {
        let share = plan.share_of(n).get();
        let good = plan.evidence.good_error_rate;
        let requests = proof_requests(baseline, share / 100.0, stage.rho_bad, good);
        let percent = baseline * 100.0;
        let proof = if requests.is_finite() {
            format!(
                "proof that it is safe takes about {requests:.0} requests of both arms where {percent} % \
                 of control's fail and the candidate is as good"
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Counted requests of both arms.
    pub requests_per_day: f64,
    /// Control's error rate, 0 to 1.
    pub baseline: f64,
    /// The ratio of error rates that the plan tolerates.
    pub margin: f64,
    /// The error rate that is good enough however rare errors are, 0 to 1.
    pub good: f64,
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
}

/// What a stage can see.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSight {
    /// The stage.
    pub stage: PlannedStage,
    /// The mean hours until a candidate 2, 5 and 10 times as bad is taken back; infinite where the
    /// arms cannot be compared.
    pub needed_hours: [f64; RATIOS.len()],
    /// The mean hours until a candidate that is as good as control is proven no worse; infinite where
    /// that cannot be.
    pub proof_hours: f64,
}

impl StageSight {
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
    /// In the order of the plan.
    pub stages: Vec<StageSight>,
}

/// Plans for each stage by itself, as if the evidence of the stages before were lost.
pub fn plan(traffic: Traffic, stages: impl IntoIterator<Item = PlannedStage>) -> Sight {
    let needed = |share: f64, ratio: f64| {
        let bound = wald_hours(
            traffic.requests_per_day,
            traffic.baseline,
            share,
            ratio,
            traffic.margin,
        );
        let smaller_arm = traffic.requests_per_day / 24.0 * share.min(1.0 - share);
        (OVERHEAD * bound).max(FIRST_BIN / smaller_arm)
    };
    let stages = stages
        .into_iter()
        .map(|stage| StageSight {
            needed_hours: RATIOS.map(|ratio| needed(stage.share / 100.0, ratio)),
            proof_hours: {
                let share = stage.share / 100.0;
                let requests = proof_requests(traffic.baseline, share, stage.rho_bad, traffic.good);
                requests / (traffic.requests_per_day / 24.0)
            },
            stage,
        })
        .collect();
    Sight { traffic, stages }
}

impl Sight {
    /// What the stages of a rollout's plan can see; `baseline` is 0 to 1.
    pub fn of(plan: &Plan, requests_per_day: f64, baseline: f64) -> Self {
        let traffic = Traffic {
            requests_per_day,
            baseline,
            margin: plan.evidence.margin,
            good: plan.evidence.good_error_rate,
        };
        let stages = plan.stages.iter().enumerate();
        let stages = stages.map(|(n, stage)| PlannedStage {
            name: (n + 1).to_string(),
            share: plan.share_of(n).get(),
            hours: stage.soak.as_secs_f64() / 3600.0,
            rho_bad: stage.rho_bad,
            gate: (!plan.is_last(n)).then_some(stage.gate),
        });
        self::plan(traffic, stages)
    }

    /// A sentence for each stage whose automatic gate will ask a person, as proof comes too late.
    pub fn unproven(&self) -> impl Iterator<Item = String> {
        let late = |it: &&StageSight| {
            it.stage.gate == Some(Gate::Automatic) && it.proof_hours > 2.0 * it.stage.hours
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
            margin,
            ..
        } = self.traffic;
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
            match sight.stage.gate {
                None => {}
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
    fn proof_takes_as_long_as_in_simulations() {
        // Simulated by others: 28.8 and 14.6 hours at 2 %, 84 and 16 hours at .5 %.
        for (baseline, share, simulated) in [
            (0.02, 0.1, 28.8),
            (0.02, 0.5, 14.6),
            (0.005, 0.5, 16.0),
            (0.005, 0.1, 84.0),
        ] {
            let requests = proof_requests(baseline, share, 2.0, 0.01);
            let hours = requests / (10_000.0 / 24.0);
            let ratio = hours / simulated;
            assert!((0.6..1.7).contains(&ratio), "{baseline} {share}: {hours} h");
        }
        assert_eq!(proof_requests(0.02, 1.0, 2.0, 0.01), f64::INFINITY);
        assert_eq!(proof_requests(0.0, 0.1, 2.0, 0.0), f64::INFINITY);
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
            margin: 1.25,
            good: 0.01,
        };
        let stage = |name: &str, share, hours| PlannedStage {
            name: name.to_owned(),
            share,
            hours,
            rho_bad: 2.0,
            gate: Some(Gate::Automatic),
        };
        let sight = plan(
            traffic,
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
}
