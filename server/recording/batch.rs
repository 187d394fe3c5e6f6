//! Events on their way to the database together, and their place in the log.

use std::sync::Arc;

use super::Event;

/// Events of a batch at most. Part of the format of the log: who looks for the batch of an event need not
/// look further back.
pub const MOST_IN_BATCH: usize = 500;

/// Events that are stored together, and never changed after they got a number.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whose it is, where it is stored already; `None` for one of this process that is not.
    pub writer: Option<i64>,
    /// Counts the batches of its writer from 1.
    pub number: i64,
    /// In the order of appending; one at least, and [`MOST_IN_BATCH`] at most.
    pub events: Arc<[Event]>,
}

/// A batch in its place in the log.
#[derive(Clone, Debug)]
pub struct Ordered {
    first_seq: i64,
    batch: Batch,
}

impl Ordered {
    /// Puts a batch behind the event of this number; the events are numbered from there.
    pub fn after(last_seq: i64, batch: Batch) -> Self {
        let mut ordered = Self {
            first_seq: last_seq + 1,
            batch,
        };
        let events = Arc::make_mut(&mut ordered.batch.events);
        for (seq, event) in (ordered.first_seq..).zip(events) {
            event.seq = seq;
        }
        ordered
    }

    /// The number of the first event.
    pub const fn first_seq(&self) -> i64 {
        self.first_seq
    }

    /// The number of the last event.
    pub fn last_seq(&self) -> i64 {
        self.first_seq + self.events().len() as i64 - 1
    }

    /// Whose it is, where it is stored already; `None` for one of this process that is not.
    pub const fn writer(&self) -> Option<i64> {
        self.batch.writer
    }

    /// The number of the batch.
    pub const fn number(&self) -> i64 {
        self.batch.number
    }

    /// The events with their numbers.
    pub fn events(&self) -> &[Event] {
        &self.batch.events
    }

    /// Takes the batch out of its place.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::tests::event;

    #[test]
    fn a_batch_is_numbered_from_its_place_and_can_be_given_another() {
        let batch = Batch {
            writer: None,
            number: 7,
            events: [1, 2, 3].map(|at_ms| event(at_ms, "m", 1.0)).into(),
        };
        let seqs = |it: &Ordered| it.events().iter().map(|e| e.seq).collect::<Vec<_>>();
        let first = Ordered::after(10, batch);
        assert_eq!((first.first_seq(), first.last_seq()), (11, 13));
        let again = Ordered::after(0, first.clone().into_batch());
        assert_eq!(
            (seqs(&first), seqs(&again)),
            (vec![11, 12, 13], vec![1, 2, 3])
        );
        assert_eq!(again.number(), 7);
    }
}
