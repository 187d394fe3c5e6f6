//! Stores what is in force in memory and owed to the database, and takes up what other processes stored.

use std::{future::Future, pin::pin, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// How long it may take: a connection that died in silence would keep it waiting for ever. A statement of PostgreSQL has 5 s,
/// and so has the wait for a connection.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often the last write is tried at a stop, and the pause between; and how long all of it may take.
const LAST_ATTEMPTS: u32 = 5;
const LAST_ATTEMPTS_PAUSE: Duration = Duration::from_millis(200);
const LAST_PATIENCE: Duration = Duration::from_secs(8);

/// Settles at once, whenever it is in a hurry, and else at each `look`, until `stop` resolves.
pub async fn until<F: Future<Output = bool>>(
    stop: impl Future<Output = ()>,
    hurry: &Notify,
    look: Duration,
    settle: impl Fn() -> F,
) {
    let mut stop = pin!(stop);
    loop {
        let settled = tokio::select! {
            // The last one does the same.
            () = &mut stop => return,
            settled = timeout(PATIENCE, settle()) => settled,
        };
        // Whoever settles reports what else came of it.
        if settled.is_err() {
            tracing::warn!("the database did not answer within {PATIENCE:?}; it is asked again");
        }
        tokio::select! {
            () = &mut stop => return,
            () = hurry.notified() => {}
            () = sleep(look) => {}
        }
    }
}

/// Settles a last time, again where that fails; whether it succeeded.
pub async fn at_last<F: Future<Output = bool>>(settle: impl Fn() -> F) -> bool {
    let tried = timeout(LAST_PATIENCE, async {
        for _ in 1..LAST_ATTEMPTS {
            if settle().await {
                return true;
            }
            sleep(LAST_ATTEMPTS_PAUSE).await;
        }
        settle().await
    });
    tried.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_database_that_never_answers_holds_nothing_up_for_ever() {
        let settled = AtomicU32::new(0);
        let settle = || async {
            if settled.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            true
        };
        let stop = async {
            while settled.load(Ordering::Relaxed) < 2 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        until(stop, &Notify::new(), Duration::from_millis(10), settle).await;
        let begun = tokio::time::Instant::now();
        assert!(!at_last(std::future::pending).await);
        assert_eq!(begun.elapsed(), LAST_PATIENCE, "nor a stop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_a_database_that_fails_for_a_moment_and_for_no_other() {
        for (fails, settled, tries) in [(0, true, 1), (4, true, 5), (9, false, 5)] {
            let tried = AtomicU32::new(0);
            let settle = || async { tried.fetch_add(1, Ordering::Relaxed) >= fails };
            assert_eq!(at_last(settle).await, settled, "{fails}");
            assert_eq!(tried.into_inner(), tries, "{fails}");
        }
    }
}
