//! When to try again: exponential backoff with full jitter, and what the receiver asks for.

use std::time::Duration;

use rand::Rng;

/// The longest wait before the second attempt.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait before any.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// The longest that a receiver can ask to be left alone. No pause is longer: one that seems to be is of before the
/// clock was set back.
pub const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How long to wait after this many attempts, the last of which failed: anything from nothing to a
/// limit that doubles each time, so that many alerts do not come back together. Never less than the
/// receiver asks for.
pub(super) fn pause(
    attempts: u32,
    retry_after: Option<Duration>,
    random: &mut impl Rng,
) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    let limit = FIRST.saturating_mul(doubled).min(LONGEST);
    let drawn = limit.mul_f64(random.random_range(0.0..1.0));
    drawn.max(asked_for(retry_after))
}

/// What the receiver asks for, within reason.
pub(super) fn asked_for(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(PATIENCE)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn pauses(attempts: u32, retry_after: Option<Duration>) -> Vec<Duration> {
        let mut random = StdRng::seed_from_u64(7);
        let mut pauses: Vec<_> = (0..2000)
            .map(|_| pause(attempts, retry_after, &mut random))
            .collect();
        pauses.sort();
        pauses
    }

    #[test]
    fn pauses_fill_a_range_that_doubles_up_to_ten_minutes() {
        for (attempts, limit) in [
            (1, 2.0),
            (2, 4.0),
            (5, 32.0),
            (10, 600.0),
            (u32::MAX, 600.0),
        ] {
            let pauses = pauses(attempts, None);
            let seconds = |n: usize| pauses[n].as_secs_f64() / limit;
            assert!(seconds(0) < 0.01 && (0.99..1.0).contains(&seconds(1999)));
            assert!((0.45..0.55).contains(&seconds(1000)), "{}", seconds(1000));
        }
    }

    #[test]
    fn a_receiver_gets_the_time_it_asks_for_within_reason() {
        let minute = Duration::from_secs(60);
        assert!(pauses(1, Some(minute)).iter().all(|pause| *pause == minute));
        assert!(pauses(10, Some(minute)).iter().any(|pause| *pause > minute));
        assert_eq!(asked_for(Some(Duration::MAX)), PATIENCE);
    }
}
