//! What accounts have used, kept over restarts and, where processes share a database, for all of them.

use async_trait::async_trait;

use super::{
    record::{AccountReport, ReportAnswer},
    used::Used,
};

/// What accounts have used, as several processes say of them.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The time of the database, in milliseconds since 1970.
    pub now_ms: i64,
    /// Processes that live, or may: those that said something in the last five minutes and did not stop.
    pub live: u32,
    /// By the account's label.
    pub accounts: Vec<(String, Used)>,
}

/// Keeps what accounts have used.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// All that was kept, by the name of the provider.
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>>;

    /// Keeps what the account at a provider has used, instead of what was kept before.
    async fn keep_quota(&self, provider: &str, used: &Used) -> anyhow::Result<()>;

    /// Whether other processes may use the same accounts, so that their slots are this store's to give.
    fn gives_slots(&self) -> bool {
        false
    }

    /// Hands in a report of one process about an account, while no other does.
    async fn say(&self, _account: &str, _report: &AccountReport) -> anyhow::Result<ReportAnswer> {
        anyhow::bail!("this store gives no slots")
    }

    /// What all processes have used.
    async fn shared(&self) -> anyhow::Result<Shared> {
        Ok(Shared::default())
    }
}
