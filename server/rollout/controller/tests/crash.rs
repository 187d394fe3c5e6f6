//! The process dies, or the store fails, at every write of a rollout's life.

use super::*;

/// What happens at one write.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    /// The process dies before the write.
    DiesBefore,
    /// It dies after it, before anything is published.
    DiesAfter,
    /// The write fails.
    Fails,
    /// It succeeds, and seems to fail.
    SeemsToFail,
}

/// What is left of a rollout's life.
#[derive(Debug, PartialEq)]
struct Life {
    state: RunState,
    share: f64,
    stage: usize,
    actions: Vec<&'static str>,
    alerts: Vec<String>,
}

/// A rollout that is promoted to its gate, approved, and then taken back.
async fn live(mishap: Option<(usize, Mishap)>) -> (Life, usize) {
    let mut rig = Rig::new().await;
    let id = rig.started().await.id;
    if let Some((at, mishap)) = mishap {
        let failure = match mishap {
            Mishap::DiesBefore | Mishap::Fails => Failure::Before,
            Mishap::DiesAfter | Mishap::SeemsToFail => Failure::After,
        };
        let before = std::iter::repeat_n(None, at);
        rig.store.fail(before.chain([Some(failure)]));
    }
    let commits = rig.store.0.lock().commits;
    for _ in 0..200 {
        let status = rig.status(&id).await;
        let is_last = status.stage == 2;
        let user = *rig.user.lock();
        let is_written = if matches!(status.state, RunState::WaitingAtGate { .. }) {
            let version = status.version;
            let approved = rig.controller.apply(approval(&id, version)).await;
            approved.is_ok()
        } else {
            rig.second(200, |variant| is_last && candidate_fails(variant))
                .await
        };
        let dies =
            mishap.is_some_and(|(_, it)| matches!(it, Mishap::DiesBefore | Mishap::DiesAfter));
        if !is_written && dies {
            rig = rig.reborn().await;
            if mishap.is_some_and(|(_, it)| it == Mishap::DiesBefore) {
                // What was lost comes again.
                *rig.user.lock() = user;
            }
            rig.controller.tick().await;
        }
        if rig.status(&id).await.state == RunState::RolledBack && is_written {
            break;
        }
    }
    rig.second(0, |_| false).await;
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{mishap:?}: {replay:?}");
    let status = rig.status(&id).await;
    assert_eq!(rig.serves(), status.share.get(), "{mishap:?}");
    let db = rig.store.0.lock();
    let life = Life {
        state: status.state,
        share: status.share.get(),
        stage: status.stage,
        actions: db.audit.iter().map(|it| it.action.name()).collect(),
        alerts: db.alerts.iter().map(|it| it.title.clone()).collect(),
    };
    (life, db.commits - commits)
}

#[tokio::test]
async fn whatever_happens_at_any_write_the_end_is_the_same() {
    let (undisturbed, commits) = live(None).await;
    assert_eq!(undisturbed.state, RunState::RolledBack);
    let actions = ["started", "advanced", "asked", "approved", "rolled-back"];
    assert_eq!(undisturbed.actions, actions);
    assert!(commits > 10, "{commits}");
    for at in 0..commits {
        for mishap in [
            Mishap::DiesBefore,
            Mishap::DiesAfter,
            Mishap::Fails,
            Mishap::SeemsToFail,
        ] {
            let (life, _) = live(Some((at, mishap))).await;
            assert_eq!(life, undisturbed, "{mishap:?} at write {at}");
        }
    }
}
