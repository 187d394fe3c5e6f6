//! The tRPC wire: the conformance harness in every mode, and what it cannot see from outside.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use modelramp::{
    _core::tasks::Tasks,
    config::{Transformer, TrpcConfig},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    conformance, http_client, sessions,
    trpc_server::{MAX_BODY_BYTES, TrpcServer, config},
};

/// Runs the harness as it would run against a deployed server, plus its checks of `test.*`.
async fn conforms(
    config: TrpcConfig,
    origin: Option<&'static str>,
    mode: &[(&'static str, &'static str)],
) {
    let batch_limit = config.max_batch.to_string();
    let server = TrpcServer::start(config, origin).await;
    let url = server.url("");
    let mut environment = vec![
        (
            "AUTH_HEADER".to_owned(),
            format!("Authorization: Bearer {}", sessions::token("owner-1")),
        ),
        ("WS_URL".to_owned(), url.replace("http:", "ws:")),
        ("MAX_BODY".to_owned(), MAX_BODY_BYTES.to_string()),
        ("BATCH_LIMIT".to_owned(), batch_limit),
        ("TEST_PROCEDURES".to_owned(), "1".to_owned()),
        ("STRICT".to_owned(), "1".to_owned()),
    ];
    environment.extend(mode.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let checks = tokio::task::spawn_blocking(move || {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(k, v)| (&**k, &**v)).collect();
        conformance::run(&url, &environment);
    });
    if let Err(failed) = checks.await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_superjson_streams_of_version_10_and_cors() {
    let origin = "https://app.example";
    conforms(
        config(),
        Some(origin),
        &[("V10_STREAM", "1"), ("CORS_ORIGIN", origin)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_plain_json() {
    let config = TrpcConfig {
        transformer: Transformer::None,
        ..config()
    };
    conforms(
        config,
        None,
        &[("TRANSFORMER", "none"), ("V10_STREAM", "1")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_without_method_override() {
    let config = TrpcConfig {
        method_override: false,
        ..config()
    };
    conforms(config, None, &[("METHOD_OVERRIDE", "0")]).await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(server: &TrpcServer) -> Socket {
    let url = server.url("").replace("http:", "ws:");
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
    let server = TrpcServer::start(config(), None).await;
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

    let tasks = server.tasks.clone();
    let stopped =
        Tasks::default().spawn(async move { tasks.shutdown(Duration::from_secs(9)).await });
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
    assert!(stopped.await.unwrap(), "nothing was left running");
}

#[tokio::test]
async fn a_stopping_server_ends_event_streams_without_return() {
    let server = TrpcServer::start(config(), None).await;
    // Plain HTTP needs no TLS, but the client insists on having some.
    modelramp::_core::http_client::install_tls();
    let mut stream = http_client()
        .get(server.url("/test.onCount"))
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("id: 1\n") {
        text += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
    }
    server.tasks.stop();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(!text.contains("event: return"), "{text}");
}

#[tokio::test]
async fn the_thousand_and_twenty_fifth_subscription_of_a_socket_is_refused() {
    let server = TrpcServer::start(config(), None).await;
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
    let server = TrpcServer::start(config(), None).await;
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
