//! What lowered a share on one process and is not stored: handed over, or made again, until it is settled.

use super::{
    following::{settle, stored, two},
    *,
};

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

#[tokio::test]
async fn what_a_standby_lacks_is_stored_again_and_counted_once() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    settle([&first, &second]).await;
    first.store.0.lock().follow();
    for _ in 0..3 {
        second.second(20, |_| false).await;
        first.second(30, |_| false).await;
    }
    let whole = stored(&first);
    first.store.0.lock().fail_over(5);
    assert!(stored(&first) < whole);
    settle([&first, &second]).await;
    assert_eq!(stored(&first), whole);
    let replay = first.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
    let now = first.controller.world.now().wall;
    for rig in [&first, &second] {
        let hour = crate::ai_metrics::window::Minutes::HOUR;
        let window = rig.metrics.window(hour, now);
        let totals = [Variant::Control, Variant::Candidate].map(|it| window.totals(it).requests);
        assert_eq!(totals.iter().sum::<u64>(), 150);
    }
}

#[tokio::test]
async fn a_rollback_that_a_standby_lacks_is_made_again_by_who_led_and_by_who_followed() {
    for leader_dies in [false, true] {
        let (mut first, second) = two().await;
        let id = first.started().await.id;
        settle([&first, &second]).await;
        first.store.0.lock().follow();
        let back = first.steer(&id, 1, "a bad one", CommandKind::RollBack);
        back.await.expect("rolled back");
        second.second(0, |_| false).await;
        first.store.0.lock().fail_over(1);
        let state = |rig: &Rig| rig.store.0.lock().rollouts[0].status["state"]["name"].clone();
        assert_eq!(state(&first), "running");
        if leader_dies {
            first.store.forget_holder();
            first = Rig::over(first.store.clone(), first.clock.clone()).await;
        }
        for _ in 0..5 {
            second.second(0, |_| false).await;
            assert_eq!(second.serves(), 0.0);
            first.second(0, |_| false).await;
        }
        assert_eq!(
            state(&first),
            "rolled-back",
            "the leader died: {leader_dies}"
        );
        settle([&first, &second]).await;
        assert_eq!((first.serves(), second.serves()), (0.0, 0.0));
    }
}

/// A rollback was made, `second` has seen it, and a standby without it took over.
async fn undone() -> (Rig, Rig, String) {
    let (first, second) = two().await;
    let id = first.started().await.id;
    settle([&first, &second]).await;
    first.store.0.lock().follow();
    let back = first.steer(&id, 1, "a bad one", CommandKind::RollBack);
    back.await.expect("rolled back");
    second.second(0, |_| false).await;
    first.store.0.lock().fail_over(1);
    // Another leads, that knows of nothing.
    first.store.forget_holder();
    let third = Rig::over(first.store.clone(), first.clock.clone()).await;
    third.second(0, |_| false).await;
    assert!(third.controller.leads());
    (third, second, id)
}

#[tokio::test]
async fn a_rollback_that_a_standby_lacks_is_made_again_by_who_leads_after_another_change_of_its_version()
 {
    let (third, second, id) = undone().await;
    let held = third.steer(&id, 1, "wait", CommandKind::Pause).await;
    assert_eq!(held.expect("paused").version, 2);
    third.store.forget_holder();
    second.second(0, |_| false).await;
    assert!(second.controller.leads());
    assert_eq!(second.serves(), 0.0);
    settle([&second, &third]).await;
    let made: Vec<_> = third.actions();
    assert_eq!(made, ["started", "paused", "rolled-back"]);
    assert_eq!((second.serves(), third.serves()), (0.0, 0.0));
}

#[tokio::test]
async fn who_follows_and_knows_of_a_rollback_asks_for_it_again_whatever_version_is_stored() {
    for changes in [1, 2] {
        let (third, second, id) = undone().await;
        let kinds = [CommandKind::Pause, CommandKind::Resume];
        for (version, kind) in (1..).zip(kinds).take(changes) {
            third
                .steer(&id, version, "go on", kind)
                .await
                .expect("changed");
        }
        // Under the same version it is seen with what is read every five seconds.
        for _ in 0..6 {
            second.second(0, |_| false).await;
        }
        assert_eq!((second.serves(), third.serves()), (0.0, 10.0));
        let lost = second.controller.take_lost();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!(lost[0].kind, CommandKind::RollBack);
        // Whoever said that it is done was gone before it was stored.
        let is_lifted = second.controller.lift(&lost[0], 1);
        assert!(!is_lifted, "it is to be handed over again");
        let version = lost[0].based_on;
        let back = third.steer(&id, version, "a bad one", CommandKind::RollBack);
        back.await.expect("rolled back");
        second.second(0, |_| false).await;
        assert!(second.controller.lift(&lost[0], version));
        assert_eq!((second.serves(), third.serves()), (0.0, 0.0));
    }
}

#[tokio::test]
async fn a_rollback_of_one_that_was_let_go_meanwhile_is_not_asked_for_again_and_again() {
    let (third, second, id) = undone().await;
    let mut kinds = vec![CommandKind::Advance; 3];
    kinds.push(CommandKind::Release);
    for (version, kind) in (1..).zip(kinds) {
        let done = third.steer(&id, version, "go on", kind).await;
        done.expect("changed");
    }
    second.second(0, |_| false).await;
    let lost = second.controller.take_lost();
    let version = lost[0].based_on;
    let back = third.steer(&id, version, "a bad one", CommandKind::RollBack);
    back.await.expect_err("it decides nothing any more");
    assert!(second.controller.lift(&lost[0], version));
}

#[tokio::test]
async fn a_rollback_asked_of_who_follows_holds_although_the_leader_dies_with_it_and_another_change_is_made()
 {
    let (first, second) = two().await;
    let id = first.started().await.id;
    settle([&first, &second]).await;
    let back = command(&id, 1, "a bad one", CommandKind::RollBack);
    let asked = second.controller.cap(back.clone()).expect("it follows");
    assert_eq!((first.serves(), second.serves()), (10.0, 0.0));
    // Who leads does it, cannot store it, has said that it is done, and dies.
    first.store.fail([Some(Failure::Before)]);
    assert_eq!(
        first
            .controller
            .apply(back)
            .await
            .expect("in force")
            .version,
        2
    );
    assert!(first.controller.owes(&id), "that is not to be said yet");
    first.store.forget_holder();
    let third = Rig::over(first.store.clone(), first.clock.clone()).await;
    third.second(0, |_| false).await;
    let more = CommandKind::SetShare(Percent::new(30.0).expect("a share"));
    third.steer(&id, 1, "more", more).await.expect("raised");
    second.second(0, |_| false).await;
    assert_eq!((third.serves(), second.serves()), (30.0, 0.0));
    assert!(
        !second.controller.lift(&asked, 1),
        "it is handed over again"
    );
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 0.0);
    let back = command(&id, 2, "a bad one", CommandKind::RollBack);
    third.controller.apply(back).await.expect("rolled back");
    second.second(0, |_| false).await;
    assert!(second.controller.lift(&asked, 2), "it is stored");
    assert_eq!(third.actions(), ["started", "share-set", "rolled-back"]);
}

#[tokio::test]
async fn a_rollback_that_is_refused_while_somebody_waits_is_in_force_no_more() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    settle([&first, &second]).await;
    let blank = command(&id, 1, " ", CommandKind::RollBack);
    assert_eq!(second.controller.cap(blank), None, "it has no reason");
    let back = command(&id, 1, "a bad one", CommandKind::RollBack);
    let asked = second.controller.cap(back).expect("it follows");
    assert_eq!(second.serves(), 0.0);
    second.controller.let_go(&asked);
    assert_eq!(second.serves(), 10.0);
    // Not so one that this process knows of, which somebody asks for once more.
    let known = second
        .controller
        .cap(command(&id, 1, "a bad one", CommandKind::RollBack));
    assert!(!second.controller.lift(&known.expect("it follows"), 0));
    second.controller.let_go(&asked);
    assert_eq!(second.serves(), 0.0);
}

#[tokio::test]
async fn each_lowering_holds_until_it_is_settled_itself() {
    let (_first, second) = Rig::led().await;
    let id = second.controller.live().remove(0).id;
    let asked = |kind| second.controller.cap(command(&id, 1, "less", kind));
    let share = |percent| CommandKind::SetShare(Percent::new(percent).expect("a share"));
    let [five, back, two] = [share(5.0), CommandKind::RollBack, share(2.0)].map(asked);
    let [five, back, two] = [five, back, two].map(|it| it.expect("it follows"));
    assert_eq!(second.serves(), 0.0);
    second.controller.let_go(&back);
    assert_eq!(second.serves(), 2.0);
    second.controller.let_go(&two);
    assert_eq!(second.serves(), 5.0);
    // Made as version 1, which is stored.
    assert!(second.controller.lift(&five, 0));
    assert_eq!(second.serves(), 10.0);
}

#[tokio::test]
async fn a_rollback_of_one_that_is_complete_is_in_force_where_it_is_asked() {
    let (first, second) = two().await;
    let id = first.started().await.id;
    for version in 1..=3 {
        let done = first.steer(&id, version, "go on", CommandKind::Advance);
        done.await.expect("changed");
    }
    assert_eq!(first.status(&id).await.state, RunState::Completed);
    second.second(0, |_| false).await;
    assert_eq!(second.serves(), 100.0);
    let back = command(&id, 4, "a bad one", CommandKind::RollBack);
    let asked = second.controller.cap(back).expect("it decides");
    assert_eq!(second.serves(), 0.0);
    let back = first.steer(&id, 4, "a bad one", CommandKind::RollBack);
    back.await.expect("rolled back");
    second.second(0, |_| false).await;
    assert!(second.controller.lift(&asked, 4));
    assert_eq!(second.serves(), 0.0);
}

#[tokio::test]
async fn a_rollback_that_a_standby_lacks_is_made_again_although_a_newer_rollout_had_begun() {
    for leader_dies in [false, true] {
        let (mut first, second) = two().await;
        let id = first.started().await.id;
        settle([&first, &second]).await;
        first.store.0.lock().follow();
        let back = first.steer(&id, 1, "a bad one", CommandKind::RollBack);
        back.await.expect("rolled back");
        second.second(0, |_| false).await;
        let newer = first.started().await.id;
        second.second(0, |_| false).await;
        assert!(second.controller.inner.lock().get(&id).is_none(), "covered");
        first.store.0.lock().fail_over(12);
        assert!(
            first
                .store
                .0
                .lock()
                .rollouts
                .iter()
                .all(|it| it.id != newer)
        );
        if leader_dies {
            first.store.forget_holder();
            first = Rig::over(first.store.clone(), first.clock.clone()).await;
        }
        let mut changes = second.controller.subscribe();
        for _ in 0..6 {
            second.second(0, |_| false).await;
            assert_eq!(second.serves(), 0.0, "the leader died: {leader_dies}");
            first.second(0, |_| false).await;
        }
        while let Ok(change) = changes.try_recv() {
            assert_eq!(change.action.name(), "rolled-back", "all else was told");
        }
        assert_eq!((first.serves(), second.serves()), (0.0, 0.0));
        let made: Vec<_> = first.actions();
        assert_eq!(made, ["started", "rolled-back"], "again");
    }
}
