//! Fills the windows with the events of earlier processes, while the server already answers.
//!
//! A week of events takes seconds to read. Until all are read, figures are too small, and `/readyz`
//! says so. Events that this process stores meanwhile are in the windows already and are not read.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio::sync::watch;

use crate::{
    _core::{errors::in_full, failure_edge::FailureEdge},
    ai_metrics::AiMetrics,
    storage::{Storage, Writers},
};

/// How long a database that failed has to recover.
const PAUSE: Duration = Duration::from_secs(1);

/// What is still to be read.
pub struct Filling {
    storage: Storage,
    metrics: Arc<AiMetrics>,
    from_ms: i64,
    /// Of the last event that earlier processes stored.
    last_seq: i64,
    /// The last batch of each writer in it.
    placed: HashMap<i64, i64>,
    is_whole: watch::Sender<bool>,
}

impl Filling {
    /// Notes which events are to be read, so that windows can end `now` or later; before this process
    /// stores its first one.
    pub async fn prepare(
        storage: &Storage,
        metrics: &Arc<AiMetrics>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Arc<Self>> {
        let (last_seq, positions) = storage
            .positions_of(Writers::All)
            .await
            .context("cannot read the events of the last week")?;
        let placed = positions.iter().map(|it| (it.writer, it.ordered));
        Ok(Arc::new(Self {
            storage: storage.clone(),
            metrics: metrics.clone(),
            from_ms: AiMetrics::reach(now),
            last_seq,
            placed: placed.collect(),
            is_whole: watch::Sender::new(false),
        }))
    }

    /// The last batch of each writer that is read here; what comes after it whoever looks at other processes
    /// gives to the windows.
    pub fn placed(&self) -> HashMap<i64, i64> {
        self.placed.clone()
    }

    /// Why figures are not whole yet.
    pub fn trouble(&self) -> Option<String> {
        let is_whole = *self.is_whole.borrow();
        (!is_whole).then(|| "the figures of the last week are still being read".into())
    }

    /// Resolves when the windows are whole.
    pub async fn whole(&self) {
        let mut is_whole = self.is_whole.subscribe();
        // The sender lives as long as `self`.
        let _ = is_whole.wait_for(|is_whole| *is_whole).await;
    }

    /// Reads all that is to be read, however often the database fails meanwhile.
    pub async fn run(self: Arc<Self>, stopping: impl Future<Output = ()>) {
        let mut stopping = pin!(stopping);
        let started = Instant::now();
        let mut done = None;
        let outage = FailureEdge::default();
        let read = async {
            while let Err(error) = self.read(&mut done).await {
                if outage.begins() {
                    let error = in_full(error.as_ref());
                    tracing::error!(
                        error,
                        "cannot read the events of the last week; it is tried again every second"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = &mut stopping => return,
            () = read => {}
        }
        tracing::info!(took = ?started.elapsed(), "the figures of the last week are whole");
        self.is_whole.send_replace(true);
    }

    /// Goes on after the event of this time and number.
    async fn read(&self, done: &mut Option<(i64, i64)>) -> anyhow::Result<()> {
        let from_ms = done.map_or(self.from_ms, |(at_ms, _)| at_ms);
        let mut pages = self.storage.events_between(from_ms, i64::MAX);
        while let Some(mut page) = pages.next().await.transpose()? {
            let last = page.last().map(|event| (event.at_ms, event.seq));
            page.retain(|event| {
                event.seq <= self.last_seq && Some((event.at_ms, event.seq)) > *done
            });
            self.metrics.restore(page);
            *done = last;
            // Whoever waits for this processor is served first.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
