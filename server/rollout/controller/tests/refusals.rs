//! A store that refuses some of what is written, or all of it, and reads well.

use super::*;

async fn two() -> (Rig, Rig) {
    let first = Rig::over(MemoryStore::shared(), Clock::default()).await;
    let second = Rig::over(first.store.clone(), first.clock.clone()).await;
    *second.user.lock() = 1_000_000;
    (first, second)
}

/// A rollout that stays where it is, on the first of them.
async fn started(first: &Rig) -> String {
    let plan = FAST.replace("soak = \"5s\"", "soak = \"1h\"");
    first.started_by(&plan).await.id
}

/// Some seconds of each in turn, without requests.
async fn settle(first: &Rig, second: &Rig) {
    for _ in 0..5 {
        first.second(0, |_| false).await;
        second.second(0, |_| false).await;
    }
}

#[tokio::test]
async fn an_event_that_is_refused_holds_up_none_of_the_others_and_is_counted() {
    for leads in [true, false] {
        let (first, second) = two().await;
        let id = started(&first).await;
        settle(&first, &second).await;
        let rig = if leads { &first } else { &second };
        rig.store.0.lock().refused = Some("poison");
        for request in ["a", "poison", "b", "poison", "c"] {
            rig.metrics.record(Event {
                request_id: request.into(),
                ..rig.answer()
            });
        }
        rig.second(20, |_| false).await;
        first.second(10, |_| false).await;
        settle(&first, &second).await;
        assert_eq!(first.store.0.lock().events.len(), 33, "it leads: {leads}");
        assert_eq!((rig.log.lost(), rig.log.waiting()), ((0, 2), 0));
        let view = first.controller.get(&id).await.expect("a rollout");
        let counted = view.finding.control.requests + view.finding.candidate.requests;
        assert_eq!(counted, 33, "what is not in the log is no evidence");
        let replay = first.replay(&id).await;
        assert!(replay.is_identical, "{replay:?}");
    }
}

#[tokio::test]
async fn a_batch_of_which_all_is_refused_is_left_out() {
    let (first, second) = two().await;
    started(&first).await;
    settle(&first, &second).await;
    first.store.0.lock().refused = Some("poison");
    for rig in [&first, &second] {
        rig.metrics.record(Event {
            request_id: "poison".into(),
            ..rig.answer()
        });
    }
    settle(&first, &second).await;
    second.second(1, |_| false).await;
    settle(&first, &second).await;
    assert_eq!(first.store.0.lock().events.len(), 1);
}

/// The world: a full disk on which the database still reads, or a standby that is not promoted yet.
#[tokio::test]
async fn who_cannot_store_takes_a_failing_candidate_from_its_own_users() {
    let (first, second) = two().await;
    let id = started(&first).await;
    settle(&first, &second).await;
    first.second(100, |_| false).await;
    second.second(0, |_| false).await;
    first.store.0.lock().is_full = true;
    let mut seconds = 0;
    while second.serves() > 0.0 && seconds < 60 {
        second.second(100, candidate_fails).await;
        seconds += 1;
    }
    assert_eq!((first.serves(), second.serves()), (10.0, 0.0));
    first.store.0.lock().is_full = false;
    settle(&first, &second).await;
    assert_eq!((first.serves(), second.serves()), (0.0, 0.0));
    assert_eq!(first.alerts(AlertKind::RolledBack), 1);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn who_leads_and_cannot_write_gives_the_lease_back() {
    let (first, second) = two().await;
    started(&first).await;
    settle(&first, &second).await;
    for _ in 0..11 {
        assert!(first.controller.leads());
        first.store.fail([Some(Failure::Before)]);
        first.second(1, |_| false).await;
    }
    assert!(!first.controller.leads());
    first.store.0.lock().clear_failures();
    assert!(second.second(0, |_| false).await);
    assert!(second.controller.leads());
    settle(&first, &second).await;
    assert_eq!(first.store.0.lock().events.len(), 11);
}

#[tokio::test]
async fn who_follows_reads_evidence_and_no_list_where_nothing_began_or_changed() {
    let (first, second) = two().await;
    let id = started(&first).await;
    settle(&first, &second).await;
    let lists = first.store.0.lock().lists;
    for _ in 0..12 {
        first.second(10, |_| false).await;
        second.second(0, |_| false).await;
    }
    assert_eq!(first.store.0.lock().lists, lists);
    let view = second.controller.get(&id).await.expect("a rollout");
    assert!(view.finding.control.requests > 0);
}
