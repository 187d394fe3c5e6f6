//! No candidate hides behind an outcome that is not counted as an error.

use super::*;

const TOO_LONG: Outcome = Outcome::Fault(FaultKind::ContextLength);
const NO_KEY: Outcome = Outcome::Fault(FaultKind::Authentication);

/// Ways not to answer that are no errors of a model, as far as one request can tell.
const EVASIONS: [Outcome; 4] = [
    TOO_LONG,
    Outcome::Fault(FaultKind::BadRequest),
    Outcome::Fault(FaultKind::Refused),
    Outcome::Refused,
];

/// So many users of each arm, who ask one after the other.
struct Crowd {
    rig: Rig,
    id: String,
    users: Vec<(Variant, i64)>,
}

impl Crowd {
    /// A rollout whose first stage has this share.
    async fn new(share: f64, control: usize, candidate: usize) -> Self {
        Self::judged_by("evidence", share, control, candidate).await
    }

    async fn judged_by(judge: &str, share: f64, control: usize, candidate: usize) -> Self {
        let rig = Rig::new().await;
        rig.controller.tick().await;
        let plan = format!(
            "name = \"net\"\njudge = \"{judge}\"\ntasks = [\"chat\"]\n[evidence]\noutage_period = \"0s\"\n[[stages]]\nshare = {share}\nsoak = \"1h\"\n\
             [[stages]]\nshare = 100\nsoak = \"1h\"\n"
        );
        let started = rig
            .controller
            .start(&plan, "try it", &USER, Wishes::default())
            .await;
        let id = started.expect("a rollout").0.id;
        rig.second(0, |_| false).await;
        let mut users = Vec::new();
        for (variant, wanted) in [(Variant::Control, control), (Variant::Candidate, candidate)] {
            let arm = (1..1_000_000).filter(|user| {
                let subject = Subject::User(*user);
                rig.flags.assign("chat", Some(&subject)).decision.variant == variant
            });
            let place = |n: usize| (2 * n + 1) * 1_000 / wanted.max(1);
            let arm = arm.take(wanted).enumerate();
            users.extend(arm.map(|(n, user)| (place(n), (variant, user))));
        }
        // Both arms ask all the time, as their share says.
        users.sort_by_key(|(place, _)| *place);
        let users = users.into_iter().map(|(_, user)| user).collect();
        Self { rig, id, users }
    }

    /// The end of a request of one of the users, answered.
    fn request(&self, user: usize) -> Event {
        *self.rig.user.lock() = self.users[user].1 - 1;
        self.rig.answer()
    }

    /// The users of an arm.
    fn of(&self, arm: Variant) -> impl Iterator<Item = usize> {
        (0..self.users.len()).filter(move |user| self.users[*user].0 == arm)
    }

    /// A second in which each user asks once.
    async fn second(&self, outcome: impl Fn(Variant) -> Outcome) {
        self.rig.clock.pass(1_000);
        for user in 0..self.users.len() {
            let mut event = self.request(user);
            event.outcome = outcome(event.variant);
            self.rig.metrics.record(event);
        }
        self.rig.controller.tick().await;
    }

    /// First attempts of the candidate that end so, until it is taken back; at most thirty seconds.
    async fn served(&self, outcome: impl Fn(Variant) -> Outcome) -> usize {
        let each = self.of(Variant::Candidate).count();
        for second in 1..=30 {
            self.second(&outcome).await;
            if self.state().await == RunState::RolledBack {
                return second * each;
            }
        }
        usize::MAX
    }

    async fn state(&self) -> RunState {
        self.rig.status(&self.id).await.state
    }

    async fn is_replayed(&self) {
        let replay = self
            .rig
            .controller
            .archive()
            .replay(&self.id)
            .await
            .expect("a replay");
        assert!(replay.is_identical, "{replay:?}");
    }
}

fn candidate_only(bad: Outcome) -> impl Fn(Variant) -> Outcome {
    move |variant| match variant {
        Variant::Candidate => bad,
        Variant::Control => Outcome::Success,
    }
}

#[tokio::test]
async fn a_candidate_that_never_answers_is_gone_after_twenty_attempts() {
    for bad in EVASIONS {
        for (share, control, candidate) in [(10.0, 36, 3), (10.0, 39, 1), (50.0, 20, 20)] {
            let crowd = Crowd::new(share, control, candidate).await;
            let served = crowd.served(candidate_only(bad)).await;
            assert!(served < 20 + candidate, "{bad:?} at {share} %: {served}");
            assert_eq!(crowd.rig.serves(), 0.0);
            assert_eq!(crowd.rig.alerts(AlertKind::RolledBack), 1);
            crowd.is_replayed().await;
        }
    }
}

#[tokio::test]
async fn so_is_one_that_answered_before() {
    for bad in EVASIONS {
        for (share, control, candidate) in [
            (10.0, 38, 2),
            (10.0, 36, 4),
            (50.0, 20, 20),
            (95.0, 2, 38),
            (95.0, 1, 39),
            (99.0, 0, 40),
        ] {
            let crowd = Crowd::new(share, control, candidate).await;
            // Between them users send what is too long, refused, wrong, on either side. At half of the
            // users and above these are 200 good answers of the candidate.
            for n in 0..10 {
                let legit = EVASIONS[n % EVASIONS.len()];
                crowd.second(|_| Outcome::Success).await;
                let event = crowd.request(n % crowd.users.len());
                crowd.rig.metrics.record(Event {
                    outcome: legit,
                    ..event
                });
            }
            assert_eq!(crowd.state().await, RunState::Running, "{share} %");
            let served = crowd.served(candidate_only(bad)).await;
            let most = if share < 90.0 { 20 } else { 80 } + candidate;
            assert!(served <= most, "{bad:?} at {share} %: {served}");
            crowd.is_replayed().await;
        }
    }
}

#[tokio::test]
async fn nothing_that_was_found_before_and_takes_nothing_back_hides_it() {
    let crowd = Crowd::judged_by("thresholds", 50.0, 20, 20).await;
    for _ in 0..10 {
        crowd.second(|_| Outcome::Success).await;
    }
    for second in 0..60 {
        crowd.rig.clock.pass(1_000);
        for user in 0..crowd.users.len() {
            let mut event = crowd.request(user);
            let fails = (second + user) % 25 == 0;
            if fails && event.variant == Variant::Candidate {
                event.outcome = Outcome::Fault(FaultKind::Upstream);
            }
            crowd.rig.metrics.record(event);
        }
        crowd.rig.controller.tick().await;
    }
    let view = crowd.rig.controller.get(&crowd.id).await.expect("a view");
    assert_ne!(view.status.state, RunState::RolledBack);
    assert_eq!(
        view.verdict.level,
        crate::rollout::evidence::Level::Rollback,
        "by what does not judge"
    );
    let served = crowd.served(candidate_only(TOO_LONG)).await;
    assert!(served <= 40, "{served}");
    let reason = crowd.rig.status(&crowd.id).await.reason;
    assert!(reason.contains("`context-length`"), "{reason}");
    crowd.is_replayed().await;
}

#[tokio::test]
async fn an_outage_of_both_sides_takes_no_good_candidate_back_from_a_hold_out() {
    let crowd = Crowd::new(99.0, 0, 40).await;
    for _ in 0..8 {
        crowd.second(|_| Outcome::Success).await;
    }
    // Control's only users do not ask just then.
    for _ in 0..10 {
        crowd.second(|_| Outcome::Fault(FaultKind::Upstream)).await;
    }
    assert_eq!(crowd.rig.serves(), 99.0);
    crowd.is_replayed().await;
}

#[tokio::test]
async fn one_that_the_last_release_ended_replays_as_it_did() {
    let crowd = Crowd::new(10.0, 36, 4).await;
    // Too few for thresholds, so the floor, which the last release did not know, moves nothing.
    for _ in 0..2 {
        crowd.second(|_| Outcome::Success).await;
    }
    let version = crowd.rig.status(&crowd.id).await.version;
    let ended = crowd
        .rig
        .steer(&crowd.id, version, "enough", CommandKind::RollBack);
    ended.await.expect("an end");
    crowd.rig.controller.tick().await;
    {
        // As the last release wrote it.
        let mut db = crowd.rig.store.0.lock();
        let stored = &mut db.rollouts[0];
        let without = |value: &mut serde_json::Value, key: &str| {
            let fields = value.as_object_mut().expect("an object");
            fields
                .remove(key)
                .unwrap_or_else(|| panic!("{key} is there"));
        };
        without(&mut stored.evidence["evidence"], "uncounted");
        without(&mut stored.evidence["evidence"]["plan"], "slow_floor_ms");
        without(&mut stored.plan["evidence"], "slow_floor_ms");
        for key in ["releasedAt", "models"] {
            without(&mut stored.status, key);
        }
        for row in &mut db.audit {
            let record = row.record.as_mut().expect("a record");
            if let Some(verdict) = &mut record.verdict {
                verdict.uncounted = None;
            }
        }
    }
    let crowd = Crowd {
        rig: crowd.rig.reborn().await,
        ..crowd
    };
    assert_eq!(crowd.state().await, RunState::RolledBack);
    crowd.is_replayed().await;
}

#[tokio::test]
async fn the_reason_names_the_kind_and_both_sides() {
    let crowd = Crowd::new(10.0, 36, 4).await;
    crowd.served(candidate_only(TOO_LONG)).await;
    let status = crowd.rig.status(&crowd.id).await;
    for words in ["`context-length`", "of the candidate", "0 of", "of control"] {
        assert!(status.reason.contains(words), "{}", status.reason);
    }
}

#[tokio::test]
async fn what_only_control_or_both_sides_do_blames_nobody() {
    for bad in EVASIONS {
        let control_only = move |variant| match variant {
            Variant::Control => bad,
            Variant::Candidate => Outcome::Success,
        };
        let crowd = Crowd::new(10.0, 36, 4).await;
        assert_eq!(crowd.served(control_only).await, usize::MAX, "{bad:?}");
        assert_eq!(crowd.state().await, RunState::Running);
        let crowd = Crowd::new(50.0, 20, 20).await;
        assert_eq!(crowd.served(|_| bad).await, usize::MAX, "{bad:?}");
        crowd.is_replayed().await;
    }
}

/// The worlds: everybody's tenth request can be answered by neither side, and one user of the candidate
/// is a script that sends nothing else.
#[tokio::test]
async fn a_good_candidate_is_left_alone_where_some_requests_have_no_answer() {
    for bad in EVASIONS {
        for (share, control, candidate) in [(10.0, 36, 4), (50.0, 20, 20), (95.0, 2, 38)] {
            let crowd = Crowd::new(share, control, candidate).await;
            let script = crowd.of(Variant::Candidate).next();
            for second in 0..40 {
                crowd.rig.clock.pass(1_000);
                for user in 0..crowd.users.len() {
                    let mut event = crowd.request(user);
                    if Some(user) == script || (second + user) % 10 == 0 {
                        event.outcome = bad;
                    }
                    crowd.rig.metrics.record(event);
                }
                crowd.rig.controller.tick().await;
            }
            assert_eq!(
                crowd.state().await,
                RunState::Running,
                "{bad:?} at {share} %"
            );
        }
    }
}

#[tokio::test]
async fn saying_no_to_a_third_holds_and_where_control_never_does_it_takes_back() {
    // Or what has a smaller context, where a third of the requests needs the larger one.
    for (no, of_control, expected) in [
        (Outcome::Refused, 0, RunState::RolledBack),
        (Outcome::Refused, 1, hold(Hold::ExcludedDiffer)),
        (TOO_LONG, 0, RunState::RolledBack),
    ] {
        let crowd = Crowd::new(50.0, 30, 30).await;
        let refused = |user: usize| Event {
            outcome: no,
            ..crowd.request(user)
        };
        for user in crowd.of(Variant::Control).take(of_control) {
            crowd.rig.metrics.record(refused(user));
        }
        for n in 0..12 {
            for (number, user) in crowd.of(Variant::Candidate).enumerate() {
                if (number + n) % 3 == 0 {
                    crowd.rig.metrics.record(refused(user));
                }
            }
            crowd.second(|_| Outcome::Success).await;
        }
        assert_eq!(crowd.state().await, expected, "{of_control} of control");
        crowd.is_replayed().await;
        if of_control > 0 {
            assert_eq!(crowd.rig.alerts(AlertKind::Hold), 1);
            let version = crowd.rig.status(&crowd.id).await.version;
            let advanced = crowd
                .rig
                .steer(&crowd.id, version, "meant so", CommandKind::Advance);
            advanced.await.expect("a person may go on");
        }
    }
}

#[tokio::test]
async fn what_our_account_is_refused_holds_and_passes_by_itself() {
    for both in [false, true] {
        let crowd = Crowd::new(50.0, 20, 20).await;
        crowd.second(|_| Outcome::Success).await;
        let refused = move |variant| match variant {
            Variant::Control if !both => Outcome::Success,
            _ => NO_KEY,
        };
        for _ in 0..5 {
            crowd.second(refused).await;
        }
        assert_eq!(crowd.state().await, hold(Hold::Account));
        assert_eq!(crowd.rig.serves(), 50.0, "no arm is blamed");
        assert_eq!(crowd.rig.alerts(AlertKind::ProviderRefusing), 1);
        crowd.rig.clock.pass(295_000);
        for _ in 0..10 {
            crowd.second(|_| Outcome::Success).await;
        }
        assert_eq!(crowd.state().await, RunState::Running);
        crowd.is_replayed().await;
    }
}

#[tokio::test]
async fn a_rollout_of_the_last_release_is_watched_from_its_next_start() {
    for has_events in [true, false] {
        let crowd = Crowd::new(10.0, 36, 4).await;
        if has_events {
            crowd.second(|_| Outcome::Success).await;
        }
        let version = crowd.rig.status(&crowd.id).await.version;
        let paused = crowd
            .rig
            .steer(&crowd.id, version, "wait", CommandKind::Pause);
        let version = paused.await.expect("a pause").version;
        crowd.rig.clock.pass(10_000);
        crowd.rig.controller.tick().await;
        {
            // As the last release wrote it.
            let mut db = crowd.rig.store.0.lock();
            let without = |value: &mut serde_json::Value| {
                let fields = value.as_object_mut().expect("an object");
                fields.remove("uncounted").expect("it is there");
            };
            let stored = &mut db.rollouts[0];
            assert_eq!(stored.cursor > 0, has_events);
            without(&mut stored.evidence["evidence"]);
            let paused = db.audit.last_mut().expect("a pause");
            let record = paused.record.as_mut().expect("a record");
            record.verdict.as_mut().expect("a verdict").uncounted = None;
        }
        let rig = crowd.rig.reborn().await;
        rig.second(0, |_| false).await;
        let crowd = Crowd { rig, ..crowd };
        let resumed = crowd
            .rig
            .steer(&crowd.id, version, "on", CommandKind::Resume);
        resumed.await.expect("before the next event");
        let served = crowd.served(candidate_only(TOO_LONG)).await;
        assert!(served < 24, "{served}");
        crowd.is_replayed().await;
    }
}

fn hold(because: Hold) -> RunState {
    RunState::Holding { because }
}
