//! How many calls a provider has in flight: beyond the limit, calls wait in a line of the same length
//! until their deadline, and beyond that they are turned away at once.
//!
//! A slow provider would otherwise collect every call of the process, with the memory and the
//! connections of each. The line is before the attempt: waiting in it says nothing about a model.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// The limit of one provider; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit {
    in_flight: Arc<Semaphore>,
    line: Arc<Semaphore>,
}

/// A place in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    _permit: OwnedSemaphorePermit,
}

impl ConcurrencyLimit {
    /// At most `limit` calls in flight, and as many waiting.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            in_flight: Arc::new(Semaphore::new(limit)),
            line: Arc::new(Semaphore::new(limit)),
        }
    }

    /// How many places are taken, of so many.
    pub(super) fn in_flight(&self, limit: usize) -> usize {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        limit.saturating_sub(self.in_flight.available_permits())
    }

    /// A place in flight; `None` where the line is full, or none became free before `deadline`.
    pub(super) async fn enter(&self, deadline: Instant) -> Option<InFlight> {
        let in_flight = || self.in_flight.clone();
        if let Ok(permit) = in_flight().try_acquire_owned() {
            return Some(InFlight { _permit: permit });
        }
        let _waiting = self.line.try_acquire().ok()?;
        let permit = timeout_at(deadline, in_flight().acquire_owned()).await;
        let permit = permit.ok()?.ok()?;
        Some(InFlight { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_a_line_of_a_certain_length_until_their_deadline() {
        let limit = ConcurrencyLimit::new(1);
        let soon = Instant::now() + Duration::from_secs(1);
        let first = limit.enter(soon).await;
        assert!(first.is_some());
        let mut second = std::pin::pin!(limit.enter(soon));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(limit.enter(soon).await.is_none(), "the line is full");
        drop(first);
        let second = second.await;
        assert!(second.is_some());
        assert!(limit.enter(soon).await.is_none(), "nobody left in time");
        assert!(Instant::now() >= soon);
    }
}
