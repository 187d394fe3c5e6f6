//! PostgreSQL out of reach of all replicas: programs are answered, and each replica takes a candidate that fails
//! from its own users.

use std::{io::Write, path::PathBuf};

use serde_json::json;
use sqlx::postgres::PgPoolOptions;

use super::{
    Fleet,
    link::{Link, Network},
    users::{Users, Who},
};
use crate::support::{postgres, wait::until};

/// Users of one program.
const CUSTOMERS: usize = 20;
/// Answers of one replica in a row by which nobody gets the candidate any more.
const IN_A_ROW: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_programs_are_answered_and_each_replica_takes_a_candidate_back() {
    let Some(url) = postgres::database().await else {
        return;
    };
    let folder = url.split_once("?host=").unwrap().1;
    let socket = PathBuf::from(folder).join(".s.PGSQL.5432");
    let setup = Fleet::setup(&url);
    let (mut replicas, mut links) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let link = Link::to(socket.clone()).await;
        let setup = setup.clone().with_setting("DATABASE_URL", link.url(&url));
        replicas.push(setup.spawn().await);
        links.push(link);
    }
    let pool = PgPoolOptions::new().max_connections(2);
    let fleet = Fleet {
        setup,
        replicas,
        database: pool.connect(&url).await.unwrap(),
    };
    let leader = fleet.leader().await;
    let made = fleet
        .call(leader, "keys.create", json!({"name": "program"}))
        .await
        .unwrap();
    let key = made["key"].as_str().unwrap();
    for replica in &fleet.replicas {
        let models = replica.http.get(format!("{}/v1/models", replica.url));
        let answer = models.bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), 200, "the key is known from now on");
    }
    let id = fleet.begin(leader, "bad").await;
    for replica in 0..2 {
        fleet.serves(replica, 50.0).await;
    }

    links.iter().for_each(|link| link.set(Network::HalfOpen));
    std::io::stdout()
        .write_all(b"the network is half-open, by a TCP proxy before each replica\n")
        .unwrap();
    let mut users = Users::of(&fleet.replicas);
    for customer in 0..CUSTOMERS {
        users.add(Who::Of(format!("customer-{customer}")), key.to_owned());
    }
    for replica in &fleet.replicas {
        until("nobody gets the candidate", async || {
            users
                .last_of(replica, IN_A_ROW)
                .iter()
                .all(|variant| variant == "control")
        })
        .await;
    }
    let rollouts = "SELECT COUNT(*) FROM rollouts WHERE version = 1";
    assert_eq!(
        fleet.number(rollouts).await,
        1,
        "the database knows nothing of it"
    );
    links.iter().for_each(|link| link.set(Network::Whole));
    until("it is stored", async || {
        let rolled_back = "SELECT COUNT(*) FROM rollout_audit WHERE action = 'rolled-back'";
        fleet.number(rolled_back).await == 1
    })
    .await;
    let seen = users.stop().await;
    assert!(seen.last_begun("candidate") > 0, "some got it before");
    assert!(seen.refusals.is_empty(), "{:?}", seen.refusals);
    fleet.check_order().await;
    seen.check(&fleet.database, &[]).await;
    fleet.check_replay(&id).await;
    let alerts = "SELECT COUNT(*) FROM alerts WHERE kind = 'rolled-back'";
    assert_eq!(fleet.number(alerts).await, 1);
}
