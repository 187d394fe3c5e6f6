//! An account that its provider refuses: until when it takes nothing, and how it is asked again.
//!
//! All that have waited for the end of a rest would go out in the same moment, and whatever was used up would be
//! used up again at once. So one goes first; after each step twice as many may have gone, as long as the provider does
//! not refuse again. A step is an eighth of the rest, and a second at most: an account that is only told to slow down
//! for a moment is not slowed down for longer than that.

use std::time::Duration;

use tokio::time::Instant;

/// After so many steps whoever wants to may go: as many as can wait.
const STEPS: u32 = 8;
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// How many may have gone so long after the end of a rest of this span.
pub(in crate::model_router::quota) fn most_gone(span: Duration, since: Duration) -> u32 {
    let step = step(span).as_millis();
    let steps = since.as_millis().checked_div(step);
    match steps.and_then(|steps| u32::try_from(steps).ok()) {
        Some(steps) if steps < STEPS => 1 << steps,
        _ => u32::MAX,
    }
}

fn step(span: Duration) -> Duration {
    (span / STEPS).min(LONGEST_STEP)
}

/// A rest, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) until: Instant,
    step: Duration,
    /// How many have gone since its end.
    gone: u32,
}

impl Rest {
    pub(super) fn new(until: Instant, now: Instant) -> Self {
        let span = until.saturating_duration_since(now);
        Self {
            until,
            step: step(span),
            gone: 0,
        }
    }

    /// The same with another that the provider has told, whichever is longer.
    pub(super) fn or(self, other: Self) -> Self {
        let longer = if other.until > self.until {
            other
        } else {
            self
        };
        Self {
            step: self.step.max(other.step),
            ..longer
        }
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until + self.step * STEPS <= now
    }

    /// When one may go before whom so many others do.
    pub(super) fn start(&self, before: usize) -> Instant {
        let place = before.saturating_add(self.gone as usize);
        let steps = (usize::BITS - place.leading_zeros()).min(STEPS);
        self.until + self.step * steps
    }

    /// One goes.
    pub(super) fn go(&mut self, now: Instant) {
        if self.until <= now {
            self.gone = self.gone.saturating_add(1);
        }
    }

    /// So many have gone, of all processes together.
    pub(super) fn have_gone(&mut self, gone: u32) {
        self.gone = self.gone.max(gone);
    }

    /// One that was to go does not.
    pub(super) fn stay(&mut self) {
        self.gone = self.gone.saturating_sub(1);
    }
}
