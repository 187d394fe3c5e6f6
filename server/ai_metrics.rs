//! One event per attempt at a model, kept in sliding windows, summed up and judged.
//!
//! The newest 10,000 events are kept as they are, sorted by time; older ones are counted by second,
//! minute and hour. A window that starts after the newest counted event is therefore
//! answered exactly, to the millisecond, and any window of up to 10,000 events is one of those. All
//! others are read from counts, whose sums are exact and whose quantiles are within a thousandth.
//!
//! There are two locks. `recent` is held for as long as it takes to put an event into its place, or
//! to copy the newest ones, so recording never waits for a reader at work. `history` is held while
//! old events are counted and while a window is read; recording only ever tries it. Whoever has
//! `history` may take `recent`, never the other way round but by trying.
//!
//! Cancelled attempts are no requests: they are stored and in the counters of [`exposition`], but in
//! no window. A failure is an attempt that met a fault. What is told to rollouts alone (see [`event`])
//! is stored, and counted nowhere here.

pub mod distribution;
pub mod event;
pub mod exposition;
pub mod feed;
pub mod health;
pub mod histogram;
mod history;
mod outbox;
mod running;
pub mod summary;
pub mod window;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

pub use self::event::{Event, Outcome};
use self::{
    distribution::EXACT_LIMIT,
    exposition::ModelSeries,
    history::{Edge, History},
    outbox::{Drained, Outbox},
    running::Running,
    summary::Summary,
    window::{Builder, Minutes, Sample, Window},
};

/// Events beyond the newest that may wait to be counted. [`AiMetrics::settle`], which the recorder
/// calls every second, keeps a busy server below this; without it, every so many events one call
/// counts them all.
const UNSETTLED_LIMIT: usize = 8_192;
/// Models with a name of their own; a catalog has a dozen.
const MODELS_LIMIT: usize = 1_000;
/// The name of all further models.
const OTHER_MODELS: &str = "(other)";

/// Where events are kept beyond the process.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Adds events, all or none.
    async fn append(&self, events: &[Event]) -> anyhow::Result<()>;
    /// All events at or after this time (milliseconds since 1970), oldest first.
    async fn since(&self, at_ms: i64) -> anyhow::Result<Vec<Event>>;
}

/// The windows; shared by everything that records or reads.
pub struct AiMetrics {
    recent: Mutex<Recent>,
    history: Mutex<History>,
    /// Taken before `recent` where both are needed, so that a late attempt is told before it ends.
    running: Mutex<Running>,
    /// Wakes whoever takes events out.
    arrival: Notify,
}

/// What recording touches.
struct Recent {
    /// Sorted by time; those that came first, first.
    samples: VecDeque<Sample>,
    /// When the newest sample that has been counted happened.
    counted_until: Option<i64>,
    models: Models,
    /// Where there is a recorder.
    outbox: Option<Outbox>,
}

impl AiMetrics {
    /// Windows that end with the process.
    pub fn new() -> Self {
        Self::build(None)
    }

    /// Windows whose events somebody else takes out and stores, by [`AiMetrics::drain`].
    pub fn drained() -> Self {
        Self::build(Some(Outbox::default()))
    }

    /// Takes out the events that were recorded since the last time, in order. What was dropped
    /// because too many were waiting is told to the log.
    pub fn drain(&self) -> Vec<Event> {
        let Drained { events, dropped } = self.outbox(Outbox::drain).unwrap_or_default();
        if dropped > 0 {
            tracing::error!(dropped, "events were not stored: too many were waiting");
        }
        events
    }

    /// Events that wait to be taken out.
    pub fn waiting(&self) -> usize {
        self.outbox(|outbox| outbox.len()).unwrap_or_default()
    }

    /// Resolves when an event waits to be taken out.
    pub async fn recorded_any(&self) {
        self.arrival.notified().await;
    }

    fn build(outbox: Option<Outbox>) -> Self {
        Self {
            recent: Mutex::new(Recent {
                samples: VecDeque::new(),
                counted_until: None,
                models: Models::default(),
                outbox,
            }),
            history: Mutex::new(History::new()),
            running: Mutex::default(),
            arrival: Notify::new(),
        }
    }

    /// Records one attempt. Never waits.
    ///
    /// An event whose durations are negative or not finite is logged and not recorded.
    pub fn record(&self, event: Event) {
        if let Err(error) = event.validate() {
            tracing::error!(model = &*event.model, %error, "an event is not recorded");
            return;
        }
        event.log();
        let mut recent = self.recent.lock();
        let model = recent.models.id(&event.model);
        recent.models.series(model).count(&event);
        recent.insert(model, &event);
        if let Some(outbox) = &mut recent.outbox {
            outbox.push(event);
            self.arrival.notify_one();
        }
        self.settle_at_limit(recent);
    }

    /// Notes that an attempt begins, where a rollout counts it; [`AiMetrics::close`] takes the number.
    pub fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        self.running.lock().begin(event, started)
    }

    /// Lets an attempt go that was noted and has ended; whether it was told to be open. Its event is
    /// recorded when it is known whose fault its end was.
    pub fn close(&self, number: u64) -> bool {
        self.running.lock().end(number)
    }

    /// Tells of a rollout's attempts that are open after `limit_ms`, each once.
    pub fn tell_late(&self, rollout: &str, limit_ms: f64, at_ms: i64, now: Instant) {
        let mut running = self.running.lock();
        for event in running.late(rollout, limit_ms, at_ms, now) {
            self.note(event);
        }
    }

    /// Hands on what only rollouts want to know; it is stored, and no part of any window.
    pub fn note(&self, event: Event) {
        if self.outbox(|outbox| outbox.push(event)).is_some() {
            self.arrival.notify_one();
        }
    }

    /// The first millisecond since 1970 whose events windows can hold that end `now` or later.
    pub fn reach(now: DateTime<Utc>) -> i64 {
        history::full_minute(Minutes::WEEK.start(now))
    }

    /// Fills the windows with events of an earlier process, without storing or logging them again.
    /// With all since [`AiMetrics::reach`] they are what they were there.
    pub fn restore(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if event.validate().is_ok() {
                let mut recent = self.recent.lock();
                let model = recent.models.id(&event.model);
                recent.insert(model, &event);
                self.settle_at_limit(recent);
            }
        }
    }

    /// Everything at or after `now` less `minutes`; what lies in the future counts.
    pub fn window(&self, minutes: Minutes, now: DateTime<Utc>) -> Window {
        let start_ms = minutes.start(now);
        let mut history = self.history.lock();
        self.settle_into(&mut history);
        let mut newest = history.take_buffer();
        let (names, is_exact) = {
            let recent = self.recent.lock();
            let first = recent.samples.partition_point(|s| s.at_ms < start_ms);
            newest.extend(recent.samples.range(first..));
            let counted_until = recent.counted_until;
            (
                recent.models.names.clone(),
                counted_until.is_none_or(|until| start_ms > until),
            )
        };
        let mut window = if is_exact {
            Builder::exact()
        } else {
            let mut window = Builder::counted();
            let edge = if minutes <= Minutes::HOUR {
                Edge::Second
            } else {
                Edge::Minute
            };
            history.read(start_ms, edge, &mut window);
            window
        };
        for sample in &newest {
            window.add(sample);
        }
        history.return_buffer(newest);
        window.finish(&names)
    }

    /// The window's figures.
    pub fn summary(&self, minutes: Minutes, now: DateTime<Utc>) -> Summary {
        Summary::of(&self.window(minutes, now))
    }

    /// As [`AiMetrics::summary`], for async code: long windows, which may take tens of milliseconds,
    /// are read on a thread that may block.
    pub async fn read_summary(self: &Arc<Self>, minutes: Minutes, now: DateTime<Utc>) -> Summary {
        if minutes <= Minutes::HOUR {
            return self.summary(minutes, now);
        }
        let metrics = self.clone();
        let read = tokio::task::spawn_blocking(move || metrics.summary(minutes, now));
        // Only a runtime that is going away does not run it.
        read.await.unwrap_or_else(|_| self.summary(minutes, now))
    }

    /// Counts the events that are no longer among the newest.
    pub fn settle(&self) {
        self.settle_into(&mut self.history.lock());
    }

    fn settle_at_limit(&self, recent: MutexGuard<'_, Recent>) {
        if recent.samples.len() < EXACT_LIMIT + UNSETTLED_LIMIT {
            return;
        }
        drop(recent);
        // Where a reader is at work, it or a later event will do this.
        if let Some(mut history) = self.history.try_lock() {
            self.settle_into(&mut history);
        }
    }

    fn settle_into(&self, history: &mut History) {
        let mut old = history.take_buffer();
        self.recent.lock().take_old(&mut old);
        history.add(&old);
        history.return_buffer(old);
    }

    fn outbox<R>(&self, use_it: impl FnOnce(&mut Outbox) -> R) -> Option<R> {
        self.recent.lock().outbox.as_mut().map(use_it)
    }
}

impl Default for AiMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    fn insert(&mut self, model: u16, event: &Event) {
        let is_known = !matches!(event.outcome, Outcome::Cancelled | Outcome::Unknown);
        if !is_known || !event.outcome.is_end() {
            return;
        }
        let sample = Sample {
            at_ms: event.at_ms,
            model,
            variant: event.variant,
            failed: matches!(event.outcome, Outcome::Fault(_)),
            latency_ms: event.latency_ms,
            first_token_ms: event.first_token_ms,
            prompt_tokens: event.prompt_tokens,
            completion_tokens: event.completion_tokens,
            cost: event.cost,
        };
        if self.samples.back().is_none_or(|s| s.at_ms <= sample.at_ms) {
            self.samples.push_back(sample);
        } else {
            let place = self.samples.partition_point(|s| s.at_ms <= sample.at_ms);
            self.samples.insert(place, sample);
        }
    }

    /// All but the newest.
    fn take_old(&mut self, old: &mut Vec<Sample>) {
        let count = self.samples.len().saturating_sub(EXACT_LIMIT);
        old.extend(self.samples.drain(..count));
        self.counted_until = self.counted_until.max(old.last().map(|s| s.at_ms));
    }
}

/// Models by a small number.
#[derive(Default)]
struct Models {
    ids: HashMap<Arc<str>, u16>,
    names: Vec<Arc<str>>,
    series: Vec<ModelSeries>,
}

impl Models {
    fn id(&mut self, name: &Arc<str>) -> u16 {
        match self.ids.get(name) {
            Some(id) => *id,
            None if self.names.len() < MODELS_LIMIT => self.add(name.clone()),
            None => match self.ids.get(OTHER_MODELS) {
                Some(id) => *id,
                None => self.add(OTHER_MODELS.into()),
            },
        }
    }

    fn add(&mut self, name: Arc<str>) -> u16 {
        let id = self.names.len() as u16;
        self.ids.insert(name.clone(), id);
        self.names.push(name);
        self.series.push(ModelSeries::default());
        id
    }

    fn series(&mut self, id: u16) -> &mut ModelSeries {
        &mut self.series[usize::from(id)]
    }
}
