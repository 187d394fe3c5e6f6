//! What is known of one request.

use serde::{Deserialize, Serialize};

use super::{
    Edition, UncountedKind,
    timed::{Time, Timed},
};
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
    pub end: RequestEnd,
    /// To the end of the attempt, or to when it was given up or looked at.
    pub latency_ms: f64,
    /// Until the first words of a streamed answer were there, in milliseconds
    /// ([`Event::first_words_ms`](crate::recording::Event::first_words_ms)); none where they were not, or where
    /// the answer came as a whole.
    #[serde(default)]
    pub first_words_ms: Option<f64>,
    /// Whether an earlier observation already reported it as slow.
    pub was_open: bool,
    /// What its answer is, where one came that was looked at.
    #[serde(default)]
    pub quality: Option<Quality>,
}

impl Observation {
    /// How long it was open for who waits for it, in milliseconds.
    pub fn waited_ms(&self) -> f64 {
        self.first_words_ms.unwrap_or(self.latency_ms)
    }

    /// This request as an edition judges it: who left a stream after its first words was answered.
    pub(in crate::rollout) fn judged_by(&self, edition: Edition) -> Self {
        let is_left = self.end == RequestEnd::Unknown && self.first_words_ms.is_some();
        let mut judged = *self;
        if is_left && edition >= Edition::Eighth {
            judged.end = RequestEnd::Answered;
        }
        judged
    }

    /// This request while it was still open, after so many milliseconds.
    pub fn while_open(&self, latency_ms: f64) -> Self {
        Self {
            end: RequestEnd::Unknown,
            latency_ms,
            first_words_ms: None,
            ..*self
        }
    }

    /// The time that an edition judges. A request without an answer does not tell which of the two its time would
    /// have been: it is taken for what most are, `usual`.
    pub(super) fn time(&self, edition: Edition, usual: Timed) -> Time {
        let is_late = self.end == RequestEnd::TimedOut;
        let until = |of, ms, is_over| Time {
            of,
            ms,
            is_over,
            is_late,
        };
        let is_over = self.end != RequestEnd::Unknown;
        match self.first_words_ms {
            _ if edition < Edition::Sixth => until(Timed::Whole, self.latency_ms, is_over),
            // Who goes away after them knows how long they took.
            Some(ms) => until(Timed::FirstWords, ms, true),
            None if self.end.is_answered() => until(Timed::Whole, self.latency_ms, true),
            None => until(usual, self.latency_ms, is_over),
        }
    }
}

/// How a request ended, as far as its model has to answer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestEnd {
    /// With an answer.
    Answered,
    /// The model or its provider failed, as they do in an outage, which may be one of both arms.
    Failed,
    /// The model failed in a way that is its own, which no outage looks like.
    FailedAlone,
    /// It ran into our own time limit, which is a failure and slow.
    TimedOut,
    /// In a way that is no error of the model, as far as one request can tell.
    Uncounted(UncountedKind),
    /// Not yet, or its caller went away: all there is to say is that it took so long at least. (Or, where its first words
    /// came, how long these took.)
    Unknown,
}

impl RequestEnd {
    /// Whether the model gave an answer, be it one that says no.
    pub(super) const fn is_answered(self) -> bool {
        matches!(
            self,
            Self::Answered | Self::Uncounted(UncountedKind::RefusedAnswer)
        )
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
            Self::Uncounted(
                UncountedKind::ContextLength | UncountedKind::BadRequest | UncountedKind::Refused
            )
        )
    }
}
