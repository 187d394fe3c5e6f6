//! Waits for one piece after the other, with one timer for all of them.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long something may take whose pieces come one after the other.
///
/// A timer for each piece would be set and taken back for each, and a stream has thousands. So one that is set for an
/// earlier piece is left as it is, and set anew only when it rings.
#[derive(Default)]
pub struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// What `work` gives; `None` where it has not come until then.
    pub async fn until<T>(&mut self, until: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let timer = (self.0).get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            while timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= until {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_piece_has_its_own_time() {
        let mut patience = Patience::default();
        let began = Instant::now();
        let secs = Duration::from_secs;
        for piece in 1..=5 {
            let until = Instant::now() + secs(3);
            let work = sleep(secs(2));
            assert!(patience.until(until, work).await.is_some(), "{piece}");
            assert_eq!(began.elapsed(), secs(2 * piece));
        }
        // Sooner than the timer that is set, and later.
        for wait in [1, 7, 2] {
            let until = Instant::now() + secs(wait);
            assert!(patience.until(until, pending::<()>()).await.is_none());
            assert_eq!(Instant::now(), until);
        }
        let past = Instant::now() - secs(1);
        assert!(patience.until(past, pending::<()>()).await.is_none());
        assert_eq!(patience.until(past, std::future::ready(1)).await, Some(1));
    }
}
