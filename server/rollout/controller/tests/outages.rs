//! A candidate that stops answering is taken from everybody, and comes back once it answers probes.

use super::*;

const OUTAGE: RunState = RunState::Holding {
    because: Hold::Outage,
};

pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) id: String,
}

impl World {
    /// A rollout whose candidate has answered for a while.
    async fn new() -> Self {
        Self::over(Rig::new().await).await
    }

    async fn over(rig: Rig) -> Self {
        rig.controller.tick().await;
        let started = rig
            .controller
            .start(OUTAGES, "try it", &USER, Wishes::default())
            .await;
        let world = Self {
            id: started.expect("a rollout").0.id,
            rig,
        };
        world.rig.second(0, |_| false).await;
        world.rig.second(200, |_| false).await;
        world
    }

    /// Its candidate fails until something is done about it.
    pub(super) async fn fail(&self) -> RunState {
        for _ in 0..20 {
            self.rig.second(50, candidate_fails).await;
            if self.rig.serves() == 0.0 {
                return self.status().await.state;
            }
        }
        panic!("nothing was done: {:?}", self.status().await);
    }

    pub(super) async fn held() -> Self {
        let world = Self::new().await;
        assert_eq!(world.fail().await, OUTAGE);
        world
    }

    /// The same for the fourth time: the next one is final.
    pub(super) async fn held_for_the_last_time() -> Self {
        let world = Self::held().await;
        for number in 2..=4 {
            world.seconds(100, Some(true)).await;
            assert_eq!(world.status().await.state, RunState::Running);
            assert_eq!(world.fail().await, OUTAGE, "number {number}");
        }
        world
    }

    /// Seconds, in which probes come when they are due and end so.
    pub(super) async fn seconds(&self, seconds: usize, is_answered: Option<bool>) {
        for _ in 0..seconds {
            for due in self.rig.controller.due_probes() {
                assert_eq!(due.rollout, self.id);
                assert_eq!(due.models, ["m"]);
                self.rig.controller.probed(&due.rollout, is_answered);
            }
            self.rig.second(20, |_| false).await;
        }
    }

    pub(super) async fn status(&self) -> Status {
        self.rig.status(&self.id).await
    }

    async fn steer(&self, kind: CommandKind) -> Result<Status, ControlError> {
        let version = self.status().await.version;
        self.rig.steer(&self.id, version, "so", kind).await
    }

    async fn reborn(self) -> Self {
        let rig = self.rig.reborn().await;
        rig.second(0, |_| false).await;
        Self { rig, id: self.id }
    }
}

#[tokio::test]
async fn an_outage_is_waited_for_and_the_same_stage_goes_on() {
    let world = World::held().await;
    assert_eq!(world.rig.serves(), 0.0);
    assert_eq!(world.rig.alerts(AlertKind::Hold), 1);
    assert_eq!(world.rig.alerts(AlertKind::RolledBack), 0);
    world.seconds(30, Some(false)).await;
    world.seconds(40, Some(true)).await;
    assert_eq!(world.status().await.state, OUTAGE, "not calm for a minute");
    world.seconds(30, Some(true)).await;
    let status = world.status().await;
    assert_eq!((status.state, status.stage), (RunState::Running, 0));
    assert_eq!((world.rig.serves(), status.outages), (10.0, 1));
    // It may have been watched before.
    assert!(world.rig.actions().ends_with(&["held", "resumed"]));
    let replay = world.rig.replay(&world.id).await;
    assert!(replay.is_identical, "{replay:?}");
}

/// The world: who leads is cut off from its database and from the candidate, and another one leads meanwhile.
#[tokio::test]
async fn an_outage_that_could_not_be_stored_is_no_smaller_share_for_all() {
    let rig = Rig::over(MemoryStore::shared(), Clock::default()).await;
    let world = World::over(rig).await;
    let rig = &world.rig;
    let other = Rig::over(rig.store.another(), rig.clock.another()).await;
    other.controller.tick().await;
    rig.store.1.cut();
    assert_eq!(world.fail().await, OUTAGE);
    rig.store.forget_holder();
    other.controller.tick().await;
    assert!(other.controller.leads());
    rig.store.1.mend();
    // It hears that it leads no more, and then follows.
    for _ in 0..2 {
        rig.controller.tick().await;
    }
    assert!(!rig.controller.leads());
    let lost = rig.controller.take_lost();
    assert!(lost.is_empty(), "nobody would take it back: {lost:?}");
    assert_eq!(rig.serves(), 0.0, "until the other one has judged it");
}

/// A process that led, was cut off, and lowered the share; and one that leads since.
async fn lowered_alone() -> (World, World) {
    let rig = Rig::over(MemoryStore::shared(), Clock::default()).await;
    let world = World::over(rig).await;
    let store = world.rig.store.another();
    let other = Rig::over(store, world.rig.clock.another()).await;
    other.controller.tick().await;
    world.rig.store.1.cut();
    let share = CommandKind::SetShare(Percent::new(5.0).expect("a share"));
    world.steer(share).await.expect("in force");
    assert_eq!(world.rig.serves(), 5.0);
    world.rig.store.forget_holder();
    other.controller.tick().await;
    assert!(other.controller.leads());
    let id = world.id.clone();
    (world, World { rig: other, id })
}

#[tokio::test]
async fn a_smaller_share_is_handed_over_although_an_outage_is_waited_for_meanwhile() {
    let (world, other) = lowered_alone().await;
    assert_eq!(other.fail().await, OUTAGE);
    world.rig.store.1.mend();
    for _ in 0..2 {
        world.rig.controller.tick().await;
    }
    let kinds = world
        .rig
        .controller
        .take_lost()
        .into_iter()
        .map(|it| it.kind);
    let share = CommandKind::SetShare(Percent::new(5.0).expect("a share"));
    assert_eq!(kinds.collect::<Vec<_>>(), [share]);
    other.steer(CommandKind::Resume).await.expect("resumed");
    world.rig.second(0, |_| false).await;
    assert_eq!((other.rig.serves(), world.rig.serves()), (10.0, 5.0));
}

#[tokio::test]
async fn a_smaller_share_before_an_outage_is_the_one_that_comes_back_although_another_led_meanwhile()
 {
    let (world, other) = lowered_alone().await;
    assert_eq!(world.fail().await, OUTAGE);
    other.steer(CommandKind::Pause).await.expect("paused");
    other.rig.store.forget_holder();
    world.rig.store.1.mend();
    // It hears that another one led, and leads again.
    for _ in 0..2 {
        world.rig.controller.tick().await;
    }
    assert!(world.rig.controller.leads());
    let status = world.status().await;
    assert_eq!(
        (status.share.get(), status.share_without_outage().get()),
        (0.0, 5.0)
    );
    let actions = world.rig.actions();
    assert!(
        actions.ends_with(&["paused", "share-set", "held"]),
        "{actions:?}"
    );
    let replay = world.rig.replay(&world.id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn a_smaller_share_is_made_after_an_outage_that_another_one_found_although_this_one_leads_again()
 {
    let (world, other) = lowered_alone().await;
    assert_eq!(other.fail().await, OUTAGE);
    other.rig.store.forget_holder();
    world.rig.store.1.mend();
    // It hears that another one led, and leads again.
    for _ in 0..2 {
        world.rig.controller.tick().await;
    }
    assert!(world.rig.controller.leads());
    assert_eq!(world.rig.serves(), 0.0);
    let lost = world.rig.controller.take_lost();
    let kinds: Vec<_> = lost.into_iter().map(|it| it.kind).collect();
    let share = CommandKind::SetShare(Percent::new(5.0).expect("a share"));
    assert_eq!(kinds, [share]);
    world.steer(CommandKind::Resume).await.expect("resumed");
    assert_eq!(world.rig.serves(), 5.0, "until it is made");
}

#[tokio::test]
async fn what_others_completed_is_no_rollout_under_way_again() {
    let (world, other) = lowered_alone().await;
    assert_eq!(world.fail().await, OUTAGE);
    for _ in 0..2 {
        other.steer(CommandKind::Advance).await.expect("onwards");
    }
    other.rig.store.forget_holder();
    world.rig.store.1.mend();
    for _ in 0..2 {
        world.rig.controller.tick().await;
    }
    assert!(world.rig.controller.leads());
    assert_eq!(world.status().await.state, RunState::Completed);
    assert_eq!(world.rig.actions().last(), Some(&"completed"));
}

#[tokio::test]
async fn an_outage_that_is_made_again_comes_back_to_the_stage_that_others_have_begun() {
    for leads_again in [false, true] {
        let rig = Rig::over(MemoryStore::shared(), Clock::default()).await;
        let world = World::over(rig).await;
        let store = world.rig.store.another();
        let rig = Rig::over(store, world.rig.clock.another()).await;
        rig.controller.tick().await;
        let id = world.id.clone();
        let other = World { rig, id };
        world.rig.store.1.cut();
        assert_eq!(world.fail().await, OUTAGE);
        world.rig.store.forget_holder();
        other.rig.controller.tick().await;
        other.steer(CommandKind::Advance).await.expect("onwards");
        if leads_again {
            other.rig.store.forget_holder();
        }
        world.rig.store.1.mend();
        for _ in 0..2 {
            world.rig.controller.tick().await;
        }
        assert_eq!(world.rig.controller.leads(), leads_again);
        let lost = world.rig.controller.take_lost();
        assert!(lost.is_empty(), "nobody has set a share: {lost:?}");
        assert_eq!(world.rig.serves(), 0.0);
        if leads_again {
            let status = world.status().await;
            assert_eq!(status.share_without_outage().get(), 50.0);
            let actions = world.rig.actions();
            assert!(actions.ends_with(&["advanced", "held"]), "{actions:?}");
        }
    }
}

#[tokio::test]
async fn four_are_waited_for_and_the_fifth_one_is_not() {
    let world = World::held_for_the_last_time().await;
    assert_eq!(world.rig.serves(), 0.0);
    assert_eq!(world.rig.alerts(AlertKind::RolledBack), 0);
    // What was known of the earlier ones is known to the next process.
    let world = world.reborn().await;
    world.seconds(100, Some(true)).await;
    let status = world.status().await;
    assert_eq!((status.state, status.outages), (RunState::Running, 4));
    assert_eq!(world.fail().await, RunState::RolledBack, "the fifth one");
    let replay = world.rig.replay(&world.id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn probes_that_fail_four_times_as_long_as_they_have_to_be_answered_take_it_back() {
    let world = World::held().await;
    // What comes and goes is no end of it.
    world.seconds(100, Some(false)).await;
    world.seconds(30, Some(true)).await;
    world.seconds(110, Some(false)).await;
    assert_eq!(world.status().await.state, OUTAGE);
    world.seconds(50, Some(false)).await;
    let status = world.status().await;
    assert_eq!(status.state, RunState::RolledBack);
    assert!(status.reason.contains("probes"), "{}", status.reason);
    assert_eq!(world.rig.alerts(AlertKind::RolledBack), 1);
    assert!(world.rig.controller.due_probes().is_empty());
}

#[tokio::test]
async fn one_probe_that_fails_does_not_begin_the_wait_anew_and_two_in_a_row_do() {
    for (failing, state) in [(10, RunState::Running), (40, OUTAGE)] {
        let world = World::held().await;
        world.seconds(40, Some(true)).await;
        world.seconds(failing, Some(false)).await;
        world.seconds(40, Some(true)).await;
        assert_eq!(world.status().await.state, state, "{failing} s");
    }
}

#[tokio::test]
async fn without_probes_a_person_decides() {
    let world = World::held().await;
    world.seconds(2_000, None).await;
    assert_eq!(world.status().await.state, OUTAGE);
    for kind in [
        CommandKind::Advance,
        CommandKind::SetShare(Percent::new(5.0).expect("a share")),
        CommandKind::Approve,
    ] {
        let refused = world.steer(kind).await.expect_err("an outage");
        assert!(refused.to_string().contains("outage"), "{refused}");
    }
    let resumed = world.steer(CommandKind::Resume).await.expect("resumed");
    assert_eq!(
        (resumed.state, resumed.share.get()),
        (RunState::Running, 10.0)
    );
    assert_eq!(world.rig.serves(), 10.0);
}

#[tokio::test]
async fn it_is_waited_for_in_the_next_process() {
    let world = World::held().await.reborn().await;
    assert_eq!(world.status().await.state, OUTAGE);
    world.seconds(40, Some(true)).await;
    let world = world.reborn().await;
    let calm_ms = world.status().await.outage.expect("an outage").calm_ms;
    assert!((30_000..=41_000).contains(&calm_ms), "{calm_ms}");
    world.seconds(30, Some(true)).await;
    assert_eq!(world.status().await.state, RunState::Running);
    let replay = world.rig.replay(&world.id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test]
async fn while_it_is_paused_a_person_decides_when_it_is_waited_for() {
    let world = World::new().await;
    world.steer(CommandKind::Pause).await.expect("paused");
    assert_eq!(world.fail().await, RunState::Paused);
    world.seconds(100, Some(true)).await;
    assert_eq!(
        (world.status().await.state, world.rig.serves()),
        (RunState::Paused, 0.0)
    );
    let resumed = world.steer(CommandKind::Resume).await.expect("resumed");
    assert_eq!((resumed.state, world.rig.serves()), (OUTAGE, 0.0));
    world.steer(CommandKind::Pause).await.expect("paused");
    world.steer(CommandKind::Resume).await.expect("resumed");
    world.seconds(70, Some(true)).await;
    assert_eq!(
        (world.status().await.state, world.rig.serves()),
        (RunState::Running, 10.0)
    );
    let rolled_back = world
        .steer(CommandKind::RollBack)
        .await
        .expect("taken back");
    assert_eq!(rolled_back.state, RunState::RolledBack);
}

#[tokio::test]
async fn a_rollback_while_it_is_waited_for_is_for_good() {
    let world = World::held().await;
    let rolled_back = world
        .steer(CommandKind::RollBack)
        .await
        .expect("taken back");
    assert_eq!(
        (rolled_back.state, rolled_back.outage),
        (RunState::RolledBack, None)
    );
    world.rig.controller.probed(&world.id, Some(true));
    world.seconds(90, Some(true)).await;
    assert_eq!(world.status().await.state, RunState::RolledBack);
}

#[tokio::test]
async fn a_candidate_that_never_answered_is_taken_back_at_once() {
    let rig = Rig::new().await;
    rig.controller.tick().await;
    let started = rig
        .controller
        .start(OUTAGES, "try it", &USER, Wishes::default())
        .await;
    let id = started.expect("a rollout").0.id;
    rig.second(0, |_| false).await;
    let world = World { rig, id };
    assert_eq!(world.fail().await, RunState::RolledBack);
}

#[tokio::test]
async fn it_is_in_force_before_it_is_written() {
    let world = World::new().await;
    world.rig.store.0.lock().is_full = true;
    assert_eq!(world.fail().await, OUTAGE);
    assert_eq!(world.rig.actions(), ["started"]);
    world.rig.store.0.lock().is_full = false;
    world.seconds(1, None).await;
    assert_eq!(world.rig.actions().last(), Some(&"held"));
    let world = world.reborn().await;
    assert_eq!(
        (world.status().await.state, world.rig.serves()),
        (OUTAGE, 0.0)
    );
    let replay = world.rig.replay(&world.id).await;
    assert!(replay.is_identical, "{replay:?}");
}
