//! Two processes on one store: each has users, and one leads.

use super::*;

pub(super) async fn two() -> (Rig, Rig) {
    let first = Rig::over(MemoryStore::shared(), Clock::default()).await;
    let second = Rig::over(first.store.clone(), first.clock.clone()).await;
    // Users of its own.
    *second.user.lock() = 1_000_000;
    (first, second)
}

pub(super) fn stored(rig: &Rig) -> usize {
    rig.store.0.lock().events.len()
}

/// A second of each in turn, without requests, until all that was to be sent is sent.
pub(super) async fn settle(rigs: [&Rig; 2]) {
    for _ in 0..5 {
        for rig in rigs {
            rig.second(0, |_| false).await;
        }
    }
}

#[tokio::test]
async fn what_happens_at_either_process_is_judged_once_and_replays() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    // As one that starts while a rollout is under way.
    let third = Rig::over(first.store.clone(), first.clock.clone()).await;
    assert_eq!((third.controller.is_open(), third.serves()), (false, 0.0));
    third.controller.tick().await;
    assert_eq!((third.controller.is_open(), third.serves()), (true, 10.0));
    assert!(second.second(0, |_| false).await);
    assert_eq!(second.serves(), 10.0);
    assert!(second.second(70, |_| false).await, "all of it is stored");
    assert!(first.second(30, |_| false).await);
    assert_eq!(stored(&first), 100);
    let view = first.controller.get(&id).await.expect("a rollout");
    let counted = view.finding.control.requests + view.finding.candidate.requests;
    assert_eq!(counted, 100);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn a_candidate_that_fails_at_a_process_that_follows_is_taken_back_everywhere() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    second.second(0, |_| false).await;
    first.second(100, |_| false).await;
    let mut seconds = 0;
    while first.serves() > 0.0 && seconds < 60 {
        second.second(100, candidate_fails).await;
        assert!(first.controller.look_at_others().await || first.serves() > 0.0);
        seconds += 1;
    }
    assert_eq!(first.serves(), 0.0);
    first.second(0, |_| false).await;
    let mut changes = second.controller.subscribe();
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 0.0);
    let told = changes
        .try_recv()
        .expect("listeners are told of what others did");
    assert_eq!(told.action.name(), "rolled-back");
    assert_eq!(first.alerts(AlertKind::RolledBack), 1);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn a_damaged_rollout_keeps_no_rollback_of_another_from_who_follows() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 10.0);
    {
        let mut db = first.store.0.lock();
        let mut damaged = db.rollouts[0].clone();
        damaged.id = "00000000-0000-7000-8000-000000000001".into();
        damaged.status = serde_json::Value::Null;
        db.rollouts.push(damaged);
    }
    let back = first.steer(&id, 1, "a bad one", CommandKind::RollBack);
    back.await.expect("rolled back");
    let mut changes = second.controller.subscribe();
    for _ in 0..2 {
        second.second(0, |_| false).await;
        assert_eq!(second.serves(), 0.0);
    }
    let told = changes.try_recv().expect("listeners are told of it");
    assert_eq!(told.action.name(), "rolled-back");
    assert!(changes.try_recv().is_err(), "once");
}

#[tokio::test]
async fn who_takes_over_loses_nothing_and_counts_nothing_twice() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    second.second(0, |_| false).await;
    first.second(50, |_| false).await;
    // Stored by the one that follows, and without a place when the other is gone.
    assert!(second.second(40, |_| false).await);
    // Of the first, nothing of this is stored: it is frozen.
    for _ in 0..20 {
        first.request(|_| false);
    }
    first.controller.look();
    first.store.forget_holder();
    assert!(second.second(30, |_| false).await, "it leads");
    assert!(second.controller.leads());
    assert_eq!(stored(&first), 50 + 40 + 30);
    // Awake again, it is refused, follows, and stores what it had.
    first.second(5, |_| false).await;
    assert!(!first.controller.leads());
    assert!(first.second(0, |_| false).await);
    second.second(0, |_| false).await;
    assert_eq!(stored(&first), 50 + 40 + 30 + 20 + 5);
    let replay = second.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
    let view = second.controller.get(&id).await.expect("a rollout");
    let counted = view.finding.control.requests + view.finding.candidate.requests;
    assert_eq!(counted, 145);
}

#[tokio::test]
async fn who_leads_and_hears_nothing_for_as_long_as_a_lease_lasts_says_no_longer_that_it_leads() {
    let (first, _second) = two().await;
    let says_after = async |seconds: u32| {
        for _ in 0..seconds {
            first.second(0, |_| false).await;
        }
        first.controller.leader()
    };
    assert_eq!(says_after(1).await, WhoLeads::Here);
    first.store.1.cut();
    assert_eq!(says_after(7).await, WhoLeads::Here);
    assert_eq!(says_after(4).await, WhoLeads::Nobody);
    first.store.1.mend();
    assert_eq!(says_after(1).await, WhoLeads::Here);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_stored_once() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    second.second(0, |_| false).await;
    for failure in [Failure::After, Failure::Before] {
        first.store.fail([Some(failure)]);
        assert!(!second.second(10, |_| false).await);
        assert!(second.second(10, |_| false).await);
    }
    first.second(0, |_| false).await;
    assert_eq!(stored(&first), 40);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn windows_hold_what_others_stored() {
    let (first, second) = two().await;
    first.started().await;
    second.second(0, |_| false).await;
    second.second(20, |_| false).await;
    first.second(30, |_| false).await;
    second.second(0, |_| false).await;
    let now = first.controller.world.now().wall;
    for rig in [&first, &second] {
        let window = rig
            .metrics
            .window(crate::ai_metrics::window::Minutes::HOUR, now);
        let totals = [Variant::Control, Variant::Candidate].map(|it| window.totals(it).requests);
        assert_eq!(totals.iter().sum::<u64>(), 50);
    }
}

#[tokio::test]
async fn what_may_have_moved_is_read_in_one_question_however_many_rollouts_there_are() {
    let (first, second) = two().await;
    // Its end goes on deciding what the newer one does not cover.
    let of_all = FAST.replace("tasks = [\"chat\"]\n", "");
    let id = first.started_by(&of_all).await.id;
    let back = first.steer(&id, 1, "a bad one", CommandKind::RollBack);
    back.await.expect("rolled back");
    first.started().await;
    second.second(0, |_| false).await;
    assert_eq!(second.controller.inner.lock().rollouts.len(), 2);
    let before = first.store.0.lock().reads;
    for _ in 0..6 {
        second.second(0, |_| false).await;
    }
    assert_eq!(first.store.0.lock().reads - before, 1);
}

#[tokio::test]
async fn while_the_database_is_away_each_takes_a_failing_candidate_from_its_own_users() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    settle([&first, &second]).await;
    first.second(100, |_| false).await;
    second.second(0, |_| false).await;
    first.store.0.lock().is_away = true;
    let mut seconds = 0;
    while second.serves() > 0.0 && seconds < 60 {
        second.second(100, candidate_fails).await;
        seconds += 1;
    }
    assert_eq!((first.serves(), second.serves()), (10.0, 0.0));
    first.store.0.lock().is_away = false;
    for _ in 0..5 {
        second.second(0, |_| false).await;
        assert_eq!(
            second.serves(),
            0.0,
            "until the one that leads has judged it"
        );
        first.second(0, |_| false).await;
    }
    assert_eq!(first.serves(), 0.0);
    assert_eq!(first.alerts(AlertKind::RolledBack), 1);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn what_one_took_from_its_users_they_get_again_once_all_that_it_saw_is_judged() {
    let (first, second) = two().await;
    first.started().await;
    settle([&first, &second]).await;
    {
        let mut inner = second.controller.inner.lock();
        inner.rollouts[0].is_guarded = true;
        inner.guarded = Some(Default::default());
        second.controller.publish(&inner);
    }
    assert_eq!(second.serves(), 0.0);
    second.second(20, |_| false).await;
    assert_eq!(second.serves(), 0.0, "it is stored, and has no place yet");
    settle([&first, &second]).await;
    assert_eq!(second.serves(), 10.0);
}

#[tokio::test(start_paused = true)]
async fn who_is_far_from_the_database_looks_at_what_is_decided_also_under_traffic() {
    let (_leader, second) = Rig::led().await;
    second.store.1.is_long(Duration::from_millis(60));
    let users = async {
        loop {
            second.request(|_| false);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let began = Instant::now();
    tokio::select! {
        biased;
        () = users => {}
        is_all = second.controller.tick() => assert!(is_all, "of what was there when it began"),
    }
    assert!(
        began.elapsed() < super::super::following::LOOK,
        "{:?}",
        began.elapsed()
    );
}
