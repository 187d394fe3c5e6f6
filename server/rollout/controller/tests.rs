//! The controller on a store in memory, with clocks and dice of its own.

mod crash;
mod hanging;
mod store;

use chrono::TimeDelta;

use self::store::{Failure, MemoryStore};
use super::*;
use crate::{
    _core::{
        assignment::{Subject, Variant},
        config::{Algorithm, FlagsConfig},
        feature_flags::Reason,
        units::{Microdollars, Percent},
    },
    ai_metrics::{Event, Outcome},
    alerting::AlertKind,
    providers::fault::FaultKind,
    rollout::status::{Hold, State},
};

/// A plan that proves itself in seconds.
const FAST: &str = r#"
name = "fast"
tasks = ["chat"]
[no_traffic]
alert_after = "60s"
[evidence]
good_error_rate = 0.2
[[stages]]
share = 10
soak = "5s"
min_requests = 20
min_users = 5
min_time = "1s"
[[stages]]
share = 50
soak = "5s"
min_requests = 20
min_users = 5
min_time = "1s"
gate = "manual"
[[stages]]
share = 100
soak = "5s"
min_requests = 20
min_users = 5
min_time = "1s"
"#;

#[derive(Clone, Default)]
struct Clock(Arc<Mutex<(TimeDelta, u64)>>);

impl Clock {
    fn pass(&self, ms: u64) {
        let mut clock = self.0.lock();
        clock.0 += TimeDelta::milliseconds(ms as i64);
        clock.1 += ms;
    }

    fn world(&self) -> World {
        let clock = self.clone();
        let now = move || {
            let (wall, monotonic) = *clock.0.lock();
            let start = DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time");
            Moment {
                wall: start + wall,
                monotonic: Duration::from_millis(monotonic),
            }
        };
        let count = Mutex::new(u128::from(self.0.lock().1) << 64);
        let random = move || {
            let mut count = count.lock();
            *count += 1;
            // Spread over all bits.
            count.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        };
        World::new(now, random)
    }
}

/// A process: flags, metrics and controller over a store that outlives it.
struct Rig {
    store: Arc<MemoryStore>,
    clock: Clock,
    flags: Arc<FeatureFlags>,
    metrics: Arc<AiMetrics>,
    controller: Arc<Controller>,
    user: Mutex<i64>,
}

impl Rig {
    async fn new() -> Self {
        Self::over(Arc::default(), Clock::default()).await
    }

    async fn over(store: Arc<MemoryStore>, clock: Clock) -> Self {
        let flags = Arc::new(FeatureFlags::new(FlagsConfig {
            percentage: Percent::ZERO,
            force_openrouter: false,
            force_server_side_chat: false,
            force_streaming: false,
            force_model_routing: false,
            force_utcp: false,
            model_routing: true,
            algorithm: Algorithm::Murmur3,
            salt: "salt".into(),
            forced_on: Vec::new(),
            forced_off: Vec::new(),
        }));
        let metrics = Arc::new(AiMetrics::drained());
        let controller = Controller::open(Parts {
            store: store.clone(),
            flags: flags.clone(),
            metrics: metrics.clone(),
            library: Library::load(None, &Known::default()).expect("good plans"),
            known: Known::default(),
            world: clock.world(),
            holder: "test".into(),
        });
        let controller = controller.await.expect("a controller");
        Self {
            store,
            clock,
            flags,
            metrics,
            controller,
            user: Mutex::new(0),
        }
    }

    /// The same store in a new process.
    async fn reborn(&self) -> Self {
        self.store.forget_holder();
        let rig = Self::over(self.store.clone(), self.clock.clone()).await;
        *rig.user.lock() = *self.user.lock();
        rig
    }

    async fn started(&self) -> Status {
        self.controller.tick().await;
        let status = self.controller.start(FAST, "try it", "user:1", false).await;
        let status = status.expect("a rollout");
        self.second(0, |_| false).await;
        status
    }

    /// The end of a request of the next user, answered.
    fn answer(&self) -> Event {
        let mut user = self.user.lock();
        *user += 1;
        let subject = Subject::User(*user);
        let assigned = self.flags.assign("chat", Some(&subject));
        Event {
            at_ms: self.controller.world.now().wall.timestamp_millis(),
            request_id: "r".into(),
            user_id: Some(*user),
            seq: 0,
            subject: Some(subject.key()),
            counted: assigned.rollout.is_some() && assigned.decision.reason == Reason::Share,
            was_open: false,
            rollout: assigned.rollout.map(|rollout| rollout.id.clone()),
            model: "m".into(),
            task: "chat".into(),
            variant: assigned.decision.variant,
            position: 0,
            latency_ms: 100.0 + (*user % 50) as f64,
            first_token_ms: None,
            prompt_tokens: 1,
            completion_tokens: 1,
            cost: Microdollars(0),
            outcome: Outcome::Success,
        }
    }

    /// One request; `fails` says whether an arm does.
    fn request(&self, fails: impl Fn(Variant) -> bool) {
        let mut event = self.answer();
        if fails(event.variant) {
            event.outcome = Outcome::Fault(FaultKind::Upstream);
        }
        self.metrics.record(event);
    }

    /// A second of requests, and its tick.
    async fn second(&self, requests: usize, fails: impl Fn(Variant) -> bool) -> bool {
        self.clock.pass(1_000);
        for _ in 0..requests {
            self.request(&fails);
        }
        self.controller.tick().await
    }

    async fn status(&self, id: &str) -> Status {
        self.controller.get(id).await.expect("a rollout").status
    }

    fn serves(&self) -> f64 {
        self.flags.assign("chat", None).decision.share.get()
    }

    /// Seconds of good requests until the state is this.
    async fn until(&self, id: &str, state: State) {
        for _ in 0..200 {
            if self.status(id).await.state == state {
                return;
            }
            self.second(200, |_| false).await;
        }
        panic!("{:?} instead of {state:?}", self.status(id).await);
    }

    fn alerts(&self, kind: AlertKind) -> usize {
        let db = self.store.0.lock();
        db.alerts.iter().filter(|it| it.kind == kind).count()
    }

    fn actions(&self) -> Vec<String> {
        let db = self.store.0.lock();
        db.audit.iter().map(|row| row.action.clone()).collect()
    }
}

fn candidate_fails(variant: Variant) -> bool {
    variant == Variant::Candidate
}

const GATE: State = State::WaitingAtGate { recommended: true };

#[tokio::test]
async fn a_start_serves_control_until_a_tick_has_written() {
    let rig = Rig::new().await;
    rig.controller.tick().await;
    let status = rig.controller.start(FAST, "try it", "user:1", false).await;
    assert_eq!(status.expect("a rollout").share.get(), 10.0);
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
    let approved = rig
        .controller
        .approve(&id, status.version, "go", "user:2")
        .await;
    assert_eq!(approved.expect("approved").share.get(), 100.0);
    assert_eq!(rig.serves(), 100.0);
    rig.until(&id, State::Completed).await;
    assert_eq!(rig.serves(), 100.0);
    let actions = ["started", "advanced", "asked", "approved", "completed"];
    assert_eq!(rig.actions(), actions);
    assert_eq!(rig.alerts(AlertKind::PromotionDue), 1);
    assert_eq!(rig.alerts(AlertKind::Promoted), 3);
    assert_eq!(rig.reborn().await.serves(), 0.0);
    let replay = rig.controller.replay(&id).await.expect("a replay");
    assert!(replay.is_identical, "{replay:?}");
    let report = rig.controller.report(&id).await.expect("a report");
    assert!(report.contains("| Approved | user:2 |"), "{report}");
    let why = rig.controller.why(&id).await.expect("a history");
    assert!(why[1].text.contains("E of errors"), "{}", why[1].text);
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
                let paused = rig.controller.pause(&id, version, "wait", "user:1").await;
                assert_eq!(paused.expect("paused").state, State::Paused);
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
            .filter(|it| *it == "rolled-back")
            .count();
        assert_eq!(rolled_back, 1, "{state}");
        let replay = rig.controller.replay(&id).await.expect("a replay");
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
        (State::Running, 0, 10.0)
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
    assert_eq!((state, rig.serves()), (State::Holding { because }, 10.0));
    assert_eq!(rig.alerts(AlertKind::BothSidesFailing), 1);
}

#[tokio::test]
async fn a_change_based_on_an_older_version_is_refused_with_the_state() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let error = rig.controller.pause(&id, 7, "wait", "user:1").await;
    match error.expect_err("stale") {
        ControlError::Stale {
            based_on: 7,
            current,
        } => assert_eq!(current.version, 1),
        other => panic!("{other}"),
    }
    let error = rig.controller.pause(&id, 1, " ", "user:1").await;
    assert!(matches!(error, Err(ControlError::NoReason)));
    let error = rig.controller.resume(&id, 1, "go", "user:1").await;
    assert!(matches!(error, Err(ControlError::Refused { .. })));
    assert_eq!(rig.actions(), ["started"]);
}

#[tokio::test]
async fn rollouts_beside_each_other_have_other_tasks_and_other_users() {
    let rig = Rig::new().await;
    let first = rig.started().await;
    let overlapping = rig
        .controller
        .start("demo", "all tasks", "user:1", false)
        .await;
    assert!(matches!(overlapping, Err(ControlError::Overlaps { .. })));
    let other = FAST.replace("\"chat\"", "\"email-draft\"");
    let second = rig.controller.start(&other, "too", "user:1", false).await;
    let second = second.expect("a rollout");
    assert_ne!(first.salt, second.salt);
    rig.second(0, |_| false).await;
    assert_eq!(rig.flags.live().rollouts.len(), 2);
    let rolled = rig
        .controller
        .rollback(&first.id, 1, "stop", "user:1")
        .await;
    assert_eq!(rolled.expect("rolled back").state, State::RolledBack);
    assert_eq!(rig.serves(), 0.0);
    let again = rig.controller.start(FAST, "again", "user:1", true).await;
    assert_eq!(
        again.expect("a rollout").salt,
        second.salt,
        "the newest of the plan"
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
    let set = |version, value| {
        rig.controller
            .set_share(&id, version, share(value), "so", "user:1")
    };
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
    rig.flags.kill(true, "outage", 1, DateTime::UNIX_EPOCH);
    for _ in 0..5 {
        rig.second(100, |_| true).await;
    }
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.finding.control.requests, 0);
    assert_eq!(rig.alerts(AlertKind::NotConverged), 0);
}

#[tokio::test]
async fn a_pause_shifts_the_soak() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(10, |_| false).await;
    let soaked = rig.status(&id).await.soaked_ms;
    rig.controller
        .pause(&id, 1, "wait", "user:1")
        .await
        .expect("paused");
    for _ in 0..20 {
        rig.second(10, |_| false).await;
    }
    assert_eq!(rig.status(&id).await.soaked_ms, soaked);
    rig.controller
        .resume(&id, 2, "go", "user:1")
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
    let other_name = Controller::open(Parts {
        store: rig.store.clone(),
        flags: other.flags.clone(),
        metrics: other.metrics.clone(),
        library: Library::default(),
        known: Known::default(),
        world: rig.clock.world(),
        holder: "other".into(),
    });
    let other_name = other_name.await.expect("a controller");
    assert!(!other_name.tick().await);
    assert_eq!(other.serves(), 10.0);
    let refused = other_name.pause(&id, 1, "wait", "user:1").await;
    assert!(matches!(refused, Err(ControlError::NotInControl)));
}

#[tokio::test]
async fn ratings_are_folded_and_replayed() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    for second in 0..10 {
        for user in 0..20 {
            rig.metrics.note(Event {
                subject: Some(user),
                variant: Variant::Candidate,
                outcome: Outcome::Rated {
                    good: user % 2 == 0,
                },
                ..rig.answer()
            });
        }
        rig.second(50, |_| false).await;
        if second == 5 {
            rig.controller
                .pause(&id, 1, "wait", "user:1")
                .await
                .expect("paused");
        }
    }
    // Evidence is written with each change, and else every few seconds.
    let resumed = rig.controller.resume(&id, 2, "go on", "user:1").await;
    resumed.expect("resumed");
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.verdict["candidate"]["goodRatings"], 100);
    let replay = rig.controller.replay(&id).await.expect("a replay");
    assert!(replay.is_identical && replay.ratings == 200, "{replay:?}");
}

#[tokio::test]
async fn a_request_that_hangs_is_told_while_it_is_open() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(300, |_| false).await;
    let hanging = rig.answer();
    let earlier = Instant::now().checked_sub(Duration::from_millis(500));
    let number = rig.metrics.begin(&hanging, earlier.expect("half a second"));
    rig.second(0, |_| false).await;
    rig.second(0, |_| false).await;
    let log = rig.store.events_of(&id, 0, 10_000).await.expect("events");
    let open: Vec<_> = log
        .iter()
        .filter(|it| it.outcome == Outcome::Open)
        .collect();
    assert_eq!(open.len(), 1, "it is told once");
    assert!(open[0].latency_ms >= 500.0);
    let finding = rig.controller.get(&id).await.expect("a rollout").finding;
    let hung = [finding.control, finding.candidate].map(|arm| arm.hung);
    assert_eq!(hung.iter().sum::<u64>(), 1);

    rig.metrics.end(number.expect("a number"), hanging);
    rig.second(0, |_| false).await;
    let log = rig.store.events_of(&id, 0, 10_000).await.expect("events");
    let end = log.last().expect("its end");
    assert!(end.was_open && end.outcome == Outcome::Success, "{end:?}");
    let replay = rig.controller.replay(&id).await.expect("a replay");
    assert!(replay.is_identical, "{replay:?}");
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
        .start(&plan, "as before", "user:1", false)
        .await;
    let id = status.expect("a rollout").id;
    rig.second(0, |_| false).await;
    rig.second(200, |_| false).await;
    rig.second(50, candidate_fails).await;
    rig.clock.pass(1_000);
    rig.controller.tick().await;
    assert_eq!(rig.status(&id).await.state, State::RolledBack);
    let replay = rig.controller.replay(&id).await.expect("a replay");
    assert!(replay.is_identical, "{replay:?}");
}
