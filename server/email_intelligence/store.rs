//! What a place to keep findings must be able to do.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Categorized, Prioritized, Suggestion};

/// What was found out about a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Insight {
    /// Its category.
    Category(Categorized),
    /// Its priority.
    Priority(Prioritized),
}

impl Insight {
    /// The name of its kind, under which one is kept of a thread.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Category(_) => CATEGORY,
            Self::Priority(_) => "priority",
        }
    }
}

/// The name of [`Insight::Category`].
pub const CATEGORY: &str = "category";

/// What was found out about one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadFindings {
    /// The thread.
    pub thread_id: String,
    /// What it is.
    pub insight: Insight,
}

/// A reply as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSuggestion {
    /// Never used twice.
    pub id: i64,
    /// What it says.
    pub suggestion: Suggestion,
}

/// Keeps findings, each user's apart. They are deleted after [`KEPT`](super::KEPT).
#[async_trait]
pub trait EmailStore: Send + Sync {
    /// Keeps what was found; what was found of the same kind about the thread before goes.
    async fn keep(
        &self,
        user_id: i64,
        thread_id: &str,
        insight: &Insight,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()>;
    /// What was found of these threads.
    async fn found(&self, user_id: i64, threads: &[String]) -> anyhow::Result<Vec<ThreadFindings>>;
    /// The newest categories.
    async fn newest_categories(&self, user_id: i64, limit: u32)
    -> anyhow::Result<Vec<Categorized>>;
    /// Keeps replies; their ids, in order.
    async fn add_suggestions(
        &self,
        user_id: i64,
        thread_id: &str,
        suggestions: &[Suggestion],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<i64>>;
    /// The newest replies of a thread, the newest first.
    async fn suggestions(
        &self,
        user_id: i64,
        thread_id: &str,
        limit: u32,
    ) -> anyhow::Result<Vec<StoredSuggestion>>;
    /// Notes that a reply was taken; `false` where the user has none of this id.
    async fn mark_used(&self, user_id: i64, id: i64, now: DateTime<Utc>) -> anyhow::Result<bool>;
}
