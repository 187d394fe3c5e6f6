//! The floods themselves: small inputs that once cost much.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::server::Server;

/// How long a flood of a socket goes on, unless the server closes it first.
const FLOOD: Duration = Duration::from_secs(3);

/// How often a client sends what is refused for want of room.
const UPLOADS: usize = 30;

/// Messages that ask for much, or for what is answered without asking; the last two are frames.
pub(super) const SOCKET_MESSAGES: &[Frame] = &[
    Frame::Text(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}"#),
    Frame::Text(r#"{"id":1,"method":"query","params":{"path":"auth.me"}}"#),
    Frame::Text("x"),
    Frame::Ping,
    Frame::EmptyFragments,
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    Text(&'static str),
    Ping,
    EmptyFragments,
}

/// The status of an answer that was read to its end.
pub(super) async fn post(server: &Server, path: &str, body: String) -> u16 {
    let request = server
        .http
        .post(server.url(path))
        .bearer_auth(&server.admin);
    let request = request
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

async fn superjson(server: &Server, json: Value, values: Value) {
    let input = json!({"json": json, "meta": {"values": values, "v": 1}});
    let status = post(server, "/api/trpc/aiMetrics.getSummary", input.to_string()).await;
    assert_eq!(status, 200, "it was read");
}

/// Every field of one large object is `undefined`.
pub(super) async fn wide_notes(server: &Server, count: usize) {
    let names = || (0..count).map(|n| format!("k{n}"));
    let json: Map<String, Value> = names().map(|name| (name, Value::Null)).collect();
    let notes: Map<String, Value> = names().map(|name| (name, json!(["undefined"]))).collect();
    superjson(server, json.into(), notes.into()).await;
}

/// Every item of a list behind a long path is a date.
pub(super) async fn nested_notes(server: &Server, count: usize) {
    let depth = 100;
    let mut json = json!(vec!["2026-01-01"; count]);
    for _ in 0..depth {
        json = json!({ "a": json });
    }
    let notes: Map<String, Value> = (0..count)
        .map(|n| (n.to_string(), json!(["Date"])))
        .collect();
    let path = vec!["a"; depth].join(".");
    superjson(server, json, json!({ path: ["set", notes] })).await;
}

/// Paths that lead nowhere, each longer than the one before by nothing but a dot.
pub(super) async fn deep_notes(server: &Server, count: usize) {
    let long = "a.".repeat(100);
    let notes: Map<String, Value> = (0..count)
        .map(|n| (format!("{long}{n}"), json!(["undefined"])))
        .collect();
    superjson(server, json!({}), notes.into()).await;
}

pub(super) async fn wrong_types(server: &Server, count: usize) {
    let context = json!({"selectedEmails": vec![0; count], "calendarEvents": vec![0; count]});
    let input = json!({"json": {"conversationId": 1, "content": "x", "context": context}});
    let status = post(server, "/api/trpc/chat.sendMessage", input.to_string()).await;
    assert_eq!(status, 400, "it was checked");
}

/// Each call takes long enough that also the smallest batch is run in several turns.
pub(super) async fn batch(server: &Server, calls: usize, lines: bool) {
    let names = vec!["models.list"; calls].join(",");
    let url = server.url(&format!("/api/trpc/{names}?batch=1"));
    let mut request = server.http.get(url).bearer_auth(&server.user);
    if lines {
        request = request.header("trpc-accept", "application/jsonl");
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

pub(super) async fn json_rpc_batches(server: &Server, calls: usize) {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "auth.me"});
    for _ in 0..calls / 50 {
        let status = post(server, "/rpc", json!(vec![&call; 50]).to_string()).await;
        assert_eq!(status, 200);
    }
}

/// The largest body, of the smallest values.
pub(super) async fn tiny_values(server: &Server, value: &str) {
    let list = value.repeat((4 << 20) / value.len() - 100);
    let list = list.trim_end_matches(',');
    let body = format!(
        "{{\"json\":{{\"conversationId\":1,\"content\":\"x\",\"context\":{{\"calendarEvents\":[{list}]}}}}}}"
    );
    let status = post(server, "/api/trpc/chat.sendMessage", body).await;
    assert_eq!(status, 413, "{value}");
}

/// The request of a socket, with more headers.
pub(super) fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\n{headers}upgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

pub(super) async fn open(server: &Server, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let host = format!("host: {}\r\n{headers}", server.address);
    stream.write_all(&upgrade(path, &host)).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

/// One frame of a client, masked with zeros.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Sends the same as fast as it can and reads nothing, until it is closed or time is up.
pub(super) async fn socket(server: &Server, path: &str, message: &Frame) {
    let mut stream = open(server, path, "").await;
    let one = match message {
        Frame::Text(text) => frame(0x81, text.as_bytes()),
        Frame::Ping => frame(0x89, &[b'x'; 125]),
        Frame::EmptyFragments => frame(0x00, b""),
    };
    if let Frame::EmptyFragments = message {
        stream.write_all(&frame(0x01, b"x")).await.unwrap();
    }
    let many = one.repeat(64 * 1024 / one.len());
    let flood = async { while stream.write_all(&many).await.is_ok() {} };
    let _ = tokio::time::timeout(FLOOD, flood).await;
}

/// Sockets that announce 4 MB and send all but the end.
pub(super) async fn unfinished_messages(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for n in 0..count {
        let path = if n % 2 == 0 { "/rpc" } else { "/api/trpc" };
        let mut stream = open(server, path, "").await;
        let mut whole = frame(0x81, &vec![b' '; 4_000_000]);
        whole.pop();
        // Fails where the server has had enough.
        let _ = stream.write_all(&whole).await;
        sockets.push(stream);
    }
    sockets
}

/// Batches of small queries, all at once; their statuses.
pub(super) async fn front_ends(server: &Server, batches: usize) -> Vec<u16> {
    let names = vec!["models.list"; 50].join(",");
    let url = server.url(&format!("/api/trpc/{names}?batch=1"));
    let batch = async || {
        let request = server.http.get(&url).bearer_auth(&server.user);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        status
    };
    futures::future::join_all((0..batches).map(|_| batch())).await
}

/// A long message of a chat, sent until it is taken, by a client that waits as long as it is told. How
/// often it was sent.
pub(super) async fn upload(server: &Server, conversation: &Value, bytes: usize) -> usize {
    let event = json!({"id": "e1", "summary": "x".repeat(400), "start": "2026-01-01T10:00:00Z"});
    let events = vec![event; bytes / 460];
    let context = json!({ "calendarEvents": events });
    let message = json!({"conversationId": conversation, "content": "hi", "context": context});
    let body = json!({ "json": message }).to_string();
    for sent in 1..=UPLOADS {
        let request = server.http.post(server.url("/api/trpc/chat.sendMessage"));
        let request = request.header("content-type", "application/json");
        let request = request.bearer_auth(&server.admin).body(body.clone());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after").cloned();
        let text = answer.text().await.unwrap();
        if status == 200 {
            return sent;
        }
        assert_eq!(status, 503, "{text}");
        let wait = wait.expect("a time to wait").to_str().unwrap().to_owned();
        // As it is told.
        tokio::time::sleep(Duration::from_secs(wait.parse().unwrap())).await;
    }
    panic!("{bytes} bytes were refused {UPLOADS} times");
}

/// A socket of a user with so many subscriptions, all of which have begun.
pub(super) async fn subscribed(server: &Server, count: usize) -> TcpStream {
    let session = format!("authorization: Bearer {}\r\n", server.user);
    let mut stream = open(server, "/api/trpc", &session).await;
    for n in 0..count {
        let params = json!({"path": "aiMetrics.onSummary", "input": {"json": {}}});
        let call = json!({"id": n, "method": "subscription", "params": params});
        stream
            .write_all(&frame(0x81, call.to_string().as_bytes()))
            .await
            .unwrap();
    }
    let mut said = Vec::new();
    let begun = async {
        while String::from_utf8_lossy(&said)
            .matches("\"started\"")
            .count()
            < count
        {
            assert!(
                stream.read_buf(&mut said).await.unwrap() > 0,
                "it was closed"
            );
        }
    };
    tokio::time::timeout(10 * FLOOD, begun).await.unwrap();
    stream
}

/// Connections that say this and no more.
pub(super) async fn connections(server: &Server, count: usize, begun: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        // Fails where it was closed at once.
        let _ = stream.write_all(begun.as_bytes()).await;
        streams.push(stream);
    }
    streams
}
