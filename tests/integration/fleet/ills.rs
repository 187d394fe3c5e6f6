//! What fails without taking the database away: it is full, may only be read, refuses an event, or lets a connection die in
//! silence; and a replica whose clock is wrong.

use std::{io::Write, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgPoolOptions};

use super::{
    Fleet,
    link::Link,
    users::{Users, Who},
};
use crate::support::{
    postgres,
    process::TestProcess,
    wait::{PATIENCE, eventually, until},
};

/// Answers of one replica in a row by which nobody gets the candidate any more.
const IN_A_ROW: usize = 20;

/// Each table that grows with every request refuses a line as a full disk does.
const FULL: [&str; 4] = [
    "CREATE FUNCTION full_disk() RETURNS TRIGGER LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
    "CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()",
    "CREATE TRIGGER full_disk BEFORE INSERT ON messages EXECUTE FUNCTION full_disk()",
    "CREATE TRIGGER full_disk BEFORE INSERT ON rollout_audit EXECUTE FUNCTION full_disk()",
];
const ROOM: [&str; 1] = ["DROP FUNCTION full_disk() CASCADE"];

/// A way to the server beside the replicas', for what is done to their database.
struct Above {
    connection: PgConnection,
    database: String,
}

impl Above {
    async fn of(url: &str) -> Self {
        let (server, folder) = url.split_once("?host=").unwrap();
        let (server, database) = server.rsplit_once('/').unwrap();
        let above = format!("{server}/postgres?host={folder}");
        Self {
            connection: PgConnection::connect(&above).await.unwrap(),
            database: database.to_owned(),
        }
    }

    async fn run(&mut self, sql: String) {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut self.connection);
        done.await.unwrap();
    }

    /// As a standby that is not promoted yet answers in the place of the server of before, or one that was.
    async fn may_write(&mut self, may: bool) {
        let (database, off_or_on) = (self.database.clone(), if may { "off" } else { "on" });
        let set =
            format!("ALTER DATABASE {database} SET default_transaction_read_only = {off_or_on}");
        self.run(set).await;
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ";
        self.run(format!("{ends}'{database}'")).await;
    }
}

impl Fleet {
    async fn do_all(&self, statements: &'static [&'static str]) {
        for sql in statements {
            sqlx::query(*sql).execute(&self.database).await.unwrap();
        }
    }

    /// A key that every replica has checked.
    async fn key(&self) -> String {
        let made = self.call(0, "keys.create", json!({"name": "program"}));
        let key = made.await.unwrap()["key"].as_str().unwrap().to_owned();
        for replica in &self.replicas {
            let models = replica.http.get(format!("{}/v1/models", replica.url));
            let answer = models.bearer_auth(&key).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        key
    }

    /// Customers of a program, who go round all replicas.
    fn customers(&self, key: &str) -> Users {
        let mut users = Users::of(&self.replicas);
        for customer in 0..20 {
            users.add(Who::Of(format!("customer-{customer}")), key.to_owned());
        }
        users
    }

    async fn until_nobody_gets_the_candidate(&self, users: &Users) {
        for replica in &self.replicas {
            until("nobody gets the candidate", async || {
                let last = users.last_of(replica, IN_A_ROW);
                last.iter().all(|variant| variant == "control")
            })
            .await;
        }
    }

    async fn until_stored(&self, action: &str) {
        until("it is stored", async || {
            let sql = "SELECT COUNT(*) FROM rollout_audit WHERE action = $1";
            let count = sqlx::query_scalar::<_, i64>(sql).bind(action);
            matches!(count.fetch_one(&self.database).await, Ok(1))
        })
        .await;
    }
}

/// Whatever keeps the database from being written: programs are answered, each replica takes a failing candidate from its own
/// users, chat is refused, and all comes back by itself.
async fn nothing_can_be_written(ill: impl AsyncFn(&Fleet), well: impl AsyncFn(&Fleet)) {
    let Some(fleet) = Fleet::of(2).await else {
        return;
    };
    let id = fleet.begin(0, "bad").await;
    for replica in 0..2 {
        fleet.serves(replica, 50.0).await;
    }
    let key = fleet.key().await;
    ill(&fleet).await;
    let users = fleet.customers(&key);
    fleet.until_nobody_gets_the_candidate(&users).await;
    let made = fleet.call(0, "chat.createConversation", json!({})).await;
    let sent = match made {
        Ok(made) => {
            let message = json!({"conversationId": made["id"], "content": "hej"});
            fleet.call(0, "chat.sendMessage", message).await
        }
        refused => refused,
    };
    let refused = sent.expect_err("chat is stored first");
    assert_eq!(refused["data"]["code"], "SERVICE_UNAVAILABLE", "{refused}");
    let rolled_back = "SELECT COUNT(*) FROM rollout_audit WHERE action = 'rolled-back'";
    assert_eq!(fleet.number(rolled_back).await, 0);

    well(&fleet).await;
    fleet.until_stored("rolled-back").await;
    let seen = users.stop().await;
    assert!(seen.refusals.is_empty(), "{:?}", seen.refusals);
    assert!(seen.last_begun("candidate") > 0, "some got it before");
    fleet.check_order().await;
    seen.check(&fleet.database, &[]).await;
    fleet.check_replay(&id).await;
    let alerts = "SELECT COUNT(*) FROM alerts WHERE kind = 'rolled-back'";
    assert_eq!(fleet.number(alerts).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_programs_are_answered_and_a_failing_candidate_is_taken_back() {
    let ill = async |fleet: &Fleet| fleet.do_all(&FULL).await;
    let well = async |fleet: &Fleet| fleet.do_all(&ROOM).await;
    nothing_can_be_written(ill, well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_the_leader_cannot_store_is_in_force_there_and_not_answered_as_done() {
    let Some(fleet) = Fleet::start().await else {
        return;
    };
    let leader = fleet.leader().await;
    let id = fleet.begin(leader, "good").await;
    for replica in fleet.all() {
        fleet.serves(replica, 50.0).await;
    }
    fleet.do_all(&FULL).await;
    let back = json!({"id": id, "version": 1, "reason": "it is wrong"});
    let answer = fleet.call(leader, "rollout.rollback", back).await;
    let answer = answer.unwrap_err();
    assert_eq!(answer["data"]["code"], "SERVICE_UNAVAILABLE", "{answer}");
    let words = answer["message"].as_str().unwrap();
    assert!(
        words.starts_with("It is in force on this server"),
        "{answer}"
    );
    fleet.serves(leader, 0.0).await;
    fleet.do_all(&ROOM).await;
    for replica in fleet.all() {
        fleet.serves(replica, 0.0).await;
    }
    fleet.until_stored("rolled-back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_standby_is_not_promoted_programs_are_answered_and_a_failing_candidate_is_taken_back()
 {
    let may_write = async |fleet: &Fleet, may| {
        let mut above = Above::of(fleet.setup.database()).await;
        above.may_write(may).await;
    };
    let ill = async |fleet: &Fleet| may_write(fleet, false).await;
    let well = async |fleet: &Fleet| may_write(fleet, true).await;
    nothing_can_be_written(ill, well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_postgresql_refuses_is_counted_and_holds_up_no_other() {
    const REFUSED: i64 = 13;
    let Some(fleet) = Fleet::of(2).await else {
        return;
    };
    fleet
        .do_all(&["ALTER TABLE events ADD CHECK (user_id <> 13) NOT VALID"])
        .await;
    let id = fleet.begin(0, "good").await;
    for replica in 0..2 {
        fleet.serves(replica, 50.0).await;
    }
    let users = Users::start(&fleet.setup, &fleet.replicas, |_| true).await;
    users.until_answered(300).await;
    let mut seen = users.stop().await;
    let answered = seen.answers.len();
    seen.answers.retain(|it| it.who != Who::User(REFUSED));
    let refused = answered - seen.answers.len();
    assert!(refused > 0);
    fleet.check_order().await;
    seen.check(&fleet.database, &[]).await;
    fleet.check_replay(&id).await;
    fleet
        .says(0, |it| {
            let replicas = it["replicas"].as_array().unwrap().iter();
            let set_aside = replicas.map(|it| it["setAside"].as_u64().unwrap());
            set_aside.sum::<u64>() >= refused as u64
        })
        .await;
}

/// The world: a firewall that forgets connections. What was sent is not answered, and nothing breaks.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_in_silence_hold_up_nothing_for_ever() {
    let Some(url) = postgres::database().await else {
        return;
    };
    let folder = url.split_once("?host=").unwrap().1;
    let link = Link::to(PathBuf::from(folder).join(".s.PGSQL.5432")).await;
    let setup = Fleet::setup(&url);
    let behind = setup.clone().with_setting("DATABASE_URL", link.url(&url));
    let pool = PgPoolOptions::new().max_connections(2);
    let fleet = Fleet {
        replicas: vec![setup.spawn().await, behind.spawn().await],
        setup,
        database: pool.connect(&url).await.unwrap(),
    };
    fleet.leader().await;
    let key = fleet.key().await;
    let users = fleet.customers(&key);
    users.until_answered(100).await;
    link.forget();
    let kill = json!({"on": true, "reason": "a test"});
    fleet.call(0, "featureFlags.kill", kill).await.unwrap();
    fleet
        .says(0, |it| {
            let replicas = it["replicas"].as_array().unwrap();
            let is_killed = |it: &Value| it["inForce"][0]["version"] == 1;
            replicas.len() == 2 && replicas.iter().all(is_killed) && it["agree"] == true
        })
        .await;
    let seen = users.stop().await;
    assert!(seen.refusals.is_empty(), "{:?}", seen.refusals);
    seen.check(&fleet.database, &[]).await;
}

/// Where Debian's faketime puts what makes a process see another time.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut files = folders.filter_map(|folder| {
        let folder = folder.ok()?.path();
        Some(folder.join("faketime/libfaketimeMT.so.1"))
    });
    files.find(|file| file.exists())
}

impl Fleet {
    /// One more, on whose machine it is an hour later.
    async fn spawn_ahead(&self, faketime: PathBuf) -> TestProcess {
        let mut command = self.setup.command(&["serve"]);
        command.env("LD_PRELOAD", faketime).env("FAKETIME", "+1h");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        self.setup.spawn_by(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_clock_is_wrong_goes_by_that_of_the_database() {
    let Some(faketime) = faketime() else {
        let told = b"faketime is not installed: no clock is wrong\n";
        std::io::stdout().write_all(told).unwrap();
        return;
    };
    let Some(mut fleet) = Fleet::of(1).await else {
        return;
    };
    let wrong = fleet.spawn_ahead(faketime).await;
    fleet.replicas.push(wrong);
    let id = fleet.begin(0, "bad").await;
    for replica in 0..2 {
        fleet.serves(replica, 50.0).await;
    }
    let users = Users::start(&fleet.setup, &fleet.replicas, |it| it == 1).await;
    for replica in 0..2 {
        fleet.serves(replica, 0.0).await;
    }
    let seen = users.stop().await;
    fleet.check_order().await;
    seen.check(&fleet.database, &[]).await;
    fleet.check_replay(&id).await;
    let later = "SELECT COUNT(*) FROM events \
                 WHERE at_ms > EXTRACT(EPOCH FROM clock_timestamp()) * 1000 + 60000";
    assert_eq!(fleet.number(later).await, 0, "events of another hour");
    let requests = seen.answered() as u64;
    for replica in 0..2 {
        eventually(PATIENCE, async || {
            let summary = fleet.call(replica, "aiMetrics.getSummary", json!({"lastMinutes": 10}));
            let summary = summary.await.unwrap();
            let total = summary["totalRequests"].as_u64();
            total.filter(|it| *it >= requests).ok_or(summary)
        })
        .await;
    }
    let said = fleet.says(0, |it| it["agree"] == true).await;
    let ahead = |it: &Value| it["clockAheadMs"].as_i64().unwrap();
    let mut ahead: Vec<_> = (said["replicas"].as_array().unwrap().iter())
        .map(ahead)
        .collect();
    ahead.sort_unstable();
    let hour = Duration::from_secs(3_600).as_millis() as i64;
    let is_near = |ahead: i64, expected: i64| ahead.abs_diff(expected) < 60_000;
    assert!(is_near(ahead[0], 0) && is_near(ahead[1], hour), "{said}");
}
