//! Procedures on their way between both servers: compared, moved for some users, moved back, taken back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use futures::{SinkExt, StreamExt, stream};
use modelramp::{
    _core::{context::Context, errors::RpcError, registry::Registry},
    procedures,
};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{frames, get, old_server::NodeServer, parsed, request, socket};
use crate::support::{
    app::{TestApp, TestAppBuilder},
    wait::{PATIENCE, eventually, until},
};

/// What this server's side of `both.*` does.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) writes: AtomicU64,
    pub(super) echoes: AtomicU64,
    is_broken: AtomicBool,
}

#[derive(Deserialize, JsonSchema)]
struct Number {
    n: i64,
}

#[derive(Serialize, JsonSchema)]
struct Echo {
    n: i64,
    state: &'static str,
    at: DateTime<Utc>,
    bag: [i64; 3],
    skip: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct By {
    by: &'static str,
    n: i64,
}

pub(super) const OURS: &str = "this server";
/// How many calls are compared, where it is not 3,000: `scripts/long moves`.
const CALLS_VARIABLE: &str = "MODELRAMP_SHADOW_CALLS";

async fn echo(ours: Arc<Ours>, _: Context, input: Number) -> Result<Echo, RpcError> {
    ours.echoes.fetch_add(1, Ordering::Relaxed);
    Ok(Echo {
        n: input.n,
        state: "same",
        at: DateTime::from_timestamp(input.n, 0).unwrap_or_default(),
        bag: [1, 2, 3],
        skip: OURS,
    })
}

async fn write(ours: Arc<Ours>, _: Context, input: Number) -> Result<By, RpcError> {
    ours.writes.fetch_add(1, Ordering::Relaxed);
    Ok(By {
        by: OURS,
        n: input.n,
    })
}

async fn fragile(ours: Arc<Ours>, _: Context, input: Number) -> Result<By, RpcError> {
    if ours.is_broken.load(Ordering::Relaxed) {
        return Err(RpcError::internal(anyhow::anyhow!("it is broken")));
    }
    Ok(By {
        by: OURS,
        n: input.n,
    })
}

fn register(registry: &mut Registry, ours: &Arc<Ours>) {
    procedures!(registry.router("both", ours.clone());
        /// What was asked, with what may differ.
        query Public echo = echo;
        /// Counts.
        mutation Public write = write;
        /// Fails where it is told to.
        query Public fragile = fragile;
    );
}

/// An application with `both.*`, before an old server that has it as well and answers it.
pub(super) fn both(url: &str) -> (TestAppBuilder, Arc<Ours>) {
    let ours = Arc::new(Ours::default());
    let registered = ours.clone();
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{url}/api/trpc"))
        .with_setting("LEGACY_PROCEDURES", "both.*")
        .with_setting("LEGACY_TIMEOUT", "20s")
        .with_setting("LEGACY_MAX_SHADOWS", "10000")
        .with_setting("LEGACY_MAY_DIFFER", "both.*:skip,both.*:by")
        .with_setting("LEGACY_UNORDERED", "both.echo:bag")
        .with_procedures(move |registry| register(registry, &registered));
    (app, ours)
}

pub(super) async fn set(
    app: &TestApp,
    name: &str,
    mode: &str,
    percent: Option<f64>,
) -> Result<Value, Value> {
    let mut input = json!({"name": name, "mode": mode, "reason": "a test"});
    if let Some(percent) = percent {
        input["percent"] = percent.into();
    }
    app.call("migration.set", input).await
}

/// What is known of one procedure.
pub(super) async fn report(app: &TestApp, name: &str) -> Value {
    let report = app.call("migration.report", json!({"name": name})).await;
    report.unwrap()["procedures"][0].clone()
}

fn batch(names: &[&str], numbers: &[i64]) -> String {
    let inputs: BTreeMap<String, Value> = numbers
        .iter()
        .enumerate()
        .map(|(at, n)| (at.to_string(), json!({"json": {"n": n}})))
        .collect();
    let inputs = json!(inputs).to_string();
    let inputs: String = url::form_urlencoded::byte_serialize(inputs.as_bytes()).collect();
    format!("/api/trpc/{}?batch=1&input={inputs}", names.join(","))
}

/// Asks for a query as a user; the status, and who answered.
async fn ask(app: &TestApp, token: Option<&str>, name: &str, n: i64) -> (u16, Value) {
    let input = json!({"json": {"n": n}}).to_string();
    let input: String = url::form_urlencoded::byte_serialize(input.as_bytes()).collect();
    let url = format!("{}/api/trpc/{name}?input={input}", app.url);
    let mut asked = app.http.get(url);
    if let Some(token) = token {
        asked = asked.bearer_auth(token);
    }
    let answer = asked.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, parsed(&text)["result"]["data"]["json"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn shadows_find_the_seeded_differences_and_no_others_in_every_form() {
    let calls = std::env::var(CALLS_VARIABLE).ok();
    let calls = calls.map_or(3_000, |it| it.parse().expect("a number"));
    let calls = calls / 50 * 50;
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let app = builder.start().await;
    set(&app, "both.*", "shadow", None).await.unwrap();

    // By ones, in batches of one kind, mixed with ours, streamed, by POST, and over a socket.
    let singles = stream::iter(0..calls / 5).for_each_concurrent(8, async |n| {
        let (status, answer) = ask(&app, None, "both.echo", n).await;
        assert_eq!((status, &answer["skip"]), (200, &json!("the old server")));
    });
    let batches = stream::iter(calls / 50..calls / 25).for_each_concurrent(4, async |tens| {
        let numbers: Vec<i64> = (10 * tens..10 * tens + 10).collect();
        let mut names = vec!["both.echo"; 10];
        if tens % 2 == 0 {
            names.push("auth.me");
        }
        let request = app
            .http
            .get(format!("{}{}", app.url, batch(&names, &numbers)));
        let request = match tens % 3 {
            0 => request.header("trpc-accept", "application/jsonl"),
            _ => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert_eq!(text.matches("the old server").count(), 10, "{text}");
    });
    let posts = stream::iter(calls * 2 / 5..calls * 3 / 5).for_each_concurrent(8, async |n| {
        let url = format!("{}/api/trpc/both.echo", app.url);
        let posted = app.http.post(url).json(&json!({"json": {"n": n}}));
        assert_eq!(posted.send().await.unwrap().status(), 200);
    });
    futures::join!(singles, batches, posts);
    let mut socket = socket(&app).await;
    for n in calls * 3 / 5..calls {
        let asked = request(n as u32, "query", "both.echo", &json!({"n": n}));
        socket.send(asked).await.unwrap();
        let frame = frames(&mut socket, 1).await.remove(0);
        assert_eq!(frame["result"]["data"]["json"]["skip"], "the old server");
    }

    let report = eventually(PATIENCE, async || {
        let report = report(&app, "both.echo").await;
        let is_whole = report["compared"] == calls && report["theirs"]["calls"] == calls;
        is_whole.then_some(report.clone()).ok_or(report)
    })
    .await;
    assert_eq!(report["differed"], calls / 10, "{report}");
    assert_eq!(report["dropped"], 0);
    assert_eq!(report["incomparable"], 0);
    let example = &report["examples"][0];
    assert_eq!(report["examples"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        (&example["path"], &example["theirs"], &example["ours"]),
        (
            &json!("state"),
            &json!("a text of 7 characters"),
            &json!("a text of 4 characters")
        )
    );
    assert_eq!(ours.echoes.load(Ordering::Relaxed), calls as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_run_once_on_the_server_that_answers() {
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let app = builder.start().await;
    let write = async |n: i64| {
        let url = format!("{}/api/trpc/both.write", app.url);
        let posted = app.http.post(url).json(&json!({"json": {"n": n}}));
        let answer = posted.send().await.unwrap().text().await.unwrap();
        parsed(&answer)["result"]["data"]["json"]["by"].clone()
    };
    for (mode, by, count) in [
        ("shadow", "the old server", 0),
        ("native", OURS, 1),
        ("legacy", "the old server", 1),
    ] {
        set(&app, "both.write", mode, None).await.unwrap();
        assert_eq!(write(1).await, by, "{mode}");
        assert_eq!(ours.writes.load(Ordering::Relaxed), count, "{mode}");
    }
    // Whoever wants to try a procedure before it is moved says so.
    let url = format!("{}/api/trpc/both.write?side=native", app.url);
    let posted = app.http.post(url).json(&json!({"json": {"n": 5}}));
    assert!(
        posted
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains(OURS)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_moves_over_and_back_under_load_and_no_call_is_lost() {
    const USERS: i64 = 40;
    let old = NodeServer::start().await;
    let (builder, _) = both(&old.url);
    let tokens = builder.tokens(101..=100 + USERS).await;
    let app = builder.start().await;
    let is_over = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    let load =
        stream::iter(tokens.iter().enumerate()).for_each_concurrent(8, async |(at, token)| {
            let mut n = 0;
            // Each user at least once more after the last change.
            let mut last = false;
            while !last {
                last = is_over.load(Ordering::Relaxed);
                n += 10;
                let (status, answer) =
                    ask(&app, Some(token.expose_secret()), "both.fragile", n).await;
                assert_eq!((status, &answer["n"]), (200, &json!(n)), "user {at}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    let moves = async {
        for (mode, percent) in [
            ("shadow", None),
            ("share", Some(10.0)),
            ("share", Some(60.0)),
            ("native", None),
            ("share", Some(30.0)),
            ("legacy", None),
        ] {
            let before = answered.load(Ordering::Relaxed);
            set(&app, "both.fragile", mode, percent).await.unwrap();
            until("some calls come", async || {
                answered.load(Ordering::Relaxed) > before + 50
            })
            .await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures::join!(load, moves);

    // The same users at every share that has them.
    let mut ours = Vec::new();
    for percent in [20.0, 50.0, 20.0] {
        set(&app, "both.fragile", "share", Some(percent))
            .await
            .unwrap();
        let mut now = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let (_, answer) = ask(&app, Some(token.expose_secret()), "both.fragile", 10).await;
            if answer["by"] == OURS {
                now.push(at);
            }
        }
        ours.push(now);
    }
    assert_eq!(ours[0], ours[2]);
    assert!(
        !ours[0].is_empty() && ours[0].len() < ours[1].len(),
        "{ours:?}"
    );
    assert!(ours[0].iter().all(|it| ours[1].contains(it)), "{ours:?}");
    // Whoever is nobody stays at the old server.
    let (_, answer) = ask(&app, None, "both.fragile", 10).await;
    assert_eq!(answer["by"], "the old server");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_here_goes_back_at_once_and_is_told_and_stays_over_a_restart() {
    const USERS: i64 = 80;
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let tokens = builder.tokens(101..=100 + USERS).await;
    let app = builder.clone().start().await;
    ours.is_broken.store(true, Ordering::Relaxed);
    set(&app, "both.*", "share", Some(50.0)).await.unwrap();
    let mut failed = 0;
    for token in &tokens {
        let (status, _) = ask(&app, Some(token.expose_secret()), "both.fragile", 10).await;
        failed += u32::from(status != 200);
    }
    // So many pairs make 400 of 1, where each of ours fails.
    assert!((8..25).contains(&failed), "{failed}");
    let moved = report(&app, "both.fragile").await;
    assert_eq!(moved["mode"], "legacy", "{moved}");
    assert_eq!(moved["decided"]["by"], "controller");
    let why = moved["decided"]["reason"].as_str().unwrap();
    assert!(why.contains("fails more often"), "{why}");
    // With all that was moved together.
    assert_eq!(report(&app, "both.echo").await["mode"], "legacy");

    let alerted = eventually(PATIENCE, async || {
        let alerts = app.call("alerts.list", json!({})).await.unwrap();
        let alert = alerts["rows"][0].clone();
        (alert["kind"] == "taken-back")
            .then_some(alert)
            .ok_or(alerts)
    })
    .await;
    assert_eq!(alerted["severity"], "critical");
    let audit = app.call("audit.list", json!({"subject": "moves"})).await;
    let audit = audit.unwrap();
    let lines: Vec<_> = audit["rows"].as_array().unwrap().iter().collect();
    let told: Vec<_> = lines
        .iter()
        .map(|it| (&it["action"], &it["actor"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("taken-back"), &json!("controller")),
            (&json!("set"), &json!("user:1"))
        ]
    );
    app.stop().await;
    let app = builder.start().await;
    let stored = report(&app, "both.fragile").await;
    assert_eq!(stored["mode"], "legacy");
    assert_eq!(stored["ours"]["failed"], moved["ours"]["failed"]);
    assert_eq!(stored["ours"]["refused"], moved["ours"]["refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proven_so_far_is_so_after_a_restart() {
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let tokens = builder.tokens(101..=140).await;
    let app = builder.clone().start().await;
    ours.is_broken.store(true, Ordering::Relaxed);
    set(&app, "both.*", "share", Some(50.0)).await.unwrap();
    let proven = async |app: &TestApp| {
        let seen = report(app, "both.fragile").await;
        (seen["mode"] == "share").then(|| seen["evidence"]["fails"].as_f64().unwrap())
    };
    assert_eq!(proven(&app).await, Some(1.0), "it begins with a stake of 1");
    // Until a part of what it takes is proven, and no more.
    let mut tokens = tokens.iter();
    let mut before = 0.0;
    while before < 20.0 {
        let token = tokens.next().expect("enough users");
        ask(&app, Some(token.expose_secret()), "both.fragile", 10).await;
        before = proven(&app).await.expect("it is not taken back yet");
    }
    app.stop().await;
    let app = builder.start().await;
    let after = eventually(PATIENCE, async || match proven(&app).await {
        Some(after) if after >= before => Ok(after),
        other => Err(other),
    })
    .await;
    // A second start begins with half of what the first one began with.
    assert!(after < before + 0.6, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_is_down_is_a_bad_gateway_in_shadow_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (builder, ours) = both(&url);
    let token = builder.token(7, modelramp::_core::caller::Role::User).await;
    let app = builder.start().await;
    set(&app, "both.echo", "shadow", None).await.unwrap();
    for n in 0..20 {
        assert_eq!(ask(&app, None, "both.echo", n).await.0, 502);
    }
    let names = ["both.echo", "system.health"];
    let (status, text) = get(&app, &batch(&names, &[1])).await;
    assert_eq!(status, 207, "{text}");
    let seen = report(&app, "both.echo").await;
    assert_eq!(seen["incomparable"], 21, "{seen}");
    assert_eq!(seen["theirs"]["failed"], 21, "{seen}");
    assert_eq!(ours.echoes.load(Ordering::Relaxed), 0);
    // For some users it is this server that answers, whatever the other does; nothing is taken back for it.
    set(&app, "both.echo", "share", Some(99.999)).await.unwrap();
    for n in 0..20 {
        assert_eq!(ask(&app, Some(&token), "both.echo", n).await.0, 200);
    }
    assert_eq!(report(&app, "both.echo").await["mode"], "share");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_shadows_are_dropped_and_counted() {
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let app = builder
        .with_setting("LEGACY_MAX_SHADOWS", "0")
        .start()
        .await;
    set(&app, "both.echo", "shadow", None).await.unwrap();
    for n in 0..5 {
        assert_eq!(ask(&app, None, "both.echo", n).await.0, 200);
    }
    let seen = report(&app, "both.echo").await;
    assert_eq!(
        (&seen["dropped"], &seen["compared"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(ours.echoes.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_name_what_there_is_and_say_what_they_expect() {
    let (builder, _) = both("http://127.0.0.1:9");
    let app = builder.with_setting("LEGACY_PROCEDURES", "*").start().await;
    for (name, mode, percent, told) in [
        ("none.such", "native", None, "expected a procedure"),
        ("*", "native", None, "expected a procedure"),
        ("both.e*", "native", None, "expected a procedure"),
        ("migration.*", "legacy", None, "expected a procedure"),
        ("both.echo", "share", None, "above 0 and below 100"),
        ("both.echo", "share", Some(100.0), "above 0 and below 100"),
        ("both.echo", "native", Some(5.0), "expected none"),
    ] {
        let refused = set(&app, name, mode, percent).await.unwrap_err();
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(told), "{name}: {refused}");
    }
    // What is said of a namespace takes the place of what was said of its procedures.
    set(&app, "both.echo", "native", None).await.unwrap();
    let all = set(&app, "both.*", "shadow", None).await.unwrap();
    let modes = all["procedures"].as_array().unwrap().iter();
    let modes: Vec<_> = modes.map(|it| &it["mode"]).collect();
    assert_eq!(modes, ["shadow"; 3]);
    // Moves are this server's, although everything stays at the old one.
    let list = app.http.get(format!("{}/api/trpc/migration.list", app.url));
    let list = list
        .bearer_auth(app.setup.admin().await)
        .send()
        .await
        .unwrap();
    assert_eq!(list.status(), 200);
    let none = TestApp::start().await;
    let refused = set(&none, "chat.*", "native", None).await.unwrap_err();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("LEGACY_TRPC_URL")
    );
}
