//! Where moves and reports are kept.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{mode::Move, report::MoveTally};
pub use crate::alerting::Alert;

/// What a process bets with about a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BetsHeld {
    /// The place of its bets; a new one where they began anew. None where there is none just now.
    pub place: Option<i64>,
    /// What others left behind, as they kept it.
    pub left: Vec<String>,
}

/// Where moves and reports are kept. Every process may write.
#[async_trait]
pub trait MoveStore: Send + Sync {
    /// All moves.
    async fn moves(&self) -> anyhow::Result<Vec<Move>>;
    /// Writes a move in the place of the one of its name, with a line of the audit; one of a namespace takes
    /// the place of those of its procedures. Reports of its procedures begin anew.
    async fn set_move(&self, change: &Move) -> anyhow::Result<()>;
    /// The same where the move `replaced` is still in force, with an alert; reports stay. Whether it was.
    async fn take_back(&self, change: &Move, replaced: &str, alert: &Alert)
    -> anyhow::Result<bool>;
    /// Adds to the reports of these procedures.
    async fn add_reports(&self, reports: &BTreeMap<String, MoveTally>) -> anyhow::Result<()>;
    /// Keeps what a process bets with about a move, at its place, until another may take it. What processes that are
    /// gone had is taken, once. Without a place, or where another took what was at it, it gets a new one.
    async fn hold_bets(
        &self,
        move_id: &str,
        holder: &str,
        held: Option<(i64, &str)>,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> anyhow::Result<BetsHeld>;
    /// All reports, by procedure.
    async fn reports(&self) -> anyhow::Result<BTreeMap<String, MoveTally>>;
}
