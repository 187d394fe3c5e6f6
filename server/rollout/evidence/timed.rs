//! Which time of a request is judged.
//!
//! Who reads a stream waits for its first words. How long it goes on after them is how much it says. So a
//! streamed answer is as slow as its first words are, and any other as slow as the whole of it is. The two are
//! never compared with each other: control has thresholds for each, and bins hold one of them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Evidence, threshold::Latencies};

/// What latencies are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Timed {
    /// The whole answer.
    #[default]
    Whole,
    /// The first words of a stream.
    FirstWords,
    /// Of streams their first words, of other answers the whole.
    Both,
}

impl Timed {
    /// Whether it is what every edition judged.
    pub(super) fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

impl fmt::Display for Timed {
    /// `the time to the first words`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "the time to the whole answer",
            Self::FirstWords => "the time to the first words",
            Self::Both => {
                "the time to the first words, and to the whole answer where it was not streamed"
            }
        })
    }
}

/// The time of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time {
    /// [`Timed::Whole`] or [`Timed::FirstWords`].
    pub(super) of: Timed,
    /// So long, or so long so far.
    pub(super) ms: f64,
    /// It grows no more.
    pub(super) is_over: bool,
    /// It ran into our own limit.
    pub(super) is_late: bool,
}

impl Time {
    /// Whether it took longer than this many milliseconds; `None` if that cannot be said yet.
    pub(super) fn is_slower(&self, threshold: f64) -> Option<bool> {
        let is_slow = self.ms > threshold || self.is_late;
        (is_slow || self.is_over).then_some(is_slow)
    }

    /// Whether it is that of a stream's first words.
    pub(super) fn is_streamed(&self) -> bool {
        self.of == Timed::FirstWords
    }
}

impl Evidence {
    /// What is judged: what control has thresholds of.
    pub(super) fn timed(&self) -> Timed {
        match [&self.latencies, &self.first_words].map(Latencies::thresholds) {
            [_, None] => Timed::Whole,
            [None, Some(_)] => Timed::FirstWords,
            [Some(_), Some(_)] => Timed::Both,
        }
    }

    /// What the times of most of control's requests are of; where it has thresholds of one kind alone, that.
    pub(super) fn usual(&self) -> Timed {
        let most_are_streams = self.first_words.total() > self.latencies.total();
        match self.timed() {
            Timed::Both if most_are_streams => Timed::FirstWords,
            Timed::Both => Timed::Whole,
            only => only,
        }
    }

    /// Control's latencies of the same kind.
    pub(super) fn latencies_mut(&mut self, time: Time) -> &mut Latencies {
        if time.is_streamed() {
            &mut self.first_words
        } else {
            &mut self.latencies
        }
    }
}
