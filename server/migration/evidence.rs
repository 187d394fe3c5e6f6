//! What is seen of single calls.

use std::{sync::Arc, time::Duration};

use super::mode::Move;

/// How one server did with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveOutcome {
    /// Whether the server failed; a refusal that is the caller's own fault is none.
    pub failed: bool,
    /// Whether the answer is an error at all: a failure, or a refusal whoever's fault it is.
    pub refused: bool,
    /// From the request to the whole answer.
    pub took: Duration,
}

/// What is to be noted of a call of a procedure that is on its way.
#[derive(Clone, Debug)]
pub struct CallWatch {
    /// On which.
    pub(super) of: Arc<Move>,
    pub(super) procedure: &'static str,
    /// Who calls, where that is known; by a hash.
    pub(super) user: Option<u64>,
    /// Whether this server is to run it as well, after the old one has answered.
    pub(super) compares: bool,
}

impl CallWatch {
    /// Whether this server is to run the call as well, after the old one has answered.
    pub fn compares(&self) -> bool {
        self.compares
    }
}
