//! Three processes on one PostgreSQL that behave as one: users go round them while processes are stopped,
//! killed and frozen. What users saw is then compared with the log, request by request.

mod alike;
mod away;
mod behind;
mod cluster;
mod flow;
mod ills;
mod judge;
mod link;
mod quota;
mod users;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};

use self::users::Users;
use crate::support::{
    app::{TestApp, TestAppBuilder},
    postgres,
    process::TestProcess,
    trusty::{CATALOGUE, SANDBOX},
    wait::{PATIENCE, eventually, until},
};

/// How many replicas there are.
const SIZE: &str = "MODELRAMP_FLEET_SIZE";
/// A process that says nothing loses the lease after 10 s, and others look several times a second.
const TAKEOVER: Duration = Duration::from_secs(15);

/// A plan that stays at half of the users for as long as a test lasts.
fn plan(candidate: &str) -> String {
    format!(
        "name = \"fleet-{candidate}\"\ntasks = [\"chat\"]\ndeadline = \"1h\"\nholdout = 0\n\
         control = [\"trusty\"]\ncandidate = [\"{candidate}\", \"trusty\"]\n\
         [no_traffic]\nalert_after = \"10m\"\nhold = false\n\
         [evidence]\ngood_error_rate = 0.4\nmax_error_rate = 0.6\noutage_period = \"0s\"\nweights = {{ errors = 1 }}\n\
         [[stages]]\nshare = 50\nsoak = \"1h\"\nmin_requests = 8\nmin_users = 2\nmin_time = \"1h\"\n"
    )
}

struct Fleet {
    setup: TestAppBuilder,
    replicas: Vec<TestProcess>,
    database: PgPool,
}

impl Fleet {
    /// What all replicas on this database have in common.
    fn setup(database: &str) -> TestAppBuilder {
        TestApp::builder()
            .with_setting("DATABASE_URL", database)
            .with_setting("JWT_SECRET", "a secret of the fleet's tests, long enough")
            .with_catalog(CATALOGUE)
            .with_sandbox(SANDBOX)
            .with_busy_users()
    }

    /// Three, or as many as `scripts/long size` wants; `None` where PostgreSQL is not installed.
    async fn start() -> Option<Self> {
        let wanted = std::env::var(SIZE).ok();
        Self::of(wanted.map_or(3, |it| it.parse().unwrap())).await
    }

    async fn of(count: usize) -> Option<Self> {
        let url = postgres::database().await?;
        let setup = Self::setup(&url);
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(setup.spawn().await);
        }
        let pool = PgPoolOptions::new().max_connections(2);
        let fleet = Self {
            setup,
            replicas,
            database: pool.connect(&url).await.unwrap(),
        };
        fleet.leader().await;
        Some(fleet)
    }

    /// Waits until one of them leads and says which.
    async fn leader(&self) -> usize {
        eventually(TAKEOVER + PATIENCE, async || {
            let mut said = Vec::new();
            for (place, replica) in self.replicas.iter().enumerate() {
                let pulse = replica.call("dashboard.pulse", json!({}));
                let pulse = tokio::time::timeout(Duration::from_secs(2), pulse).await;
                if let Ok(Some(Ok(pulse))) = pulse {
                    said.push((place, pulse["controller"].clone()));
                }
            }
            match said.iter().find(|(_, leader)| leader == "here") {
                Some((place, _)) => Ok(*place),
                None => Err(said),
            }
        })
        .await
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.replicas.len()
    }

    async fn call(&self, replica: usize, method: &str, params: Value) -> Result<Value, Value> {
        let answer = self.replicas[replica].call(method, params).await;
        answer.expect("the replica answers")
    }

    async fn begin(&self, replica: usize, candidate: &str) -> String {
        let params = json!({"plan": plan(candidate), "reason": "a test", "takeBack": true});
        let started = self.call(replica, "rollout.start", params).await.unwrap();
        started["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a replica serves this share of the task.
    async fn serves(&self, replica: usize, share: f64) {
        eventually(PATIENCE, async || {
            let flags = self.call(replica, "featureFlags.get", json!({})).await;
            let flags = flags.unwrap();
            let served = flags["tasks"][0]["share"].as_f64();
            if served == Some(share) {
                Ok(())
            } else {
                Err(flags)
            }
        })
        .await;
    }

    /// What all replicas said of themselves, once it is as wanted.
    async fn says(&self, replica: usize, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(PATIENCE, async || {
            let fleet = self.call(replica, "system.fleet", json!({})).await;
            match fleet {
                Ok(fleet) if is_so(&fleet) => Ok(fleet),
                other => Err(other),
            }
        })
        .await
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.database)
            .await
            .unwrap()
    }

    /// Waits until all that is stored has its place, and checks that each batch has one, without a gap.
    async fn check_order(&self) {
        until("all that is stored has its place", async || {
            let without = "SELECT COUNT(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM event_order o \
                           WHERE o.writer = e.writer AND o.batch = e.batch)";
            self.number(without).await == 0
        })
        .await;
        let gaps = "SELECT COUNT(*) FROM (SELECT first_seq, LAG(first_seq + events) OVER (ORDER BY first_seq) \
                    AS expected FROM event_order) AS places WHERE first_seq <> COALESCE(expected, 1)";
        assert_eq!(self.number(gaps).await, 0, "places follow each other");
        let sizes = "SELECT COUNT(*) FROM event_order o WHERE o.events <> (SELECT COUNT(*) FROM events e \
                     WHERE e.writer = o.writer AND e.batch = o.batch)";
        assert_eq!(self.number(sizes).await, 0, "batches are whole");
        let backwards = "SELECT COUNT(*) FROM (SELECT batch, LAG(batch) OVER (PARTITION BY writer \
                         ORDER BY first_seq) AS before FROM event_order) AS batches WHERE batch <= before";
        assert_eq!(
            self.number(backwards).await,
            0,
            "each in its writer's order"
        );
    }

    /// The log gives the same decisions again, bit for bit.
    async fn check_replay(&self, rollout: &str) {
        let mut command = self.setup.command(&["rollout", "replay", rollout]);
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{error}");
    }

    /// One without processes, for what the database has.
    fn at(setup: TestAppBuilder, database: PgPool) -> Self {
        Self {
            setup,
            replicas: Vec::new(),
            database,
        }
    }

    async fn signal(&self, replica: usize, signal: &str) {
        Self::send(&self.replicas[replica], signal).await;
    }

    async fn send(process: &TestProcess, signal: &str) {
        let id = process.id().to_string();
        let sent = tokio::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_all_replicas_are_judged_together_and_taken_back_everywhere() {
    let Some(mut fleet) = Fleet::start().await else {
        return;
    };
    let leader = fleet.leader().await;
    let id = fleet.begin(leader, "bad").await;
    for replica in fleet.all() {
        fleet.serves(replica, 50.0).await;
    }
    // Only at those that follow: what they see has to reach the one that leads.
    let users = Users::start(&fleet.setup, &fleet.replicas, |it| it != leader).await;
    for replica in fleet.all() {
        fleet.serves(replica, 0.0).await;
    }
    let seen = users.stop().await;
    fleet.check_order().await;
    seen.check(&fleet.database, &[]).await;
    fleet.check_replay(&id).await;
    let deciding = "SELECT MAX(e.at_ms) FROM events e JOIN event_order o USING (writer, batch) \
                    WHERE e.variant = 'candidate' AND o.first_seq + e.place <= (SELECT event_cursor \
                    FROM rollouts)";
    let deciding = fleet.number(deciding).await;
    let told = format!(
        "from the deciding event to the last request that began with the candidate: {} ms\n",
        seen.last_begun("candidate") - deciding
    );
    std::io::stdout().write_all(told.as_bytes()).unwrap();
    let rolled_back = "SELECT COUNT(*) FROM alerts WHERE kind = 'rolled-back'";
    assert_eq!(fleet.number(rolled_back).await, 1);

    // The figures are the fleet's, whoever is asked.
    let requests = seen.answered() as u64;
    for replica in fleet.all() {
        eventually(PATIENCE, async || {
            let summary = fleet.call(replica, "aiMetrics.getSummary", json!({"lastMinutes": 60}));
            let summary = summary.await.unwrap();
            let total = summary["totalRequests"].as_u64();
            if total.is_some_and(|it| it >= requests) {
                Ok(())
            } else {
                Err((requests, summary))
            }
        })
        .await;
    }
    if std::env::var(SIZE).is_ok() {
        let mut leader = fleet.replicas.remove(leader);
        let killed = Instant::now();
        leader.kill().await;
        fleet.leader().await;
        let told = format!("another leads after {} ms\n", killed.elapsed().as_millis());
        std::io::stdout().write_all(told.as_bytes()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_may_be_asked_of_any_replica() {
    let Some(fleet) = Fleet::start().await else {
        return;
    };
    let leader = fleet.leader().await;
    let [asked, other] = [1, 2].map(|it| (leader + it) % 3);
    let id = fleet.begin(asked, "good").await;
    for replica in fleet.all() {
        fleet.serves(replica, 50.0).await;
    }
    // What a server has in force it tells within a moment: those that have told nothing of it agree as well.
    let told = |it: &Value| {
        let replicas = it["replicas"].as_array().unwrap();
        replicas.iter().all(|it| it["inForce"][1]["of"] == id)
    };
    let said = fleet
        .says(other, |it| {
            told(it) && it["agree"] == true && it["leader"].is_string()
        })
        .await;
    let replicas = said["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 3, "{said}");
    assert!(replicas.iter().all(|it| it["state"] == "alive"), "{said}");
    let mut command = (fleet.setup).command(&["fleet", "--url", &fleet.replicas[asked].url]);
    command.env("MODELRAMP_TOKEN", &fleet.replicas[asked].admin);
    let shown = command.output().await.unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.starts_with("3 live and agree; "), "{shown}");

    let change = |version: i64, percent: f64| json!({"id": id, "version": version, "percent": percent, "reason": "a test"});
    let less = fleet.call(asked, "rollout.setShare", change(1, 20.0)).await;
    assert_eq!(less.unwrap()["version"], 2);
    fleet.serves(other, 20.0).await;
    let stale = fleet.call(other, "rollout.setShare", change(1, 10.0)).await;
    let stale = stale.unwrap_err();
    assert_eq!(stale["data"]["code"], "CONFLICT", "{stale}");
    assert_eq!(stale["data"]["details"]["current"]["version"], 2, "{stale}");
    let more = fleet.call(other, "rollout.setShare", change(2, 30.0)).await;
    assert_eq!(more.unwrap()["share"], 30.0);
    for replica in fleet.all() {
        fleet.serves(replica, 30.0).await;
    }

    // Nobody leads: what lowers is in force where it was asked, and handed over to whoever leads next.
    fleet.signal(leader, "-STOP").await;
    let back = json!({"id": id, "version": 3, "reason": "it is wrong"});
    let pending = fleet.call(asked, "rollout.rollback", back).await;
    if let Err(error) = &pending {
        assert_eq!(error["data"]["code"], "SERVICE_UNAVAILABLE", "{error}");
    }
    fleet.serves(asked, 0.0).await;
    fleet.serves(other, 0.0).await;
    fleet.signal(leader, "-CONT").await;
    fleet.serves(leader, 0.0).await;
    let history = fleet
        .call(leader, "rollout.history", json!({"id": id}))
        .await;
    let history = history.unwrap();
    let actions: Vec<_> = (history.as_array().unwrap().iter())
        .map(|line| {
            (
                line["action"].as_str().unwrap(),
                line["actor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("started", "user:1"),
            ("share-set", "user:1"),
            ("share-set", "user:1"),
            ("rolled-back", "user:1"),
        ]
    );
    fleet.check_replay(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_counted_twice_while_replicas_die_and_freeze() {
    let Some(mut fleet) = Fleet::start().await else {
        return;
    };
    let first = fleet.leader().await;
    let id = fleet.begin(first, "good").await;
    for replica in fleet.all() {
        fleet.serves(replica, 50.0).await;
    }
    let users = Users::start(&fleet.setup, &fleet.replicas, |_| true).await;
    users.until_answered(300).await;

    // Frozen, it loses the lease; awake again, it follows and gives what it had.
    fleet.signal(first, "-STOP").await;
    let second = fleet.leader().await;
    assert_ne!(second, first);
    fleet.signal(first, "-CONT").await;
    users.until_answered(300).await;

    // Killed, each loses its last second at most.
    let mut killed = Vec::new();
    let follower = (0..3).find(|it| *it != second && *it != first).unwrap();
    killed.push(users.leave(&fleet.replicas[follower]));
    fleet.replicas[follower].kill().await;
    users.until_answered(100).await;
    killed.push(users.leave(&fleet.replicas[second]));
    fleet.replicas[second].kill().await;
    assert_eq!(fleet.leader().await, first);
    users.until_answered(100).await;

    // Stopped, it gives the lease back; a new process takes it at once.
    let third = fleet.setup.spawn().await;
    fleet.replicas[first].terminate().await;
    users.leave(&fleet.replicas[first]);
    fleet.replicas = vec![third];
    fleet.leader().await;
    fleet
        .says(0, |it| {
            let replicas = it["replicas"].as_array().unwrap().iter();
            replicas.filter(|it| it["state"] == "stopped").count() == 1
        })
        .await;
    fleet.serves(0, 50.0).await;
    let seen = users.stop().await;
    fleet.check_order().await;
    seen.check(&fleet.database, &killed).await;
    fleet.check_replay(&id).await;
}
