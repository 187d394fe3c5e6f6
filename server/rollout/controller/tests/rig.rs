//! A process over a store in memory, with a clock and dice of its own, and the users' requests.

use super::{store::MemoryStore, *};
use crate::{
    recording::Attempted,
    rollout::{replay::Replay, rollout::Command},
};

/// Who steers.
pub(crate) static USER: Actor = Actor::User(1);

/// A plan that proves itself in seconds: by errors alone, as the rig's few requests all take as long and say
/// nothing of latencies. [`fast_by_all`] is judged by everything.
pub(crate) const FAST: &str = r#"
name = "fast"
tasks = ["chat"]
[no_traffic]
alert_after = "60s"
[evidence]
good_error_rate = 0.2
weights = { errors = 1 }
outage_period = "0s"
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

/// A plan whose candidate comes back after a minute of answered probes.
pub(crate) const OUTAGES: &str = r#"
name = "outages"
tasks = ["chat"]
[evidence]
good_error_rate = 0.2
outage_calm = "1m"
outage_period = "1h"
[[stages]]
share = 10
soak = "12h"
[[stages]]
share = 50
soak = "1h"
"#;

/// The same, with the weights of the plans that ship.
pub(crate) fn fast_by_all() -> String {
    FAST.replace("weights = { errors = 1 }\n", "")
}

/// What the user who steers wants.
pub(crate) fn command(id: &str, based_on: i64, reason: &str, kind: CommandKind) -> Command {
    Command {
        id: id.to_owned(),
        based_on,
        actor: USER.clone(),
        reason: reason.to_owned(),
        kind,
    }
}

/// The yes of another user to what waits at a gate.
pub(crate) fn approval(id: &str, based_on: i64) -> Command {
    Command {
        actor: Actor::User(2),
        ..command(id, based_on, "go", CommandKind::Approve)
    }
}

/// The time, and how far this clock is ahead of it.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<(TimeDelta, u64)>>, Arc<Mutex<TimeDelta>>);

impl Clock {
    /// Another clock of the same time.
    pub(super) fn another(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }

    /// It steps, to be so far ahead.
    pub(super) fn step(&self, ahead_ms: i64) {
        *self.1.lock() = TimeDelta::milliseconds(ahead_ms);
    }

    pub(crate) fn pass(&self, ms: u64) {
        let mut clock = self.0.lock();
        clock.0 += TimeDelta::milliseconds(ms as i64);
        clock.1 += ms;
    }

    pub(crate) fn world(&self) -> World {
        let clock = self.clone();
        let now = move || {
            let (wall, monotonic) = *clock.0.lock();
            let start = DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time");
            Moment {
                wall: start + wall + *clock.1.lock(),
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
pub(crate) struct Rig {
    pub(super) store: Arc<MemoryStore>,
    pub(crate) clock: Clock,
    pub(crate) flags: Arc<FeatureFlags>,
    pub(crate) metrics: Arc<AiMetrics>,
    pub(crate) log: Arc<Log>,
    pub(crate) controller: Arc<Controller>,
    pub(crate) user: Mutex<i64>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::default(), Clock::default()).await
    }

    /// One that leads a rollout at 10 %, and one that follows it.
    pub(crate) async fn led() -> (Self, Self) {
        let leader = Self::over(MemoryStore::shared(), Clock::default()).await;
        leader.started().await;
        let follower = Self::over(leader.store.another(), leader.clock.another()).await;
        follower.controller.tick().await;
        (leader, follower)
    }

    /// Whether the disk of its database is full.
    pub(crate) fn is_full(&self, is_full: bool) {
        self.store.0.lock().is_full = is_full;
    }

    pub(super) async fn over(store: Arc<MemoryStore>, clock: Clock) -> Self {
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
        let log = Arc::new(Log::default());
        let metrics = Arc::new(AiMetrics::over(log.clone()));
        let controller = Controller::open(ControllerParts {
            store: store.clone(),
            flags: flags.clone(),
            metrics: metrics.clone(),
            log: log.clone(),
            library: Library::load(None, &KnownNames::default()).expect("good plans"),
            known: KnownNames {
                routes: [(
                    "chat".to_owned(),
                    [vec!["trusty".into()], vec!["m".into()]].into(),
                )]
                .into(),
                ..KnownNames::default()
            },
            world: clock.world(),
            holder: format!("test-{}", store.starts()),
            seen: HashMap::new(),
        });
        let controller = controller.await.expect("a controller");
        Self {
            store,
            clock,
            flags,
            metrics,
            log,
            controller,
            user: Mutex::new(0),
        }
    }

    /// The same store in a new process.
    pub(crate) async fn reborn(&self) -> Self {
        self.store.forget_holder();
        let rig = Self::over(self.store.clone(), self.clock.clone()).await;
        *rig.user.lock() = *self.user.lock();
        rig
    }

    pub(crate) async fn started(&self) -> Status {
        self.started_by(FAST).await
    }

    pub(crate) async fn started_by(&self, plan: &str) -> Status {
        self.controller.tick().await;
        let wishes = Wishes {
            take_back: true,
            ..Wishes::default()
        };
        let status = self.controller.start(plan, "try it", &USER, wishes).await;
        let status = status.expect("a rollout");
        self.second(0, |_| false).await;
        status.0
    }

    /// The end of a request of the next user, answered.
    pub(crate) fn answer(&self) -> Event {
        let mut user = self.user.lock();
        *user += 1;
        let subject = Subject::User(*user);
        let assigned = self.flags.assign("chat", Some(&subject));
        let rollout = assigned.rollout.and_then(|rollout| rollout.judged_as());
        let attempt = Event::of_attempt(Attempted {
            request_id: "r".into(),
            subject: Some(&subject),
            counted: rollout.is_some() && assigned.decision.reason == Reason::Share,
            rollout,
            model: "m".into(),
            task: "chat".into(),
            variant: assigned.decision.variant,
            position: 0,
        });
        Event {
            at_ms: self.controller.world.now().wall.timestamp_millis(),
            latency_ms: 100.0 + (*user % 50) as f64,
            outcome: Outcome::Success,
            ..attempt
        }
    }

    /// One request; `fails` says whether an arm does.
    pub(crate) fn request(&self, fails: impl Fn(Variant) -> bool) {
        let mut event = self.answer();
        if fails(event.variant) {
            event.outcome = Outcome::Fault(FaultKind::Upstream);
        }
        self.metrics.record(event);
    }

    /// A second of requests, and its tick.
    pub(crate) async fn second(&self, requests: usize, fails: impl Fn(Variant) -> bool) -> bool {
        self.clock.pass(1_000);
        for _ in 0..requests {
            self.request(&fails);
        }
        self.controller.tick().await
    }

    /// What the user who steers wants.
    pub(crate) async fn steer(
        &self,
        id: &str,
        based_on: i64,
        reason: &str,
        kind: CommandKind,
    ) -> Result<Status, ControlError> {
        let command = command(id, based_on, reason, kind);
        self.controller.apply(command).await
    }

    /// What folding the log again comes to.
    pub(crate) async fn replay(&self, id: &str) -> Replay {
        let replay = self.controller.archive().replay(id).await;
        replay.expect("a replay")
    }

    pub(crate) async fn status(&self, id: &str) -> Status {
        self.controller.get(id).await.expect("a rollout").status
    }

    pub(crate) fn serves(&self) -> f64 {
        self.flags.assign("chat", None).decision.share.get()
    }

    /// Seconds of good requests until the state is this.
    pub(crate) async fn until(&self, id: &str, state: RunState) {
        for _ in 0..200 {
            if self.status(id).await.state == state {
                return;
            }
            self.second(200, |_| false).await;
        }
        panic!("{:?} instead of {state:?}", self.status(id).await);
    }

    pub(crate) fn alerts(&self, kind: AlertKind) -> usize {
        let db = self.store.0.lock();
        db.alerts.iter().filter(|it| it.kind == kind).count()
    }

    pub(crate) fn actions(&self) -> Vec<&'static str> {
        let db = self.store.0.lock();
        db.audit.iter().map(|row| row.action.name()).collect()
    }
}
