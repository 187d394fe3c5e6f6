//! Users go round some replicas while a rollout comes to its end and another is taken back, and everything
//! fails that can, at moments that a seed draws. What each user saw is then held against the log.
//!
//! `scripts/long fleet` runs it; the suite has its parts, one fault each.

use std::{
    collections::HashMap,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{
    Fleet, TAKEOVER,
    cluster::Cluster,
    link::{Link, Network},
    users::{Killed, Seen, Users, Who, now_ms},
};
use crate::support::{
    app::TestAppBuilder,
    process::TestProcess,
    wait::{PATIENCE, eventually},
};

/// A program of an older release, by which every other process is started.
const OLDER: &str = "MODELRAMP_FLEET_OLDER";
/// Replicas, pairs of rollouts, and where chance starts.
const VARIABLES: [&str; 3] = [
    "MODELRAMP_FLEET_REPLICAS",
    "MODELRAMP_FLEET_ROUNDS",
    "MODELRAMP_FLEET_SEED",
];
/// From a fault's end to when its replica serves what is stored.
const CONVERGED_MS: i64 = 3_000;
/// A killed process may lose the events of its last second; on a machine that does ten times its work, of three.
const MAY_BE_LOST_MS: i64 = 3_000;

/// A plan of three stages that lasts for some faults.
fn plan(candidate: &str) -> String {
    let stage = |share| {
        format!(
            "[[stages]]\nshare = {share}\nsoak = \"6s\"\nmin_requests = 30\nmin_users = 4\nmin_time = \"6s\"\n"
        )
    };
    format!(
        "name = \"judged-{candidate}\"\ntasks = [\"chat\"]\ndeadline = \"1h\"\nholdout = 0\n\
         control = [\"trusty\"]\ncandidate = [\"{candidate}\", \"trusty\"]\n\
         [no_traffic]\nalert_after = \"10m\"\nhold = false\n\
         [evidence]\ngood_error_rate = 0.4\nmax_error_rate = 0.6\noutage_period = \"0s\"\nweights = {{ errors = 1 }}\n{}{}{}",
        stage(20),
        stage(50),
        stage(100)
    )
}

struct Replica {
    process: TestProcess,
    link: Link,
    /// When something was wrong with it, from and to, in milliseconds since 1970.
    ill: Vec<(i64, i64)>,
}

struct Ground {
    cluster: Cluster,
    /// The tests' own way.
    link: Link,
    setup: TestAppBuilder,
    database: PgPool,
    replicas: Vec<Replica>,
    killed: Vec<Killed>,
    /// Those that are gone, and when each was ill.
    gone: Vec<(String, Vec<(i64, i64)>)>,
    draws: StdRng,
    /// Processes that were started.
    started: AtomicUsize,
}

fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

impl Ground {
    async fn new(replicas: usize, seed: u64) -> Option<Self> {
        let cluster = Cluster::start().await?;
        let link = Link::to(cluster.socket()).await;
        let url = link.url("postgres");
        let setup = Fleet::setup(&url);
        let pool = PgPoolOptions::new().max_connections(2);
        let mut ground = Self {
            cluster,
            link,
            database: pool.connect(&url).await.unwrap(),
            setup,
            replicas: Vec::new(),
            killed: Vec::new(),
            gone: Vec::new(),
            draws: StdRng::seed_from_u64(seed),
            started: AtomicUsize::new(0),
        };
        for _ in 0..replicas {
            let replica = ground.spawn().await;
            ground.replicas.push(replica);
        }
        Some(ground)
    }

    async fn spawn(&self) -> Replica {
        let link = Link::to(self.cluster.socket()).await;
        let setup = self.setup.clone();
        let setup = setup.with_setting("DATABASE_URL", link.url("postgres"));
        let older = std::env::var(OLDER).ok();
        let is_odd = self.started.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let process = match older.filter(|_| is_odd) {
            Some(older) => setup.spawn_by(setup.command_of(older, &["serve"])).await,
            None => setup.spawn().await,
        };
        Replica {
            process,
            link,
            ill: Vec::new(),
        }
    }

    /// Asks any replica until one answers well.
    async fn ask(&self, method: &str, params: Value) -> Value {
        eventually(TAKEOVER + PATIENCE, async || {
            let mut said = Vec::new();
            for replica in &self.replicas {
                let answer = replica.process.call(method, params.clone());
                match tokio::time::timeout(Duration::from_secs(10), answer).await {
                    Ok(Some(Ok(answer))) => return Ok(answer),
                    other => said.push(format!("{other:?}")),
                }
            }
            Err(said)
        })
        .await
    }

    async fn begin(&self, candidate: &str) -> String {
        let params = json!({"plan": plan(candidate), "reason": "judged", "takeBack": true});
        for _ in 0..5 {
            let started = self.replicas[0]
                .process
                .call("rollout.start", params.clone())
                .await;
            if let Some(Ok(started)) = started {
                return started["id"].as_str().unwrap().to_owned();
            }
            say(&format!("{started:?}"));
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        panic!("`{candidate}` does not begin");
    }

    /// Something fails, and is well again.
    async fn fault(&mut self, users: &Users) {
        let place = self.draws.random_range(0..self.replicas.len());
        let lasts = Duration::from_millis(self.draws.random_range(200..9_000));
        let from = now_ms();
        let what = *[
            "kill",
            "kill",
            "stop",
            "freeze",
            "cut",
            "slow",
            "half-open",
            "crash",
            "fail-over",
        ]
        .choose(&mut self.draws)
        .unwrap();
        say(&format!(
            "  {from} {what} {place} for {} ms",
            lasts.as_millis()
        ));
        match what {
            "kill" | "stop" => {
                let mut new = self.spawn().await;
                std::mem::swap(&mut self.replicas[place], &mut new);
                users.join(&self.replicas[place].process);
                let mut old = new;
                let killed = users.leave(&old.process);
                if what == "kill" {
                    old.process.kill().await;
                    let at_ms = killed.at_ms - MAY_BE_LOST_MS;
                    self.killed.push(Killed { at_ms, ..killed });
                } else {
                    old.process.terminate().await;
                }
                self.gone.push((old.process.url.clone(), old.ill));
            }
            "freeze" => {
                Fleet::send(&self.replicas[place].process, "-STOP").await;
                tokio::time::sleep(lasts).await;
                Fleet::send(&self.replicas[place].process, "-CONT").await;
            }
            "cut" | "slow" | "half-open" => {
                let link = &self.replicas[place].link;
                link.set(match what {
                    "cut" => Network::Cut,
                    "slow" => Network::Slow(lasts / 20),
                    _ => Network::HalfOpen,
                });
                tokio::time::sleep(lasts).await;
                link.set(Network::Whole);
            }
            "crash" => {
                self.cluster.crash().await;
                tokio::time::sleep(lasts).await;
                self.cluster.recover().await;
            }
            _ => {
                self.cluster.follow().await;
                self.cluster.fall_behind();
                tokio::time::sleep(lasts / 8).await;
                self.cluster.fail_over().await;
                for link in self.replicas.iter().map(|it| &it.link).chain([&self.link]) {
                    link.lead_to(self.cluster.socket());
                }
                // What it stored meanwhile is gone with the database of before.
                for killed in &mut self.killed {
                    if killed.at_ms + MAY_BE_LOST_MS >= from - 2_000 {
                        killed.at_ms = killed.at_ms.min(from - MAY_BE_LOST_MS);
                    }
                }
            }
        }
        let ill = (from, now_ms());
        match what {
            "crash" | "fail-over" => self.replicas.iter_mut().for_each(|it| it.ill.push(ill)),
            _ => self.replicas[place].ill.push(ill),
        }
        if what == "fail-over" {
            // One who is killed now could not store again what the new database lacks.
            self.ask("rollout.list", json!({})).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Faults go on until a rollout has ended, and then some.
    async fn play(&mut self, users: &Users, id: &str, faults: usize) -> Value {
        for fault in 0.. {
            assert!(fault < 60, "it does not come to an end");
            let pause = self.draws.random_range(0..3_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if fault < faults {
                self.fault(users).await;
            } else {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let sql = "SELECT status FROM rollouts WHERE id = $1 AND NOT is_live";
            let ended: Result<Option<String>, _> = sqlx::query_scalar(sql)
                .bind(id)
                .fetch_optional(&self.database)
                .await;
            if let Ok(Some(status)) = ended
                && fault + 1 >= faults
            {
                return serde_json::from_str(&status).unwrap();
            }
        }
        unreachable!("faults end")
    }

    /// Waits until all replicas serve this share.
    async fn all_serve(&self, share: f64) {
        for replica in &self.replicas {
            eventually(PATIENCE, async || {
                let flags = replica.process.call("featureFlags.get", json!({})).await;
                match &flags {
                    Some(Ok(flags)) if flags["tasks"][0]["share"] == share => Ok(()),
                    _ => Err(format!("{flags:?}")),
                }
            })
            .await;
        }
    }

    async fn at_ms(&self, id: &str, action: &str) -> i64 {
        let sql = "SELECT MAX(at_ms) FROM rollout_audit WHERE rollout_id = $1 AND action = $2";
        let query = sqlx::query_scalar(sql).bind(id).bind(action);
        query.fetch_one(&self.database).await.unwrap()
    }

    /// Whether a replica was well for long enough at this time.
    fn was_well(&self, url: &str, at_ms: i64) -> bool {
        let there = self.replicas.iter().map(|it| (&it.process.url, &it.ill));
        let gone = self.gone.iter().map(|(url, ill)| (url, ill));
        let mut of = there.chain(gone).filter(|(it, _)| *it == url);
        of.all(|(_, ill)| {
            ill.iter()
                .all(|(from, to)| !(*from..=*to + CONVERGED_MS).contains(&at_ms))
        })
    }

    /// From some seconds after `from_ms` to `to_ms` only this side answers, where replicas are well.
    fn check_side(&self, seen: &Seen, variant: &str, (from_ms, to_ms): (i64, i64)) {
        let wrong: Vec<_> = (seen.answers.iter())
            .filter(|it| (from_ms + CONVERGED_MS..to_ms).contains(&it.began_ms))
            .filter(|it| it.variant != variant && self.was_well(&it.replica, it.began_ms))
            .map(|it| (it.began_ms - from_ms, it))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} of {variant}: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(3)]
        );
    }

    /// Who got the candidate and then control while a share rose: at a process that has only begun.
    fn flaps(seen: &Seen, (from_ms, to_ms): (i64, i64)) -> Vec<String> {
        let mut of: HashMap<&Who, i64> = HashMap::new();
        let mut flaps = Vec::new();
        let mut answers: Vec<_> = seen.answers.iter().collect();
        answers.sort_by_key(|it| it.began_ms);
        for answer in answers
            .iter()
            .filter(|it| (from_ms..to_ms).contains(&it.began_ms))
        {
            if answer.variant == "candidate" {
                of.entry(&answer.who).or_insert(answer.at_ms);
            } else if let Some(at_ms) = of.get(&answer.who)
                && answer.began_ms > at_ms + CONVERGED_MS
            {
                flaps.push(format!("{answer:?}"));
            }
        }
        flaps
    }
}

/// The test that `scripts/long fleet` runs; without its settings there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_users_saw_is_what_the_log_says_whatever_fails() {
    let [replicas, rounds, seed] = VARIABLES.map(|name| std::env::var(name).ok());
    let Some(replicas) = replicas else { return };
    let rounds: u64 = rounds.map_or(1, |it| it.parse().unwrap());
    let first: u64 = seed.map_or(1, |it| it.parse().unwrap());
    for seed in first..first + rounds {
        say(&format!("seed {seed}"));
        let Some(ground) = Ground::new(replicas.parse().unwrap(), seed).await else {
            return;
        };
        judge(ground).await;
    }
}

async fn judge(mut ground: Ground) {
    let key = ground.ask("keys.create", json!({"name": "judge"})).await;
    let key = key["key"].as_str().unwrap().to_owned();
    let processes = ground.replicas.iter().map(|it| &it.process);
    let mut users = Users::round(&ground.setup, processes, 2..=16).await;
    for user in 0..15 {
        users.add(Who::Of(format!("customer-{user}")), key.clone());
    }
    users.until_answered(100).await;

    let good = ground.begin("good").await;
    let began_ms = now_ms();
    let status = ground.play(&users, &good, 8).await;
    assert_eq!(status["state"]["name"], "completed", "{status}");
    ground.all_serve(100.0).await;
    users.until_answered(100).await;

    let bad_ms = now_ms();
    let bad = ground.begin("bad").await;
    let status = ground.play(&users, &bad, 4).await;
    assert_eq!(status["state"]["name"], "rolled-back", "{status}");
    ground.all_serve(0.0).await;
    users.until_answered(200).await;
    let seen = users.stop().await;
    let end_ms = now_ms();

    let fleet = Fleet::at(ground.setup.clone(), ground.database.clone());
    fleet.check_order().await;
    seen.check(&ground.database, &ground.killed).await;
    for id in [&good, &bad] {
        fleet.check_replay(id).await;
    }
    let completed_ms = ground.at_ms(&good, "completed").await;
    ground.check_side(&seen, "candidate", (completed_ms, bad_ms));
    let rolled_back_ms = ground.at_ms(&bad, "rolled-back").await;
    ground.check_side(&seen, "control", (rolled_back_ms, end_ms));
    let flaps = Ground::flaps(&seen, (began_ms, bad_ms));
    let alerts = fleet.number("SELECT COUNT(*) FROM alerts WHERE kind = 'rolled-back'");
    assert_eq!(alerts.await, 1);
    let mut refused = HashMap::<_, usize>::new();
    for refusal in &seen.refusals {
        let kind = matches!(refusal.who, Who::Of(_));
        *refused.entry((kind, refusal.status)).or_default() += 1;
    }
    say(&format!(
        "{} answers, {} flaps, refused (by a key, status): {refused:?}",
        seen.answers.len(),
        flaps.len()
    ));
    for flap in flaps.iter().take(5) {
        say(flap);
    }
    let of_keys: Vec<_> = seen
        .refusals
        .iter()
        .filter(|it| matches!(it.who, Who::Of(_)))
        .collect();
    assert!(
        of_keys.is_empty(),
        "{:#?}",
        &of_keys[..of_keys.len().min(3)]
    );
}
