//! Keeps the database small, and forgets answers of what was taken back.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::sync::broadcast::error::RecvError;

use crate::{
    _core::errors::in_full,
    gateway::Cache,
    rollout::{controller::Controller, record::Action},
    storage::Storage,
};

/// Between two upkeeps of the database.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Counts events by the hour and deletes old ones, every hour until the server stops.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: it works at the time it is"
)]
pub(super) async fn keep_small(
    storage: Storage,
    retention: Duration,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
        }
        tokio::select! {
            () = &mut stopping => return,
            result = storage.prune(retention, Utc::now()) => match result {
                Ok(upkeep) => tracing::debug!(?upkeep, "upkeep of the database"),
                Err(error) => {
                    tracing::error!(error = in_full(error.as_ref()), "upkeep of the database failed");
                }
            },
        }
    }
}

/// Forgets kept answers when a rollout is taken back: what it served is not served again.
pub(super) async fn purge_at_rollbacks(
    cache: Arc<Cache>,
    controller: Arc<Controller>,
    stopping: impl Future<Output = ()>,
) {
    let mut changes = controller.subscribe();
    let mut stopping = pin!(stopping);
    loop {
        let change = tokio::select! {
            () = &mut stopping => return,
            change = changes.recv() => change,
        };
        match change {
            Ok(change) if change.action != Action::RolledBack => {}
            // Whoever is behind may have missed one.
            Ok(_) | Err(RecvError::Lagged(_)) => cache.purge(),
            Err(RecvError::Closed) => return,
        }
    }
}
