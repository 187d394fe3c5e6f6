//! Keeps the database small, and forgets answers of what was taken back.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use crate::{
    _core::{clock, errors::in_full},
    gateway::Cache,
    rollout::{controller::Controller, record::Action},
    storage::{Storage, Upkeep},
};

/// Between two times that new events are counted by the hour: what charts of long times read singly.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// After so many of them old events are deleted: every hour.
const COUNTS_PER_UPKEEP: u32 = 60;

/// How long it may take: a connection that died in silence would keep it waiting for ever.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How long what is kept stays.
pub(super) struct Retention {
    /// Single events.
    pub(super) events: Duration,
    /// Texts of requests.
    pub(super) texts: Duration,
}

/// Counts events by the hour, every minute, and deletes old ones, every hour, until the server stops; the
/// process that moves the rollouts does, and no other.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: it works at the time it is"
)]
pub(super) async fn keep_small(
    storage: Storage,
    controller: Arc<Controller>,
    retention: Retention,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    let of = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    let (events, texts) = (of(retention.events), of(retention.texts));
    let mut counts = 0_u32;
    let mut has_failed = false;
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(COUNT_INTERVAL) => {}
        }
        if !controller.leads() {
            continue;
        }
        let is_upkeep = counts.is_multiple_of(COUNTS_PER_UPKEEP);
        counts += 1;
        let work = async {
            match is_upkeep {
                true => {
                    let now = clock::now();
                    storage.prune_texts(now - texts).await?;
                    storage.prune(events, now).await
                }
                false => storage.count_by_hour().await.map(Upkeep::counted),
            }
        };
        let result = tokio::select! {
            () = &mut stopping => return,
            result = timeout(PATIENCE, work) => result,
        };
        let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("not within {PATIENCE:?}")));
        match &result {
            Ok(upkeep) if is_upkeep => tracing::debug!(?upkeep, "upkeep of the database"),
            Ok(_) => {}
            // A database that is away for long says so once.
            Err(error) if is_upkeep || !has_failed => {
                tracing::error!(
                    error = in_full(error.as_ref()),
                    "upkeep of the database failed"
                );
            }
            Err(_) => {}
        }
        has_failed = result.is_err();
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
