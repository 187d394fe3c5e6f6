//! What the log of a process holds.

use modelramp::recording::{Event, Log};

/// The events that were appended since the last time, as if they were stored now.
pub(crate) fn taken(log: &Log) -> Vec<Event> {
    let batches = std::iter::from_fn(|| log.freeze());
    let events: Vec<_> = batches.flat_map(|it| it.events.to_vec()).collect();
    log.stored(events.len());
    events
}
