//! The procedures as tools, called by the official client and by clients that do it wrong.

use std::process::Command;

use modelramp::_core::caller::Role;
use serde_json::{Value, json};

use crate::support::{app::TestApp, packages};

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
async fn the_official_client_calls_what_its_token_may() {
    let app = TestApp::start().await;
    let (user, admin) = (
        app.setup.token(2, Role::User).await,
        app.setup.admin().await.to_owned(),
    );
    let base = app.url.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .args(["run.mjs", &base, &user, &admin])
            .current_dir(packages::installed("mcp"))
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    app.stop().await;
}

async fn post(app: &TestApp, token: &str, body: String) -> (u16, Value) {
    let request = app.http.post(format!("{}/mcp", app.url)).bearer_auth(token);
    let answer = request
        .header("content-type", "application/json")
        .body(body);
    let answer = answer.send().await.unwrap();
    (
        answer.status().as_u16(),
        answer.json().await.unwrap_or_default(),
    )
}

fn call(name: &str, arguments: &Value) -> String {
    let params = json!({"name": name, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

#[tokio::test]
async fn whoever_does_it_wrong_is_told() {
    let app = TestApp::start().await;
    let token = app.setup.admin().await.to_owned();
    for (body, number) in [
        ("nonsense".to_owned(), -32700),
        ("[]".into(), -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}"#.into(),
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#.into(),
            -32601,
        ),
        ("{}".into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#.into(), -32600),
        (call("nothing", &json!({})), -32602),
        (call("models_list", &json!([1])), -32602),
    ] {
        let (status, answer) = post(&app, &token, body.clone()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (200, &json!(number)),
            "{body}: {answer}"
        );
    }
    let without = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#;
    let (status, answer) = post(&app, &token, without.into()).await;
    assert_eq!((status, &answer["result"]), (200, &json!({})), "{answer}");
    // An answer to a question that was never asked is taken, as the specification has it.
    let answered = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
    assert_eq!(
        post(&app, &token, answered.into()).await,
        (202, Value::Null)
    );
    let notified = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(
        post(&app, &token, notified.into()).await,
        (202, Value::Null)
    );
    let url = format!("{}/mcp", app.url);
    assert_eq!(app.http.get(&url).send().await.unwrap().status(), 405);
    let foreign = app
        .http
        .post(&url)
        .header("origin", "https://evil.example")
        .body("{}");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let old = app
        .http
        .post(&url)
        .header("mcp-protocol-version", "1999-01-01")
        .body("{}");
    assert_eq!(old.send().await.unwrap().status(), 400);
    app.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_call_and_one_that_passes_says_when() {
    let app = TestApp::builder()
        .with_setting("CHAT_RATE_LIMIT", "1")
        .with_setting("MCP_TOOLS", "all")
        .start()
        .await;
    let user = app.setup.token(2, Role::User).await;
    let send = async |method: http::Method, body: String| {
        let url = format!("{}/mcp", app.url);
        let request = app.http.request(method, url).bearer_auth(&user);
        let answer = request
            .header("content-type", "application/json")
            .body(body);
        let answer = answer.send().await.unwrap();
        let headers = answer.headers().clone();
        (headers, answer.text().await.unwrap())
    };
    let post = http::Method::POST;
    for (method, body) in [
        (post.clone(), call("system_health", &json!({}))),
        (post.clone(), "nonsense".into()),
        (
            post.clone(),
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into(),
        ),
        (http::Method::GET, String::new()),
    ] {
        let (headers, answer) = send(method, body.clone()).await;
        assert_eq!(headers["x-request-id"].len(), 32, "{body}: {answer}");
        assert_eq!(headers["cache-control"], "no-store", "{body}");
        assert!(!headers.contains_key("retry-after"), "{body}");
    }
    let made = call("chat_createConversation", &json!({"title": "twice"}));
    let (_, made) = send(post.clone(), made).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let made = made["result"]["content"][0]["text"].as_str().unwrap();
    let made: Value = serde_json::from_str(made).unwrap();
    let message = json!({"conversationId": made["id"], "content": "hej"});
    let (headers, _) = send(post.clone(), call("chat_sendMessage", &message)).await;
    assert!(!headers.contains_key("retry-after"));
    let (headers, refused) = send(post, call("chat_sendMessage", &message)).await;
    assert!(refused.contains("isError"), "{refused}");
    let id = headers["x-request-id"].to_str().unwrap();
    assert!(
        refused.contains(id),
        "the id of its line in the log: {refused}"
    );
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    app.stop().await;
}

#[tokio::test]
async fn what_changes_something_is_a_tool_where_a_setting_says_so() {
    let app = TestApp::builder()
        .with_setting("MCP_TOOLS", "all")
        .start()
        .await;
    let user = app.setup.token(2, Role::User).await;
    let made = call("chat_createConversation", &json!({"title": "by a tool"}));
    let (_, answer) = post(&app, &user, made).await;
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    let conversation: Value = serde_json::from_str(text).unwrap();
    assert_eq!(conversation["title"], "by a tool");
    let (_, answer) = post(&app, &user, call("featureFlags_kill", &json!({"on": true}))).await;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    app.stop().await;

    let app = TestApp::builder()
        .with_setting("MCP_TOOLS", "off")
        .start()
        .await;
    assert_eq!(
        app.http
            .post(format!("{}/mcp", app.url))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    app.stop().await;
}
