//! `/metrics` of the real binary, read by Prometheus's own checker where it is installed.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use modelramp::providers::openai_compatible::http_client;
use serde_json::json;

use crate::support::process::ServerProcess;

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
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("APP_ENV", "test"),
        ("PORT", "0"),
        ("JWT_SECRET", "a secret for tests, long enough for HS256"),
        ("METRICS_TOKEN", "the-token-of-prometheus"),
        ("OPENROUTER_ROLLOUT_PERCENTAGE", "25"),
    ];
    let environment: BTreeMap<String, String> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let program = env!("CARGO_BIN_EXE_modelramp");
    let serve = tokio::process::Command::new(program);
    let server = ServerProcess::start(serve, &environment, folder.path()).await;
    let http = http_client().unwrap();

    let token = Command::new(program)
        .args(["token", "--user", "1"])
        .env_clear()
        .envs(&environment)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let call = async |path: &str, input: serde_json::Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": path, "params": input });
        let request = http.post(format!("{}/rpc", server.url)).json(&body);
        let answer = request.bearer_auth(token.trim()).send().await.unwrap();
        answer.json::<serde_json::Value>().await.unwrap()
    };
    let begun = call("chat.createConversation", json!({})).await;
    let id = begun["result"]["id"].clone();
    let sent = json!({ "conversationId": id, "content": "Hello" });
    let answered = call("chat.sendMessage", sent).await;
    assert!(answered["result"].is_object(), "{answered}");
    call("chat.sendMessage", json!({ "content": 1 })).await;

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
