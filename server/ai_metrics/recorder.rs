//! Writes recorded events to the store, a second behind; where rollouts are controlled, their
//! controller does this in its stead, because events and evidence are written together.
//!
//! [`AiMetrics::record`] puts events into an [`Outbox`]; the recorder takes them out every second and
//! appends them as one batch. A batch that the store refuses is kept and offered again, while later
//! events wait in the outbox; only when that is full are events dropped, counted, and the log told.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{AiMetrics, Event, EventStore};

/// Between two batches.
const INTERVAL: Duration = Duration::from_secs(1);
/// Events that may wait for a store that fails; about 15 MB.
const OUTBOX_LIMIT: usize = 100_000;
/// How often the last batch is offered to a store that fails.
const LAST_ATTEMPTS: u32 = 5;
/// Between two of those.
const LAST_ATTEMPTS_PAUSE: Duration = Duration::from_millis(200);

/// Events not yet taken by the recorder.
#[derive(Default)]
pub(super) struct Outbox {
    events: Vec<Event>,
    dropped: u64,
}

impl Outbox {
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() < OUTBOX_LIMIT {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }
}

/// Events taken out for storing.
#[derive(Debug, Default)]
pub struct Drained {
    /// In the order of recording.
    pub events: Vec<Event>,
    /// How many more there were since the last time: too many were waiting.
    pub dropped: u64,
}

impl Outbox {
    pub(super) fn drain(&mut self) -> Drained {
        Drained {
            events: std::mem::take(&mut self.events),
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}

/// The task that stores events. Dropping it without [`Recorder::run`] keeps them in memory only.
pub struct Recorder {
    metrics: Arc<AiMetrics>,
    store: Arc<dyn EventStore>,
    /// What the store has not yet accepted.
    batch: Vec<Event>,
    /// Whether the store refused the last batch.
    failing: bool,
}

impl Recorder {
    pub(super) fn new(metrics: Arc<AiMetrics>, store: Arc<dyn EventStore>) -> Self {
        Self {
            metrics,
            store,
            batch: Vec::new(),
            failing: false,
        }
    }

    /// Stores events until `stop` resolves, then the rest.
    ///
    /// What is recorded after that is not stored, so `stop` must come after the last call has
    /// finished: the recorder belongs to `Tasks` of its own, shut down after those of the calls.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = ticks.tick() => {}
            }
            self.metrics.settle();
            self.flush().await;
        }
        for _ in 1..LAST_ATTEMPTS {
            if self.flush().await {
                return;
            }
            sleep(LAST_ATTEMPTS_PAUSE).await;
        }
        if !self.flush().await {
            let lost = self.batch.len() + self.metrics.outbox(|o| o.events.len()).unwrap_or(0);
            tracing::error!(lost, "events could not be stored before the stop");
        }
    }

    /// Appends what waits, batch after batch; whether the store has it all.
    async fn flush(&mut self) -> bool {
        loop {
            if self.batch.is_empty() {
                self.batch = self.metrics.drain();
                if self.batch.is_empty() {
                    return true;
                }
            }
            match self.store.append(&self.batch).await {
                Ok(()) => {
                    self.batch.clear();
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("events are stored again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let waiting = self.batch.len();
                        tracing::error!(
                            error = format!("{error:#}"),
                            waiting,
                            "events cannot be stored; they are kept and offered again"
                        );
                    }
                    return false;
                }
            }
        }
    }
}
