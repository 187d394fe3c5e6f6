//! Stages open in their windows only, whatever is lowered meanwhile; and people are told how a rollout does.

use super::*;
use crate::{alerting::Severity, rollout::next::Waits};

/// The rig begins on a Tuesday at 22:13:20.
const WINDOW: &str = "[[windows]]\nfrom = \"22:00\"\nto = \"22:15\"\nzone = \"UTC\"\n";

fn windowed() -> String {
    format!("{FAST}{WINDOW}")
}

impl Rig {
    /// Seconds of good requests until it waits for its window, which is over.
    async fn waits(&self, id: &str) {
        self.clock.pass(120_000);
        for _ in 0..200 {
            self.second(200, |_| false).await;
            let view = self.controller.get(id).await.expect("a rollout");
            if view.next_step.why == Some(Waits::OutsideWindow) {
                let at = view.next_step.at.expect("when it opens").to_rfc3339();
                assert_eq!(at, "2023-11-15T22:00:00+00:00");
                assert_eq!(
                    view.next,
                    "nothing: it waits for its window until 2023-11-15 22:00 UTC"
                );
                return;
            }
        }
        panic!("{:?}", self.status(id).await);
    }
}

#[tokio::test]
async fn a_stage_that_is_proven_waits_for_its_window() {
    let rig = Rig::new().await;
    let id = rig.started_by(&windowed()).await.id;
    rig.waits(&id).await;
    rig.second(200, |_| false).await;
    assert_eq!((rig.serves(), rig.status(&id).await.stage), (10.0, 0));
    // A day minus the minutes that have passed.
    while rig.controller.world.now().wall.to_rfc3339().as_str() < "2023-11-15T22:00" {
        rig.clock.pass(599_000);
        rig.second(20, |_| false).await;
    }
    for _ in 0..200 {
        if rig.serves() == 50.0 {
            break;
        }
        rig.second(200, |_| false).await;
    }
    assert_eq!((rig.serves(), rig.status(&id).await.stage), (50.0, 1));
    assert!(rig.replay(&id).await.is_identical);
}

#[tokio::test]
async fn a_window_that_is_closed_keeps_nobody_on_a_bad_candidate() {
    let rig = Rig::new().await;
    let id = rig.started_by(&windowed()).await.id;
    rig.waits(&id).await;
    for _ in 0..20 {
        rig.second(50, candidate_fails).await;
    }
    assert_eq!(rig.status(&id).await.state, RunState::RolledBack);
    assert_eq!(rig.serves(), 0.0);
    assert!(rig.replay(&id).await.is_identical);
}

#[tokio::test]
async fn a_gate_is_opened_in_a_window_and_a_person_may_go_past_it() {
    let rig = Rig::new().await;
    let late = windowed().replacen("share = 10\n", "share = 10\ngate = \"manual\"\n", 1);
    let status = rig.started_by(&late).await;
    rig.clock.pass(120_000);
    rig.until(&status.id, GATE).await;
    let version = rig.status(&status.id).await.version;
    let approved = rig.controller.apply(approval(&status.id, version)).await;
    let refused = approved.expect_err("closed").to_string();
    assert!(refused.contains("from 2023-11-15 22:00 UTC"), "{refused}");
    let view = rig.controller.get(&status.id).await.expect("a rollout");
    let allowed: Vec<_> = view.allowed.iter().filter(|it| it.allowed).collect();
    assert!(!format!("{allowed:?}").contains("Approve"), "{allowed:?}");
    let advanced = rig.steer(&status.id, version, "now", CommandKind::Advance);
    assert_eq!(advanced.await.expect("a person is there").stage, 1);

    // Nor does a rollout begin outside of them.
    let other = windowed().replace("\"chat\"", "\"email-draft\"");
    let started = rig.controller.start(&other, "go", &USER, Wishes::default());
    let refused = started.await.expect_err("closed").to_string();
    assert!(refused.contains("from 2023-11-15 22:00 UTC"), "{refused}");
}

#[tokio::test]
async fn every_six_hours_people_are_told_how_it_does() {
    let plan = format!("on_call = \"Rikke, 12 34 56 78\"\n{FAST}").replace("\"5s\"", "\"48h\"");
    let mut rig = Rig::new().await;
    let id = rig.started_by(&plan).await.id;
    for hour in 1..=19 {
        rig.clock.pass(3_599_000);
        rig.second(20, |_| false).await;
        rig.second(0, |_| false).await;
        assert_eq!(rig.alerts(AlertKind::Digest), hour / 6, "hour {hour}");
        if hour == 7 {
            rig = rig.reborn().await;
            rig.second(0, |_| false).await;
        }
    }
    let told = rig.store.0.lock().alerts.clone();
    let digest = told.iter().find(|it| it.kind == AlertKind::Digest);
    let digest = digest.expect("a digest");
    assert_eq!(digest.severity, Severity::Info);
    for part in [
        "running at 10 %, in stage 1 of 3",
        "What follows now",
        "On call: Rikke, 12 34 56 78.",
    ] {
        assert!(digest.text.contains(part), "{}", digest.text);
    }
    assert!(rig.replay(&id).await.is_identical);
    let version = rig.status(&id).await.version;
    let back = rig.steer(&id, version, "no", CommandKind::RollBack).await;
    back.expect("taken back");
    rig.clock.pass(8 * 3_600_000);
    rig.second(0, |_| false).await;
    assert_eq!(rig.alerts(AlertKind::Digest), 3, "it is over");
}
