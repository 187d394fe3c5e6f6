//! What accounts have used, kept over restarts and, where processes share a database, for all of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::record::{AccountReport, LastReport, ReportAnswer};

/// What an account has used of its quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// A day, counted from 1970.
    pub day: i64,
    /// Requests of that day.
    pub requests: u32,
    /// When those of the last minute were made by the one process that there is, in milliseconds since 1970.
    pub sent_ms: Vec<i64>,
    /// When tokens of the last minute were used, and how many, where they are limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<(i64, u32)>,
    /// When slots of the last minute were given to several processes, and how many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<(i64, u32)>,
    /// Until when the account rests, in milliseconds since 1970; 0 where it does not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rests_until_ms: i64,
    /// When that was told first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rests_since_ms: i64,
    /// Counts the reports of all processes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: i64,
    /// The last report of each process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last: BTreeMap<String, LastReport>,
}

impl Used {
    /// Slots that were given since the last rest was over.
    pub fn gone(&self) -> u32 {
        let gone = self.slots().filter(|at_ms| *at_ms > self.rests_until_ms);
        u32::try_from(gone.count()).unwrap_or(u32::MAX)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

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
