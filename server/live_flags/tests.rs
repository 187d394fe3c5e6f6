//! The flag over a store in memory that fails when the test wants.

mod rig;

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::time::sleep;

use self::rig::*;
use super::{
    store::{FlagCommitError, FlagPosition},
    *,
};
use crate::{
    _core::{
        actor::Actor,
        assignment::{Algorithm, Subject, Variant},
        feature_flags::FlagsConfig,
    },
    alerting::{Alert, AlertKind},
};

#[tokio::test(start_paused = true)]
async fn a_kill_and_a_share_outlive_the_process_with_who_and_why() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 0.0).await;
    let running = crate::_core::tasks::Tasks::default();
    running.spawn(process.live.clone().run(running.stopping()));
    process.set(30.0, Some(0)).await.expect("raised");
    let killed = process.kill(true, Some(1)).await.expect("killed");
    assert!(killed.is_stored);
    drop(process);
    let process = Process::start(&store, 0.0).await;
    assert_eq!(process.serves(), (30.0, true));
    let live = process.flags.live();
    let change = live.steered.last_change.clone().expect("a change");
    assert_eq!((&change.actor, &*change.reason), (&Actor::User(7), "stop"));
    assert_eq!(live.steered.version, 2);
    let user = Subject::user(1);
    assert_eq!(
        process.flags.decide(user.as_ref()).variant,
        Variant::Control
    );
    assert_eq!(store.kinds(), [AlertKind::ShareSet, AlertKind::Killed]);
    process.kill(false, None).await.expect("ended");
    let (kill, end) = {
        let alerts = &store.0.lock().alerts;
        (alerts[1].id.clone(), alerts[2].clone())
    };
    assert_eq!(
        (end.kind, end.resolves()),
        (AlertKind::KillEnded, vec![kill])
    );
}

#[tokio::test(start_paused = true)]
async fn lowering_needs_no_database_and_is_written_once_there_is_room() {
    for disk in [Disk::Full, Disk::Away, Disk::Hangs] {
        let store = MemoryStore::default();
        let process = Process::start(&store, 50.0).await;
        store.disk(disk);
        let running = crate::_core::tasks::Tasks::default();
        running.spawn(process.live.clone().run(running.stopping()));
        let lowered = process.set(20.0, None).await.expect("lowered");
        assert!(!lowered.is_stored, "{disk:?}");
        let is_late = disk == Disk::Hangs;
        assert_eq!(process.live.trouble().is_some(), is_late, "{disk:?}");
        sleep(OWED_PATIENCE).await;
        assert!(process.live.trouble().is_some(), "{disk:?}");
        let killed = process.kill(true, Some(1)).await.expect("killed");
        assert_eq!((killed.is_stored, killed.flag.version), (false, 2));
        assert_eq!(process.serves(), (20.0, true), "{disk:?}");
        if disk == Disk::Full {
            let (changes, owed) = process.live.history(None, 10).await.expect("a history");
            assert_eq!((changes.len(), owed), (2, 2), "{changes:?}");
        }
        assert!(store.reasons().is_empty());

        if disk == Disk::Hangs {
            // Its call never ends; a new process is as one that was killed: what was not stored is lost.
            store.disk(Disk::Well);
            assert_eq!(Process::start(&store, 50.0).await.serves(), (50.0, false));
            continue;
        }
        let refused = process.kill(false, None).await.expect_err("not written");
        assert!(matches!(refused, FlagError::NotWritten(_)));
        assert_eq!(process.serves(), (20.0, true));
        store.disk(Disk::Well);
        let written = async {
            while process.live.trouble().is_some() {
                sleep(LOOK).await;
            }
        };
        let written = tokio::time::timeout(LOOK * 1_000, written).await;
        written.expect("it is written");
        assert_eq!(store.reasons(), ["share", "stop"]);
        assert_eq!(store.kinds(), [AlertKind::ShareSet, AlertKind::Killed]);
        assert_eq!(Process::start(&store, 50.0).await.serves(), (20.0, true));
    }
}

#[tokio::test]
async fn raising_is_written_first() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 0.0).await;
    for disk in [Disk::Full, Disk::Away] {
        store.disk(disk);
        let refused = process.set(10.0, None).await.expect_err("not written");
        assert!(matches!(refused, FlagError::NotWritten(_)), "{disk:?}");
        assert_eq!(process.serves(), (0.0, false));
    }
    store.disk(Disk::Mute);
    process.set(10.0, None).await.expect_err("no answer");
    assert_eq!(process.serves(), (0.0, false), "it may not be written");
    store.disk(Disk::Well);
    assert!(process.live.settle_now().await);
    assert_eq!(process.serves(), (10.0, false), "it was");
    assert_eq!(store.reasons(), ["share"]);
}

#[tokio::test(start_paused = true)]
async fn a_lowering_whose_answer_was_lost_is_in_the_history_once() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 10.0).await;
    store.disk(Disk::Mute);
    process.kill(true, None).await.expect("killed");
    process.live.settle_now().await;
    store.disk(Disk::Well);
    assert!(process.live.settle_now().await);
    assert!(process.live.state().is_stored);
    assert_eq!(store.reasons(), ["stop"]);
}

#[tokio::test]
async fn of_two_who_act_at_once_the_second_is_told() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 0.0).await;
    process.set(10.0, Some(0)).await.expect("raised");
    for refused in [
        process.set(50.0, Some(0)).await,
        process.set(5.0, Some(0)).await,
        process.kill(true, Some(0)).await,
    ] {
        match refused.expect_err("stale") {
            FlagError::Stale { based_on, current } => {
                assert_eq!((based_on, current.flag.version), (0, 1));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(process.serves(), (10.0, false));
    process.set(50.0, None).await.expect("without a version");
    assert_eq!(process.serves(), (50.0, false));
}

/// The world: one admin raises while the database takes its time, another acts on the same version.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_being_written_counts_for_whoever_names_a_version() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 0.0).await;
    store.disk(Disk::Busy);
    let raise = process.set(10.0, Some(0));
    let others = async {
        tokio::task::yield_now().await;
        for refused in [
            process.kill(true, Some(0)).await,
            process.set(0.0, Some(0)).await,
        ] {
            let refused = refused.expect_err("the other was first");
            let FlagError::Stale { current, .. } = refused else {
                panic!("{refused}");
            };
            assert_eq!((current.flag.version, current.is_stored), (1, false));
        }
        assert_eq!(process.serves(), (0.0, false));
        // Without a version a lowering waits for nobody.
        process.kill(true, None).await.expect("in force");
        assert_eq!(process.serves(), (0.0, true));
    };
    let (raised, ()) = tokio::join!(raise, others);
    assert!(matches!(raised, Err(FlagError::Late)), "{raised:?}");
    store.disk(Disk::Well);
    assert!(process.live.settle_now().await);
    assert_eq!(process.serves(), (0.0, true));
    let version = process.live.state().flag.version;
    process.set(10.0, Some(version)).await.expect("as it is");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_in_doubt_is_known_again_behind_any_number_of_changes() {
    let store = MemoryStore::default();
    let (one, two) = (
        Process::start(&store, 40.0).await,
        Process::start(&store, 40.0).await,
    );
    store.disk(Disk::Mute);
    assert!(!two.set(10.0, None).await.expect("in force").is_stored);
    assert!(!two.live.settle_now().await, "written, and not said");
    store.disk(Disk::Well);
    for n in 0..250_u32 {
        one.set(f64::from(n % 5), None).await.expect("a change");
    }
    assert!(two.live.settle_now().await);
    assert!(two.live.state().is_stored);
    assert_eq!(two.live.state(), one.live.state());
    assert_eq!(store.0.lock().audit.len(), 251);
}

#[tokio::test(start_paused = true)]
async fn another_process_is_followed_and_never_raised_above_what_is_owed() {
    let store = MemoryStore::default();
    let (one, two) = (
        Process::start(&store, 40.0).await,
        Process::start(&store, 40.0).await,
    );
    let mut told = two.live.subscribe();
    let running = crate::_core::tasks::Tasks::default();
    running.spawn(one.live.clone().run(running.stopping()));
    assert!(one.kill(true, None).await.expect("killed").is_stored);
    assert!(two.live.settle_now().await);
    assert_eq!(two.serves(), (40.0, true));
    let news = told.recv().await.expect("news");
    assert_eq!(news.change.as_ref().expect("a change").reason, "stop");
    assert!(running.shutdown(Duration::from_secs(5)).await);

    // Two lowers what it cannot write, and one raises meanwhile.
    two.set(10.0, None).await.expect("lowered");
    one.set(90.0, None).await.expect("raised");
    one.kill(false, None).await.expect("ended");
    assert!(two.live.settle_now().await);
    assert_eq!(two.serves(), (10.0, false));
    assert!(one.live.settle_now().await);
    assert_eq!(one.serves(), (10.0, false));
    assert_eq!(one.live.state(), two.live.state());
}

#[tokio::test]
async fn the_settings_give_the_first_share_and_a_new_one_once() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 10.0).await;
    assert_eq!(process.flags.live().steered.version, 0);
    process.set(25.0, None).await.expect("raised");
    let process = Process::start(&store, 10.0).await;
    assert_eq!(process.serves(), (25.0, false), "a person's share stays");
    process.kill(true, None).await.expect("killed");
    process.live.settle_now().await;
    let process = Process::start(&store, 60.0).await;
    assert_eq!(process.serves(), (60.0, true), "and a kill is not ended");
    let live = process.flags.live();
    let change = live.steered.last_change.clone().expect("a change");
    assert_eq!(change.actor, Actor::Settings);
    assert!(change.reason.contains("60 % now"), "{}", change.reason);
    assert_eq!(
        Process::start(&store, 60.0).await.flags.live(),
        live,
        "once"
    );

    // What cannot be written raises nothing, and lowers at once.
    store.disk(Disk::Full);
    let process = Process::start(&store, 80.0).await;
    assert_eq!(process.serves(), (60.0, true));
    store.disk(Disk::Well);
    assert!(process.live.settle_now().await);
    assert_eq!(process.serves(), (80.0, true));
    store.disk(Disk::Full);
    let process = Process::start(&store, 5.0).await;
    assert_eq!(process.serves(), (5.0, true));
    store.disk(Disk::Well);
    assert!(process.live.settle_now().await);
    assert_eq!(Process::start(&store, 5.0).await.serves(), (5.0, true));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_a_kill_is_never_refused() {
    let store = MemoryStore::default();
    let process = Process::start(&store, 100.0).await;
    store.disk(Disk::Full);
    for n in 0..MOST_OWED {
        process
            .live
            .lower(
                &FlagRequest {
                    id: n.to_string(),
                    at: DateTime::UNIX_EPOCH,
                    actor: Actor::User(7),
                    reason: "lower".to_owned(),
                    wish: FlagWish::Share(percent(99.0 - n as f64 / 10.0)),
                    configured: None,
                },
                None,
            )
            .map(|_| ())
            .expect("lowered");
    }
    let refused = process.set(1.0, None).await.expect_err("too many");
    assert!(matches!(refused, FlagError::TooManyOwed));
    process.kill(true, None).await.expect("killed");
    process.kill(true, None).await.expect("again");
    assert!(process.serves().1);
    assert_eq!(process.live.inner.lock().owed.len(), MOST_OWED + 1);
}

/// What one of two processes does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Kill(usize, bool),
    Share(usize, u8),
    Disk(u8),
    Settle(usize),
    Reborn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..2usize, any::<bool>()).prop_map(|(who, on)| Step::Kill(who, on)),
        (0..2usize, 0..=100u8).prop_map(|(who, share)| Step::Share(who, share)),
        (0..4u8).prop_map(Step::Disk),
        (0..2usize).prop_map(Step::Settle),
        (0..2usize).prop_map(Step::Reborn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever fails and whoever dies: nobody serves more than the store or an acknowledged raise
    /// allowed, an acknowledged and stored change is never lost, the history has no gap and no
    /// repeat, and once the store is well all serve what it holds.
    #[test]
    fn two_processes_and_a_bad_disk(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let store = MemoryStore::default();
            let mut processes = vec![
                Process::start(&store, 0.0).await,
                Process::start(&store, 0.0).await,
            ];
            for step in steps {
                match step {
                    Step::Kill(who, on) => {
                        let process = &processes[who];
                        let asked = process.kill(on, None).await;
                        if on {
                            prop_assert!(asked.expect("never refused").flag.position.killed);
                            prop_assert!(process.serves().1);
                        }
                    }
                    Step::Share(who, share) => {
                        let process = &processes[who];
                        let before = process.serves().0;
                        match process.set(f64::from(share), None).await {
                            Ok(_) => prop_assert!(process.serves().0 <= f64::from(share)),
                            Err(_) => {
                                let stored = store.0.lock().flag.clone().expect("a flag");
                                let most = before.max(stored.position.share.get());
                                prop_assert!(process.serves().0 <= most);
                            }
                        }
                    }
                    Step::Disk(disk) => store.disk(
                        [Disk::Well, Disk::Full, Disk::Away, Disk::Mute][usize::from(disk)],
                    ),
                    Step::Settle(who) => {
                        processes[who].live.settle_now().await;
                    }
                    Step::Reborn(who) => {
                        let disk = std::mem::take(&mut store.0.lock().disk);
                        let stored = store.flag().await.expect("a flag");
                        processes[who] = Process::start(&store, 0.0).await;
                        prop_assert_eq!(
                            processes[who].serves(),
                            (stored.position.share.get(), stored.position.killed)
                        );
                        store.disk(disk);
                    }
                }
            }
            store.disk(Disk::Well);
            for _ in 0..2 {
                for process in &processes {
                    prop_assert!(process.live.settle_now().await);
                }
            }
            let stored = store.flag().await.expect("a flag").position;
            for process in &processes {
                prop_assert_eq!(process.serves(), (stored.share.get(), stored.killed));
            }
            let database = store.0.lock();
            let versions: Vec<_> = database.audit.iter().map(|it| it.version).collect();
            prop_assert_eq!(&versions, &(1..=versions.len() as i64).collect::<Vec<_>>());
            let mut ids: Vec<_> = database.audit.iter().map(|it| &it.id).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), versions.len());
            for pair in database.audit.windows(2) {
                prop_assert_eq!(pair[0].after, pair[1].before);
            }
            Ok(())
        })?;
    }
}
