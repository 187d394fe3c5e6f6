//! How often a model may be asked once more for the same call, so that an outage is never multiplied:
//! for a tenth of its calls of the last ten seconds, and once a second besides.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::catalog::{Catalog, Model};
use crate::providers::fault::{Cause, FaultKind};

/// What each model is granted, by its name.
pub(super) struct Repeats(HashMap<Arc<str>, Mutex<Grants>>);

impl Repeats {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let names = catalog.models.iter().map(|model| model.name.clone());
        Self(names.map(|name| (name, Mutex::default())).collect())
    }

    /// Counts a call that asks the model for the first time.
    pub(super) fn call(&self, model: &Model) {
        if let Some(grants) = self.0.get(&model.name) {
            grants.lock().call(Instant::now());
        }
    }

    /// Whether the model may be asked once more now; counts that.
    pub(super) fn grant(&self, model: &Model) -> bool {
        let grants = self.0.get(&model.name);
        let is_granted = grants.is_some_and(|it| it.lock().grant(Instant::now()));
        let granted = if is_granted { "true" } else { "false" };
        let labels = [
            ("model", model.name.to_string()),
            ("provider", model.provider.clone()),
            ("granted", granted.to_owned()),
        ];
        metrics::counter!("ai_repeats_total", &labels).increment(1);
        is_granted
    }
}

/// Calls for each repeat.
const CALLS_A_REPEAT: u64 = 10;
/// Seconds that are looked back.
const PARTS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// What one model is granted.
#[derive(Clone, Debug, Default)]
struct Grants {
    started: Option<Instant>,
    /// Each in the place of its second.
    parts: [PerSecond; PARTS],
    /// When a repeat was granted that the tenth did not cover.
    besides: Option<Instant>,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct PerSecond {
    second: u64,
    calls: u64,
    repeats: u64,
}

impl Grants {
    fn call(&mut self, now: Instant) {
        self.part(now).calls += 1;
    }

    fn grant(&mut self, now: Instant) -> bool {
        let second = self.part(now).second;
        let is_recent = |part: &&PerSecond| part.second + PARTS as u64 > second;
        let recent = || self.parts.iter().filter(is_recent);
        let calls: u64 = recent().map(|part| part.calls).sum();
        let repeats: u64 = recent().map(|part| part.repeats).sum();
        if (repeats + 1) * CALLS_A_REPEAT <= calls {
            self.part(now).repeats += 1;
            return true;
        }
        let is_over = |last| now.saturating_duration_since(last) >= SECOND;
        let is_granted = self.besides.is_none_or(is_over);
        if is_granted {
            self.besides = Some(now);
        }
        is_granted
    }

    /// The part of this moment.
    fn part(&mut self, now: Instant) -> &mut PerSecond {
        let started = *self.started.get_or_insert(now);
        let second = now.saturating_duration_since(started).as_secs();
        let part = &mut self.parts[(second % PARTS as u64) as usize];
        if part.second != second {
            *part = PerSecond {
                second,
                ..PerSecond::default()
            };
        }
        part
    }
}

/// After which pause, in milliseconds, the same model may be asked once more; `None` where that does not
/// help. The pause is drawn anew each time, so that calls that failed together do not come back together.
pub(super) fn pause(kind: FaultKind, cause: Cause) -> Option<Range<u64>> {
    match cause {
        Cause::Cut
        | Cause::CutStream
        | Cause::Malformed
        | Cause::Empty
        | Cause::BadGeneration
        | Cause::TimeoutUpstream => Some(0..250),
        // Of a request that was refused another model is asked, or nobody.
        Cause::UpstreamError if kind.is_models_fault() => Some(0..250),
        Cause::Overloaded if kind.is_models_fault() => Some(500..1_000),
        Cause::ProviderLimit => Some(1_000..4_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thirty_calls_at_once_are_granted_four_repeats() {
        let now = Instant::now();
        let mut grants = Grants::default();
        (0..30).for_each(|_| grants.call(now));
        assert_eq!((0..30).filter(|_| grants.grant(now)).count(), 3 + 1);
        let later = now + 10 * SECOND;
        assert_eq!(
            (0..30).filter(|_| grants.grant(later)).count(),
            1,
            "all of it is past"
        );
    }

    proptest! {
        /// In any ten seconds at most a tenth of the calls of the twenty seconds around them, and one a second.
        #[test]
        fn no_outage_is_multiplied(steps in prop::collection::vec((0_u64..1_500, any::<bool>()), 0..300)) {
            let mut grants = Grants::default();
            let (mut now, mut calls, mut granted) = (Instant::now(), Vec::new(), Vec::new());
            for (ms, is_call) in steps {
                // Most come at once.
                now += Duration::from_millis(ms.saturating_sub(1_000));
                if is_call {
                    grants.call(now);
                    calls.push(now);
                } else if grants.grant(now) {
                    granted.push(now);
                }
                let within = |all: &[Instant], seconds: u32| {
                    all.iter().filter(|at| now - **at < seconds * SECOND).count()
                };
                prop_assert!(within(&granted, 10) <= within(&calls, 20) / 10 + 11);
            }
        }
    }
}
