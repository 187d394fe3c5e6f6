//! What happens while a write hangs.

use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_does_not_hold_up_a_rollback() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(200, |_| false).await;
    rig.store.0.lock().is_hanging = true;
    let stop = CancellationToken::new();
    let run = rig.controller.clone().run(stop.cancelled());
    let failing = async {
        rig.request(|_| false);
        while rig.serves() > 0.0 {
            sleep(TICK).await;
            rig.clock.pass(1_000);
            for _ in 0..100 {
                rig.request(candidate_fails);
            }
        }
        assert_eq!(rig.actions(), ["started"]);
        rig.store.0.lock().is_hanging = false;
        sleep(TICK).await;
        stop.cancel();
    };
    let both = async { tokio::join!(run, failing) };
    let done = tokio::time::timeout(10 * TICK, both).await;
    done.expect("taken back while the write hung");
    assert_eq!(rig.status(&id).await.state, RunState::RolledBack);
    assert_eq!(rig.actions(), ["started", "rolled-back"]);
    assert_eq!(rig.alerts(AlertKind::RolledBack), 1);
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rating_while_a_change_is_written_counts() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(50, |_| false).await;
    rig.store.0.lock().is_hanging = true;
    let pause = rig.steer(&id, 1, "wait", CommandKind::Pause);
    let rate = async {
        sleep(GAP).await;
        rig.request(|_| false);
        rig.log.append(Event {
            variant: Variant::Candidate,
            outcome: Outcome::Rated { good: false },
            ..rig.answer()
        });
        rig.controller.look();
        rig.store.0.lock().is_hanging = false;
    };
    let (paused, ()) = tokio::join!(pause, rate);
    assert_eq!(paused.expect("paused").state, RunState::Paused);
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.verdict.candidate.bad_ratings, 1);
    let status = rig.status(&id).await;
    let resumed = rig.steer(&id, status.version, "go", CommandKind::Resume);
    resumed.await.expect("resumed");
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_the_second_is_refused_while_the_first_is_written() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.store.0.lock().is_hanging = true;
    let pause = rig.steer(&id, 1, "wait", CommandKind::Pause);
    let others = async {
        sleep(GAP).await;
        let share = Percent::new(1.0).expect("a percentage");
        let lowered = rig.steer(&id, 1, "less", CommandKind::SetShare(share));
        let refused = lowered.await.expect_err("the pause was first");
        let ControlError::Stale { based_on, current } = refused else {
            panic!("{refused}")
        };
        assert_eq!((based_on, current.version), (1, 2));
        assert_eq!(rig.serves(), 10.0);
        let rollback = rig.steer(&id, 1, "stop", CommandKind::RollBack);
        let until_it_counts = async {
            let lowered = async {
                while rig.serves() > 0.0 {
                    sleep(GAP).await;
                }
            };
            let lowered = tokio::time::timeout(10 * TICK, lowered).await;
            lowered.expect("a rollback counts at once");
            rig.store.0.lock().is_hanging = false;
        };
        let (rolled_back, ()) = tokio::join!(rollback, until_it_counts);
        rolled_back.expect("a rollback waits for nobody");
    };
    let (paused, ()) = tokio::join!(pause, others);
    paused.expect("paused");
    rig.second(0, |_| false).await;
    assert_eq!(rig.actions(), ["started", "paused", "rolled-back"]);
    let version = rig.status(&id).await.version;
    let late = rig.steer(&id, version, "wait", CommandKind::Pause).await;
    assert!(
        matches!(late, Err(ControlError::Refused { .. })),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_stored_while_a_beginning_reads_what_users_did() {
    let rig = Rig::new().await;
    assert!(rig.controller.tick().await);
    rig.store.0.lock().is_reading = true;
    let others = async {
        while rig.store.0.lock().histories.is_empty() {
            sleep(GAP).await;
        }
        rig.request(|_| false);
        let stored = tokio::time::timeout(TICK, rig.controller.tick()).await;
        assert_eq!((stored, rig.log.waiting()), (Ok(true), 0));
        // Another one that overlaps may begin meanwhile.
        rig.store.0.lock().is_reading = false;
        rig.started().await.id
    };
    let start = rig.controller.start(FAST, "go", &USER, Wishes::default());
    let (late, id) = tokio::join!(start, others);
    let refused = late.expect_err("the other one began first");
    assert!(
        matches!(&refused, ControlError::Overlaps { id: of, .. } if *of == id),
        "{refused}"
    );
}
