//! `featureFlags.get`, `aiMetrics.getRolloutStatus` and `models.explain` agree about every task at every
//! moment, whatever is killed, moved, rolled out, taken back, let go, and restarted.
//!
//! The application is the real one over a SQLite file; the controller ticks when it is told to. The
//! sequences are seeded, so a failure names the seed that repeats it.

use chrono::{DateTime, Utc};
use modelramp::{
    _core::{caller::Role, context::Context, errors::RpcError, procedure::Input, tasks::Tasks},
    app::App,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls,
};

const SEEDS: std::ops::Range<u64> = 0..4;
const STEPS: usize = 40;
const USERS: [i64; 4] = [2, 3, 5, 8];

/// One process, without a port.
struct Process {
    /// Its folder, which the database needs for as long as it opens connections.
    _setup: TestAppBuilder,
    app: App,
    tasks: Tasks,
}

impl Process {
    async fn start(setup: &TestAppBuilder) -> Self {
        let app = setup.build().await;
        let tasks = Tasks::default();
        tasks.spawn(app.areas.live.clone().run(tasks.stopping()));
        app.areas.controller.tick().await;
        Self {
            _setup: setup.clone(),
            app,
            tasks,
        }
    }

    async fn end(self) {
        assert!(
            self.tasks
                .shutdown(std::time::Duration::from_secs(30))
                .await
        );
        self.app.areas.storage.close().await;
    }

    async fn call(&self, user: i64, path: &str, input: Value) -> Result<Value, RpcError> {
        let role = if user == 1 { Role::Admin } else { Role::User };
        let context = Context::new(calls::user(user, role), now());
        calls::call(&self.app.registry, context, path, Input::Json(input)).await
    }

    async fn admin(&self, path: &str, input: Value) -> Result<Value, RpcError> {
        self.call(1, path, input).await
    }

    /// The same facts of every task, from all who tell them.
    async fn check(&self, what: &str) {
        let flags = self.admin("featureFlags.get", json!({})).await.unwrap();
        for task in flags["tasks"].as_array().unwrap() {
            let name = &task["task"];
            for user in USERS {
                let status = json!({"task": name});
                let status = self.call(user, "aiMetrics.getRolloutStatus", status);
                let status = status.await.unwrap();
                let explained = self.call(user, "models.explain", json!({"task": name}));
                let explained = explained.await.unwrap();
                let told = [
                    json!([task["share"], task["decidedBy"], task["rollout"]]),
                    json!([
                        status["currentPercentage"],
                        status["decidedBy"],
                        status["rollout"]
                    ]),
                    json!([
                        explained["share"],
                        explained["decidedBy"],
                        explained["rollout"]
                    ]),
                ];
                let (first, others) = told.split_first().unwrap();
                assert!(others.iter().all(|it| it == first), "{what}: {told:?}");
                let is_in = explained["variant"] == "candidate";
                assert_eq!(status["enabled"], is_in, "{what}: {name} of {user}");
                let share = task["share"].as_f64().unwrap();
                assert!(share > 0.0 || !is_in, "{what}: {name} of {user} at 0 %");
                assert!(share < 100.0 || is_in, "{what}: {name} of {user} at 100 %");
                if flags["killed"] == true {
                    assert_eq!((share, &task["decidedBy"]), (0.0, &json!("kill-switch")));
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the controller's clock is real")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Whose live share is this at its first start.
fn at_share(share: &str) -> TestAppBuilder {
    TestApp::builder().with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", share)
}

fn plan(tasks: &[&str]) -> String {
    format!(
        "name = \"own\"\ntasks = {tasks:?}\n[[stages]]\nshare = 30\nsoak = \"1h\"\n\
         [[stages]]\nshare = 60\nsoak = \"1h\"\n"
    )
}

/// One random step; what is refused changes nothing, and is a step as well.
async fn step(process: &Process, draws: &mut StdRng) -> String {
    let share = [0.0, 12.5, 50.0, 100.0][draws.random_range(0..4)];
    let all = process.admin("rollout.list", json!({"all": true})).await;
    let all = all.unwrap();
    let all = all.as_array().unwrap();
    let which = match all.len() {
        0 => json!({"id": "none", "version": 0}),
        n => all[draws.random_range(0..n.min(3))].clone(),
    };
    let on = draws.random_bool(0.5);
    let (path, mut input) = match draws.random_range(0..9) {
        0 => ("featureFlags.kill", json!({"on": on})),
        1 | 2 => ("featureFlags.setShare", json!({"percent": share})),
        3 => {
            let tasks: &[&str] = if on { &["chat"] } else { &[] };
            ("rollout.start", json!({"plan": plan(tasks)}))
        }
        4 => ("rollout.rollback", json!({})),
        5 => ("rollout.advance", json!({})),
        6 => ("rollout.setShare", json!({"percent": share})),
        7 if on => ("rollout.release", json!({"share": share})),
        _ => ("rollout.release", json!({})),
    };
    input["reason"] = json!("a step");
    if path.starts_with("rollout.") && path != "rollout.start" {
        input["id"] = which["id"].clone();
        input["version"] = which["version"].clone();
    }
    let what = format!("{path} {input}");
    let answer = process.admin(path, input).await;
    let answer = answer.map_or_else(|error| error.message.to_string(), |it| it.to_string());
    format!("{what} -> {answer}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_tell_a_share_tell_the_same() {
    for seed in SEEDS {
        let setup = at_share("5");
        let mut draws = StdRng::seed_from_u64(seed);
        let mut process = Process::start(&setup).await;
        process.check("at the start").await;
        for n in 0..STEPS {
            let what = if draws.random_bool(0.1) {
                let before = process.admin("featureFlags.get", json!({})).await.unwrap();
                process.end().await;
                process = Process::start(&setup).await;
                let after = process.admin("featureFlags.get", json!({})).await.unwrap();
                assert_eq!(before, after, "seed {seed}, step {n}: a restart");
                "a restart".to_owned()
            } else {
                step(&process, &mut draws).await
            };
            process
                .check(&format!("seed {seed}, step {n}, {what}"))
                .await;
            process.app.areas.controller.tick().await;
            process
                .check(&format!("seed {seed}, step {n}, a tick"))
                .await;
        }
        process.end().await;
    }
}

/// `A5` and `F3`, by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_cannot_act_says_who_decides_and_what_has_ended_can_be_let_go() {
    let process = Process::start(&at_share("0")).await;
    let chat = json!({"plan": plan(&["chat"]), "reason": "try it"});
    let started = process.admin("rollout.start", chat).await.unwrap();
    process.app.areas.controller.tick().await;
    let status = process
        .call(3, "aiMetrics.getRolloutStatus", json!(null))
        .await;
    let status = status.unwrap();
    assert_eq!(status["currentPercentage"], 30.0);
    assert_eq!(status["rollout"]["id"], started["id"]);

    // It covers one task of several, so the share moves the others, and says so.
    let input = json!({"percent": 77, "reason": "more"});
    let set = process
        .admin("featureFlags.setShare", input.clone())
        .await
        .unwrap();
    let note = set["note"].as_str().unwrap();
    assert!(note.contains(started["id"].as_str().unwrap()), "{note}");
    assert!(note.contains("` decides about `chat` at 30 %"), "{note}");
    let back = json!({"id": started["id"], "version": started["version"], "reason": "bad"});
    let back = process.admin("rollout.rollback", back).await.unwrap();

    let all = json!({"plan": plan(&[]), "reason": "all tasks", "takeBack": true});
    let all = process.admin("rollout.start", all).await.unwrap();
    process.app.areas.controller.tick().await;
    let refused = process
        .admin("featureFlags.setShare", input.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code.name(), "CONFLICT");
    assert!(
        refused.message.contains("would move nobody"),
        "{}",
        refused.message
    );
    let ended = json!({"id": all["id"], "version": all["version"], "reason": "bad"});
    let ended = process.admin("rollout.rollback", ended).await.unwrap();
    let refused = process
        .admin("featureFlags.setShare", input)
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("which was rolled back and goes on deciding"),
        "{}",
        refused.message
    );
    let explained = process
        .call(3, "models.explain", json!({"task": "chat"}))
        .await;
    let why = explained.unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("rolled back and goes on deciding"), "{why}");

    // Nobody is moved by surprise.
    let release = json!({"id": ended["id"], "version": ended["version"], "reason": "mended"});
    let refused = process
        .admin("rollout.release", release.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code.name(), "PRECONDITION_FAILED");
    assert!(
        refused
            .message
            .contains("77 % of the users get the candidate"),
        "{}",
        refused.message
    );
    let mut sure = release;
    sure["share"] = json!(10);
    let released = process.admin("rollout.release", sure).await.unwrap();
    assert!(released["releasedAt"].is_string());
    let status = process
        .call(3, "aiMetrics.getRolloutStatus", json!(null))
        .await;
    let status = status.unwrap();
    assert_eq!(
        (&status["currentPercentage"], &status["decidedBy"]),
        (&json!(10.0), &json!("live-share")),
        "the older rollout of `chat` does not come back"
    );
    let older = json!({"id": back["id"], "version": back["version"], "reason": "x", "share": 0});
    let refused = process.admin("rollout.release", older).await.unwrap_err();
    assert_eq!(
        refused.code.name(),
        "PRECONDITION_FAILED",
        "{}",
        refused.message
    );
    process.end().await;
}
