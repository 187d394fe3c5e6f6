//! Users who stay on control until a rollout is complete.

use super::*;

/// A rollout in its last stage, of which 5 % of the users are held out.
async fn in_the_last_stage(rig: &Rig) -> Status {
    let plan = FAST.replacen("name =", "holdout = 5\nname =", 1);
    let id = rig.started_by(&plan).await.id;
    rig.until(&id, GATE).await;
    let version = rig.status(&id).await.version;
    let approved = rig.controller.apply(approval(&id, version)).await;
    approved.expect("approved")
}

#[tokio::test]
async fn who_was_held_out_gets_the_candidate_at_the_end() {
    let rig = Rig::new().await;
    let status = in_the_last_stage(&rig).await;
    assert_eq!((status.share.get(), rig.serves()), (95.0, 95.0));
    rig.until(&status.id, RunState::Completed).await;
    let status = rig.status(&status.id).await;
    assert_eq!((status.share.get(), rig.serves()), (100.0, 100.0));
    let replay = rig.replay(&status.id).await;
    assert!(replay.is_identical, "{replay:?}");

    let rig = rig.reborn().await;
    rig.second(0, |_| false).await;
    assert_eq!(rig.serves(), 100.0, "a new process");
    let back = rig.steer(&status.id, status.version, "no", CommandKind::RollBack);
    assert_eq!(back.await.expect("taken back").state, RunState::RolledBack);
    assert_eq!(rig.serves(), 0.0);
}

#[tokio::test]
async fn a_share_that_a_person_set_stays_at_the_end() {
    let rig = Rig::new().await;
    let status = in_the_last_stage(&rig).await;
    let sixty = CommandKind::SetShare(Percent::new(60.0).expect("a percentage"));
    let set = rig.steer(&status.id, status.version, "slowly", sixty).await;
    assert_eq!(set.expect("set").share.get(), 60.0);
    rig.until(&status.id, RunState::Completed).await;
    assert_eq!(rig.serves(), 60.0);
}
