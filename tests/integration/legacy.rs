//! Calls to procedures that this server has not: the old server answers them, in every form.

mod bounds;
mod faults;
mod moving;
mod old_server;
mod other_wires;
mod reading;
mod settings;
mod sockets;
mod uploads;

use std::{process::Command, time::Duration};

use futures::StreamExt;
use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use self::old_server::NodeServer;
use crate::support::{app::TestApp, conformance, packages};

const BOTH: &str = "/api/trpc/auth.me,old.echo,old.nothing?batch=1&input=%7B%7D";

/// An application before this old server, with time enough on a busy machine.
async fn before(url: &str) -> TestApp {
    waiting(url, "20s").await
}

/// One that waits no longer than this.
async fn waiting(url: &str, timeout: &str) -> TestApp {
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{url}/api/trpc"))
        .with_setting("LEGACY_PATHS", "/api/files")
        .with_setting("LEGACY_TIMEOUT", timeout)
        .with_setting("TRPC_PING_INTERVAL", "2s");
    app.start().await
}

async fn get(app: &TestApp, path: &str) -> (u16, String) {
    let answer = app
        .http
        .get(format!("{}{path}", app.url))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn socket(
    app: &TestApp,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    let url = app.url.replace("http", "ws");
    let socket = tokio_tungstenite::connect_async(format!("{url}/api/trpc")).await;
    socket.unwrap().0
}

fn request(id: u32, method: &str, path: &str, input: &Value) -> Message {
    let params = json!({"path": path, "input": {"json": input}});
    Message::text(json!({"id": id, "method": method, "params": params}).to_string())
}

async fn frames(
    socket: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
    count: usize,
) -> Vec<Value> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {frames:?}"));
        if let Message::Text(text) = next.unwrap().unwrap() {
            frames.push(parsed(&text));
        }
    }
    frames
}

/// The harness that every server of tRPC passes, with the old server behind this one for all that it calls.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_server_conforms_through_this_one() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PROCEDURES", "system.*,aiMetrics.*")
        .with_setting("LEGACY_FORWARD_SESSION", "true")
        .start()
        .await;
    let url = format!("{}/api/trpc", app.url);
    let checks = tokio::task::spawn_blocking(move || {
        let sockets = url.replace("http:", "ws:");
        let environment = [
            ("AUTH_HEADER", "Authorization: Bearer theirs"),
            ("WS_URL", &sockets),
        ];
        conformance::run(&url, &environment);
    });
    if let Err(failed) = checks.await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
async fn the_real_clients_see_one_server_where_there_are_two() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PATHS", "/api/files")
        .start()
        .await;
    let token = app.setup.token(7, Role::User).await;
    let arguments = [app.url.clone(), old.url.clone(), token];
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("run.mjs")
            .args(arguments)
            .current_dir(packages::installed("legacy"))
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
