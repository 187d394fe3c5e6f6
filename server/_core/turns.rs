//! Turns at the processor: who computes for clients does so in short turns, and not all at once.
//!
//! The runtime has one thread more than there are turns ([`places`]). So however much clients ask for,
//! a thread is left that reads sockets and answers health checks, and the system shares the processor
//! between the threads. Who waits for a turn waits in a queue, so each connection gets its share; who
//! has many calls to run lets others go first after each [`SLICE`].
//!
//! A turn is given back whenever the work waits for something else, so it must be taken where the work
//! is polled as soon as it is woken: around a task, or a request that its connection waits for. Around
//! the body of an answer it is not, since the client decides when that is polled.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// How long calls may go on one after another before somebody else has a turn.
const SLICE: Duration = Duration::from_millis(1);

thread_local! {
    /// When the slice of what this thread runs is over.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How many compute at once; one for each processor.
pub fn places() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The turns of one server; clones share them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(places())))
    }
}

impl Turns {
    /// Runs `work`, each step of it in a turn.
    pub async fn take<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut turns = PollSemaphore::new(self.0.clone());
        poll_fn(|cx| {
            // `None` does not happen: nobody closes it.
            let _turn = ready!(turns.poll_acquire(cx));
            let before = END.replace(Some(Instant::now() + SLICE));
            let step = work.as_mut().poll(cx);
            END.set(before);
            step
        })
        .await
    }
}

/// Lets others go first if this slice is over. Whoever runs one call after another asks it before each.
pub async fn pass() {
    let mut has_passed = false;
    poll_fn(|cx| {
        let is_over = || END.get().is_some_and(|end| end <= Instant::now());
        if has_passed || !is_over() {
            return Poll::Ready(());
        }
        has_passed = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn compute() {
        let end = Instant::now() + SLICE;
        while Instant::now() < end {}
    }

    #[tokio::test]
    async fn who_runs_many_calls_lets_others_go_first() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let done = [(); 2].map(|()| AtomicUsize::new(0));
        let most_ahead = AtomicUsize::new(0);
        let many = |me: usize| {
            let (done, most_ahead, turns) = (&done, &most_ahead, &turns);
            async move {
                let calls = async {
                    for _ in 0..20 {
                        pass().await;
                        compute();
                        let mine = done[me].fetch_add(1, Ordering::Relaxed) + 1;
                        let ahead = mine.saturating_sub(done[1 - me].load(Ordering::Relaxed));
                        most_ahead.fetch_max(ahead, Ordering::Relaxed);
                    }
                };
                turns.take(calls).await;
            }
        };
        tokio::join!(many(0), many(1));
        assert!(most_ahead.into_inner() <= 2);
    }

    #[tokio::test]
    async fn who_waits_for_something_else_holds_no_turn() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let (said, heard) = tokio::sync::oneshot::channel();
        let (heard, ()) = tokio::join!(turns.take(heard), async {
            turns.take(async { said.send(7).unwrap() }).await;
        });
        assert_eq!(heard, Ok(7));
    }
}
