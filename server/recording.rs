//! The log of this process: any part appends events, and the rollouts' controller freezes them into
//! batches, gives those their place, judges by them and stores them.
//!
//! Appending never waits. Where storing fails for long, events are dropped rather than memory: they are
//! counted, and a line in the server's log says how many.

mod batch;
pub mod event;
mod first_words;
mod open;
mod outcome;
pub mod texts;

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

pub use self::batch::{Batch, MOST_IN_BATCH, Ordered};
pub use self::event::{Attempted, Event, JudgedAnswer, RatedAnswer};
pub use self::first_words::first_words_ms;
use self::open::OpenAttempts;
pub use self::outcome::{Judgement, Outcome};

/// Events that may wait to be stored; about 30 MB.
const LIMIT: usize = 200_000;

/// Describes what this room counts to the recorder.
pub fn describe() {
    texts::describe();
    metrics::describe_counter!(
        "ai_events_dropped_total",
        "Events that found no place while the database was away"
    );
    metrics::describe_counter!(
        "ai_events_refused_total",
        "Events that were not stored, as the database refused them"
    );
}

/// Events on their way to the database, and attempts that have not ended.
#[derive(Default)]
pub struct Log {
    waiting: Mutex<Unstored>,
    /// Taken before `waiting` where both are needed, so that a late attempt is reported before it ends.
    open: Mutex<OpenAttempts>,
    /// Wakes whoever takes events out.
    arrival: Notify,
}

#[derive(Default)]
struct Unstored {
    /// In no batch yet.
    events: VecDeque<Event>,
    /// Events in batches that are not known to be stored.
    frozen: usize,
    /// The number of the last batch.
    last_batch: i64,
    /// Events that found no room since the last time.
    dropped: u64,
    /// Events that found room, ever.
    appended: u64,
    /// Events that found none, ever.
    dropped_ever: u64,
    /// Events that the database refused, ever.
    set_aside: u64,
}

impl Unstored {
    fn len(&self) -> usize {
        self.events.len() + self.frozen
    }
}

impl Log {
    /// Appends an event. Never waits.
    pub fn append(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < LIMIT {
            waiting.events.push_back(event);
            waiting.appended += 1;
        } else {
            waiting.dropped += 1;
            waiting.dropped_ever += 1;
        }
        drop(waiting);
        self.arrival.notify_one();
    }

    /// Makes a batch of the oldest events that are in none; `None` where there are no such events. Logs how
    /// many events were dropped because too many were waiting.
    pub fn freeze(&self) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        let dropped = std::mem::take(&mut waiting.dropped);
        if dropped > 0 {
            metrics::counter!("ai_events_dropped_total").increment(dropped);
            tracing::error!(dropped, "events were not stored: too many were waiting");
        }
        let most = waiting.events.len().min(MOST_IN_BATCH);
        let events: Vec<_> = waiting.events.drain(..most).collect();
        if events.is_empty() {
            return None;
        }
        waiting.frozen += events.len();
        waiting.last_batch += 1;
        Some(Batch {
            writer: None,
            number: waiting.last_batch,
            events: events.into(),
        })
    }

    /// How many events were appended ever, and of those after so many the ones that are in no batch yet.
    pub fn after(&self, appended: u64) -> (u64, Vec<Event>) {
        let waiting = self.waiting.lock();
        let new = usize::try_from(waiting.appended.saturating_sub(appended)).unwrap_or(usize::MAX);
        let seen = waiting.events.len().saturating_sub(new);
        (
            waiting.appended,
            waiting.events.range(seen..).cloned().collect(),
        )
    }

    /// Notes that so many events of batches are stored.
    pub fn stored(&self, events: usize) {
        let mut waiting = self.waiting.lock();
        waiting.frozen = waiting.frozen.saturating_sub(events);
    }

    /// Notes that so many events of batches that were stored are to be stored again.
    pub fn lacks(&self, events: usize) {
        self.waiting.lock().frozen += events;
    }

    /// Notes that the database refused an event of a batch, which is now in none.
    pub fn set_aside(&self, event: &Event) {
        metrics::counter!("ai_events_refused_total").increment(1);
        tracing::error!(
            request_id = &*event.request_id,
            model = &*event.model,
            "an event was not stored, as the database refuses it"
        );
        let mut waiting = self.waiting.lock();
        waiting.frozen = waiting.frozen.saturating_sub(1);
        waiting.set_aside += 1;
    }

    /// Events that found no room, and events that the database refused, since the process began.
    pub fn lost(&self) -> (u64, u64) {
        let waiting = self.waiting.lock();
        (waiting.dropped_ever, waiting.set_aside)
    }

    /// Events that are not known to be stored.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Resolves when an event was appended since the last time.
    pub async fn appended(&self) {
        self.arrival.notified().await;
    }

    /// Notes that an attempt begins, where a rollout counts it. Returns the number that [`Log::close`] takes.
    pub fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        self.open.lock().begin(event, started)
    }

    /// Forgets an attempt that has ended. Returns whether [`Log::report_late`] has reported it. Its event is
    /// appended once it is known whose fault its end was.
    pub fn close(&self, number: u64) -> bool {
        self.open.lock().end(number)
    }

    /// Appends an event for each of a rollout's attempts that is still open after `limit_ms`; once for each.
    pub fn report_late(&self, rollout: &str, limit_ms: f64, at_ms: i64, now: Instant) {
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
        let first = log.freeze().unwrap();
        assert_eq!((first.number, first.events[0].at_ms), (1, 0));
        assert_eq!(log.waiting.lock().dropped, 0);
        // What is not stored yet takes room still.
        log.append(event(0, "m", 1.0));
        assert_eq!((log.waiting(), log.waiting.lock().dropped), (LIMIT, 1));
        log.stored(first.events.len());
        assert_eq!(log.waiting(), LIMIT - MOST_IN_BATCH);
    }

    #[test]
    fn batches_are_numbered_and_hold_each_event_once() {
        let log = Log::default();
        let most = MOST_IN_BATCH as i64;
        for at_ms in 0..2 * most + 1 {
            log.append(event(at_ms, "m", 1.0));
        }
        let batches: Vec<_> = std::iter::from_fn(|| log.freeze()).collect();
        let told: Vec<_> = batches
            .iter()
            .map(|it| (it.number, it.events.len()))
            .collect();
        assert_eq!(told, [(1, MOST_IN_BATCH), (2, MOST_IN_BATCH), (3, 1)]);
        let times = batches
            .iter()
            .flat_map(|it| it.events.iter().map(|e| e.at_ms));
        assert!(times.eq(0..2 * most + 1));
        assert!(log.freeze().is_none());
    }
}
