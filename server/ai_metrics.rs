//! The events of attempts at models, kept in sliding windows, summed up and judged.
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
//! no window. A failure is an attempt that met a fault. What only rollouts want to know is
//! appended to the log of [`recording`](crate::recording) and is in no window.

pub mod distribution;
pub mod exposition;
pub mod feed;
pub mod health;
pub mod histogram;
mod history;
mod numbers;
pub mod recommendation;
pub mod summary;
pub mod window;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use self::{
    distribution::EXACT_LIMIT,
    exposition::ModelSeries,
    history::{Edge, TieredHistory},
    summary::Summary,
    window::{Builder, Minutes, WindowCounts, WindowSample},
};
use crate::{
    providers::{fault::FaultKind, quality::Quality},
    recording::{Event, Log, Outcome},
};
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};

/// Events beyond the newest that may wait to be counted. [`AiMetrics::settle`], which the recorder
/// calls every second, keeps a busy server below this; without it, every so many events one call
/// counts them all.
const UNSETTLED_LIMIT: usize = 8_192;
/// Models with a name of their own; a catalog has a dozen.
const MODELS_LIMIT: usize = 1_000;
/// The name of all further models.
const OTHER_MODELS: &str = "(other)";

/// The windows; shared by everything that records or reads.
pub struct AiMetrics {
    recent: Mutex<Recent>,
    history: Mutex<TieredHistory>,
    /// Where recorded events go on to.
    log: Option<Arc<Log>>,
}

/// What recording touches.
struct Recent {
    /// Sorted by time; those that came first, first.
    samples: VecDeque<WindowSample>,
    /// When the newest sample that has been counted happened.
    counted_until: Option<i64>,
    models: Models,
}

impl AiMetrics {
    /// Windows that end with the process.
    pub fn new() -> Self {
        Self::build(None)
    }

    /// Windows of events that go on to a log.
    pub fn over(log: Arc<Log>) -> Self {
        Self::build(Some(log))
    }

    /// Where recorded events go on to, if anywhere.
    pub fn log(&self) -> Option<&Arc<Log>> {
        self.log.as_ref()
    }

    fn build(log: Option<Arc<Log>>) -> Self {
        Self {
            recent: Mutex::new(Recent {
                samples: VecDeque::new(),
                counted_until: None,
                models: Models::default(),
            }),
            history: Mutex::new(TieredHistory::new()),
            log,
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
        recent.models.last[usize::from(model)].note(&event);
        recent.insert(model, &event);
        self.settle_at_limit(recent);
        if let Some(log) = &self.log {
            log.append(event);
        }
    }

    /// What a model did last since this process began.
    pub fn last_seen(&self, model: &str) -> LastSeen {
        let recent = self.recent.lock();
        let id = recent.models.ids.get(model);
        id.map_or_else(LastSeen::default, |id| recent.models.last[usize::from(*id)])
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
    pub fn window(&self, minutes: Minutes, now: DateTime<Utc>) -> WindowCounts {
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

    fn settle_into(&self, history: &mut TieredHistory) {
        let mut old = history.take_buffer();
        self.recent.lock().take_old(&mut old);
        history.add(&old);
        history.return_buffer(old);
    }
}

impl Default for AiMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    fn insert(&mut self, model: u16, event: &Event) {
        let judged = match event.outcome {
            Outcome::Judged(judgement) => Some(judgement),
            _ => None,
        };
        let is_known = !matches!(event.outcome, Outcome::Cancelled | Outcome::Unknown);
        if !is_known || !event.outcome.is_end() && judged.is_none() {
            return;
        }
        let sample = WindowSample {
            at_ms: event.at_ms,
            model,
            variant: event.variant,
            failed: matches!(event.outcome, Outcome::Fault(_)),
            latency_ms: event.latency_ms,
            first_token_ms: event.first_token_ms,
            prompt_tokens: event.prompt_tokens,
            completion_tokens: event.completion_tokens,
            cost: event.cost,
            flawed: event.quality.map(Quality::is_flawed),
            judged,
        };
        if self.samples.back().is_none_or(|s| s.at_ms <= sample.at_ms) {
            self.samples.push_back(sample);
        } else {
            let place = self.samples.partition_point(|s| s.at_ms <= sample.at_ms);
            self.samples.insert(place, sample);
        }
    }

    /// All but the newest.
    fn take_old(&mut self, old: &mut Vec<WindowSample>) {
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
    last: Vec<LastSeen>,
}

/// What a model did last, since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// When it last answered, in milliseconds since 1970.
    pub answered_ms: Option<i64>,
    /// Its last fault, and when that was.
    pub fault: Option<(FaultKind, i64)>,
}

impl LastSeen {
    fn note(&mut self, event: &Event) {
        match event.outcome {
            Outcome::Success | Outcome::Refused => self.answered_ms = Some(event.at_ms),
            Outcome::Fault(kind) => self.fault = Some((kind, event.at_ms)),
            _ => {}
        }
    }
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
        self.last.push(LastSeen::default());
        id
    }

    fn series(&mut self, id: u16) -> &mut ModelSeries {
        &mut self.series[usize::from(id)]
    }
}
