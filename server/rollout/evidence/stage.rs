//! What belongs to the stage in force, and begins anew with the next.

use serde::{Deserialize, Serialize};

use super::{
    EvidencePlan,
    edition::Edition,
    harm::Harm,
    limit::Limit,
    mixture::Restarts,
    proof::ProofTests,
    ratio::{BinCounts, Ratio, TestDirection},
};

/// What belongs to the stage in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StageEvidence {
    pub(super) began_at_ms: i64,
    /// H₀: the candidate fails at least `rho_bad` times as often. Only earlier editions ask about errors alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dual: Option<Ratio>,
    /// H₀: it fails at least as often as the plan calls good. So here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) good: Option<Limit>,
    /// Of each thing that the plan judges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) proofs: Vec<ProofTests>,
    pub(super) requests: u64,
    /// One bit for each of 4,096 groups of the candidate's users.
    pub(super) users: Vec<u64>,
}

impl StageEvidence {
    pub(super) fn new(
        edition: Edition,
        plan: &EvidencePlan,
        at_ms: i64,
        hour: u32,
        rho_bad: f64,
    ) -> Self {
        let is_old = edition < Edition::Third;
        let limit = plan.good_error_rate;
        Self {
            began_at_ms: at_ms,
            dual: is_old.then(|| Ratio::new(TestDirection::Better, rho_bad, Restarts::NEVER)),
            good: is_old.then(|| Limit::below(limit, Restarts::NEVER)),
            proofs: if is_old {
                Vec::new()
            } else {
                ProofTests::all(edition, plan, rho_bad, hour)
            },
            requests: 0,
            users: vec![0; 64],
        }
    }

    pub(super) fn see(&mut self, subject: u64) {
        self.requests += 1;
        let bit = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        if let Some(word) = self.users.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Judges a request of the candidate.
    pub(super) fn judge(&mut self, harm: Harm, is_bad: bool) {
        if let (Harm::Error, Some(good)) = (harm, &mut self.good) {
            good.judge(is_bad);
        }
        if let Some(proof) = self.proof_mut(harm) {
            proof.judge(is_bad);
        }
    }

    /// Judges a closed bin.
    pub(super) fn judge_bin(&mut self, harm: Harm, bin: BinCounts) {
        if let (Harm::Error, Some(dual)) = (harm, &mut self.dual) {
            dual.judge(bin);
        }
        if let Some(proof) = self.proof_mut(harm) {
            proof.judge_bin(bin);
        }
    }

    /// A full hour since the rollout began.
    pub(super) fn reach(&mut self, hour: u32) {
        self.proofs.iter_mut().for_each(|proof| proof.reach(hour));
    }

    fn proof_mut(&mut self, harm: Harm) -> Option<&mut ProofTests> {
        self.proofs.iter_mut().find(|proof| proof.harm == harm)
    }
}
