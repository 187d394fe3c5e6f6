//! What accounts have used, kept over restarts.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// What an account has used of its quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// A day, counted from 1970.
    pub day: i64,
    /// Requests of that day.
    pub requests: u32,
    /// When those of the last minute were made, in milliseconds since 1970.
    pub sent_ms: Vec<i64>,
    /// When tokens of the last minute were used, and how many, where they are limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<(i64, u32)>,
}

/// Keeps it.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// All that was kept, by the name of the provider.
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>>;

    /// Keeps what the account at a provider has used, instead of what was kept before.
    async fn keep_quota(&self, provider: &str, used: &Used) -> anyhow::Result<()>;
}
