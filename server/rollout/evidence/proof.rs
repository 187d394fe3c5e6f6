//! What a stage has proven of one thing: that the candidate is no worse in it than the stage tolerates, or good
//! enough whatever control does; since the stage began, and lately.
//!
//! Only what was gathered since the stage began is a test with a known error rate. What was gathered lately has to
//! agree, so that a good day does not outweigh the bad hours after it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    Edition, EvidencePlan,
    harm::Harm,
    limit::Limit,
    metric::Metric,
    mixture::Restarts,
    ratio::{BinCounts, Ratio, TestDirection},
};

/// Lately is the last 18 to 24 hours: so many blocks of so many hours.
const BLOCKS: usize = 4;
const BLOCK_HOURS: u32 = 6;
/// The newest are the last 4 to 6 hours: so many blocks of so many hours.
const NEWEST_BLOCKS: usize = 3;
const NEWEST_BLOCK_HOURS: u32 = 2;
/// Requests slower than control's P99 are a hundredth of all, and a candidate that is slower by some factor is
/// so there more often by this power of what it is at the P95.
const OF_RARE: f64 = 1.5;

/// What was gathered until the beginning of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    dual: Vec<f64>,
    good: Vec<f64>,
}

impl Before {
    /// The same to four places, which is enough of a logarithm and takes half of the room.
    fn rounded(&self) -> Self {
        let round = |logs: &[f64]| logs.iter().map(|it| (it * 1e4).round() / 1e4).collect();
        Self {
            dual: round(&self.dual),
            good: round(&self.good),
        }
    }
}

/// Two tests of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProofTests {
    pub(super) harm: Harm,
    /// H₀: it happens at least so many times as often as on control.
    dual: Ratio,
    /// H₀: it happens at least as often as the plan calls good.
    good: Limit,
    /// Whether anything was seen that tells of it.
    #[serde(default)]
    is_seen: bool,
    began_hour: u32,
    /// Blocks that have begun since.
    blocks: u32,
    befores: VecDeque<Before>,
    /// The same of the last hours; not asked by editions before the fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

/// What was gathered until the beginnings of the newest blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Newest {
    blocks: u32,
    befores: VecDeque<Before>,
}

impl ProofTests {
    /// One of each thing that the plan judges. Ratings are left out: few users rate, and by what they saw.
    pub(super) fn all(edition: Edition, plan: &EvidencePlan, rho_bad: f64, hour: u32) -> Vec<Self> {
        let [_, slow, very_slow, _, quality] = plan.normalised_weights();
        let judged = [
            (Harm::Error, true),
            (Harm::AboveP50, slow > 0.0),
            (Harm::AboveP95, slow > 0.0),
            (Harm::AboveP99, very_slow > 0.0),
            (Harm::Flawed, quality > 0.0),
        ];
        let judged = judged.into_iter().filter(|(_, is_judged)| *is_judged);
        judged
            .map(|(harm, _)| {
                let null = match harm {
                    Harm::AboveP99 => rho_bad.max(1.0).powf(OF_RARE),
                    _ => rho_bad,
                };
                Self {
                    harm,
                    dual: Ratio::new(TestDirection::Better, null, Restarts::NEVER),
                    good: Limit::below(plan.good_error_rate, Restarts::NEVER),
                    is_seen: false,
                    began_hour: hour,
                    blocks: 0,
                    befores: VecDeque::new(),
                    newest: (edition >= Edition::Fifth).then(Newest::default),
                }
            })
            .collect()
    }

    pub(super) fn judge(&mut self, is_bad: bool) {
        self.is_seen = true;
        self.good.judge(is_bad);
    }

    pub(super) fn judge_bin(&mut self, bin: BinCounts) {
        self.is_seen = true;
        self.dual.judge(bin);
    }

    pub(super) fn reach(&mut self, hour: u32) {
        let hours = hour.saturating_sub(self.began_hour);
        let now = Before {
            dual: self.dual.logs().to_vec(),
            good: self.good.logs().to_vec(),
        };
        if let Some(newest) = &mut self.newest {
            let Newest { blocks, befores } = newest;
            let now = now.rounded();
            begin(
                blocks,
                hours / NEWEST_BLOCK_HOURS,
                befores,
                NEWEST_BLOCKS,
                &now,
            );
        }
        let (blocks, befores) = (&mut self.blocks, &mut self.befores);
        begin(blocks, hours / BLOCK_HOURS, befores, BLOCKS, &now);
    }

    /// Whether the next stage needs it. What has no text, as embeddings have none, has no quality.
    pub(super) fn is_needed(&self) -> bool {
        self.is_seen || self.harm != Harm::Flawed
    }

    /// What it is of.
    pub(super) fn metric(&self) -> Metric {
        match self.harm {
            Harm::Error => Metric::Errors,
            Harm::AboveP50 | Harm::AboveP95 => Metric::Slow,
            Harm::AboveP99 => Metric::VerySlow,
            Harm::BadRating => Metric::Feedback,
            Harm::Flawed => Metric::Quality,
        }
    }

    /// The evidence since the stage began: the mean of both tests, as either is enough.
    pub(super) fn value(&self) -> f64 {
        (self.dual.value() + self.good.value()) / 2.0
    }

    /// The same of lately; since the stage began where that is shorter.
    pub(super) fn lately(&self) -> f64 {
        self.since(&self.befores, BLOCKS)
    }

    /// The same of the last hours; none where they are not asked about.
    pub(super) fn newest(&self) -> Option<f64> {
        let newest = self.newest.as_ref()?;
        Some(self.since(&newest.befores, NEWEST_BLOCKS))
    }

    fn since(&self, befores: &VecDeque<Before>, blocks: usize) -> f64 {
        match befores.front().filter(|_| befores.len() == blocks) {
            Some(before) => (self.dual.since(&before.dual) + self.good.since(&before.good)) / 2.0,
            None => self.value(),
        }
    }
}

/// Begins the blocks up to `now_in`, of which as many are kept as there are to be.
fn begin(blocks: &mut u32, now_in: u32, befores: &mut VecDeque<Before>, most: usize, now: &Before) {
    let new = now_in.saturating_sub(*blocks);
    *blocks = now_in;
    for _ in 0..new.min(most as u32) {
        if befores.len() == most {
            befores.pop_front();
        }
        befores.push_back(now.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_hours_after_a_good_day_take_the_proof_away_lately_and_not_altogether() {
        let plan = EvidencePlan::default();
        let mut proof = ProofTests::all(Edition::NEWEST, &plan, 2.0, 0).remove(0);
        let bin = |errors: u32| BinCounts {
            requests: [900, 100].into(),
            errors: [18, errors].into(),
        };
        let mut hours = 0..;
        let mut fold = |proof: &mut ProofTests, count: usize, errors: u32| {
            for hour in hours.by_ref().take(count) {
                proof.reach(hour);
                proof.judge_bin(bin(errors));
                (0..100).for_each(|n| proof.judge(n < errors));
            }
        };
        fold(&mut proof, 36, 2);
        assert!(proof.value() > 100.0 && proof.lately() > 20.0);
        fold(&mut proof, 12, 4);
        assert!(proof.value() > 100.0, "{}", proof.value());
        assert!(proof.lately() < 20.0, "{}", proof.lately());
    }

    #[test]
    fn what_the_plan_does_not_judge_needs_no_proof() {
        let harms = |weights| {
            let plan = EvidencePlan {
                weights,
                ..EvidencePlan::default()
            };
            let proofs = ProofTests::all(Edition::NEWEST, &plan, 2.0, 0);
            proofs.iter().map(|proof| proof.harm).collect::<Vec<_>>()
        };
        assert_eq!(harms([1.0, 0.0, 0.0, 1.0, 0.0]), [Harm::Error]);
        let quality = harms([0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(quality, [Harm::Error, Harm::Flawed]);
        assert_eq!(harms([1.0; 5]).len(), 5);
    }
}
