//! Both kinds of calls on one socket, and an old server that ends, hangs, or is slow to open its own.

use futures::SinkExt;
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
