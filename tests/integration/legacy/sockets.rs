//! Both kinds of calls on one socket, and an old server that ends, hangs, or is slow to open its own.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{before, frames, get, old_server::NodeServer, request, socket, waiting};
use crate::support::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_outlives_the_old_server() {
    let mut old = NodeServer::start().await;
    let app = waiting(&old.url, "4s").await;
    let mut socket = socket(&app).await;
    let stay = json!({"to": 1, "stay": true});
    socket
        .send(request(1, "subscription", "old.ticks", &stay))
        .await
        .unwrap();
    // `started`, and the first event.
    let begun = frames(&mut socket, 2).await;
    assert_eq!(begun[1]["result"]["type"], "data");

    socket
        .send(request(2, "query", "old.never", &Value::Null))
        .await
        .unwrap();
    let late = frames(&mut socket, 1).await;
    assert_eq!(late[0]["id"], 2);
    assert_eq!(late[0]["error"]["json"]["data"]["code"], "GATEWAY_TIMEOUT");

    socket
        .send(request(3, "query", "old.never", &Value::Null))
        .await
        .unwrap();
    old.child.kill().await.unwrap();
    let lost = frames(&mut socket, 3).await;
    let errors: Vec<_> = lost.iter().filter(|it| it.get("error").is_some()).collect();
    assert_eq!(errors.len(), 2, "{lost:?}");
    assert!(
        errors
            .iter()
            .all(|it| it["error"]["json"]["data"]["code"] == "BAD_GATEWAY")
    );
    assert!(
        lost.contains(&json!({"id": 1, "result": {"type": "stopped"}})),
        "{lost:?}"
    );

    // Ours is answered on the same socket, and the ids are free again.
    socket
        .send(request(1, "query", "auth.me", &Value::Null))
        .await
        .unwrap();
    assert_eq!(frames(&mut socket, 1).await[0]["result"]["type"], "data");
    socket
        .send(request(1, "subscription", "old.ticks", &Value::Null))
        .await
        .unwrap();
    let down = frames(&mut socket, 1).await;
    assert_eq!(down[0]["error"]["json"]["data"]["code"], "BAD_GATEWAY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_the_old_servers_socket() {
    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let mut socket = socket(&app).await;
    let stay = json!({"to": 1, "stay": true});
    socket
        .send(request(1, "subscription", "old.ticks", &stay))
        .await
        .unwrap();
    frames(&mut socket, 2).await;
    let open = || std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = old.url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let established = format!("0100007F:{port:04X} 01");
    assert!(open().contains(&established));
    drop(socket);
    until("the old server's socket is closed", async || {
        !open().lines().any(|line| line.contains(&established))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_come_back_as_they_were_whatever_javascript_makes_of_them() {
    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let mut socket = socket(&app).await;
    for id in ["1", "1.0", "12345678901234567890", "\"a\""] {
        let frame = format!(
            r#"{{"id":{id},"method":"query","params":{{"path":"old.echo","input":{{"json":"id\":7"}}}}}}"#
        );
        socket.send(Message::text(frame)).await.unwrap();
        let answer = loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) => break text,
                _ => continue,
            }
        };
        assert!(answer.contains(&format!("\"id\":{id},")), "{id}: {answer}");
        let echoed: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            echoed["result"]["data"]["json"]["echo"], "id\":7",
            "{answer}"
        );
    }
}

/// The world: an old server that could make no context, or not read a frame. It cannot say for which call.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test starts tasks")]
async fn an_error_that_names_no_call_is_told_to_the_one_that_waits() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut old = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = old.next().await {
            if message.is_text() {
                let error = r#"{"id":null,"error":{"json":{"message":"no context","code":-32603,"data":{"code":"INTERNAL_SERVER_ERROR","httpStatus":500}}}}"#;
                old.send(Message::text(error)).await.unwrap();
            }
        }
    });
    let app = before(&url).await;
    let mut socket = socket(&app).await;
    for (id, kind) in [(1, "query"), (2, "subscription"), (3, "mutation")] {
        socket
            .send(request(id, kind, "old.echo", &Value::Null))
            .await
            .unwrap();
        let told = frames(&mut socket, 1).await;
        assert_eq!(told[0]["id"], id, "{told:?}");
        assert_eq!(
            told[0]["error"]["json"]["message"], "no context",
            "{told:?}"
        );
    }
    serve.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_wait_for_a_socket_that_is_being_opened() {
    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let mut socket = socket(&app).await;
    let ask = |id| json!({"id": id, "method": "query", "params": {"path": "old.echo", "input": {"json": id}}});
    let all: Vec<Value> = (0..900).map(ask).collect();
    socket
        .send(Message::text(json!(all).to_string()))
        .await
        .unwrap();
    let answers = frames(&mut socket, 900).await;
    for answer in answers {
        assert_eq!(answer["result"]["data"]["json"]["echo"], answer["id"]);
    }
    // Whoever turns the old server off looks at this: each call counts, and the opening of the socket.
    let (_, metrics) = get(&app, "/metrics").await;
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("legacy_requests_total{outcome=\"answered\"} "));
    let counted: u64 = counted.unwrap().parse().unwrap();
    assert!(counted >= 901, "{counted}");
}
