//! `modelramp smoke`: a server that is as it should be passes, each fault is found, and nothing stays moved.

use std::{process::Stdio, sync::Arc};

use axum::{Json, Router, extract::State, routing};
use modelramp::{
    _core::{caller::Role, tasks::Tasks},
    model_router::catalog::Catalog,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Child, sync::Notify};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    checked::Checked,
    scripted_upstream::{Reply, Request, Upstream},
    wait::until,
};

const DANISH: &str = "Jeg kan hjælpe jer med at svare på e-mails, skrive fakturaer og holde styr på kalenderen. \
                      Spørg mig bare, hvis der er andet, som virksomheden har brug for.";
const ENGLISH: &str = "I can help you to answer your e-mails, to write invoices and to keep an eye on the calendar. \
                       Just ask me if there is anything else that the company needs.";
const SORTED: &str = r#"{"category": "finance", "confidence": 0.75}"#;

/// An answer of the form that the request asks for, or else in these words.
fn answer(request: &Request, words: &str, sorted: &str) -> Reply {
    match &request.body["response_format"] {
        Value::Null => Reply::ok(words),
        _ => Reply::ok(sorted),
    }
}

/// Models of two arms, which list these languages.
fn catalog(upstream: &Upstream, languages: &str) -> String {
    let tasks = ["chat", "email-analysis", "email-draft"]
        .map(|task| format!("[tasks.{task}]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n"));
    let models = ["old", "new"].map(|model| {
        format!(
            "[models.{model}]\nprovider = \"up\"\nid = \"{model}\"\ncontext = 8192\nlanguages = {languages}\n"
        )
    });
    let provider = format!("[providers.up]\nbase_url = \"{}\"\n", upstream.base_url);
    provider + &models.concat() + &tasks.concat()
}

async fn smoke(setup: &TestAppBuilder, url: &str, arguments: &[&str]) -> Checked {
    smoke_as(setup.admin().await, setup, url, arguments).await
}

async fn smoke_as(token: &str, setup: &TestAppBuilder, url: &str, arguments: &[&str]) -> Checked {
    let words = [&["smoke", "--json", "--url", url], arguments].concat();
    let mut command = setup.command(&words);
    command.env("MODELRAMP_TOKEN", token);
    Checked::of(&command.output().await.unwrap())
}

#[tokio::test]
async fn a_server_that_is_as_it_should_be_passes_and_is_left_as_it_was() {
    let upstream = Upstream::with(|_, it| answer(it, DANISH, SORTED)).await;
    let receiver = Upstream::start(vec![Reply::json(&json!({}))]).await;
    let app = TestApp::builder()
        .with_catalog(&catalog(&upstream, "[\"danish\"]"))
        .with_setting("ALERT_WEBHOOK_URL", format!("{}/hook", receiver.base_url))
        .with_setting(
            "ALERT_WEBHOOK_SECRET",
            "a secret of a test, 32 letters long",
        )
        .with_setting("ALERT_INFO_CHANNELS", "")
        .start()
        .await;
    // Users are in a rollout meanwhile, which covers all tasks.
    let users = app.begin_rollout("staging").await;
    let mut flags = json!({});
    until("the rollout serves", async || {
        flags = app.call("featureFlags.get", json!({})).await.unwrap();
        flags["tasks"][0]["share"] == 100.0
    })
    .await;
    let users = app.call("rollout.get", json!({"id": users})).await.unwrap();

    let seen = smoke(&app.setup, &app.url, &[]).await;
    assert_eq!(seen.code, 0, "{:?}", seen.findings);
    seen.assert("server", &["pass"], "ready");
    seen.assert(
        "greeting",
        &["pass"],
        "`new` (candidate) answered in Danish",
    );
    seen.assert("email", &["pass"], "finance");
    seen.assert("metrics", &["pass"], "chat success, email-analysis success");
    seen.assert("rollback", &["pass"], "taken back");
    seen.assert("flags", &["skip"], "not moved");
    seen.assert("alerts", &["pass"], "webhook took the test");

    // The test of the channel alone: a rehearsal is for the record.
    assert_eq!(receiver.requests().len(), 1);
    let list = app
        .call("rollout.list", json!({"all": true}))
        .await
        .unwrap();
    let [rehearsal, others] = list.as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(rehearsal["tasks"], json!(["rehearsal"]));
    assert_eq!(rehearsal["state"]["name"], "rolled-back");
    assert_eq!(
        (&others["version"], &others["share"]),
        (&users["version"], &users["share"])
    );
    let told = app.call("alerts.list", json!({})).await.unwrap();
    let kinds: Vec<_> = told["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["kind"], &it["severity"]))
        .collect();
    assert_eq!(kinds, [(&json!("rolled-back"), &json!("info"))], "{told}");
    assert_eq!(
        app.call("featureFlags.get", json!({})).await.unwrap(),
        flags
    );
    let conversations = app.call("chat.getConversations", json!({})).await.unwrap();
    assert_eq!(conversations, json!([]));
    app.stop().await;
}

#[tokio::test]
async fn each_fault_is_found_and_said_with_what_to_do() {
    let upstream = Upstream::with(|_, it| answer(it, ENGLISH, "{\"category\": \"spam\"}")).await;
    let setup = TestApp::builder().with_catalog(&catalog(&upstream, "[\"danish\", \"english\"]"));
    let app = setup.clone().start().await;
    let seen = smoke(&setup, &app.url, &[]).await;
    assert_eq!(seen.code, 1);
    seen.assert("greeting", &["warn"], "in english");
    seen.assert("email", &["fail"], "did not sort");
    seen.assert("metrics", &["pass"], "chat success");
    seen.assert("alerts", &["warn"], "no channel");
    seen.assert("rollback", &["pass"], "taken back");
    app.stop().await;

    // Nobody answers, and nothing else is tried.
    let seen = smoke(&setup, "http://127.0.0.1:9", &[]).await;
    assert_eq!((seen.code, seen.findings.len()), (1, 1));
    seen.assert("server", &["fail"], "no server answers");

    let setup = TestApp::builder().with_catalog(&catalog(&upstream, "[]"));
    let app = setup.clone().start().await;
    let seen = smoke(&setup, &app.url, &["--no-alerts"]).await;
    seen.assert("greeting", &["skip"], "does not list Danish");
    seen.assert("alerts", &["skip"], "no channel was tested");
    app.stop().await;
}

#[tokio::test]
async fn flags_are_moved_back_and_a_rehearsal_that_was_left_behind_is_ended() {
    let app = TestApp::builder()
        .with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "25")
        .start()
        .await;
    let left =
        "name = \"rehearsal\"\ntasks = [\"rehearsal\"]\n[[stages]]\nshare = 100\nsoak = \"1h\"\n";
    let left = app.begin_rollout(left).await;
    let seen = smoke(&app.setup, &app.url, &["--staging"]).await;
    // The catalog that is built in, whose models are simulated.
    seen.assert("email", &["skip"], "simulated");
    seen.assert("rollback", &["pass"], "taken back");
    seen.assert("flags", &["pass", "pass"], "25 % again");
    let flags = app.call("featureFlags.get", json!({})).await.unwrap();
    assert_eq!(
        (&flags["share"], &flags["killed"]),
        (&json!(25.0), &json!(false))
    );
    let history = app.call("featureFlags.history", json!({})).await.unwrap();
    assert_eq!(history.as_array().unwrap().len(), 4, "{history}");
    let left = app.call("rollout.get", json!({"id": left})).await.unwrap();
    assert_eq!(left["state"]["name"], "rolled-back");
    app.stop().await;
}

#[tokio::test]
async fn who_may_not_or_asked_too_often_is_told_what_to_do() {
    let upstream = Upstream::with(|_, it| answer(it, DANISH, SORTED)).await;
    let app = TestApp::builder()
        .with_catalog(&catalog(&upstream, "[\"danish\"]"))
        .with_setting("CHAT_RATE_LIMIT", "1")
        .start()
        .await;
    let viewer = app.setup.token(5, Role::Viewer).await;
    let todo = |seen: &Checked, check: &str| {
        let finding = seen.findings.iter().find(|it| it["check"] == check);
        finding.unwrap()["todo"].to_string()
    };
    let seen = smoke_as(&viewer, &app.setup, &app.url, &["--no-alerts"]).await;
    seen.assert("greeting", &["pass"], "in Danish");
    seen.assert("rollback", &["fail"], "this needs an admin");
    assert!(
        todo(&seen, "rollback").contains("an admin's token"),
        "{:?}",
        seen.findings
    );
    let seen = smoke_as(&viewer, &app.setup, &app.url, &["--no-alerts"]).await;
    seen.assert("greeting", &["fail"], "did not answer");
    assert!(
        todo(&seen, "greeting").contains("wait a minute"),
        "{:?}",
        seen.findings
    );
    app.stop().await;
}

#[tokio::test]
async fn runs_at_once_rehearse_one_after_another() {
    let app = TestApp::start().await;
    let run = || smoke(&app.setup, &app.url, &["--no-alerts"]);
    let (one, another, third) = tokio::join!(run(), run(), run());
    for seen in [one, another, third] {
        seen.assert("rollback", &["pass"], "taken back");
    }
    app.stop().await;
}

#[tokio::test]
async fn no_request_has_the_task_of_a_rehearsal() {
    let upstream = Upstream::start(vec![Reply::ok("x")]).await;
    let text = catalog(&upstream, "[]")
        + "[tasks.rehearsal]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n";
    let refused = Catalog::parse(&text).unwrap_err().to_string();
    assert!(refused.contains("cannot be named `rehearsal`"), "{refused}");

    let app = TestApp::start().await;
    let plan =
        "name = \"p\"\ntasks = [\"chat\", \"rehearsal\"]\n[[stages]]\nshare = 10\nsoak = \"1h\"\n";
    let checked = app
        .call("rollout.validate", json!({"plan": plan}))
        .await
        .unwrap();
    assert_eq!(checked["valid"], false, "{checked}");
    app.stop().await;
}

/// A server whose kill switch answers when the test says so.
struct Slow {
    flags: Mutex<Value>,
    killed: Notify,
    go_on: Notify,
}

async fn rpc(State(slow): State<Arc<Slow>>, Json(call): Json<Value>) -> Json<Value> {
    let change = match call["method"].as_str().unwrap() {
        "featureFlags.get" => json!({}),
        "featureFlags.kill" => json!({"killed": call["params"]["on"]}),
        "featureFlags.setShare" => json!({"share": call["params"]["percent"]}),
        _ => {
            return Json(json!({"jsonrpc": "2.0", "id": 0, "error": {
                "code": -32004, "message": "not here", "data": {"code": "NOT_FOUND"},
            }}));
        }
    };
    let answer = {
        let mut flags = slow.flags.lock();
        for (name, value) in change.as_object().unwrap() {
            flags[name] = value.clone();
            flags["version"] = (flags["version"].as_i64().unwrap() + 1).into();
        }
        json!({"jsonrpc": "2.0", "id": 0, "result": flags.clone()})
    };
    if call["params"]["on"] == true {
        slow.killed.notify_one();
        slow.go_on.notified().await;
    }
    Json(answer)
}

fn terminate(child: &Child) {
    let id = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn a_signal_while_the_kill_switch_is_on_is_heard_when_it_is_off_again() {
    let real = TestApp::start().await;
    let mut flags = real.call("featureFlags.get", json!({})).await.unwrap();
    flags["tasks"] = json!([]);
    let slow = Arc::new(Slow {
        flags: Mutex::new(flags),
        killed: Notify::new(),
        go_on: Notify::new(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/readyz", routing::get(async || "{}"))
        .route("/rpc", routing::post(rpc))
        .with_state(slow.clone());
    Tasks::default().spawn(async move { axum::serve(listener, router).await });

    let words = ["smoke", "--staging", "--no-alerts", "--url", &url];
    let mut command = real.setup.command(&words);
    command.env("MODELRAMP_TOKEN", "t");
    command.stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    slow.killed.notified().await;
    terminate(&child);
    slow.go_on.notify_one();
    let ran = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(slow.flags.lock()["killed"], false);
    real.stop().await;
}

#[tokio::test]
async fn an_interrupted_run_says_so_and_has_moved_nothing() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let setup = TestApp::builder().with_catalog(&catalog(&upstream, "[\"danish\"]"));
    let app = setup.clone().start().await;
    let mut command = setup.command(&["smoke", "--staging", "--url", &app.url]);
    command.env("MODELRAMP_TOKEN", setup.admin().await);
    command.stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    until("the model is asked", async || {
        !upstream.requests().is_empty()
    })
    .await;
    terminate(&child);
    let ran = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(ran.status.code(), Some(1));
    let history = app.call("featureFlags.history", json!({})).await.unwrap();
    assert_eq!(history, json!([]));
    let conversations = app.call("chat.getConversations", json!({})).await.unwrap();
    assert_eq!(conversations, json!([]));
    app.stop().await;
}
