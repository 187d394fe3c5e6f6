//! Calls that come by JSON-RPC and MCP go where the moves say, as those by tRPC do.

use std::sync::atomic::Ordering;

use futures::{SinkExt, StreamExt};
use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    moving::{OURS, both, report, set},
    old_server::{Liar, NodeServer},
};
use crate::support::{
    app::TestApp,
    wait::{PATIENCE, eventually},
};

const THEIRS: &str = "the old server";

async fn post(app: &TestApp, path: &str, body: &Value) -> Value {
    let posted = app.http.post(format!("{}{path}", app.url)).json(body);
    posted.send().await.unwrap().json().await.unwrap()
}

/// By JSON-RPC: the result, or the error.
async fn rpc(app: &TestApp, path: &str, method: &str, n: i64) -> Value {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"n": n}});
    let mut answer = post(app, path, &call).await;
    match answer.get_mut("result") {
        Some(result) => result.take(),
        None => answer["error"].take(),
    }
}

/// By MCP: the text, as JSON where it is that, and whether it is an error.
async fn tool(app: &TestApp, name: &str, n: i64) -> (Value, bool) {
    let params = json!({"name": name, "arguments": {"n": n}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let answer = post(app, "/mcp", &call).await;
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    (value, answer["result"]["isError"] == true)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wire_asks_the_server_that_the_move_names() {
    let old = NodeServer::start().await;
    let (builder, ours) = both(&old.url);
    let app = builder.with_setting("MCP_TOOLS", "all").start().await;
    for (mode, who) in [("legacy", THEIRS), ("native", OURS), ("shadow", THEIRS)] {
        set(&app, "both.*", mode, None).await.unwrap();
        let echo = rpc(&app, "/rpc", "both.echo", 4).await;
        // Without superjson's notes, which this wire has not.
        assert_eq!(
            (
                &echo["skip"],
                &echo["n"],
                &echo["at"].as_str().unwrap()[..19]
            ),
            (&json!(who), &json!(4), "1970-01-01T00:00:04"),
            "{mode}"
        );
        let (echo, failed) = tool(&app, "both_echo", 5).await;
        assert_eq!(
            (&echo["skip"], &echo["n"], failed),
            (&json!(who), &json!(5), false),
            "{mode}"
        );
        let (written, _) = tool(&app, "both_write", 6).await;
        assert_eq!(written, json!({"by": who, "n": 6}), "{mode}");

        let url = format!("{}/rpc", app.url.replace("http", "ws"));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "both.write", "params": {"n": 7}});
        socket.send(Message::text(call.to_string())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["result"], json!({"by": who, "n": 7}), "{mode}");
    }
    assert_eq!(
        ours.writes.load(Ordering::Relaxed),
        2,
        "those of the mode native"
    );
    // What shadows of these two calls found: the same, but for what may differ.
    let seen = eventually(PATIENCE, async || {
        let seen = report(&app, "both.echo").await;
        (seen["compared"] == 2).then_some(seen.clone()).ok_or(seen)
    })
    .await;
    assert_eq!(seen["differed"], 0, "{seen}");
    // Whoever says so asks this server, as the command line does.
    let native = rpc(&app, "/rpc?side=native", "both.echo", 1).await;
    assert_eq!(native["skip"], OURS);
    // A batch: each call where it leads.
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "both.write", "params": {"n": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "system.health", "params": {"timestamp": 0}},
    ]);
    let mut answers = post(&app, "/rpc", &batch).await;
    let answers = answers.as_array_mut().unwrap();
    answers.sort_by_key(|it| it["id"].as_i64());
    assert_eq!(answers[0]["result"]["by"], THEIRS);
    assert_eq!(answers[1]["result"]["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_server_refuses_or_cannot_say_is_an_error_of_every_wire() {
    let envelope = r#"{"error":{"json":{"message":"no such thing","code":-32004,"data":{"code":"NOT_FOUND","httpStatus":404,"path":"both.echo"}}}}"#;
    for (answer, code, says) in [
        (
            super::http("404 Not Found", envelope),
            "NOT_FOUND",
            "no such thing",
        ),
        (super::http("200 OK", "<html>"), "BAD_GATEWAY", "old server"),
        (
            super::http("503 Busy\r\nretry-after: 7", "busy"),
            "SERVICE_UNAVAILABLE",
            "old server",
        ),
    ] {
        let old = Liar::start(move |_| answer.clone(), false).await;
        let (builder, ours) = both(&old.url);
        let app = builder.start().await;
        let error = rpc(&app, "/rpc", "both.echo", 1).await;
        assert_eq!(error["data"]["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        let (text, failed) = tool(&app, "both_echo", 1).await;
        assert!(failed && text.as_str().unwrap().contains(says), "{text}");
        assert_eq!(ours.echoes.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_server_sets_no_token_against_forged_requests_that_is_worth_nothing_here() {
    let cookies = "200 OK\r\nset-cookie: __csrf_token=theirs; Path=/\r\nset-cookie: a=1";
    let answer = super::http(cookies, r#"{"result":{"data":{"json":1}}}"#);
    let old = Liar::start(move |_| answer.clone(), false).await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PATHS", "/api/files")
        .with_setting("CSRF_TOKEN", "required")
        .start()
        .await;
    let token = app.setup.token(7, Role::User).await;
    for path in ["/api/trpc/old.x", "/api/files/x"] {
        let cookies = async |cookie: &str| {
            let asked = app
                .http
                .get(format!("{}{path}", app.url))
                .header("cookie", cookie);
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let cookies = answer.headers().get_all("set-cookie").iter();
            let cookies = cookies.map(|it| it.to_str().unwrap().to_owned());
            cookies.collect::<Vec<_>>()
        };
        // Whom only the old server knows it protects by itself.
        let theirs = cookies("b=2").await;
        assert_eq!(theirs, ["__csrf_token=theirs; Path=/", "a=1"], "{path}");
        let given = cookies(&format!("app_session_id={token}")).await;
        assert_eq!((given.len(), &*given[0]), (2, "a=1"), "{path} {given:?}");
        let own = given[1].split(';').next().unwrap();
        assert!(
            own.starts_with("__csrf_token=") && !own.ends_with("theirs"),
            "{own}"
        );
        let kept = cookies(&format!("app_session_id={token}; {own}")).await;
        assert_eq!(kept, ["a=1"], "{path}");
        // By which this session changes something, at either server.
        let csrf = own.split_once('=').unwrap().1;
        for (csrf, status) in [(csrf, 200), ("theirs", 403)] {
            let posted = app.http.post(format!("{}/api/trpc/old.x", app.url));
            let posted = posted.header("cookie", format!("app_session_id={token}; {own}"));
            let posted = posted
                .header("x-csrf-token", csrf)
                .json(&json!({"json": 1}));
            assert_eq!(posted.send().await.unwrap().status(), status);
        }
    }
}
