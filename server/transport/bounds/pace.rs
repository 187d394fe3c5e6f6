//! How fast something has to come.

use std::time::Duration;

use tokio::time::Instant;

/// How long a client may take before its pace is looked at.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes that have to come in each second after that, on average.
const BYTES_PER_SECOND: usize = 16 * 1024;

/// When something that began at `started`, and of which `bytes` have come, is too slow.
pub(super) fn deadline(started: Instant, bytes: usize) -> Instant {
    let earned =
        Duration::from_millis((bytes as u64).saturating_mul(1000) / BYTES_PER_SECOND as u64);
    started + GRACE + earned
}
