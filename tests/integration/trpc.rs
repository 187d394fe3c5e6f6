//! The tRPC wire: the conformance harness in every mode, and what it cannot see from outside.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use modelramp::_core::tasks::Tasks;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    conformance, trpc_procedures,
};

/// Of a body, in bytes.
const MAX_BODY: &str = "65536";
const MAX_BATCH: &str = "300";

/// The application with `test.*`, whose subscriptions do not keep the harness waiting.
fn setup() -> TestAppBuilder {
    TestApp::builder()
        .with_procedures(trpc_procedures::register)
        .with_settings([
            ("MAX_BODY_BYTES", MAX_BODY),
            ("TRPC_MAX_BATCH", MAX_BATCH),
            ("TRPC_PING_INTERVAL", "300ms"),
            ("SUMMARY_INTERVAL", "100ms"),
        ])
}

/// Runs the harness as it would run against a deployed server, plus its checks of `test.*`.
async fn conforms(setup: TestAppBuilder, mode: &[(&'static str, &'static str)]) {
    let app = setup.start().await;
    let (url, token) = (url(&app, ""), app.setup.admin().await);
    let mut environment = vec![
        ("AUTH_HEADER", format!("Authorization: Bearer {token}")),
        ("WS_URL", url.replace("http:", "ws:")),
        ("MAX_BODY", MAX_BODY.to_owned()),
        ("BATCH_LIMIT", MAX_BATCH.to_owned()),
        ("TEST_PROCEDURES", "1".to_owned()),
        ("STRICT", "1".to_owned()),
    ];
    environment.extend(
        mode.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let checks = tokio::task::spawn_blocking(move || {
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        conformance::run(&url, &environment);
    });
    if let Err(failed) = checks.await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// The address of the mount point, or of something below it.
fn url(app: &TestApp, below: &str) -> String {
    format!("{}/api/trpc{below}", app.url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_superjson_streams_of_version_10_and_cors() {
    let origin = "https://app.example";
    let setup = setup().with_setting("CORS_ALLOWED_ORIGINS", origin);
    conforms(setup, &[("V10_STREAM", "1"), ("CORS_ORIGIN", origin)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_plain_json() {
    let setup = setup().with_setting("TRPC_TRANSFORMER", "none");
    conforms(setup, &[("TRANSFORMER", "none"), ("V10_STREAM", "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_without_method_override() {
    let setup = setup().with_setting("TRPC_METHOD_OVERRIDE", "false");
    conforms(setup, &[("METHOD_OVERRIDE", "0")]).await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(server: &TestApp) -> Socket {
    let url = url(server, "").replace("http:", "ws:");
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

async fn say(socket: &mut Socket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// The next text frame; `None` when the socket has closed.
async fn hear(socket: &mut Socket) -> Option<Value> {
    let next = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .expect("a frame within ten seconds")
}

#[tokio::test]
async fn a_stopping_server_moves_sockets_and_lets_calls_finish() {
    let server = setup().start().await;
    let mut socket = connect(&server).await;
    say(&mut socket, json!({"id": 1, "method": "subscription", "params": {"path": "test.onCount", "input": {"json": {}}}})).await;
    assert_eq!(
        hear(&mut socket).await.unwrap()["result"]["type"],
        "started"
    );
    say(
        &mut socket,
        json!({"id": 2, "method": "mutation", "params": {"path": "test.finish"}}),
    )
    .await;
    // The answer to a later frame shows that the mutation has been read.
    say(
        &mut socket,
        json!({"id": 3, "method": "query", "params": {"path": "no.such"}}),
    )
    .await;
    while hear(&mut socket).await.unwrap()["id"] != 3 {}

    let stopped = Tasks::default().spawn(server.stop());
    let mut frames = Vec::new();
    while let Some(frame) = hear(&mut socket).await {
        frames.push(frame);
    }
    assert!(frames.contains(&json!({"id": null, "method": "reconnect"})));
    assert!(
        frames
            .iter()
            .any(|frame| frame["id"] == 2 && frame["result"]["data"]["json"]["success"] == true)
    );
    // `stopped` would tell the client not to resume.
    assert!(
        !frames
            .iter()
            .any(|frame| frame["result"]["type"] == "stopped")
    );
    let stopped = tokio::time::timeout(Duration::from_secs(9), stopped).await;
    stopped.expect("nothing was left running").unwrap();
}

#[tokio::test]
async fn a_stopping_server_ends_event_streams_without_return() {
    let server = setup().start().await;
    let request = server.http.get(url(&server, "/test.onCount"));
    let mut stream = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("id: 1\n") {
        text += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
    }
    let stopped = Tasks::default().spawn(server.stop());
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(!text.contains("event: return"), "{text}");
    stopped.await.unwrap();
}

#[tokio::test]
async fn the_thousand_and_twenty_fifth_subscription_of_a_socket_is_refused() {
    let server = setup().start().await;
    let mut socket = connect(&server).await;
    for id in 0..=1024 {
        say(
            &mut socket,
            json!({"id": id, "method": "subscription", "params": {"path": "test.onCount"}}),
        )
        .await;
    }
    let error = loop {
        let frame = hear(&mut socket).await.unwrap();
        if frame.get("error").is_some() {
            break frame;
        }
    };
    assert_eq!(error["id"], 1024);
    assert_eq!(error["error"]["json"]["data"]["code"], "TOO_MANY_REQUESTS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_not_written_for() {
    let server = setup().start().await;
    let flood =
        |id| json!({"id": id, "method": "subscription", "params": {"path": "test.onFlood"}});
    let mut deaf = connect(&server).await;
    say(&mut deaf, json!([flood(1), flood(2), flood(3)])).await;
    assert_eq!(hear(&mut deaf).await.unwrap()["result"]["type"], "started");

    let mut other = connect(&server).await;
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    let (mut last, mut unchanged) = (0, 0);
    let standstill = async {
        while unchanged < 10 {
            beat.tick().await;
            say(
                &mut other,
                json!({"id": 1, "method": "query", "params": {"path": "test.counts"}}),
            )
            .await;
            let counts = hear(&mut other).await.unwrap();
            let flooded = counts["result"]["data"]["json"]["flooded"]
                .as_u64()
                .unwrap();
            unchanged = if flooded > 0 && flooded == last {
                unchanged + 1
            } else {
                0
            };
            last = flooded;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), standstill)
        .await
        .expect("the flood stops when the buffers of the kernel are full");
    // It goes on where it stood as soon as the client reads.
    for _ in 0..3 {
        assert!(hear(&mut deaf).await.is_some());
    }
}
