//! The log in batches: who may add to it, and what is left of it when events are deleted.

use chrono::TimeDelta;
use modelramp::{
    recording::Event,
    rollout::store::{CommitError, Fence, RolloutStore},
};

use super::{
    at,
    database::Database,
    events::event,
    rollouts::{ROLLOUT, change, writer},
};
use crate::support::log::{Book, append, since};

on_both!(
    each_start_of_a_process_has_a_number_of_its_own,
    who_has_not_seen_the_end_of_the_log_is_refused,
    a_writer_goes_on_where_the_database_lost_batches,
    what_waited_through_a_long_outage_is_stored_at_once,
    a_batch_without_its_middle_is_read_in_order,
);

async fn each_start_of_a_process_has_a_number_of_its_own(database: Database) {
    let storage = &database.storage;
    let first = storage.acquire("a", at(0)).await.unwrap().unwrap();
    let again = storage.acquire("a", at(1)).await.unwrap().unwrap();
    assert_eq!(again.writer, first.writer);
    assert!(again.number > first.number);
    storage.release(&again, at(2)).await.unwrap();
    let second = storage.acquire("b", at(3)).await.unwrap().unwrap();
    assert!(second.writer > first.writer);
    if database.is_sqlite() {
        let live = "SELECT writer FROM writers WHERE ended_ms IS NULL";
        assert_eq!(database.number(live).await, second.writer);
    }
    assert_eq!(storage.last_batch(second.writer).await.unwrap(), 0);
}

async fn who_has_not_seen_the_end_of_the_log_is_refused(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    let before = book;
    let first = book.commit([event(1), event(2)], vec![change(1)]);
    storage.commit(&fence, &first).await.unwrap();

    // Another batch in the place of the first, and the next one of somebody who has the number of the
    // lease but not its name.
    let mut in_place = before;
    let in_place = in_place.commit([event(3)], Vec::new());
    let next = book.commit([event(3)], Vec::new());
    let other = Fence {
        holder: "other".into(),
        ..fence.clone()
    };
    for (fence, commit) in [(&fence, &in_place), (&other, &next)] {
        let refused = storage.commit(fence, commit).await;
        assert!(matches!(refused, Err(CommitError::Fenced)), "{commit:?}");
    }
    assert!(!storage.renew(&other).await.unwrap());
    assert_eq!(since(storage, 0).await.len(), 2);
    assert_eq!(storage.head().await.unwrap(), 2);
    assert_eq!(storage.last_batch(fence.writer).await.unwrap(), 1);
    // Its answer may have been lost.
    for _ in 0..2 {
        storage.commit(&fence, &next).await.unwrap();
    }
    assert_eq!(since(storage, 0).await.len(), 3);
    assert_eq!(storage.last_batch(fence.writer).await.unwrap(), 2);
}

async fn a_writer_goes_on_where_the_database_lost_batches(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    let first = book.commit([event(1)], vec![change(1)]);
    storage.commit(&fence, &first).await.unwrap();
    book.commit([event(2)], Vec::new());
    book.head = first.new_head();
    let third = book.commit([event(3)], Vec::new());
    // Its answer may have been lost.
    for _ in 0..2 {
        storage.commit(&fence, &third).await.unwrap();
    }
    assert_eq!(since(storage, 0).await.len(), 2);
    assert_eq!(storage.head().await.unwrap(), 2);
}

async fn what_waited_through_a_long_outage_is_stored_at_once(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    let mut book = Book::default();
    let mut commit = book.commit([event(1)], vec![change(1)]);
    for n in 2..=14_000 {
        commit
            .batches
            .append(&mut book.commit([event(n)], Vec::new()).batches);
    }
    storage.commit(&fence, &commit).await.unwrap();
    assert_eq!(storage.head().await.unwrap(), 14_000);
    let count = "SELECT COUNT(*) FROM events";
    assert_eq!(database.number(count).await, 14_000);
}

async fn a_batch_without_its_middle_is_read_in_order(database: Database) {
    let storage = &database.storage;
    let fence = writer(storage).await;
    // Only the first and the last of each batch are of the rollout, which keeps them.
    let events = (1..=1_000).map(|seq| Event {
        rollout: matches!(seq % 500, 0 | 1).then(|| ROLLOUT.into()),
        ..event(1_000 - seq)
    });
    let commit = Book::default().commit(events, vec![change(1)]);
    storage.commit(&fence, &commit).await.unwrap();
    storage.release(&fence, at(1)).await.unwrap();
    let upkeep = storage.prune(TimeDelta::days(8), at(1)).await.unwrap();
    assert_eq!((upkeep.counted, upkeep.deleted), (1_000, 996));
    let left = async |after| -> Vec<i64> {
        let events = storage.events_of(ROLLOUT, after, 9).await.unwrap();
        events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(left(0).await, [1, 500, 501, 1_000]);
    assert_eq!(left(499).await, [500, 501, 1_000]);
    assert_eq!(left(999).await, [1_000]);
    append(storage, &[event(5)]).await.unwrap();
    assert_eq!(storage.head().await.unwrap(), 1_001);
}
