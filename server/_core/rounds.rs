//! Work that wakes itself while it runs goes on at once.
//!
//! A connection that hands over a request wakes itself, as whoever reads the body asks it for more. The runtime would put it
//! at the end of its queue and wake another thread, which takes the connection over: on one processor that comes
//! before the request is sent on.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

/// So often at most work goes on before others have their turn.
const ROUNDS: usize = 4;

/// Somebody runs the work.
const RUNNING: u8 = 1;
/// It was woken since somebody began to run it, or since it rests.
const WOKEN: u8 = 2;

thread_local! {
    /// Whether what this thread runs has asked for others to go first.
    static OTHERS_FIRST: Cell<bool> = const { Cell::new(false) };
}

/// What wakes the work.
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    /// The work is run. Whatever was done before it was woken is seen by it.
    fn runs(&self) {
        self.state.swap(RUNNING, Ordering::AcqRel);
    }

    /// The work rests, unless it was woken while it ran.
    fn rests(&self) -> bool {
        let (acquired, seen) = (Ordering::AcqRel, Ordering::Acquire);
        let rests = self.state.compare_exchange(RUNNING, 0, acquired, seen);
        rests.is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who runs it looks afterwards.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }
}

/// Runs `work`; where it wakes itself meanwhile, or is woken, it goes on without a turn of the runtime between, [`ROUNDS`] times.
/// What is to let others go first uses [`others_first`].
pub async fn straight<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let bell = Arc::new(Bell {
        state: AtomicU8::new(0),
        task: AtomicWaker::new(),
    });
    let waker = Waker::from(bell.clone());
    poll_fn(|cx| {
        bell.task.register(cx.waker());
        for _ in 0..ROUNDS {
            bell.runs();
            OTHERS_FIRST.set(false);
            let step = work.as_mut().poll(&mut Context::from_waker(&waker));
            if step.is_ready() || bell.rests() {
                return step;
            }
            if OTHERS_FIRST.get() {
                // Something else has woken it as well, such as whoever reads the body of its request.
                bell.state.fetch_and(!RUNNING, Ordering::AcqRel);
                others_first(cx);
                return Poll::Pending;
            }
        }
        bell.state.fetch_and(!RUNNING, Ordering::AcqRel);
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Has the task woken once all that can go on has had its turn, also where something else has woken it while it ran.
pub fn others_first(cx: &mut Context<'_>) {
    OTHERS_FIRST.set(true);
    // Its first step asks for that.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread, time::Duration};

    use tokio::task::JoinSet;

    use super::*;

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Is polled, and wakes itself, so often.
    fn woken(times: usize) -> impl Future<Output = usize> {
        let mut polled = 0;
        poll_fn(move |cx| {
            if polled == times {
                return Poll::Ready(polled);
            }
            polled += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn work_that_wakes_itself_goes_on_and_lets_others_go_first_in_the_end() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let mut work = pin!(straight(woken(ROUNDS - 1)));
        assert_eq!(work.as_mut().poll(&mut cx), Poll::Ready(ROUNDS - 1));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        let mut work = pin!(straight(woken(ROUNDS + 1)));
        assert!(work.as_mut().poll(&mut cx).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(work.as_mut().poll(&mut cx), Poll::Ready(ROUNDS + 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_word_of_another_thread_is_lost() {
        for n in 0..2_000 {
            let (say, hear) = tokio::sync::oneshot::channel();
            let speaker = thread::spawn(move || {
                for _ in 0..n % 50 {
                    std::hint::spin_loop();
                }
                say.send(n)
            });
            let work = straight(async move {
                woken(n % 7).await;
                hear.await
            });
            let mut tasks = JoinSet::new();
            tasks.spawn(work);
            let heard = tokio::time::timeout(Duration::from_secs(30), tasks.join_next()).await;
            assert_eq!(heard.unwrap().unwrap().unwrap(), Ok(n));
            speaker.join().unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn others_go_first_where_that_is_asked_for() {
        for is_woken_as_well in [false, true] {
            let (say, mut hear) = tokio::sync::oneshot::channel();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { say.send(7) });
            let mut asked = false;
            let heard = straight(poll_fn(|cx| {
                if asked {
                    return Poll::Ready(hear.try_recv());
                }
                asked = true;
                if is_woken_as_well {
                    cx.waker().wake_by_ref();
                }
                others_first(cx);
                Poll::Pending
            }));
            assert_eq!(heard.await, Ok(7));
        }
    }
}
