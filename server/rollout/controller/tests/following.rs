//! Two processes on one store: each has users, and one leads.

use super::*;

async fn two() -> (Rig, Rig) {
    let first = Rig::new().await;
    first.store.0.lock().is_shared = true;
    let second = Rig::over(first.store.clone(), first.clock.clone()).await;
    // Users of its own.
    *second.user.lock() = 1_000_000;
    (first, second)
}

fn stored(rig: &Rig) -> usize {
    rig.store.0.lock().events.len()
}

#[tokio::test]
async fn what_happens_at_either_process_is_judged_once_and_replays() {
    let (first, second) = two().await;
    let id = first.started().await.id;
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
async fn a_database_that_went_back_raises_nothing() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    first.second(0, |_| false).await;
    second.second(0, |_| false).await;
    let older = first.store.0.lock().rollouts.clone();
    let lowered = CommandKind::SetShare(Percent::new(2.0).expect("a share"));
    first.steer(&id, 1, "less", lowered).await.expect("lowered");
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 2.0);
    let newer = std::mem::replace(&mut first.store.0.lock().rollouts, older);
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 2.0, "version 1 said 10 %");
    first.store.0.lock().rollouts = newer;
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 2.0);
    let raised = CommandKind::SetShare(Percent::new(7.0).expect("a share"));
    first.steer(&id, 2, "more", raised).await.expect("raised");
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 7.0, "a greater version");
}
