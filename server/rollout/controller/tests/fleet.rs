//! Several processes on one store, in an order that a seed draws: each has users, any of them is killed,
//! loses the lease, or fails at the store before a write or after it.
//!
//! The world: two to four processes; one rollout, with users of each; a lease that ends at any moment, as if its holder were
//! frozen; writes that fail, whose answers are lost, or that arrive late; processes that are killed, stopped, and cut off, also
//! between two writes; a store that is full, away, or replaced by a standby that lacks its last writes; clocks that step; people
//! who change the share or roll back, on whichever process. In one world of four the candidate goes away for a while, and an outage
//! of it is waited for until a person ends that.

use std::collections::HashSet;

use rand::{Rng as _, SeedableRng, rngs::StdRng};

use super::*;

mod asked;
mod checks;
mod harm;
mod seeds;

use self::asked::Asked;
pub(super) use self::asked::Handed;

/// The steps in which the candidate is away, where it is.
const AWAY: std::ops::Range<usize> = 50..100;

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
    /// What is handed over to the one that leads.
    asked: Asked,
    /// Whether the database may lack what each takes for stored, as another one took its place.
    is_behind: Vec<bool>,
    /// Whether a write may have come that its process had given up, so that nobody knows of it.
    has_come: bool,
    is_bad: bool,
    /// Whether the candidate goes away for some steps, and outages are waited for.
    has_outages: bool,
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
        let has_outages = StdRng::seed_from_u64(!seed).random_bool(0.25);
        match has_outages {
            true => rigs[0].started_by(&FAST.replace("\"0s\"", "\"1h\"")).await,
            false => rigs[0].started().await,
        };
        rigs[0].store.0.lock().follow();
        Self {
            recorded: vec![Vec::new(); rigs.len()],
            knows_back: vec![false; rigs.len()],
            asked: Asked::default(),
            is_behind: vec![false; rigs.len()],
            has_come: false,
            rigs,
            has_outages,
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
            // So that some outages are ended.
            0..60 if self.has_outages => self.ask(place).await,
            0..400 => self.traffic(place),
            400..700 => {
                if self.rigs[place].controller.tick().await {
                    self.check_knowledge(place);
                }
                "ticks".into()
            }
            700..770 => {
                self.rigs[place].controller.look_at_others().await;
                "looks".into()
            }
            770..850 => {
                self.hand_over(place).await;
                "hands over".into()
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
            930..945 => self.kill(place).await,
            945..950 => self.stop(place).await,
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
        let is_bad = match self.has_outages {
            true => AWAY.contains(&self.told.len()),
            false => self.is_bad,
        };
        let rig = &self.rigs[place];
        for _ in 0..count {
            self.requests += 1;
            let mut event = rig.answer();
            event.request_id = self.requests.to_string().into();
            if is_bad && candidate_fails(event.variant) {
                event.outcome = Outcome::Fault(FaultKind::Upstream);
            }
            self.recorded[place].push(event.request_id.to_string());
            rig.metrics.record(event);
        }
        format!("{count} requests")
    }

    async fn kill(&mut self, place: usize) -> String {
        if self.rigs[place].store.0.lock().is_away {
            // None starts while it cannot read the rollouts.
            return "nothing".into();
        }
        let rig = &self.rigs[place];
        if rig.controller.leads() {
            rig.store.forget_holder();
        }
        let lost = self.unstored(place);
        self.lost.extend(lost);
        self.begin_anew(place).await;
        "is killed".into()
    }

    /// A clean stop.
    async fn stop(&mut self, place: usize) -> String {
        let rig = &self.rigs[place];
        if rig.store.0.lock().is_away {
            return "nothing".into();
        }
        rig.controller.end().await;
        let is_well = !rig.store.0.lock().is_full && !rig.store.1.is_cut();
        let unstored = self.unstored(place);
        if is_well {
            let db = rig.store.0.lock();
            let lost = unstored.iter().find(|it| !db.has_stored(it));
            assert!(lost.is_none(), "a clean stop loses {lost:?}");
            drop(db);
            let leads = rig.store.0.lock().is_led_by(rig.controller.holder());
            assert!(!leads, "whoever is stopped leads no more");
        }
        self.lost.extend(unstored);
        self.begin_anew(place).await;
        "is stopped".into()
    }

    /// What it recorded and is not in the log.
    fn unstored(&self, place: usize) -> Vec<String> {
        let stored = stored(&self.rigs[place]);
        let recorded = self.recorded[place].iter();
        let unstored = recorded.filter(|it| !stored.contains(*it));
        unstored.cloned().collect()
    }

    /// Another process comes where one was.
    async fn begin_anew(&mut self, place: usize) {
        let rig = &self.rigs[place];
        let user = *rig.user.lock();
        let new = Rig::over(rig.store.another(), rig.clock.another()).await;
        *new.user.lock() = user + 10_000;
        self.rigs[place] = new;
        self.recorded[place].clear();
        self.asked.forget(place);
        self.knows_back[place] = false;
        self.is_behind[place] = false;
    }

    fn fail_over(&mut self) -> String {
        let writes = self.draws.random_range(1..12);
        let before = stored(&self.rigs[0]);
        self.rigs[0].store.0.lock().fail_over(writes);
        for rig in &self.rigs {
            rig.store.1.lose();
        }
        self.is_behind.fill(true);
        let after = stored(&self.rigs[0]);
        // Who is gone stores nothing again.
        let living: HashSet<_> = self.recorded.iter().flatten().cloned().collect();
        let gone = before
            .into_iter()
            .filter(|it| !after.contains(it) && !living.contains(it));
        self.lost.extend(gone);
        format!("a standby without the last {writes} writes takes over")
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
            while rig.store.arrive(false) {
                self.has_come = true;
            }
        }
        for _ in 0..8 {
            if !self.rigs.iter().any(|rig| rig.controller.leads()) {
                // A lease runs out, whoever a database that went back says has it.
                self.rigs[0].store.forget_holder();
            }
            for rig in &self.rigs {
                rig.clock.pass(1_000);
                rig.controller.tick().await;
            }
            for place in 0..self.rigs.len() {
                self.hand_over(place).await;
            }
            self.check();
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
