//! How an attempt ended, and what else an event may say.

use serde::{Deserialize, Serialize};

use crate::providers::fault::FaultKind;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came.
    Success,
    /// The model answered that it will not answer; its words reach the user as any answer does.
    Refused,
    /// The model, its provider or our account failed.
    Fault(FaultKind),
    /// The caller went away first.
    Cancelled,
    /// It is not over, and takes longer than most; another event will say how it ends.
    Open,
    /// A user rated the answer.
    Rated {
        /// It helped.
        good: bool,
    },
    /// A model judged this side's answer to a question that both sides got.
    Judged(Judgement),
    /// It ended in a way that this release does not know; a later one stored it.
    Unknown,
}

/// What a model found of a side's answer, beside that of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It is the better one.
    Better,
    /// It is the worse one.
    Worse,
    /// Neither is better.
    Even,
    /// What was found changed with the order of the answers.
    Inconsistent,
    /// Nothing was found: the model did not answer, or not as it was asked to.
    Failed,
}

impl Judgement {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Better,
        Self::Worse,
        Self::Even,
        Self::Inconsistent,
        Self::Failed,
    ];

    /// What the same pair is for the other side.
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Better => Self::Worse,
            Self::Worse => Self::Better,
            same => same,
        }
    }
}

impl Outcome {
    /// Whether the attempt is over, so that this is the event that counts it.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Open | Self::Rated { .. } | Self::Judged(_))
    }

    /// `success`, `refused-answer`, `cancelled`, `open`, `rated-good`, `rated-bad`, `judged-better` and so on, `unknown`, or the kind
    /// of fault as it is written everywhere else.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused-answer",
            Self::Cancelled => "cancelled",
            Self::Open => "open",
            Self::Rated { good: true } => "rated-good",
            Self::Rated { good: false } => "rated-bad",
            Self::Judged(Judgement::Better) => "judged-better",
            Self::Judged(Judgement::Worse) => "judged-worse",
            Self::Judged(Judgement::Even) => "judged-even",
            Self::Judged(Judgement::Inconsistent) => "judged-inconsistent",
            Self::Judged(Judgement::Failed) => "judged-failed",
            Self::Unknown => "unknown",
            Self::Fault(kind) => kind.name(),
        }
    }
}
