//! Models of a route whose accounts rest, for a call that can wait for them.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Until when each rests, by its position on the route.
#[derive(Default)]
pub(super) struct RestingModels(BTreeMap<usize, Instant>);

impl RestingModels {
    /// These rest until then. What rests for two reasons does so until both are over.
    pub(super) fn add(&mut self, positions: impl Iterator<Item = usize>, until: Instant) {
        for position in positions {
            let known = self.0.entry(position).or_insert(until);
            *known = (*known).max(until);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out those that may be asked first.
    pub(super) fn take_first(&mut self) -> Option<Vec<usize>> {
        let first = *self.0.values().min()?;
        let opened = self.0.extract_if(.., |_, until| *until == first);
        Some(opened.map(|(position, _)| position).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_model_that_rests_for_two_reasons_is_asked_when_both_are_over() {
        let now = Instant::now();
        let [soon, later] = [1, 60].map(|seconds| now + Duration::from_secs(seconds));
        let mut resting = RestingModels::default();
        // The limit of what costs nothing, then that of the whole account, and a sooner end of it.
        resting.add([0].into_iter(), soon);
        resting.add([0, 1].into_iter(), later);
        resting.add([1].into_iter(), soon);
        resting.add([2].into_iter(), soon);
        assert_eq!(resting.take_first(), Some(vec![2]));
        assert_eq!(resting.take_first(), Some(vec![0, 1]));
        assert_eq!(resting.take_first(), None);
        assert!(resting.is_empty());
    }
}
