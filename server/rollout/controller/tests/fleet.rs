//! Several processes on one store, in an order that a seed draws: each has users, any of them is killed,
//! loses the lease, or fails at the store before a write or after it.
//!
//! The world: two to four processes; one rollout, with users of each; a lease that ends at any moment, as if its holder were
//! frozen; writes that fail, whose answers are lost, or that arrive late; processes that are cut off, also between two writes; a
//! store that is full, away, or replaced by a standby that lacks its last writes; clocks that step; people who change the share.
//!
//! A seed is a list of numbers, one for each step. A list that fails is shortened for as long as it fails, and printed
//! with what its steps did.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, resume_unwind, set_hook, take_hook},
};

use futures::FutureExt as _;
use rand::{Rng as _, SeedableRng, rngs::StdRng};

use super::*;

mod harm;

const SEEDS: u64 = 60;
const STEPS: usize = 150;
/// How many, and the first of them; only `scripts/long seeds` sets them.
const VARIABLES: [&str; 2] = ["MODELRAMP_FLEET_SEEDS", "MODELRAMP_FLEET_FIRST_SEED"];

struct Fleet {
    rigs: Vec<Rig>,
    draws: StdRng,
    /// Requests so far; each has a number of its own.
    requests: usize,
    /// Those that a killed process may have lost.
    lost: HashSet<String>,
    /// What each process that lives has recorded.
    recorded: Vec<Vec<String>>,
    /// Whether each has seen a rollback.
    knows_back: Vec<bool>,
    /// What processes have in force and the one that leads has not answered.
    owed: Vec<(usize, Lowering)>,
    is_bad: bool,
    /// The greatest share that any version granted.
    granted: f64,
    /// What the steps did, in words.
    told: Vec<String>,
}

impl Fleet {
    async fn new(seed: u64) -> Self {
        let mut draws = StdRng::seed_from_u64(seed);
        let first = Rig::over(MemoryStore::shared(), Clock::default()).await;
        let mut rigs = vec![first];
        for _ in 1..draws.random_range(2..=4) {
            let rig = Rig::over(rigs[0].store.another(), rigs[0].clock.another());
            rigs.push(rig.await);
        }
        for (place, rig) in rigs.iter().enumerate() {
            *rig.user.lock() = 1_000_000 * place as i64;
        }
        rigs[0].started().await;
        rigs[0].store.0.lock().follow();
        Self {
            recorded: vec![Vec::new(); rigs.len()],
            knows_back: vec![false; rigs.len()],
            rigs,
            owed: Vec::new(),
            is_bad: draws.random_bool(0.5),
            draws,
            requests: 0,
            lost: HashSet::new(),
            granted: 0.0,
            told: Vec::new(),
        }
    }

    async fn step(&mut self, seed: u64) {
        self.draws = StdRng::seed_from_u64(seed);
        let place = self.draws.random_range(0..self.rigs.len());
        self.rigs[place]
            .clock
            .pass(self.draws.random_range(10..400));
        let told = match self.draws.random_range(0..1100) {
            0..400 => self.traffic(place),
            400..750 => {
                self.rigs[place].controller.tick().await;
                "ticks".into()
            }
            750..850 => {
                self.rigs[place].controller.look_at_others().await;
                "looks".into()
            }
            850..890 => {
                let failure = match self.draws.random_bool(0.5) {
                    true => Failure::Before,
                    false => Failure::After,
                };
                self.rigs[place].store.fail([Some(failure)]);
                format!("the next write fails: {failure:?}")
            }
            890..930 => {
                self.rigs[place].store.forget_holder();
                "the lease ends".into()
            }
            930..950 => self.kill(place).await,
            950..965 => {
                let is_full = self.draws.random_bool(0.4);
                self.rigs[place].store.0.lock().is_full = is_full;
                format!("the disk is full: {is_full}")
            }
            965..975 => {
                let is_away = self.draws.random_bool(0.4);
                self.rigs[place].store.0.lock().is_away = is_away;
                format!("the database is away: {is_away}")
            }
            975..985 => self.fail_over(),
            985..1000 => self.ask(place).await,
            _ => self.harm(place),
        };
        self.told.push(format!("{place}: {told}"));
    }

    fn traffic(&mut self, place: usize) -> String {
        let count = self.draws.random_range(1..20);
        let rig = &self.rigs[place];
        for _ in 0..count {
            self.requests += 1;
            let mut event = rig.answer();
            event.request_id = self.requests.to_string().into();
            if self.is_bad && candidate_fails(event.variant) {
                event.outcome = Outcome::Fault(FaultKind::Upstream);
            }
            self.recorded[place].push(event.request_id.to_string());
            rig.metrics.record(event);
        }
        format!("{count} requests")
    }

    async fn kill(&mut self, place: usize) -> String {
        let rig = &self.rigs[place];
        if rig.store.0.lock().is_away {
            // None starts while it cannot read the rollouts.
            return "nothing".into();
        }
        if rig.controller.leads() {
            rig.store.forget_holder();
        }
        let stored = stored(rig);
        let recorded = std::mem::take(&mut self.recorded[place]);
        self.lost
            .extend(recorded.into_iter().filter(|it| !stored.contains(it)));
        let user = *rig.user.lock();
        let new = Rig::over(rig.store.another(), rig.clock.another()).await;
        *new.user.lock() = user + 10_000;
        self.rigs[place] = new;
        self.owed.retain(|(it, _)| *it != place);
        self.knows_back[place] = false;
        "is killed".into()
    }

    fn fail_over(&mut self) -> String {
        let writes = self.draws.random_range(1..12);
        let before = stored(&self.rigs[0]);
        self.rigs[0].store.0.lock().fail_over(writes);
        for rig in &self.rigs {
            rig.store.1.lose();
        }
        let after = stored(&self.rigs[0]);
        // Who is gone stores nothing again.
        let living: HashSet<_> = self.recorded.iter().flatten().cloned().collect();
        let gone = before
            .into_iter()
            .filter(|it| !after.contains(it) && !living.contains(it));
        self.lost.extend(gone);
        format!("a standby without the last {writes} writes takes over")
    }

    async fn ask(&mut self, place: usize) -> String {
        let (id, version) = {
            let db = self.rigs[place].store.0.lock();
            (db.rollouts[0].id.clone(), db.rollouts[0].version)
        };
        let version = version - i64::from(self.draws.random_bool(0.2));
        let percent = f64::from(self.draws.random_range(1..40));
        let share = CommandKind::SetShare(Percent::new(percent).expect("a share"));
        // Refused where it follows, is based on an old version, or the rollout has ended.
        let done = self.rigs[place]
            .steer(&id, version, "a person", share)
            .await;
        format!("{percent} % on version {version}: {}", done.is_ok())
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let store = self.rigs[0].store.clone();
        let db = store.0.lock();
        for (place, event) in db.events.iter().enumerate() {
            assert_eq!(
                event.seq,
                place as i64 + 1,
                "the log has no gap and no overlap"
            );
        }
        let ids: HashSet<_> = db.events.iter().map(|it| &it.request_id).collect();
        assert_eq!(ids.len(), db.events.len(), "nothing is in the log twice");
        for (place, row) in db.audit.iter().enumerate() {
            assert_eq!(row.version, place as i64 + 1, "versions have no gap");
            self.granted = self.granted.max(row.after.share.get());
        }
        let back = db
            .audit
            .iter()
            .position(|it| it.action == Action::RolledBack);
        assert!(
            back.is_none_or(|place| place + 1 == db.audit.len()),
            "nothing follows a rollback"
        );
        drop(db);
        for (place, rig) in self.rigs.iter().enumerate() {
            let serves = rig.serves();
            assert!(serves <= self.granted, "{serves} % of {} %", self.granted);
            let inner = rig.controller.inner.lock();
            let held = inner
                .rollouts
                .iter()
                .find(|it| it.status.state == State::RolledBack);
            self.knows_back[place] |= held.is_some();
            let held = inner.rollouts.iter().map(|it| {
                let status = &it.status;
                (
                    status.version,
                    status.state,
                    status.share,
                    it.cap,
                    it.owed.len(),
                    it.is_open,
                )
            });
            assert!(
                !self.knows_back[place] || serves == 0.0,
                "{place} knows of the rollback and serves {serves} %: {} {:?} {:?}",
                inner.is_numbering,
                held.collect::<Vec<_>>(),
                inner.lost
            );
        }
    }

    /// Faults end.
    async fn heal(&mut self) {
        {
            let mut db = self.rigs[0].store.0.lock();
            db.is_full = false;
            db.is_away = false;
            db.clear_failures();
        }
        for rig in &self.rigs {
            rig.store.1.mend();
            rig.clock.step(0);
            while rig.store.arrive(false) {}
        }
        for _ in 0..6 {
            if !self.rigs.iter().any(|rig| rig.controller.leads()) {
                // A lease runs out, whoever a database that went back says has it.
                self.rigs[0].store.forget_holder();
            }
            for rig in &self.rigs {
                rig.clock.pass(1_000);
                rig.controller.tick().await;
            }
            self.hand_over().await;
            self.check();
        }
    }

    /// What one had in force and could not store it hands to the one that leads, as `fleet` does.
    async fn hand_over(&mut self) {
        for (place, rig) in self.rigs.iter().enumerate() {
            let lost = rig.controller.take_lost().into_iter();
            self.owed.extend(lost.map(|it| (place, it)));
        }
        let Some(leader) = self.rigs.iter().find(|rig| rig.controller.leads()) else {
            return;
        };
        for (place, lost) in std::mem::take(&mut self.owed) {
            let mut command = crate::rollout::rollout::Command {
                id: lost.rollout.clone(),
                based_on: lost.based_on,
                actor: lost.actor.clone(),
                reason: lost.reason.clone(),
                kind: lost.kind,
            };
            let mut done = leader.controller.apply(command.clone()).await;
            if let (Err(ControlError::Stale { current, .. }), true) = (&done, lost.is_again) {
                command.based_on = current.version;
                done = leader.controller.apply(command).await;
            }
            let above = match done {
                Ok(status) => status.version - 1,
                // Another process may do it.
                Err(ControlError::NotInControl | ControlError::Store(_)) => {
                    self.owed.push((place, lost));
                    continue;
                }
                Err(_) => lost.based_on,
            };
            let controller = &self.rigs[place].controller;
            if !controller.lift(&lost.rollout, lost.cap, above) {
                self.owed.push((place, lost));
            }
        }
    }

    async fn check_rest(&self) {
        let stored = stored(&self.rigs[0]);
        let count = self.rigs[0].store.0.lock().events.len();
        let known = stored.len();
        assert_eq!(known, count, "each event is in the log once");
        for request in 1..=self.requests {
            let request = request.to_string();
            let is_there = stored.contains(&request) || self.lost.contains(&request);
            let waits = self.rigs.iter().map(|rig| {
                let inner = rig.controller.inner.lock();
                let (pending, unsent) = (inner.pending.len(), inner.unsent.len());
                (
                    inner.is_numbering,
                    pending,
                    unsent,
                    inner.last_stored,
                    rig.log.waiting(),
                )
            });
            let waits: Vec<_> = waits.collect();
            assert!(is_there, "request {request} is not in the log: {waits:?}");
        }
        let leaders = self.rigs.iter().filter(|rig| rig.controller.leads());
        assert_eq!(leaders.count(), 1);
        let (id, share) = {
            let db = self.rigs[0].store.0.lock();
            let share = db.rollouts[0].status["share"].as_f64();
            (db.rollouts[0].id.clone(), share.expect("a share"))
        };
        for rig in &self.rigs {
            assert_eq!(rig.serves(), share, "all serve what is stored");
        }
        let replay = self.rigs[0].replay(&id).await;
        assert!(replay.is_identical, "{replay:?}");
        let now = self.rigs[0].controller.world.now().wall;
        for rig in &self.rigs {
            // A process that began later restores the rest from the database, which is not played here.
            let window = rig
                .metrics
                .window(crate::ai_metrics::window::Minutes::HOUR, now);
            let arms = [Variant::Control, Variant::Candidate];
            let seen: u64 = arms.iter().map(|it| window.totals(*it).requests).sum();
            assert!(
                seen <= self.requests as u64,
                "{seen} of {} requests",
                self.requests
            );
        }
    }
}

fn stored(rig: &Rig) -> HashSet<String> {
    let db = rig.store.0.lock();
    db.events
        .iter()
        .map(|it| it.request_id.to_string())
        .collect()
}

/// The steps of a seed.
fn steps(seed: u64) -> Vec<u64> {
    let mut draws = StdRng::seed_from_u64(seed);
    (0..=STEPS).map(|_| draws.random()).collect()
}

/// What came of some steps: what they did, the log, and the history.
#[derive(Debug, PartialEq)]
struct Trace {
    told: Vec<String>,
    log: Vec<String>,
    history: Vec<(i64, f64)>,
}

async fn play(steps: &[u64], told: &mut Vec<String>) -> Trace {
    let mut fleet = Fleet::new(steps[0]).await;
    for step in &steps[1..] {
        fleet.step(*step).await;
        told.clone_from(&fleet.told);
        fleet.check();
    }
    fleet.heal().await;
    fleet.check_rest().await;
    let db = fleet.rigs[0].store.0.lock();
    let log = db.events.iter().map(|it| it.request_id.to_string());
    let history = db.audit.iter().map(|it| (it.version, it.after.share.get()));
    Trace {
        told: fleet.told,
        log: log.collect(),
        history: history.collect(),
    }
}

/// Whether some steps come to an end, and what they did.
async fn is_well(steps: &[u64]) -> (bool, Vec<String>) {
    let mut told = Vec::new();
    let played = AssertUnwindSafe(play(steps, &mut told))
        .catch_unwind()
        .await;
    (played.is_ok(), told)
}

/// As few of these steps as fail still.
async fn shortened(mut steps: Vec<u64>) -> Vec<u64> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 1;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(fewer.len()));
            match is_well(&fewer).await.0 {
                true => from += size,
                false => steps = fewer,
            }
        }
        size /= 2;
    }
    steps
}

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let [count, first] = VARIABLES.map(|name| std::env::var(name).ok()?.parse().ok());
    let first = first.unwrap_or(0);
    first..first + count.unwrap_or(SEEDS)
}

#[tokio::test]
async fn whatever_happens_each_event_is_judged_once() {
    for seed in seeds() {
        if is_well(&steps(seed)).await.0 {
            continue;
        }
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let fewest = shortened(steps(seed)).await;
        set_hook(hook);
        let mut told = Vec::new();
        let played = AssertUnwindSafe(play(&fewest, &mut told))
            .catch_unwind()
            .await;
        let told = format!("seed {seed}, as few steps as fail:\n{}\n", told.join("\n"));
        let _ = std::io::Write::write_all(&mut std::io::stdout(), told.as_bytes());
        resume_unwind(played.expect_err("it fails"));
    }
}

#[tokio::test]
async fn a_seed_plays_the_same_twice() {
    let [first, second] = [(); 2].map(|()| steps(7));
    let mut told = Vec::new();
    let first = play(&first, &mut told).await;
    assert_eq!(first, play(&second, &mut told).await);
}
