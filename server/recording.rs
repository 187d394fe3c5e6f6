//! The log of this process: any part appends events, and the rollouts' controller takes them out, numbers
//! them, judges by them and stores them.
//!
//! Appending never waits. Where storing fails for long, events are dropped rather than memory: they are
//! counted, and the server's log is told.

pub mod event;
mod open;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

pub use self::event::{Attempted, Event, Outcome, Rated};
use self::open::Open;

/// Events that may wait; about 15 MB.
const LIMIT: usize = 100_000;

/// Where events are kept beyond the process.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Adds events, all or none.
    async fn append(&self, events: &[Event]) -> anyhow::Result<()>;
    /// All events at or after this time (milliseconds since 1970), oldest first.
    async fn since(&self, at_ms: i64) -> anyhow::Result<Vec<Event>>;
}

/// Events on their way to the database, and attempts that have not ended.
#[derive(Default)]
pub struct Log {
    waiting: Mutex<Waiting>,
    /// Taken before `waiting` where both are needed, so that a late attempt is told before it ends.
    open: Mutex<Open>,
    /// Wakes whoever takes events out.
    arrival: Notify,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    /// Events that found no room since the last time.
    dropped: u64,
}

impl Log {
    /// Appends an event. Never waits.
    pub fn append(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() < LIMIT {
            waiting.events.push(event);
        } else {
            waiting.dropped += 1;
        }
        drop(waiting);
        self.arrival.notify_one();
    }

    /// Takes out the events that were appended since the last time, in order. What was dropped because
    /// too many were waiting is told to the server's log.
    pub fn take(&self) -> Vec<Event> {
        let Waiting { events, dropped } = std::mem::take(&mut *self.waiting.lock());
        if dropped > 0 {
            tracing::error!(dropped, "events were not stored: too many were waiting");
        }
        events
    }

    /// Events that wait to be taken out.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().events.len()
    }

    /// Resolves when an event waits to be taken out.
    pub async fn appended(&self) {
        self.arrival.notified().await;
    }

    /// Notes that an attempt begins, where a rollout counts it; [`Log::close`] takes the number.
    pub fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        self.open.lock().begin(event, started)
    }

    /// Lets an attempt go that was noted and has ended; whether it was told to be open. Its event is
    /// appended when it is known whose fault its end was.
    pub fn close(&self, number: u64) -> bool {
        self.open.lock().end(number)
    }

    /// Appends a rollout's attempts that are open after `limit_ms`, each once.
    pub fn tell_late(&self, rollout: &str, limit_ms: f64, at_ms: i64, now: Instant) {
        let mut open = self.open.lock();
        for event in open.late(rollout, limit_ms, at_ms, now) {
            self.append(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{event::tests::event, *};

    #[test]
    fn what_finds_no_room_is_dropped_and_the_oldest_stays() {
        let log = Log::default();
        for at_ms in 0..=LIMIT as i64 {
            log.append(event(at_ms, "m", 1.0));
        }
        assert_eq!((log.waiting(), log.waiting.lock().dropped), (LIMIT, 1));
        assert_eq!(log.take().first().map(|it| it.at_ms), Some(0));
        assert_eq!((log.waiting(), log.waiting.lock().dropped), (0, 0));
    }
}
