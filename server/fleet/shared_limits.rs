//! Reports what this process took of limits to the others, and counts here what they took.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;

use crate::_core::{
    clock,
    errors::in_full,
    failure_edge::FailureEdge,
    takings::{Taken, Takings},
};

/// Between two words.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where takings lie, for some minutes.
#[async_trait]
pub trait TakingsStore: Send + Sync {
    /// Stores what this process took, by name in all, and gives what others stored since this time, and the time
    /// now: milliseconds since 1970 by the clock of the database. All of some minutes where none is given.
    async fn exchange(
        &self,
        holder: &str,
        taken: &[Taken],
        since_ms: Option<i64>,
    ) -> anyhow::Result<(Vec<Taken>, i64)>;
}

/// Goes on until the server stops.
pub async fn run(
    takings: Arc<Takings>,
    store: Arc<dyn TakingsStore>,
    holder: String,
    stopping: impl Future<Output = ()> + Send,
) {
    let mut stopping = pin!(stopping);
    let outage = FailureEdge::default();
    let mut since_ms = None;
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = sleep(INTERVAL) => {}
        }
        let taken = takings.take_new();
        match store.exchange(&holder, &taken, since_ms).await {
            Ok((others, now_ms)) => {
                #[expect(clippy::disallowed_methods, reason = "what others took is taken now")]
                let now = clock::now();
                takings.add_others(others, since_ms.is_none(), now);
                since_ms = Some(now_ms);
                if outage.ends() {
                    tracing::info!("limits hold for all servers together again");
                }
            }
            Err(error) => {
                takings.put_back(&taken);
                if outage.begins() {
                    let error = in_full(error.as_ref());
                    tracing::warn!(
                        error,
                        "limits hold for each server alone for as long as the database is away"
                    );
                }
            }
        }
    }
}
