//! Calls and subscriptions over WebSocket, seen frame by frame.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::support::{Limits, MAX_BODY_BYTES, SOON, TestServer};

pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(super) async fn open(server: &TestServer, caller: Option<&str>) -> Self {
        let mut request = format!("ws://{}/rpc", server.address)
            .into_client_request()
            .unwrap();
        if let Some(caller) = caller {
            let cookie = TestServer::cookie(caller).parse().unwrap();
            request.headers_mut().insert("cookie", cookie);
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        Self(socket)
    }

    pub(super) async fn send(&mut self, message: Value) {
        self.raw(&message.to_string()).await;
    }

    async fn raw(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn call(&mut self, id: u32, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
    }

    /// The next message; `None` once the socket is closed.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(SOON, self.0.next());
            match message.await.expect("a message comes")? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn expect(&mut self) -> Value {
        self.next().await.expect("the socket is open")
    }

    /// Subscribes; the subscription's id.
    pub(super) async fn subscribe(&mut self, method: &str) -> Value {
        self.call(1, method, json!([])).await;
        let answer = self.expect().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer["result"].clone()
    }
}

fn event(method: &str, subscription: &Value, result: &Value) -> Value {
    let params = json!({ "subscription": subscription, "result": result });
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

#[tokio::test]
async fn calls_errors_notifications_and_batches_are_as_over_http() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, Some("bo")).await;
    socket.call(1, "stub.whoAmI", Value::Null).await;
    assert_eq!(socket.expect().await["result"], "bo user");
    socket.call(2, "stub.secret", Value::Null).await;
    let first = socket.expect().await;
    assert_eq!(first["error"]["code"], -32003);
    assert_eq!(first["error"]["data"]["path"], "stub.secret");
    socket.call(3, "stub.nowhere", Value::Null).await;
    let second = socket.expect().await;
    assert_eq!(second["error"]["code"], -32601);
    let request_id = |answer: &Value| answer["error"]["data"]["requestId"].clone();
    assert_ne!(request_id(&first), request_id(&second));

    let counted = json!({ "jsonrpc": "2.0", "method": "stub.count" });
    socket.send(counted.clone()).await;
    server.stubs.until(|seen| seen.counted == 1).await;
    socket.send(json!([counted, counted])).await;
    server.stubs.until(|seen| seen.counted == 3).await;
    let call = json!({ "jsonrpc": "2.0", "id": 4, "method": "stub.count" });
    socket.send(json!([counted, call])).await;
    // The first message since: the notifications were not answered.
    assert_eq!(socket.expect().await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_messages_are_answered_and_the_socket_stays() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, None).await;
    for (message, number) in [
        ("{", -32700),
        ("nonsense", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        ("{}", -32600),
    ] {
        socket.raw(message).await;
        assert_eq!(socket.expect().await["error"]["code"], number, "{message}");
    }
    socket.raw(&" ".repeat(MAX_BODY_BYTES + 1)).await;
    assert_eq!(socket.expect().await["error"]["code"], -32007);
    socket.call(1, "stub.panics", Value::Null).await;
    assert_eq!(socket.expect().await["error"]["code"], -32603);
    socket.call(2, "stub.nothing", Value::Null).await;
    assert_eq!(socket.expect().await["result"], "nothing");
}

#[tokio::test]
async fn a_subscription_sends_its_events_and_says_that_it_ended() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, None).await;
    socket.call(1, "stub.onTick", json!({ "count": 2 })).await;
    let id = socket.expect().await["result"].clone();
    assert!(id.is_string());
    for n in 0..2 {
        assert_eq!(socket.expect().await, event("stub.onTick", &id, &json!(n)));
    }
    let end = json!({ "subscription": id, "error": null });
    assert_eq!(socket.expect().await["params"], end);
}

#[tokio::test]
async fn tracked_events_bring_their_id_and_failures_their_data() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, None).await;
    let id = socket.subscribe("stub.onTracked").await;
    let tracked = json!({ "id": "first", "data": 1 });
    assert_eq!(
        socket.expect().await,
        event("stub.onTracked", &id, &tracked)
    );
    let error = socket.expect().await["params"]["error"].clone();
    assert_eq!(error["code"], -32009);
    assert_eq!(error["message"], "overtaken");
    assert_eq!(error["data"]["path"], "stub.onTracked");
}

#[tokio::test]
async fn a_subscription_that_cannot_begin_is_an_error_of_its_call() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, Some("bo")).await;
    socket.call(1, "stub.onTick", json!({ "count": 101 })).await;
    let answer = socket.expect().await;
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(1), &json!(-32602))
    );
    socket.call(2, "stub.onSecret", json!([])).await;
    assert_eq!(socket.expect().await["error"]["code"], -32003);
    socket
        .send(json!([{ "jsonrpc": "2.0", "id": 3, "method": "stub.onTick" }]))
        .await;
    assert_eq!(socket.expect().await[0]["error"]["code"], -32602);
}

#[tokio::test]
async fn unsubscribing_ends_the_stream() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, None).await;
    let id = socket.subscribe("stub.onLive").await;
    assert_eq!(socket.expect().await, event("stub.onLive", &id, &json!(0)));
    server.stubs.ticks.send_replace(1);
    assert_eq!(socket.expect().await, event("stub.onLive", &id, &json!(1)));
    socket.call(2, "stub.onLive.unsubscribe", json!([id])).await;
    assert_eq!(socket.expect().await["result"], true);
    server.stubs.until(|seen| seen.dropped == 1).await;
    socket.call(3, "stub.onLive.unsubscribe", json!([id])).await;
    assert_eq!(socket.expect().await["result"], false);
}

#[tokio::test]
async fn queries_and_subscriptions_end_with_their_socket_and_mutations_do_not() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, None).await;
    socket.subscribe("stub.onLive").await;
    socket.call(2, "stub.slowQuery", Value::Null).await;
    socket.call(3, "stub.slowMutation", Value::Null).await;
    server.stubs.until(|seen| seen.started == 3).await;
    drop(socket);
    server.stubs.until(|seen| seen.dropped == 2).await;
    server.stubs.release.add_permits(1);
    let seen = server.stubs.until(|seen| seen.finished == 1).await;
    assert_eq!(seen.dropped, 2);
}

#[tokio::test]
async fn an_open_socket_loses_its_rights_with_its_user() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, Some("ann")).await;
    socket.call(1, "stub.secret", Value::Null).await;
    assert_eq!(socket.expect().await["result"], "nothing");

    server.users.0.lock().insert("ann".into(), Role::User);
    refused(&mut socket, -32003).await;
    server.users.0.lock().remove("ann");
    refused(&mut socket, -32001).await;
}

/// Calls until it is refused so; look-ups of users hold for a moment.
async fn refused(socket: &mut Socket, number: i32) {
    let calls = async {
        loop {
            socket.call(1, "stub.secret", Value::Null).await;
            if socket.expect().await["error"]["code"] == number {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, calls)
        .await
        .expect("rights are lost");
}

#[tokio::test]
async fn a_running_subscription_loses_its_rights_with_its_user() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server, Some("ann")).await;
    socket.subscribe("stub.onSecret").await;
    assert_eq!(socket.expect().await["params"]["result"], 0);
    server.users.0.lock().remove("ann");
    refused(&mut socket, -32001).await;

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    server.stubs.ticks.send_replace(1);
    let end = socket.expect().await;
    assert_eq!(end["params"]["error"]["code"], -32001, "{end}");
    server.stubs.until(|seen| seen.dropped == 1).await;
}

#[tokio::test]
async fn sockets_are_pinged() {
    let server = TestServer::with(Limits {
        ping_interval: Duration::from_millis(20),
        ..Limits::default()
    })
    .await;
    let mut socket = Socket::open(&server, None).await;
    let mut pings = 0;
    while pings < 3 {
        let message = tokio::time::timeout(SOON, socket.0.next()).await;
        match message.expect("a ping comes").unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_socket_that_answers_no_ping_is_closed() {
    let server = TestServer::with(Limits {
        ping_interval: Duration::from_millis(20),
        ..Limits::default()
    })
    .await;
    let mut socket = Socket::open(&server, None).await;
    socket.subscribe("stub.onLive").await;
    // Whoever does not read does not answer pings either.
    server.stubs.until(|seen| seen.dropped == 1).await;
}
