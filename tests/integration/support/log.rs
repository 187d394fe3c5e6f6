//! The log of a process, and that of a database.

use chrono::DateTime;
use futures::TryStreamExt;
use modelramp::{
    recording::{Batch, Event, Log, MOST_IN_BATCH, Ordered},
    rollout::store::{Commit, CommitError, RolloutChange, RolloutStore},
    storage::Storage,
};
use uuid::Uuid;

/// The events that were appended since the last time, as if they were stored now.
pub(crate) fn taken(log: &Log) -> Vec<Event> {
    let batches = std::iter::from_fn(|| log.freeze());
    let events: Vec<_> = batches.flat_map(|it| it.events.to_vec()).collect();
    log.stored(events.len());
    events
}

/// What a process that writes knows of the stored log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Book {
    pub(crate) head: i64,
    last_batch: i64,
}

impl Book {
    /// The next commit.
    pub(crate) fn commit(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        rollouts: Vec<RolloutChange>,
    ) -> Commit {
        let mut commit = Commit {
            head: self.head,
            batches: Vec::new(),
            rollouts,
        };
        let events: Vec<_> = events.into_iter().collect();
        for events in events.chunks(MOST_IN_BATCH) {
            self.last_batch += 1;
            let batch = Batch {
                writer: None,
                number: self.last_batch,
                events: events.into(),
            };
            commit
                .batches
                .push(Ordered::after(commit.new_head(), batch));
        }
        self.head = commit.new_head();
        commit
    }
}

/// Stores events as a process that leads for a moment; nobody else may lead.
pub(crate) async fn append(storage: &Storage, events: &[Event]) -> Result<(), CommitError> {
    let holder = Uuid::new_v4().to_string();
    let now = DateTime::UNIX_EPOCH;
    let fence = storage.acquire(&holder, now).await.unwrap().unwrap();
    let mut book = Book {
        head: storage.head().await.unwrap(),
        last_batch: 0,
    };
    let commit = book.commit(events.to_vec(), Vec::new());
    let stored = storage.commit(&fence, &commit).await;
    storage.release(&fence, now).await.unwrap();
    stored
}

/// All stored events from this time on (milliseconds since 1970), oldest first.
pub(crate) async fn since(storage: &Storage, at_ms: i64) -> Vec<Event> {
    let pages = storage.events_between(at_ms, i64::MAX);
    pages.try_concat().await.unwrap()
}
