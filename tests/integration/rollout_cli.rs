//! `modelramp rollout …` as a process of its own, against a server that answers as it is told.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    sync::Arc,
};

use axum::{Json, Router, extract::State, routing::post};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use modelramp::_core::tasks::Tasks;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::OnceCell};

use crate::support::app::TestApp;

/// What a method answers: a result, or an error's `data.code` and message.
type Answers = BTreeMap<&'static str, Result<Value, (&'static str, &'static str)>>;

/// Calls as they came: method, params, `Authorization`.
type Asked = Arc<Mutex<Vec<(String, Value, Option<String>)>>>;

/// A server that keeps what it was asked.
struct Server {
    url: String,
    asked: Asked,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Answers>,
    asked: Asked,
}

async fn answer(
    State(script): State<Script>,
    headers: HeaderMap,
    Json(call): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let method = call["method"].as_str().unwrap().to_owned();
    let bearer = headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let answered = match script.answers.get(method.as_str()) {
        None => json!({"jsonrpc": "2.0", "id": 1, "error": {
            "code": -32601, "message": "No procedure", "data": {"code": "NOT_FOUND"},
        }}),
        Some(Ok(result)) => json!({"jsonrpc": "2.0", "id": 1, "result": result}),
        Some(Err((code, message))) => json!({"jsonrpc": "2.0", "id": 1, "error": {
            "code": -32009, "message": message, "data": {"code": code},
        }}),
    };
    script
        .asked
        .lock()
        .push((method, call["params"].clone(), bearer));
    (StatusCode::OK, Json(answered))
}

impl Server {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let script = Script {
            answers: Arc::new(answers),
            asked: asked.clone(),
        };
        let router = Router::new().route("/rpc", post(answer)).with_state(script);
        Tasks::default().spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        let asked = std::mem::take(&mut *self.asked.lock());
        asked.into_iter().map(|(m, p, _)| (m, p)).collect()
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["rollout", "--url", &self.url];
        all.extend(arguments);
        run(&all, &[("MODELRAMP_TOKEN", "secret-token")]).await
    }
}

/// How a process ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelramp"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder.path());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = ran.await.unwrap().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A rollout as a server gives it to `rollout.get`, with what the tests look for in its place.
async fn rollout(version: i64) -> Value {
    static REAL: OnceCell<Value> = OnceCell::const_new();
    let real = REAL.get_or_init(|| async {
        let server = TestApp::start().await;
        let id = server.begin_rollout("standard").await;
        let rollout = server.call("rollout.get", json!({"id": id})).await;
        rollout.unwrap()
    });
    let mut rollout = real.await.clone();
    let own = json!({
        "id": "r1", "version": version, "live": true, "stage": 2, "stages": 3, "share": 50.0,
        "state": {"name": "holding", "because": "watch"}, "level": "watch",
        "soakedMs": 12_000_000, "leftMs": 60_000, "startedAt": "2026-01-02T03:04:05.678Z",
        "next": "held until\u{1b}[2J evidence is clear", "words": ["control: fine."],
        // What a start says beside where it is.
        "moves": [], "takenBack": 0.0,
    });
    let own = own.as_object().unwrap().clone();
    rollout.as_object_mut().unwrap().extend(own);
    rollout
}

#[tokio::test]
async fn a_list_is_a_table_and_json_where_asked() {
    let answers = [
        ("rollout.list", Ok(json!([rollout(4).await]))),
        ("featureFlags.get", Ok(flags(false))),
    ];
    let server = Server::start(answers.into()).await;
    let ran = server.run(&["list"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(
        ran.out,
        "\
ID  PLAN      STATE            STAGE  SHARE  SOAKED      EVIDENCE  STARTED
r1  standard  holding (watch)  2/3    50 %   3 h 20 min  watch     2026-01-02 03:04:05
"
    );
    let ran = server.run(&["list", "--all", "--json"]).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(printed, json!([rollout(4).await]));
    assert_eq!(
        server.asked(),
        [
            ("rollout.list".to_owned(), json!({"all": false})),
            ("featureFlags.get".to_owned(), json!({})),
            ("rollout.list".to_owned(), json!({"all": true})),
        ]
    );
}

#[tokio::test]
async fn a_list_says_when_the_kill_switch_is_above_its_shares() {
    let mut calm = rollout(4).await;
    calm["level"] = json!("clear");
    let answers = [
        ("rollout.list", Ok(json!([calm]))),
        ("featureFlags.get", Ok(flags(true))),
    ];
    let server = Server::start(answers.into()).await;
    let ran = server.run(&["list"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("The kill switch is on"), "{}", ran.out);
    assert!(ran.out.contains("below watch"), "{}", ran.out);
}

#[tokio::test]
async fn a_rollout_is_shown_without_what_would_steer_the_terminal() {
    let server = Server::start([("rollout.get", Ok(rollout(4).await))].into()).await;
    let ran = server.run(&["get", "r1"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("state     holding (watch)\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("3 h 20 min, 1 min left\n"), "{}", ran.out);
    assert!(ran.out.contains("held until [2J evidence"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'));
}

#[tokio::test]
async fn a_change_is_based_on_the_version_of_now_or_the_one_given() {
    let changed = rollout(5).await;
    let answers = [
        "rollout.pause",
        "rollout.resume",
        "rollout.advance",
        "rollout.rollback",
        "rollout.approve",
        "rollout.setShare",
    ]
    .map(|path| (path, Ok(changed.clone())));
    let mut answers: Answers = answers.into();
    answers.insert("rollout.get", Ok(rollout(4).await));
    let server = Server::start(answers).await;
    for (arguments, method) in [
        (&["pause", "r1"][..], "rollout.pause"),
        (&["resume", "r1"], "rollout.resume"),
        (&["advance", "r1"], "rollout.advance"),
        (&["rollback", "r1"], "rollout.rollback"),
        (&["approve", "r1"], "rollout.approve"),
    ] {
        let with_reason = [arguments, &["--reason", "seen enough"]].concat();
        let ran = server.run(&with_reason).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let input = json!({"id": "r1", "version": 4, "reason": "seen enough"});
        let expected = [
            ("rollout.get".to_owned(), json!({"id": "r1"})),
            (method.to_owned(), input),
        ];
        assert_eq!(server.asked(), expected);
    }
    let ran = server
        .run(&["set-share", "r1", "12.5%", "-r", "x", "--version", "3"])
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let input = json!({"id": "r1", "version": 3, "reason": "x", "percent": 12.5});
    assert_eq!(server.asked(), [("rollout.setShare".to_owned(), input)]);
}

#[tokio::test]
async fn the_token_goes_with_every_call_and_is_never_printed() {
    let server = Server::start([("rollout.get", Err(("CONFLICT", "no")))].into()).await;
    let ran = server.run(&["get", "r1"]).await;
    let bearer = server.asked.lock()[0].2.clone();
    assert_eq!(bearer.as_deref(), Some("Bearer secret-token"));
    assert!(!(ran.out + &ran.err).contains("secret-token"));
}

#[tokio::test]
async fn a_plan_goes_as_a_name_or_as_the_text_of_its_file() {
    let answers = [
        ("rollout.start", Ok(rollout(1).await)),
        (
            "rollout.validate",
            Ok(json!({
                "valid": false, "faults": [{"line": 3, "message": "`share` is 101"}],
                "warnings": [], "notes": [], "plan": null,
            })),
        ),
    ];
    let server = Server::start(answers.into()).await;
    let ran = server
        .run(&["start", "standard", "--reason", "go", "--keep-users"])
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let input = json!({"plan": "standard", "reason": "go", "keepUsers": true, "takeBack": false});
    assert_eq!(server.asked(), [("rollout.start".to_owned(), input)]);

    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "name = \"own\"\n").unwrap();
    let ran = server
        .run(&["validate", file.path().to_str().unwrap()])
        .await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("line 3: `share` is 101"), "{}", ran.err);
    let input = json!({"plan": "name = \"own\"\n"});
    assert_eq!(server.asked(), [("rollout.validate".to_owned(), input)]);
}

#[tokio::test]
async fn a_plan_is_checked_without_a_server_too() {
    let validate = async |plan: &str| {
        let arguments = [
            "rollout",
            "--url",
            "http://127.0.0.1:9",
            "validate",
            plan,
            "--traffic",
            "1000/day",
        ];
        run(&arguments, &[]).await
    };
    let ran = validate("standard").await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for words in [
        "The plan can be used.",
        "names of tasks and models are not checked",
        "Stage 1: proof that it is safe takes about",
        "without it a person is asked after 96.0 h, twice the soak",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "name = \"own\"\n").unwrap();
    let ran = validate(file.path().to_str().unwrap()).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("`stages`"), "{}", ran.err);
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let refusals: Answers = [
        ("rollout.get", Err(("UNAUTHORIZED", "Please login (10001)"))),
        (
            "rollout.list",
            Err(("FORBIDDEN", "You do not have required permission (10002)")),
        ),
        (
            "rollout.pause",
            Err(("CONFLICT", "the rollout is at version 5: running at 50 %")),
        ),
        (
            "rollout.approve",
            Err((
                "BAD_REQUEST",
                r#"[{"path": ["reason"], "message": "Too small"}, {"path": ["a", 0], "message": "No"}]"#,
            )),
        ),
    ]
    .into();
    let server = Server::start(refusals).await;
    let pause = ["pause", "r1", "-r", "x", "--version", "4"];
    let approve = ["approve", "r1", "-r", "", "--version", "4"];
    for (arguments, expected) in [
        (
            &["get", "r1"][..],
            "does not accept the token in `MODELRAMP_TOKEN`",
        ),
        (&["list"], "--role admin"),
        (
            &pause,
            "modelramp: the rollout is at version 5: running at 50 %",
        ),
        (&approve, "modelramp: `reason`: Too small; `a.0`: No"),
        (&["history", "r1"], "does not know `rollout.history`"),
    ] {
        let ran = server.run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    let ran = run(&["rollout", "--url", &server.url, "get", "r1"], &[]).await;
    assert!(ran.err.contains("export MODELRAMP_TOKEN=$("), "{}", ran.err);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let ran = run(&["rollout", "list"], &[("PORT", &port)]).await;
    assert_eq!(ran.code, Some(1));
    let expected = format!("no server answers at http://127.0.0.1:{port}/rpc");
    assert!(ran.err.contains(&expected), "{}", ran.err);
    let ran = run(&["rollout", "list"], &[("PORT", "0")]).await;
    assert_eq!(ran.code, Some(64), "{}", ran.err);
}

#[tokio::test]
async fn a_change_without_a_reason_is_not_sent() {
    let server = Server::start(Answers::new()).await;
    for arguments in [
        &["pause", "r1"][..],
        &["start", "standard"],
        &["set-share", "r1", "101", "-r", "x"],
    ] {
        assert_eq!(server.run(arguments).await.code, Some(2));
    }
    assert_eq!(server.asked(), []);
}

fn flags(killed: bool) -> Value {
    json!({
        "share": 10, "killed": killed, "forcedForAll": false, "algorithm": "murmur3-100k",
        "version": 4, "actor": "user:1", "by": 1, "reason": "so\u{1b}[2J", "note": null,
        "at": "2026-01-02T03:04:05.678Z", "stored": false,
        "tasks": [
            {"task": "chat", "share": 0, "decidedBy": "rollout",
             "rollout": {"id": "r1", "plan": "standard", "share": 0, "ended": "rolled-back"}},
            {"task": "email-draft", "share": 10, "decidedBy": "live-share", "rollout": null},
        ],
    })
}

#[tokio::test]
async fn a_kill_is_sent_without_a_look_first_and_what_is_owed_is_said() {
    let answers = [
        ("featureFlags.get", Ok(flags(false))),
        ("featureFlags.kill", Ok(flags(true))),
        (
            "featureFlags.setShare",
            Err(("CONFLICT", "The live share would move nobody")),
        ),
    ];
    let server = Server::start(answers.into()).await;
    let token = [("MODELRAMP_TOKEN", "secret-token")];
    let ask = async |arguments: &[&str]| {
        let all = [&["flags", "--url", &server.url], arguments].concat();
        run(&all, &token).await
    };
    let ran = ask(&["kill", "on", "--reason", "stop"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("ON: everybody"), "{}", ran.out);
    assert!(ran.out.contains("NOT STORED YET"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    let input = json!({"reason": "stop", "on": true});
    assert_eq!(server.asked(), [("featureFlags.kill".to_owned(), input)]);

    let ran = ask(&["get"]).await;
    assert!(
        ran.out.contains("rollout r1 (standard, rolled-back)"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("live share"), "{}", ran.out);
    server.asked();
    let ran = ask(&["set-share", "10%", "-r", "x", "--version", "3"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("would move nobody"), "{}", ran.err);
    let input = json!({"reason": "x", "percent": 10.0, "version": 3});
    assert_eq!(
        server.asked(),
        [("featureFlags.setShare".to_owned(), input)]
    );
    for wrong in [
        &["kill", "on"][..],
        &["kill", "maybe", "-r", "x"],
        &["set-share", "101", "-r", "x"],
    ] {
        assert_eq!(ask(wrong).await.code, Some(2), "{wrong:?}");
    }
    assert_eq!(server.asked(), []);
}
