//! Where moves and reports are kept.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{mode::Move, report::Tally};
pub use crate::alerting::Alert;

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
    async fn add_reports(&self, reports: &BTreeMap<String, Tally>) -> anyhow::Result<()>;
    /// All reports, by procedure.
    async fn reports(&self) -> anyhow::Result<BTreeMap<String, Tally>>;
}
