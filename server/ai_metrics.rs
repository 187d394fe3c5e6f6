//! One event per attempt at a model, kept in sliding windows, summed up and judged.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    _core::{assignment::Variant, units::Microdollars},
    providers::fault::FaultKind,
};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came.
    Success,
    /// The model, its provider or our account failed.
    Fault(FaultKind),
    /// The caller went away first.
    Cancelled,
}

/// One attempt at one model.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The call it belongs to.
    pub request_id: Arc<str>,
    /// Whose call, where known.
    pub user_id: Option<i64>,
    /// The catalogue's name of the model.
    pub model: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The route it was on.
    pub variant: Variant,
    /// 0 for the primary, then the fallbacks.
    pub position: u8,
    /// From sending to the whole answer; finite, at least 0.
    pub latency_ms: f64,
    /// To the first token, where the answer was streamed.
    pub first_token_ms: Option<f64>,
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// What it cost.
    pub cost: Microdollars,
    /// How it ended.
    pub outcome: Outcome,
}

/// Where events are kept beyond the process.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Adds events, all or none.
    async fn append(&self, events: &[Event]) -> anyhow::Result<()>;
    /// All events at or after this time (milliseconds since 1970), oldest first.
    async fn since(&self, at_ms: i64) -> anyhow::Result<Vec<Event>>;
}

/// The windows; shared by everything that records or reads.
pub struct AiMetrics {}

impl AiMetrics {
    /// Records one attempt. Never waits.
    pub fn record(&self, _event: Event) {}
}
