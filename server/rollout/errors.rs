//! Why a change of a rollout, or a question about one, is refused.

use chrono::{DateTime, Utc};

use super::{audit::minute, moves::UserMoves, status::Status};
use crate::_core::toml_reader::TomlFaults;

/// Why a change or a question was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The plan has faults.
    #[error(transparent)]
    Plan(#[from] TomlFaults),
    /// There is no such plan.
    #[error("unknown plan `{name}`; known are {known}")]
    UnknownPlan {
        /// What was asked for.
        name: String,
        /// The library's plans.
        known: String,
    },
    /// There is no such rollout.
    #[error("unknown rollout `{id}`")]
    UnknownRollout {
        /// What was asked for.
        id: String,
    },
    /// A live rollout decides about some of the same tasks.
    #[error("rollout `{id}` of plan `{plan}` is live and covers some of the same tasks")]
    Overlaps {
        /// The live one.
        id: String,
        /// Its plan.
        plan: String,
    },
    /// Users would lose the model that they have, and the caller has not said that this is meant.
    #[error("this start takes users back: {}", moves.words.join(". "))]
    TakesBack {
        /// Who moves.
        moves: UserMoves,
    },
    /// The plan lets nothing open now.
    #[error("plan `{plan}` opens stages in its windows only, the next from {}", minute(*opens))]
    Closed {
        /// The plan's name.
        plan: String,
        /// When it does.
        opens: DateTime<Utc>,
    },
    /// The plan demands a trial, and there is none that will do.
    #[error("{why}")]
    Untried {
        /// What is demanded, and what is missing.
        why: String,
    },
    /// The plan demands placebo rollouts, and there are none that will do.
    #[error("{why}")]
    WithoutPlacebo {
        /// What is demanded, and what is missing.
        why: String,
    },
    /// The beginning of an id that several rollouts have.
    #[error("`{id}` is the beginning of several rollouts' ids: {}", matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// Some of them.
        matches: Vec<String>,
    },
    /// A change needs a reason.
    #[error("`reason` is empty; say why")]
    NoReason,
    /// The change was based on an older version.
    #[error("the rollout is at version {}, not {based_on}", current.version)]
    Stale {
        /// What it was based on.
        based_on: i64,
        /// Where the rollout is.
        current: Box<Status>,
    },
    /// The state or the evidence does not allow it.
    #[error("{why}")]
    Refused {
        /// What stands in the way.
        why: String,
        /// Where the rollout is.
        current: Box<Status>,
    },
    /// Another process controls the rollouts.
    #[error("another process controls the rollouts")]
    NotInControl,
    /// The store failed.
    #[error("the rollouts cannot be read or written: {0:#}")]
    Store(anyhow::Error),
}
