//! What was seen of a procedure since it was moved last.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::compare::AnswerDifference;

/// Examples that are kept, each of another place in the answers.
pub const EXAMPLES: usize = 10;

/// Calls of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// How many calls there were.
    pub count: i64,
    /// Those in which the server failed.
    pub failed: i64,
    /// Those that it answered with an error, whoever's fault that was; failures are among them.
    pub refused: i64,
    /// The time of all of them together, in microseconds.
    pub micros: i64,
}

/// How two answers differed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// When they were compared.
    pub at: DateTime<Utc>,
    /// The place in the answer.
    pub path: String,
    /// What the old server said there, masked.
    pub theirs: String,
    /// What this one said.
    pub ours: String,
}

/// What was seen of a procedure since it was moved last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MoveTally {
    /// Answers of both servers to one call.
    pub compared: i64,
    /// Those that differ.
    pub differed: i64,
    /// Calls that were to be compared and could not be: the old server failed, its answer was too
    /// large, or no envelope.
    pub incomparable: i64,
    /// Calls that were not compared because too many were being compared.
    pub dropped: i64,
    /// Calls that this server ran, for users or to compare.
    pub ours: CallCounts,
    /// Calls that the old server answered.
    pub theirs: CallCounts,
    /// How answers differed.
    pub examples: Vec<Example>,
}

impl MoveTally {
    /// Adds what was seen besides.
    pub fn add(&mut self, more: &Self) {
        self.compared += more.compared;
        self.differed += more.differed;
        self.incomparable += more.incomparable;
        self.dropped += more.dropped;
        for (calls, more) in [
            (&mut self.ours, &more.ours),
            (&mut self.theirs, &more.theirs),
        ] {
            calls.count += more.count;
            calls.failed += more.failed;
            calls.refused += more.refused;
            calls.micros += more.micros;
        }
        for example in &more.examples {
            self.keep(example.clone());
        }
    }

    /// Keeps the differences of an answer, as far as they are of places that are not known yet.
    pub(super) fn note(&mut self, differences: Vec<AnswerDifference>, at: DateTime<Utc>) {
        for AnswerDifference { path, theirs, ours } in differences {
            self.keep(Example {
                at,
                path,
                theirs,
                ours,
            });
        }
    }

    fn keep(&mut self, example: Example) {
        let is_known = |it: &Example| place(&it.path) == place(&example.path);
        if self.examples.len() < EXAMPLES && !self.examples.iter().any(is_known) {
            self.examples.push(example);
        }
    }
}

/// A path without the numbers of items.
fn place(path: &str) -> Vec<&str> {
    let is_number = |step: &str| step.bytes().all(|it| it.is_ascii_digit());
    let steps = path.split('.');
    steps
        .map(|step| if is_number(step) { "*" } else { step })
        .collect()
}
