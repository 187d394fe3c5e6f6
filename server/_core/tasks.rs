//! Work that must finish: spawned here, waited for at shutdown.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tracks tasks and asks the long-lived ones to stop; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a task to its end even if nobody waits for it; [`Tasks::shutdown`] does.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that tracks tasks"
    )]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Resolves when the server begins to stop; loops and subscriptions end on it.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.clone().cancelled_owned()
    }

    /// Whether the server has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells loops and subscriptions to end; running calls go on.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops, then waits for what runs; `false` if `patience` was not enough.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .is_ok()
    }
}
