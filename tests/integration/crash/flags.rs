//! The kill switch over kills of the process, and over a full disk.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    process::TestProcess,
    wait::{PATIENCE, eventually, until},
};

const KILLS: u32 = 12;
/// A process lives for so many milliseconds after it listens.
const LIFE_MS: std::ops::Range<u64> = 10..500;

struct Server {
    process: TestProcess,
}

struct Ground {
    setup: TestAppBuilder,
}

impl Ground {
    fn new() -> Self {
        Self {
            setup: TestApp::builder(),
        }
    }

    async fn serve(&self) -> Server {
        Server {
            process: self.setup.spawn_beside_full_disks().await,
        }
    }

    async fn stored(&self) -> (i64, f64, bool) {
        let mut connection = SqliteConnection::connect(self.setup.database())
            .await
            .unwrap();
        let (version, share, killed): (i64, String, bool) =
            sqlx::query_as("SELECT version, share, killed FROM live_flags")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        connection.close().await.unwrap();
        (version, share.parse().unwrap(), killed)
    }
}

impl Server {
    async fn flags(&self, method: &str, params: Value) -> Value {
        let answer = self
            .process
            .call(&format!("featureFlags.{method}"), params)
            .await;
        answer.unwrap().unwrap()
    }

    async fn readiness(&self) -> (u16, String) {
        let response = self
            .process
            .http
            .get(format!("{}/readyz", self.process.url));
        let response = response.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn until_ready(&self, is: bool) -> String {
        eventually(PATIENCE, async || {
            let (status, text) = self.readiness().await;
            if (status == 200) == is {
                Ok(text)
            } else {
                Err(text)
            }
        })
        .await
    }
}

fn place(answer: &Value) -> (i64, f64, bool) {
    (
        answer["version"].as_i64().unwrap(),
        answer["share"].as_f64().unwrap(),
        answer["killed"].as_bool().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_to_be_stored_outlives_any_kill() {
    let mut draws = StdRng::seed_from_u64(7);
    let ground = Ground::new();
    let mut acknowledged = (0, 0.0, false);
    for kill in 0..KILLS {
        let server = ground.serve().await;
        let read = place(&server.flags("get", json!({})).await);
        assert_eq!(
            read,
            ground.stored().await,
            "a start reads before it serves"
        );
        assert!(
            read.0 >= acknowledged.0,
            "kill {kill}: {read:?} {acknowledged:?}"
        );
        if read.0 == acknowledged.0 {
            assert_eq!(read, acknowledged, "kill {kill}");
        }
        acknowledged = read;
        let life = Duration::from_millis(draws.random_range(LIFE_MS));
        let seed = draws.random();
        let changes = async {
            let mut draws = StdRng::seed_from_u64(seed);
            loop {
                let (method, params) = if draws.random_bool(0.6) {
                    let on = draws.random_bool(0.5);
                    ("kill", json!({"on": on, "reason": "a crash test"}))
                } else {
                    let percent = draws.random_range(0..=100);
                    (
                        "setShare",
                        json!({"percent": percent, "reason": "a crash test"}),
                    )
                };
                match server
                    .process
                    .call(&format!("featureFlags.{method}"), params)
                    .await
                {
                    Some(Ok(answer)) if answer["stored"] == true => acknowledged = place(&answer),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(life, changes).await;
        let mut server = server;
        server.process.kill().await;
    }
    assert!(acknowledged.0 > i64::from(KILLS), "{acknowledged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_on_a_full_disk_is_in_force_told_as_owed_and_stored_once_there_is_room() {
    let ground = Ground::new();
    let mut server = ground.serve().await;
    let raised = json!({"percent": 40, "reason": "up"});
    assert_eq!(server.flags("setShare", raised).await["stored"], true);
    server.until_ready(true).await;
    server.process.limit_files("0").await;
    let kill = json!({"on": true, "reason": "the disk is full, and the model wrong"});
    let killed = server.flags("kill", kill).await;
    assert_eq!(
        (&killed["killed"], &killed["stored"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(killed["tasks"][0]["share"], 0.0);
    let reasons = server.until_ready(false).await;
    assert!(reasons.contains("not stored yet"), "{reasons}");
    let off = json!({"on": false, "reason": "all is well"});
    let refused = server.process.call("featureFlags.kill", off).await.unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(refused["data"]["code"], "SERVICE_UNAVAILABLE", "{refused}");
    until("the disk is told to be full", async || {
        server.readiness().await.1.contains("is full")
    })
    .await;
    assert_eq!(ground.stored().await, (1, 40.0, false));

    server.process.limit_files("unlimited").await;
    server.until_ready(true).await;
    assert_eq!(server.flags("get", json!({})).await["stored"], true);
    server.process.kill().await;
    let server = ground.serve().await;
    let state = server.flags("get", json!({})).await;
    assert_eq!(place(&state), (2, 40.0, true));
    assert_eq!(state["reason"], "the disk is full, and the model wrong");
}
