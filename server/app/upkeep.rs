//! Keeps the database small.

use std::{future::Future, pin::pin, time::Duration};

use chrono::{TimeDelta, Utc};

use crate::{_core::errors::in_full, storage::Storage};

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
