//! Where attempts are reported.

use tokio::time::Instant;

use crate::{ai_metrics::AiMetrics, recording::Event};

/// Where events of attempts go: the windows of [`AiMetrics`], or whatever wants to see each one.
pub trait Recorder: Send + Sync {
    /// Takes the event of an attempt that has ended. Never waits.
    fn record(&self, event: Event);

    /// Notes an attempt that begins; the number that [`Recorder::close`] wants, where it wants to know.
    fn begin(&self, _event: &Event, _started: Instant) -> Option<u64> {
        None
    }

    /// Lets an attempt go that was noted and has ended, before it is known whose fault its end was, or of which the first
    /// words are there; whether it was told to be open and slow.
    fn close(&self, _number: u64) -> bool {
        false
    }
}

impl Recorder for AiMetrics {
    fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        self.log()?.begin(event, started)
    }

    fn close(&self, number: u64) -> bool {
        self.log().is_some_and(|log| log.close(number))
    }

    fn record(&self, event: Event) {
        Self::record(self, event);
    }
}
