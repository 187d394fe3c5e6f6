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
pub(super) fn most_gone(span: Duration, since: Duration) -> u32 {
    let step = step(span).as_millis();
    let steps = since.as_millis().checked_div(step);
    match steps.and_then(|steps| u32::try_from(steps).ok()) {
        Some(steps) if steps < STEPS => 1 << steps,
        _ => u32::MAX,
    }
}

/// A rest by the clock, as processes tell each other of it: who learns of it late goes by the same steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RestTimes {
    /// When the provider said so, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// When it is over.
    pub(super) until_ms: i64,
}

impl RestTimes {
    pub(super) fn span(self) -> Duration {
        span(self.since_ms, self.until_ms)
    }

    /// Whether nothing is left of it, nor of the steps behind it.
    pub(super) fn is_over(self, now_ms: i64) -> bool {
        most_gone(self.span(), span(self.until_ms, now_ms)) == u32::MAX
    }

    /// This and another as one: it is over with the last of them, and its steps are those of the longest that was not
    /// over when the last was told.
    pub(super) fn or(self, other: Self) -> Self {
        let (first, last) = match self.until_ms < other.until_ms {
            true => (self, other),
            false => (other, self),
        };
        let longest = match first.is_over(last.since_ms) {
            true => last.span(),
            false => last.span().max(first.span()),
        };
        Self {
            since_ms: last.until_ms.saturating_sub(longest.as_millis() as i64),
            until_ms: last.until_ms,
        }
    }
}

/// From one time to another; nothing where that is before it.
pub(super) fn span(from_ms: i64, to_ms: i64) -> Duration {
    let span = to_ms.saturating_sub(from_ms);
    Duration::from_millis(u64::try_from(span).unwrap_or(0))
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
    /// One that lasts for so long in all.
    pub(super) fn new(until: Instant, span: Duration) -> Self {
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
