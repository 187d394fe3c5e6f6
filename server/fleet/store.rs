//! Where changes lie that are handed over.

use async_trait::async_trait;
use serde_json::Value;

/// A call that a process hands over.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedOver {
    /// UUIDv7 text; the same id is asked once.
    pub id: String,
    /// The procedure's name.
    pub procedure: String,
    /// Its input.
    pub input: Value,
    /// The number of the user who calls; 0 where a process asks by itself.
    pub user: i64,
    /// The user's role, as the process that was called knows it.
    pub role: String,
    /// Whether it takes the candidate from users; it then waits for as long as it takes.
    pub lowers: bool,
}

/// Where changes lie that are handed over. Times are those of the database.
#[async_trait]
pub trait CommandStore: Send + Sync {
    /// Asks. What does not lower may begin within five seconds.
    async fn ask(&self, asked: &HandedOver) -> anyhow::Result<()>;
    /// What was answered, if anything was.
    async fn answer(&self, id: &str) -> anyhow::Result<Option<Value>>;
    /// Takes what is to be done, the oldest first: what nobody has taken, and lowerings that are not answered, whoever took
    /// them.
    async fn take(&self, holder: &str) -> anyhow::Result<Vec<HandedOver>>;
    /// Gives back what was taken and not done.
    async fn give_back(&self, id: &str) -> anyhow::Result<()>;
    /// Notes what became of it.
    async fn done(&self, id: &str, answer: &Value) -> anyhow::Result<()>;
}
