//! What a model made of a prompt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::units::Microdollars,
    providers::{fault::FaultKind, quality::Quality},
};

/// What a model made of a prompt; never its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialAnswer {
    /// Why there is no answer; null where one came.
    pub fault: Option<FaultKind>,
    /// What the answer is; null where none came.
    pub quality: Option<Quality>,
    /// From sending to the whole answer, in milliseconds; the wait for a slot of our account's quota is not in it.
    pub latency_ms: f64,
    /// Tokens read and written; null where the provider does not say.
    pub tokens: Option<u64>,
    /// What it cost; null where that is not known.
    pub cost: Option<Microdollars>,
    /// Characters of the text.
    pub chars: u32,
    /// Whether it holds what the prompt expects; null where nothing came, or it expects nothing.
    pub holds: Option<bool>,
}

impl TrialAnswer {
    /// Whether the provider itself would not have the prompt answered.
    fn is_turned_away(&self) -> bool {
        matches!(self.fault, Some(FaultKind::Refused | FaultKind::Rejected))
    }

    /// Whether nothing came, and nobody said that nothing would.
    pub(super) fn is_error(&self) -> bool {
        self.fault.is_some() && !self.is_turned_away()
    }

    /// Whether it has this flaw.
    pub(super) fn is(&self, flaw: Quality) -> bool {
        self.quality == Some(flaw) || (flaw == Quality::Refused && self.is_turned_away())
    }

    /// Whether words of an answer came.
    pub(super) fn is_answered(&self) -> bool {
        self.fault.is_none()
    }
}
