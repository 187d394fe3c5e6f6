//! Batches that were stored lately, for a database that goes back to an older state: a standby that takes the
//! place of the one that crashed lacks its last commits.
//!
//! What it lacks of a writer are the last batches, so the number of the last that it has says which ones it is
//! given again: under their numbers, with what they held.

use std::{collections::VecDeque, time::Duration};

use crate::recording::Batch;

/// A batch is kept until others were stored for so long; a standby that is further behind is none.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// A database that comes back later than this is not given what was stored before it went away.
const LONGEST_OUTAGE: Duration = Duration::from_secs(3_600);
/// Events of all that are kept, at most; 4 to 5 MB.
const MOST: usize = 20_000;

/// Batches of this process that are stored, in order.
#[derive(Default)]
pub(super) struct KeptBatches {
    batches: VecDeque<(Duration, Batch)>,
    events: usize,
}

impl KeptBatches {
    /// Keeps a batch that was stored at this time, on the monotonic clock.
    pub(super) fn add(&mut self, batch: Batch, at: Duration) {
        self.events += batch.events.len();
        self.batches.push_back((at, batch));
        self.forget(at, KEPT_FOR);
    }

    /// Takes out what a database lacks whose last batch has this number.
    pub(super) fn take_after(&mut self, number: i64, at: Duration) -> Vec<Batch> {
        self.forget(at, LONGEST_OUTAGE);
        let has = self.batches.partition_point(|(_, it)| it.number <= number);
        let lacks: Vec<_> = self.batches.drain(has..).map(|(_, batch)| batch).collect();
        self.events -= lacks.iter().map(|it| it.events.len()).sum::<usize>();
        lacks
    }

    fn forget(&mut self, now: Duration, longest: Duration) {
        while let Some((at, batch)) = self.batches.front()
            && (self.events > MOST || now.saturating_sub(*at) > longest)
        {
            self.events -= batch.events.len();
            self.batches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::tests::event;

    fn batch(number: i64, events: usize) -> Batch {
        let events = (0..events).map(|_| event(number, "m", 1.0));
        Batch {
            writer: None,
            number,
            events: events.collect(),
        }
    }

    #[test]
    fn what_is_kept_takes_as_much_as_is_said() {
        let mut kept = KeptBatches::default();
        for number in 1..=100 {
            kept.add(batch(number, 500), Duration::ZERO);
        }
        // The id of a request is its own, a UUID; names are shared.
        let id = 2 * size_of::<usize>() + 36;
        let bytes_of = |batch: &Batch| {
            let events = &*batch.events;
            size_of_val(batch) + size_of_val(events) + events.len() * id
        };
        let bytes: usize = kept.batches.iter().map(|(_, it)| bytes_of(it)).sum();
        assert!((4_000_000..=5_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_was_stored_before_an_outage_outlives_it() {
        let mut kept = KeptBatches::default();
        kept.add(batch(1, 2), Duration::from_secs(1));
        let after = Duration::from_secs(600);
        assert_eq!(kept.take_after(0, after).len(), 1);
    }

    #[test]
    fn what_a_database_lacks_is_given_once_and_the_old_is_forgotten() {
        let mut kept = KeptBatches::default();
        for number in 1..=40 {
            kept.add(batch(number, 2), Duration::from_secs(number as u64));
        }
        let numbers = |batches: Vec<Batch>| batches.iter().map(|it| it.number).collect::<Vec<_>>();
        let now = Duration::from_secs(40);
        assert_eq!(numbers(kept.take_after(38, now)), [39, 40]);
        assert_eq!(numbers(kept.take_after(38, now)), [0; 0]);
        assert_eq!(numbers(kept.take_after(0, now))[0], 10);
        assert_eq!((kept.batches.len(), kept.events), (0, 0));
        for number in 41..100 {
            kept.add(batch(number, 500), now);
        }
        assert_eq!((kept.batches.len(), kept.events), (40, MOST));
    }
}
