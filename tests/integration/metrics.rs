//! `/metrics` of the real binary, read by Prometheus's own checker where it is installed.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::app::TestApp;

const DOCS: &str = include_str!("../../docs/monitoring.md");

/// Its text, or its status where that is not 200.
async fn read(request: reqwest::RequestBuilder) -> Result<String, u16> {
    let answer = request.send().await.unwrap();
    match answer.status().as_u16() {
        200 => Ok(answer.text().await.unwrap()),
        other => Err(other),
    }
}

#[tokio::test]
async fn prometheus_reads_what_the_server_counts() {
    let setup = TestApp::builder().with_settings([
        ("METRICS_TOKEN", "the-token-of-prometheus"),
        ("OPENROUTER_ROLLOUT_PERCENTAGE", "25"),
    ]);
    let server = setup.spawn().await;
    let http = &server.http;
    let call = async |path: &str, input: serde_json::Value| server.call(path, input).await.unwrap();
    let begun = call("chat.createConversation", json!({})).await.unwrap();
    let sent = json!({ "conversationId": begun["id"], "content": "Hello" });
    call("chat.sendMessage", sent).await.unwrap();
    let refused = call("chat.sendMessage", json!({ "content": 1 })).await;
    assert!(refused.is_err());

    let metrics = || http.get(format!("{}/metrics", server.url));
    assert_eq!(read(metrics()).await, Err(401));
    let refused = metrics().send().await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let text = read(metrics().bearer_auth("the-token-of-prometheus")).await;
    let text = text.unwrap();
    for line in [
        r#"candidate_share_ratio{task="chat"} 0.25"#,
        "kill_switch 0",
        r#"rpc_calls_total{procedure="chat.sendMessage",code="OK"} 1"#,
        r#"rpc_calls_total{procedure="chat.sendMessage",code="BAD_REQUEST"} 1"#,
        r#"rpc_call_duration_seconds_count{procedure="chat.sendMessage"} 2"#,
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "{line} is not in\n{text}"
        );
    }
    let open = text
        .lines()
        .find_map(|it| it.strip_prefix("connections_open "));
    assert!(open.unwrap().parse::<u64>().unwrap() >= 1, "{text}");
    let attempts = "ai_attempts_total{";
    let attempt = text.lines().find(|line| line.starts_with(attempts));
    assert!(attempt.is_some_and(|line| line.ends_with(" 1")), "{text}");

    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line["# TYPE ".len()..].split_once(' ').unwrap();
        let documented = DOCS
            .lines()
            .any(|row| row.starts_with(&format!("| `{name}` | {kind}")));
        assert!(documented, "docs/monitoring.md lacks the {kind} `{name}`");
        let help = format!("# HELP {name} ");
        let described = text.lines().any(|line| line.starts_with(&help));
        assert!(described, "nothing describes `{name}`: {text}");
    }

    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match checker {
        Ok(mut checker) => {
            let mut input = checker.stdin.take().unwrap();
            input.write_all(text.as_bytes()).unwrap();
            drop(input);
            let output = checker.wait_with_output().unwrap();
            let complaints = String::from_utf8(output.stderr).unwrap();
            assert_eq!(complaints, "");
            assert!(output.status.success());
        }
        Err(error) => {
            let required = std::env::var_os("MODELRAMP_TEST_REQUIRE_PROMTOOL").is_some();
            assert!(!required, "`promtool` cannot be run: {error}");
        }
    }
}
