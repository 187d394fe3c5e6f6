//! The controller on a store in memory, with clocks and dice of its own.

mod beginnings;
mod crash;
mod fleet;
mod following;
mod handing_over;
mod hanging;
mod holdout;
mod link;
mod metrics;
mod outages;
mod plot;
mod refusals;
pub(crate) mod rig;
mod store;
mod told;
mod uncounted;
mod windows;
mod words;

use chrono::TimeDelta;

use self::{
    rig::{Clock, FAST, OUTAGES, Rig, USER, approval, command},
    store::{Failure, MemoryStore},
};
use super::*;
use crate::{
    _core::{
        actor::Actor,
        assignment::{Algorithm, Subject, Variant},
        feature_flags::{FlagsConfig, Reason, Steered},
        units::Percent,
    },
    alerting::AlertKind,
    providers::fault::FaultKind,
    recording::{Event, Outcome},
    rollout::{
        record::Damaged,
        rollout::CommandKind,
        status::{Hold, RunState},
        store::{AuditRow, StoredRollout},
    },
};

fn candidate_fails(variant: Variant) -> bool {
    variant == Variant::Candidate
}

const GATE: RunState = RunState::WaitingAtGate { recommended: true };

#[tokio::test]
async fn a_start_serves_control_until_a_tick_has_written() {
    let rig = Rig::new().await;
    rig.controller.tick().await;
    let status = rig
        .controller
        .start(FAST, "try it", &USER, Wishes::default())
        .await;
    assert_eq!(status.expect("a rollout").0.share.get(), 10.0);
    assert_eq!(rig.serves(), 0.0);
    rig.store.0.lock().is_full = true;
    assert!(!rig.second(0, |_| false).await);
    assert_eq!(rig.serves(), 0.0, "a store that cannot be written");
    rig.store.0.lock().is_full = false;
    assert!(rig.second(0, |_| false).await);
    assert_eq!(rig.serves(), 10.0);
    let rig = rig.reborn().await;
    assert_eq!(rig.serves(), 0.0, "a new process");
    rig.second(0, |_| false).await;
    assert_eq!(rig.serves(), 10.0);
}

#[tokio::test]
async fn a_good_candidate_goes_through_all_stages() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.until(&id, GATE).await;
    let status = rig.status(&id).await;
    assert_eq!((status.stage, rig.serves()), (1, 50.0));
    let approved = rig.controller.apply(approval(&id, status.version)).await;
    assert_eq!(approved.expect("approved").share.get(), 100.0);
    assert_eq!(rig.serves(), 100.0);
    rig.until(&id, RunState::Completed).await;
    assert_eq!(rig.serves(), 100.0);
    let actions = ["started", "advanced", "asked", "approved", "completed"];
    assert_eq!(rig.actions(), actions);
    assert_eq!(rig.alerts(AlertKind::PromotionDue), 1);
    assert_eq!(rig.alerts(AlertKind::Promoted), 3);
    assert_eq!(rig.reborn().await.serves(), 0.0);
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
    let report = rig
        .controller
        .archive()
        .report(&id, rig.controller.world.now().wall)
        .await
        .expect("a report");
    assert!(report.contains("| Approved | user:2 |"), "{report}");
    let why = rig.controller.archive().why(&id).await.expect("a history");
    assert!(why[1].text.contains("Errors: E "), "{}", why[1].text);
}

#[tokio::test]
async fn a_failing_candidate_is_taken_back_from_every_state() {
    for state in ["running", "paused", "gate", "full-disk"] {
        let rig = Rig::new().await;
        let id = rig.started().await.id;
        rig.second(100, |_| false).await;
        match state {
            "paused" => {
                let version = rig.status(&id).await.version;
                let paused = rig.steer(&id, version, "wait", CommandKind::Pause).await;
                assert_eq!(paused.expect("paused").state, RunState::Paused);
            }
            "gate" => rig.until(&id, GATE).await,
            "full-disk" => rig.store.0.lock().is_full = true,
            _ => {}
        }
        assert!(rig.serves() > 0.0);
        let mut seconds = 0;
        while rig.serves() > 0.0 && seconds < 60 {
            rig.second(100, candidate_fails).await;
            seconds += 1;
        }
        assert_eq!(rig.serves(), 0.0, "{state}");
        assert!(seconds <= 5, "{state}: {seconds} s");
        for _ in 0..3 {
            rig.second(50, |_| false).await;
        }
        assert_eq!(rig.serves(), 0.0, "{state}: it stays");
        rig.store.0.lock().is_full = false;
        rig.second(50, |_| false).await;
        assert_eq!(rig.alerts(AlertKind::RolledBack), 1, "{state}");
        let rolled_back = rig
            .actions()
            .iter()
            .filter(|it| **it == "rolled-back")
            .count();
        assert_eq!(rolled_back, 1, "{state}");
        let replay = rig.replay(&id).await;
        assert!(replay.is_identical, "{state}: {replay:?}");
        let rig = rig.reborn().await;
        rig.second(0, |_| false).await;
        assert_eq!(rig.serves(), 0.0, "{state}: in a new process");
    }
}

#[tokio::test]
async fn a_look_takes_back_without_a_tick() {
    let rig = Rig::new().await;
    rig.started().await;
    rig.second(200, |_| false).await;
    for _ in 0..1_000 {
        rig.request(candidate_fails);
        if rig.controller.look() {
            break;
        }
    }
    assert_eq!(rig.serves(), 0.0);
}

#[tokio::test]
async fn no_data_is_neither_failure_nor_success() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    for _ in 0..120 {
        rig.second(0, |_| false).await;
    }
    let status = rig.status(&id).await;
    assert_eq!(
        (status.state, status.stage, rig.serves()),
        (RunState::Running, 0, 10.0)
    );
    assert_eq!(rig.alerts(AlertKind::NoTraffic), 1);
}

#[tokio::test]
async fn both_sides_failing_holds() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    for _ in 0..10 {
        rig.second(200, |_| true).await;
    }
    let state = rig.status(&id).await.state;
    let because = Hold::BothSidesFailing;
    assert_eq!((state, rig.serves()), (RunState::Holding { because }, 10.0));
    assert_eq!(rig.alerts(AlertKind::BothSidesFailing), 1);
}

#[tokio::test]
async fn a_history_that_is_damaged_or_has_a_gap_is_never_the_same() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    for (version, what) in [(1, "wait"), (3, "wait again")] {
        rig.second(20, |_| false).await;
        let paused = rig.steer(&id, version, what, CommandKind::Pause).await;
        let version = paused.expect("a pause").version;
        let resumed = rig.steer(&id, version, "go", CommandKind::Resume).await;
        resumed.expect("a resumption");
    }
    let whole = rig.store.0.lock().audit.clone();
    let replayed = async |rows: Vec<AuditRow>| {
        rig.store.0.lock().audit = rows;
        rig.controller.archive().replay(&id).await
    };
    let replay = replayed(whole.clone()).await.expect("a replay");
    assert!(
        replay.is_identical && replay.remarks.is_empty(),
        "{replay:?}"
    );

    let mut damaged = whole.clone();
    damaged[2].record = Err(Damaged("it is empty".into()));
    let replay = replayed(damaged).await.expect("a replay");
    assert!(!replay.is_identical, "{replay:?}");
    let decision = &replay.decisions[2];
    let damage = "the record is damaged: it is empty";
    assert_eq!(decision.damage.as_deref(), Some(damage));
    assert!(!decision.same_verdict);
    assert_eq!(replay.remarks, [format!("of version 3, {damage}")]);
    let why = rig.controller.archive().why(&id).await.expect("reasons");
    assert!(
        why[2].text.contains("The record is damaged"),
        "{}",
        why[2].text
    );

    let mut gap = whole.clone();
    gap.remove(3);
    let replay = replayed(gap).await.expect("a replay");
    assert!(!replay.is_identical, "{replay:?}");
    assert_eq!(replay.remarks, ["version 4 is not in the history"]);

    let mut gaps = whole.clone();
    gaps.drain(1..3);
    rig.store
        .0
        .lock()
        .rollouts
        .iter_mut()
        .for_each(|it| it.version = i64::MAX);
    let replay = replayed(gaps).await.expect("a replay");
    let last = whole.len() + 1;
    let beyond = format!("versions {last} to {} are not in the history", i64::MAX - 1);
    let within = "versions 2 to 3 are not in the history".to_owned();
    assert_eq!(replay.remarks, [within, beyond]);

    let headless = whole[1..].to_vec();
    let error = replayed(headless).await.expect_err("no beginning");
    assert!(error.to_string().contains("has no beginning"), "{error}");
}

#[tokio::test]
async fn a_change_based_on_an_older_version_is_refused_with_the_state() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let error = rig.steer(&id, 7, "wait", CommandKind::Pause).await;
    match error.expect_err("stale") {
        ControlError::Stale {
            based_on: 7,
            current,
        } => assert_eq!(current.version, 1),
        other => panic!("{other}"),
    }
    for blank in [" ", "\u{200b}", " \u{2060}\t"] {
        let error = rig.steer(&id, 1, blank, CommandKind::Pause).await;
        assert!(matches!(error, Err(ControlError::NoReason)), "{blank:?}");
    }
    let error = rig.steer(&id, 1, "go", CommandKind::Resume).await;
    assert!(matches!(error, Err(ControlError::Refused { .. })));
    assert_eq!(rig.actions(), ["started"]);
}

#[tokio::test]
async fn rollouts_beside_each_other_have_other_tasks_and_other_users() {
    let rig = Rig::new().await;
    let first = rig.started().await;
    let overlapping = rig
        .controller
        .start("demo", "all tasks", &USER, Wishes::default())
        .await;
    assert!(matches!(overlapping, Err(ControlError::Overlaps { .. })));
    let other = FAST.replace("\"chat\"", "\"email-draft\"");
    let second = rig
        .controller
        .start(&other, "too", &USER, Wishes::default())
        .await;
    let second = second.expect("a rollout").0;
    assert_ne!(first.salt, second.salt);
    rig.second(0, |_| false).await;
    assert_eq!(rig.flags.live().rollouts.len(), 2);
    let rolled = rig.steer(&first.id, 1, "stop", CommandKind::RollBack).await;
    assert_eq!(rolled.expect("rolled back").state, RunState::RolledBack);
    assert_eq!(rig.serves(), 0.0);
    let again = rig
        .controller
        .start(
            FAST,
            "again",
            &USER,
            Wishes {
                keep_users: true,
                take_back: true,
            },
        )
        .await;
    assert_eq!(
        again.expect("a rollout").0.salt,
        second.salt,
        "the newest of the plan"
    );
    let begun_ms = second.started_at.timestamp_millis();
    assert_eq!(
        rig.store.0.lock().histories.last().map(|(_, to)| *to),
        Some(begun_ms),
        "users are what they were before they were first drawn"
    );
    assert_eq!(
        rig.flags.live().rollouts.len(),
        2,
        "the new one covers the old one"
    );
}

#[tokio::test]
async fn a_person_lowers_at_once_and_raises_when_it_is_written() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let share = |value| Percent::new(value).expect("a share");
    let set = |version, value| rig.steer(&id, version, "so", CommandKind::SetShare(share(value)));
    rig.store.0.lock().is_full = true;
    assert!(matches!(set(1, 20.0).await, Err(ControlError::Store(_))));
    assert_eq!(rig.serves(), 10.0);
    assert_eq!(set(1, 5.0).await.expect("lowered").version, 2);
    assert_eq!(rig.serves(), 5.0);
    rig.store.0.lock().is_full = false;
    assert!(rig.second(0, |_| false).await);
    assert_eq!(set(2, 20.0).await.expect("raised").version, 3);
    assert_eq!(rig.serves(), 20.0);
    assert_eq!(rig.actions(), ["started", "share-set", "share-set"]);
}

#[tokio::test]
async fn the_kill_switch_stands_above_and_counts_nothing() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let steered = rig.flags.live().steered.clone();
    rig.flags.steer(&Steered {
        killed: true,
        ..steered
    });
    for _ in 0..5 {
        rig.second(100, |_| true).await;
    }
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.finding.control.requests, 0);
    assert_eq!(rig.alerts(AlertKind::NotConverged), 0);
}

#[tokio::test]
async fn what_has_ended_decides_until_it_is_let_go() {
    let rig = Rig::new().await;
    let steered = rig.flags.live().steered.clone();
    rig.flags.steer(&Steered {
        share: Percent::new(3.0).expect("a share"),
        ..steered
    });
    let id = rig.started().await.id;
    let early = rig.steer(&id, 1, "so", CommandKind::Release).await;
    match early.expect_err("it is under way") {
        ControlError::Refused { why, .. } => assert!(why.contains("running"), "{why}"),
        other => panic!("{other}"),
    }
    let rolled = rig.steer(&id, 1, "bad", CommandKind::RollBack).await;
    assert_eq!(rolled.expect("rolled back").version, 2);
    assert_eq!(rig.serves(), 0.0);
    let stale = rig.steer(&id, 1, "so", CommandKind::Release).await;
    assert!(matches!(stale, Err(ControlError::Stale { .. })));
    rig.store.0.lock().is_full = true;
    let unwritten = rig.steer(&id, 2, "so", CommandKind::Release).await;
    assert!(matches!(unwritten, Err(ControlError::Store(_))));
    assert_eq!(rig.serves(), 0.0, "written first");
    rig.store.0.lock().is_full = false;
    rig.second(0, |_| false).await;
    let released = rig.steer(&id, 2, "mended", CommandKind::Release).await;
    assert!(released.expect("let go").released_at.is_some());
    assert_eq!(rig.serves(), 3.0);
    assert_eq!(rig.alerts(AlertKind::NotConverged), 0);
    let again = rig.steer(&id, 3, "so", CommandKind::Release).await;
    assert!(matches!(again, Err(ControlError::Refused { .. })));
    assert_eq!(rig.actions(), ["started", "rolled-back", "released"]);
    let why = rig.controller.archive().why(&id).await.expect("a history");
    let last = &why[2].text;
    assert!(
        last.contains("to rolled-back, stage 1, 0 %, let go"),
        "{last}"
    );
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");

    let rig = rig.reborn().await;
    rig.second(0, |_| false).await;
    let live = rig.flags.in_force("chat");
    assert_eq!(
        (live.share.get(), live.rollout),
        (0.0, None),
        "as configured"
    );
}

#[tokio::test]
async fn a_pause_shifts_the_soak() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(10, |_| false).await;
    let soaked = rig.status(&id).await.soaked_ms;
    rig.steer(&id, 1, "wait", CommandKind::Pause)
        .await
        .expect("paused");
    for _ in 0..20 {
        rig.second(10, |_| false).await;
    }
    assert_eq!(rig.status(&id).await.soaked_ms, soaked);
    rig.steer(&id, 2, "go", CommandKind::Resume)
        .await
        .expect("resumed");
    rig.second(10, |_| false).await;
    assert_eq!(rig.status(&id).await.soaked_ms, soaked + 1_000);
}

#[tokio::test]
async fn a_second_process_follows_and_writes_nothing() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let other = Rig::over(rig.store.clone(), rig.clock.clone()).await;
    let other_name = Controller::open(ControllerParts {
        store: rig.store.clone(),
        flags: other.flags.clone(),
        metrics: other.metrics.clone(),
        log: other.log.clone(),
        library: Library::default(),
        known: KnownNames::default(),
        world: rig.clock.world(),
        holder: "other".into(),
        seen: HashMap::new(),
    });
    let other_name = other_name.await.expect("a controller");
    assert!(!other_name.tick().await);
    assert_eq!(other.serves(), 10.0);
    let refused = other_name
        .apply(command(&id, 1, "wait", CommandKind::Pause))
        .await;
    assert!(matches!(refused, Err(ControlError::NotInControl)));
}

#[tokio::test]
async fn the_loop_takes_back_within_two_seconds_of_the_deciding_event() {
    let rig = Rig::new().await;
    rig.started().await;
    rig.second(200, |_| false).await;
    let tasks = crate::_core::tasks::Tasks::default();
    tasks.spawn(rig.controller.clone().run(tasks.stopping()));
    for _ in 0..300 {
        rig.request(candidate_fails);
    }
    let start = Instant::now();
    // In real time, which is what is tested.
    while rig.serves() > 0.0 && start.elapsed() < Duration::from_secs(10) {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    rig.request(|_| false);
    assert!(tasks.shutdown(Duration::from_secs(5)).await);
    let db = rig.store.0.lock();
    assert_eq!(db.events.len(), 501, "a stop loses nothing");
    assert_eq!(db.rollouts[0].status["state"]["name"], "rolled-back");
}

#[tokio::test]
async fn fixed_thresholds_judge_where_the_plan_says_so() {
    let rig = Rig::new().await;
    rig.controller.tick().await;
    let plan = FAST.replace("tasks =", "judge = \"thresholds\"\ntasks =");
    let status = rig
        .controller
        .start(&plan, "as before", &USER, Wishes::default())
        .await;
    let id = status.expect("a rollout").0.id;
    rig.second(0, |_| false).await;
    rig.second(200, |_| false).await;
    rig.second(50, candidate_fails).await;
    rig.clock.pass(1_000);
    rig.controller.tick().await;
    assert_eq!(rig.status(&id).await.state, RunState::RolledBack);
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}
