//! Texts of a request, for an admin who opens them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{_core::actor::Actor, recording::texts::CallTexts};

/// Where texts of requests are looked up.
#[async_trait]
pub trait TextStore: Send + Sync {
    /// Whether any are there of this request.
    async fn has_texts(&self, request_id: &str) -> anyhow::Result<bool>;

    /// Those of this request, the oldest first, and writes into the audit who opened them. Nothing is written
    /// where there are none, and nothing is returned that could not be recorded.
    async fn open_texts(
        &self,
        request_id: &str,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<CallTexts>>;
}
