//! What a plan says of the model that judges answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::_core::units::{Microdollars, Percent};

/// A model that judges answers in pairs: of a part of the counted requests the question is put to both sides once
/// more, aside, and this model says twice which answer is better, the second time with the answers in the other order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judging {
    /// The catalog's name of it; none of the models that it judges.
    pub model: String,
    /// By what it judges, in words.
    pub rubric: String,
    /// Of which part of the counted requests the question is taken.
    pub share: Percent,
    /// Pairs a day (UTC) at most.
    pub per_day: u64,
    /// What a day's pairs may cost, answers and verdicts together. It is looked at before each pair; what a question cost
    /// to which one side gave no answer counts with the next pair.
    pub max_cost: Microdollars,
    /// The version of the words that it is asked with: that of the release which read the plan, to the rollout's end.
    pub prompt: u32,
}

impl Judging {
    /// The version of the words that new rollouts ask with.
    pub const NEWEST_PROMPT: u32 = 1;
}
