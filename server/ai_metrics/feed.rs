//! One summary per interval, however many subscribe.
//!
//! Time is cut into ticks that are the same for all. The first subscriber that asks in a tick
//! computes the summary, the others of that tick get the same one, so a thousand subscribers cost a
//! thousand timers and one computation. There is no task to start or stop: without subscribers
//! nothing happens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::Stream;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use super::{AiMetrics, summary::Summary, window::Minutes};

/// Summaries of the current tick, by window.
pub struct SummaryFeed {
    metrics: Arc<AiMetrics>,
    interval: Duration,
    started: Instant,
    /// By the bits of the window's length, with the tick it was computed in.
    current: Mutex<HashMap<u64, (u32, Arc<Summary>)>>,
}

impl SummaryFeed {
    /// A feed that computes at most once per interval (at least a millisecond) and window.
    pub fn new(metrics: Arc<AiMetrics>, interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            interval: interval.max(Duration::from_millis(1)),
            started: Instant::now(),
            current: Mutex::default(),
        })
    }

    /// A summary at once, at most an interval old, then one at every tick.
    ///
    /// `now` is the time at this call; later times follow from the clock that also drives the ticks.
    /// A subscriber that is slow to read misses ticks.
    pub fn subscribe(
        self: Arc<Self>,
        minutes: Minutes,
        now: DateTime<Utc>,
    ) -> impl Stream<Item = Arc<Summary>> + Send {
        let opened = Instant::now();
        async_stream::stream! {
            loop {
                let tick = self.tick();
                yield self.at(tick, minutes, now + opened.elapsed()).await;
                sleep_until(self.started + self.interval * (tick + 1)).await;
            }
        }
    }

    fn tick(&self) -> u32 {
        let ticks = self.started.elapsed().as_nanos() / self.interval.as_nanos();
        u32::try_from(ticks).unwrap_or(u32::MAX - 1)
    }

    async fn at(&self, tick: u32, minutes: Minutes, now: DateTime<Utc>) -> Arc<Summary> {
        let mut current = self.current.lock().await;
        let window = minutes.get().to_bits();
        match current.get(&window) {
            Some((computed, summary)) if *computed >= tick => summary.clone(),
            _ => {
                let summary = Arc::new(self.metrics.read_summary(minutes, now).await);
                current.retain(|_, (computed, _)| *computed >= tick);
                current.insert(window, (tick, summary.clone()));
                summary
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::tests::event;
    use futures::{FutureExt, StreamExt};
    use std::pin::Pin;

    type Summaries = Pin<Box<dyn Stream<Item = Arc<Summary>> + Send>>;

    fn feed() -> Arc<SummaryFeed> {
        SummaryFeed::new(Arc::default(), Duration::from_secs(1))
    }

    fn subscribe(feed: &Arc<SummaryFeed>, minutes: f64) -> Summaries {
        let minutes = Minutes::try_from(minutes).unwrap();
        Box::pin(feed.clone().subscribe(minutes, DateTime::UNIX_EPOCH))
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_subscribers_share_one_summary_per_tick() {
        let feed = feed();
        let mut all: Vec<_> = (0..1_000).map(|_| subscribe(&feed, 60.0)).collect();
        for tick in 0..3 {
            let first = all[0].next().await.unwrap();
            for other in &mut all[1..] {
                assert!(Arc::ptr_eq(&first, &other.next().await.unwrap()));
            }
            assert_eq!(feed.started.elapsed().as_secs(), tick);
            assert_eq!(first.total_requests, tick);
            feed.metrics.record(event(0, "glm", 10.0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_gets_a_summary_at_once_and_the_next_at_the_tick() {
        let feed = feed();
        tokio::time::advance(Duration::from_millis(700)).await;
        let mut one = subscribe(&feed, 60.0);
        assert!(one.next().now_or_never().is_some());
        assert!(one.next().now_or_never().is_none());
        assert!(one.next().await.is_some());
        assert_eq!(feed.started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn windows_are_told_apart_and_old_ones_forgotten() {
        let feed = feed();
        let (mut hour, mut day) = (subscribe(&feed, 60.0), subscribe(&feed, 1_440.0));
        let (a, b) = (hour.next().await.unwrap(), day.next().await.unwrap());
        assert!(!Arc::ptr_eq(&a, &b));
        assert_eq!(feed.current.lock().await.len(), 2);
        hour.next().await;
        assert_eq!(feed.current.lock().await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_misses_ticks() {
        let feed = feed();
        let mut slow = subscribe(&feed, 60.0);
        slow.next().await;
        tokio::time::advance(Duration::from_millis(5_500)).await;
        assert!(slow.next().now_or_never().is_some());
        assert!(slow.next().now_or_never().is_none());
    }
}
