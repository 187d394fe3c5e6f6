//! Turns at the processor: who computes for clients does so in short turns, and not all at once.
//!
//! The runtime has one thread more than there are turns ([`threads`]). So however much clients ask for,
//! a thread is left that reads sockets and answers health checks, and the system shares the processor
//! between the threads. Who waits for a turn waits in a queue, so each connection gets its share; who
//! has many calls to run lets others go first after each [`SLICE`]. Work that has computed little so
//! far has one more turn for itself, so that a short call, such as an admin's kill, does not wait
//! behind a queue of long ones.
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

use super::rounds::others_first;

/// How long calls may go on one after another before somebody else has a turn.
const SLICE: Duration = Duration::from_millis(1);
/// Work that has computed for less is short.
const SHORT: Duration = Duration::from_millis(5);

thread_local! {
    /// When the slice of what this thread runs is over.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How many compute at once, besides short work: one for each processor.
fn places() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Threads that a runtime needs: one for each turn, and one that takes none.
pub fn threads() -> usize {
    places() + 2
}

/// The turns of one server; clones share them.
#[derive(Clone, Debug)]
pub struct Turns {
    all: Arc<Semaphore>,
    short: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(places())
    }
}

impl Turns {
    fn new(places: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            short: Arc::new(Semaphore::new(1)),
        }
    }

    /// Runs `work`, each step of it in a turn.
    pub async fn take<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let queue = |turns: &Arc<Semaphore>| PollSemaphore::new(turns.clone());
        let mut all = queue(&self.all);
        let mut short = Some(queue(&self.short));
        let mut computed = Duration::ZERO;
        poll_fn(|cx| {
            // `None` does not happen: nobody closes them.
            let _turn = match (all.poll_acquire(cx), &mut short) {
                (Poll::Ready(turn), None) => turn,
                (Poll::Ready(turn), Some(short)) => {
                    // Or it would be given a turn that it does not use.
                    *short = queue(&self.short);
                    turn
                }
                (Poll::Pending, None) => return Poll::Pending,
                (Poll::Pending, Some(short)) => {
                    let turn = ready!(short.poll_acquire(cx));
                    all = queue(&self.all);
                    turn
                }
            };
            let began = Instant::now();
            let before = END.replace(Some(began + SLICE));
            let step = work.as_mut().poll(cx);
            END.set(before);
            computed += began.elapsed();
            if computed > SHORT {
                short = None;
            }
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
        others_first(cx);
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

    async fn become_long() {
        let began = Instant::now();
        while began.elapsed() <= SHORT {
            compute();
        }
        pass().await;
    }

    #[tokio::test]
    async fn who_runs_many_calls_lets_others_go_first() {
        let turns = Turns::new(1);
        let done = [(); 2].map(|()| AtomicUsize::new(0));
        let most_ahead = AtomicUsize::new(0);
        let many = |me: usize| {
            let (done, most_ahead, turns) = (&done, &most_ahead, &turns);
            async move {
                let calls = async {
                    become_long().await;
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
        let turns = Turns::new(1);
        let (said, heard) = tokio::sync::oneshot::channel();
        let (heard, ()) = tokio::join!(turns.take(heard), async {
            turns.take(async { said.send(7).unwrap() }).await;
        });
        assert_eq!(heard, Ok(7));
    }

    #[tokio::test]
    async fn short_work_does_not_wait_behind_long_work() {
        let turns = Turns::new(1);
        let all = turns.all.clone().acquire_owned().await.unwrap();
        let mut long = pin!(turns.take(async {
            become_long().await;
        }));
        // It has used up what is short, and waits.
        assert!(futures::poll!(long.as_mut()).is_pending());
        turns.take(async {}).await;
        assert!(futures::poll!(long.as_mut()).is_pending());
        drop(all);
        long.await;
        // Nobody keeps a turn.
        assert_eq!(turns.all.available_permits(), 1);
        assert_eq!(turns.short.available_permits(), 1);
    }
}
