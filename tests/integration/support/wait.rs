//! Waiting for a state, which is never waiting for a time: whoever is early goes on, and a busy machine has
//! its time. Tests sleep elsewhere only where time itself is what they are about.

use std::{fmt::Debug, time::Duration};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What has not come by then does not come, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is what was waited for; panics with what was there instead at last.
pub(crate) async fn eventually<T, E: Debug>(
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut last = None;
    let found = async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) => last = Some(seen),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let found = tokio::time::timeout(within, found).await;
    found.unwrap_or_else(|_| panic!("not within {within:?}, but {last:#?}"))
}

/// Looks until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    eventually(PATIENCE, async || {
        is_so().await.then_some(()).ok_or(format!("not: {what}"))
    })
    .await;
}
