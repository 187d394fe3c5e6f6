//! What is known of one request.

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::{_core::assignment::Variant, providers::quality::Quality};

/// What is known of one counted request: how the first attempt on the primary model of its route
/// ended, or how long it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the request arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// A stable 64-bit hash of the subject.
    pub subject: u64,
    /// Its arm.
    pub variant: Variant,
    /// How it ended.
    pub end: End,
    /// To the end of the attempt, or to when it was given up or looked at.
    pub latency_ms: f64,
    /// Whether an earlier observation already reported it as slow.
    pub was_open: bool,
    /// What its answer is, where one came that was looked at.
    #[serde(default)]
    pub quality: Option<Quality>,
}

impl Observation {
    /// Whether it took longer than this many milliseconds; `None` if it has not ended and that cannot be
    /// said yet.
    pub(super) fn is_slower(&self, threshold: f64) -> Option<bool> {
        let is_slow = self.latency_ms > threshold || self.end == End::TimedOut;
        (is_slow || self.end != End::Unknown).then_some(is_slow)
    }
}

/// How a request ended, as far as its model has to answer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// With an answer.
    Answered,
    /// The model or its provider failed, as they do in an outage, which may be one of both arms.
    Failed,
    /// The model failed in a way that is its own, which no outage looks like.
    FailedAlone,
    /// It ran into our own time limit, which is a failure and slow.
    TimedOut,
    /// In a way that is no error of the model, as far as one request can tell.
    Uncounted(Kind),
    /// Not yet, or its caller went away: all there is to say is that it took so long at least.
    Unknown,
}

impl End {
    /// Whether the model gave an answer, be it one that says no.
    pub(super) const fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Uncounted(Kind::RefusedAnswer))
    }

    /// Whether it speaks against the model.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::FailedAlone | Self::TimedOut)
    }

    /// Whether it says how long an answer takes. A request that failed before it was answered does not.
    pub(super) const fn tells_latency(self) -> bool {
        !matches!(self, Self::Failed | Self::FailedAlone)
    }

    /// Whether an outage of both arms looks like it.
    pub const fn is_like_an_outage(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }

    /// Whether the errors and latencies of the arms are compared by it. An answer that says no is an
    /// answer as well.
    pub const fn is_compared(self) -> bool {
        !matches!(
            self,
            Self::Uncounted(Kind::ContextLength | Kind::BadRequest | Kind::Refused)
        )
    }
}
