//! Recorded events on their way to the database: the rollouts' controller takes them out and writes
//! them together with what they prove.
//!
//! Where that fails for long, events are dropped rather than memory: they are counted, and the log is told.

use super::Event;

/// Events that may wait; about 15 MB.
const OUTBOX_LIMIT: usize = 100_000;

/// Events not yet taken out.
#[derive(Default)]
pub(super) struct Outbox {
    events: Vec<Event>,
    dropped: u64,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

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
pub(super) struct Drained {
    /// In the order of recording.
    pub(super) events: Vec<Event>,
    /// How many more there were since the last time: too many were waiting.
    pub(super) dropped: u64,
}

impl Outbox {
    pub(super) fn drain(&mut self) -> Drained {
        Drained {
            events: std::mem::take(&mut self.events),
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}
