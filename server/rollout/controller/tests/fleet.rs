//! Several processes on one store, in an order that a seed draws: each has users, any of them is killed,
//! loses the lease, or fails at the store before a write or after it.
//!
//! The world: two to four processes; two rollouts' worth of users; a lease that ends at any moment, as if
//! its holder were frozen; writes whose answers are lost; a store that is full for a while; people who
//! change the share now and then, also on an old version. Clocks agree.

use std::collections::{HashMap, HashSet};

use rand::{Rng as _, SeedableRng, rngs::StdRng};

use super::*;

const SEEDS: u64 = 60;
const STEPS: usize = 150;

struct Fleet {
    rigs: Vec<Rig>,
    draws: StdRng,
    /// Requests so far; each has a number of its own.
    requests: usize,
    /// Those that a killed process may have lost.
    lost: HashSet<String>,
    /// What waits or is on its way in each process.
    unstored: Vec<Vec<String>>,
    is_bad: bool,
    /// The greatest share that any version granted, by version.
    granted: HashMap<i64, f64>,
}

impl Fleet {
    async fn new(seed: u64) -> Self {
        let mut draws = StdRng::seed_from_u64(seed);
        let first = Rig::new().await;
        first.store.0.lock().is_shared = true;
        let mut rigs = vec![first];
        for _ in 1..draws.random_range(2..=4) {
            let rig = Rig::over(rigs[0].store.clone(), rigs[0].clock.clone()).await;
            rigs.push(rig);
        }
        for (place, rig) in rigs.iter().enumerate() {
            *rig.user.lock() = 1_000_000 * place as i64;
        }
        rigs[0].started().await;
        Self {
            unstored: vec![Vec::new(); rigs.len()],
            rigs,
            is_bad: draws.random_bool(0.5),
            draws,
            requests: 0,
            lost: HashSet::new(),
            granted: HashMap::new(),
        }
    }

    async fn step(&mut self) {
        let place = self.draws.random_range(0..self.rigs.len());
        let rig = &self.rigs[place];
        rig.clock.pass(self.draws.random_range(10..400));
        match self.draws.random_range(0..100) {
            0..40 => {
                for _ in 0..self.draws.random_range(1..20) {
                    self.requests += 1;
                    let mut event = rig.answer();
                    event.request_id = self.requests.to_string().into();
                    if self.is_bad && candidate_fails(event.variant) {
                        event.outcome = Outcome::Fault(FaultKind::Upstream);
                    }
                    self.unstored[place].push(event.request_id.to_string());
                    rig.metrics.record(event);
                }
            }
            40..75 => {
                rig.controller.tick().await;
            }
            75..85 => {
                rig.controller.look_at_others().await;
            }
            85..90 => {
                let failure = match self.draws.random_bool(0.5) {
                    true => Failure::Before,
                    false => Failure::After,
                };
                rig.store.fail([Some(failure)]);
            }
            90..94 => rig.store.forget_holder(),
            94..96 => {
                if rig.controller.leads() {
                    rig.store.forget_holder();
                }
                let stored = stored(rig);
                let unstored = std::mem::take(&mut self.unstored[place]);
                self.lost
                    .extend(unstored.into_iter().filter(|it| !stored.contains(it)));
                let user = *rig.user.lock();
                let new = Rig::over(rig.store.clone(), rig.clock.clone()).await;
                *new.user.lock() = user + 10_000;
                self.rigs[place] = new;
            }
            96..98 => {
                let is_full = self.draws.random_bool(0.5);
                rig.store.0.lock().is_full = is_full;
            }
            _ => {
                let (id, version) = {
                    let db = rig.store.0.lock();
                    (db.rollouts[0].id.clone(), db.rollouts[0].version)
                };
                let version = version - i64::from(self.draws.random_bool(0.2));
                let percent = f64::from(self.draws.random_range(1..40));
                let share = CommandKind::SetShare(Percent::new(percent).expect("a share"));
                // Refused where it follows, is based on an old version, or the rollout has ended.
                let _ = rig.steer(&id, version, "a person", share).await;
            }
        }
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
        for row in &db.audit {
            self.granted.insert(row.version, row.after.share.get());
        }
        for (place, row) in db.audit.iter().enumerate() {
            assert_eq!(row.version, place as i64 + 1, "versions have no gap");
        }
        drop(db);
        let most = self.granted.values().copied().fold(0.0, f64::max);
        for rig in &self.rigs {
            assert!(rig.serves() <= most, "{} % of {most} %", rig.serves());
        }
    }

    /// Faults end.
    async fn heal(&mut self) {
        {
            let mut db = self.rigs[0].store.0.lock();
            db.is_full = false;
            db.clear_failures();
        }
        for _ in 0..4 {
            for rig in &self.rigs {
                rig.clock.pass(1_000);
                rig.controller.tick().await;
            }
            self.hand_over().await;
            self.check();
        }
    }

    /// What one had in force and could not store it hands to the one that leads, as `fleet` does.
    async fn hand_over(&self) {
        for rig in &self.rigs {
            for lost in rig.controller.take_lost() {
                let leader = self.rigs.iter().find(|rig| rig.controller.leads());
                let leader = leader.expect("faults have ended");
                let command = crate::rollout::rollout::Command {
                    id: lost.rollout.clone(),
                    based_on: lost.based_on,
                    actor: lost.actor,
                    reason: lost.reason,
                    kind: lost.kind,
                };
                if leader.controller.apply(command).await.is_err() {
                    rig.controller.lift(&lost.rollout, lost.based_on);
                }
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
            assert!(is_there, "request {request} is not in the log");
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

/// What came of a seed: the log, and the history.
async fn play(seed: u64) -> (Vec<String>, Vec<(i64, f64)>) {
    let mut fleet = Fleet::new(seed).await;
    for _ in 0..STEPS {
        fleet.step().await;
        fleet.check();
    }
    fleet.heal().await;
    fleet.check_rest().await;
    let db = fleet.rigs[0].store.0.lock();
    let log = db.events.iter().map(|it| it.request_id.to_string());
    let history = db.audit.iter().map(|it| (it.version, it.after.share.get()));
    (log.collect(), history.collect())
}

/// How many; only `scripts/long seeds` asks for more.
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
fn seeds() -> u64 {
    let asked = std::env::var("MODELRAMP_FLEET_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("a number"))
}

/// The seed that fails is in the name of the thread's panic: it is printed before.
#[tokio::test]
async fn whatever_happens_each_event_is_judged_once() {
    for seed in 0..seeds() {
        let played = std::panic::AssertUnwindSafe(play(seed));
        if let Err(panic) = futures::FutureExt::catch_unwind(played).await {
            use std::io::Write as _;
            let _ = writeln!(std::io::stdout(), "seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[tokio::test]
async fn a_seed_plays_the_same_twice() {
    assert_eq!(play(7).await, play(7).await);
}
