//! The kill switch over kills of the process, and over a full disk.

use std::{collections::BTreeMap, path::Path, time::Duration};

use modelramp::{
    _core::caller::Role,
    app,
    config::{Config, Sources},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tokio::process::Command;

use crate::support::{http_client, process::ServerProcess};

const KILLS: u32 = 12;
/// A process lives for so many milliseconds after it listens.
const LIFE_MS: std::ops::Range<u64> = 10..500;
/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    process: ServerProcess,
    http: reqwest::Client,
    admin: String,
}

struct Ground {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    admin: String,
}

impl Ground {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("flags.db").display());
        let environment: BTreeMap<String, String> = [
            ("APP_ENV", "test".to_owned()),
            ("PORT", "0".to_owned()),
            ("DATABASE_URL", database),
            ("LOG_LEVEL", "warn".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let config = Config::load(&Sources {
            environment: environment.clone(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        });
        let config = config.unwrap();
        let admin = app::issue_token(&config, 1, Role::Admin, None, chrono::Utc::now());
        let admin = admin.await.unwrap();
        Self {
            folder,
            environment,
            admin,
        }
    }

    async fn serve(&self) -> Server {
        // A file that may not grow is an error to it, as on a full disk, and not a signal.
        let mut command = Command::new("sh");
        command.args(["-c", r#"trap "" XFSZ; exec "$0" serve"#]);
        command.arg(env!("CARGO_BIN_EXE_modelramp"));
        let folder: &Path = self.folder.path();
        Server {
            process: ServerProcess::start(command, &self.environment, folder).await,
            http: http_client(),
            admin: self.admin.clone(),
        }
    }

    async fn stored(&self) -> (i64, f64, bool) {
        let url = &self.environment["DATABASE_URL"];
        let mut connection = SqliteConnection::connect(url).await.unwrap();
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
    async fn call(&self, method: &str, params: Value) -> Option<Result<Value, Value>> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self.http.post(format!("{}/rpc", self.process.url));
        let request = request.bearer_auth(&self.admin).json(&call);
        let response = request.timeout(PATIENCE).send().await.ok()?;
        let mut reply: Value = response.json().await.ok()?;
        Some(match reply.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(reply["error"].take()),
        })
    }

    async fn flags(&self, method: &str, params: Value) -> Value {
        let answer = self.call(&format!("featureFlags.{method}"), params).await;
        answer.unwrap().unwrap()
    }

    async fn readiness(&self) -> (u16, String) {
        let response = self.http.get(format!("{}/readyz", self.process.url));
        let response = response.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn until_ready(&self, is: bool) -> String {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let (status, text) = self.readiness().await;
                if (status == 200) == is {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        waited.await.expect("readiness does not change")
    }

    async fn limit_files(&self, bytes: &str) {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.process.id().to_string()]);
        let status = command.arg(format!("--fsize={bytes}:")).status().await;
        assert!(status.unwrap().success());
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
    let ground = Ground::new().await;
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
                match server.call(&format!("featureFlags.{method}"), params).await {
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
    let ground = Ground::new().await;
    let mut server = ground.serve().await;
    let raised = json!({"percent": 40, "reason": "up"});
    assert_eq!(server.flags("setShare", raised).await["stored"], true);
    server.until_ready(true).await;
    server.limit_files("0").await;
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
    let refused = server.call("featureFlags.kill", off).await.unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(refused["data"]["code"], "SERVICE_UNAVAILABLE", "{refused}");
    let waited = tokio::time::timeout(PATIENCE, async {
        while !server.readiness().await.1.contains("is full") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("the disk is told to be full");
    assert_eq!(ground.stored().await, (1, 40.0, false));

    server.limit_files("unlimited").await;
    server.until_ready(true).await;
    assert_eq!(server.flags("get", json!({})).await["stored"], true);
    server.process.kill().await;
    let server = ground.serve().await;
    let state = server.flags("get", json!({})).await;
    assert_eq!(place(&state), (2, 40.0, true));
    assert_eq!(state["reason"], "the disk is full, and the model wrong");
}
