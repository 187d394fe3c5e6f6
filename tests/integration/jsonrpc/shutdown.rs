//! A graceful stop: what runs is answered, what would run for ever ends.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    socket::Socket,
    support::{Limits, SOON, TestServer, read},
};

const SLOW: &str = r#"{"jsonrpc":"2.0","id":1,"method":"stub.slowMutation"}"#;

#[tokio::test]
async fn a_stop_answers_what_runs_and_ends_what_would_not() {
    let server = TestServer::start().await;
    // One of each: a mutation over HTTP, one over a socket, a subscription, an event stream, a
    // connection that is idle, and one whose request has only begun.
    let mut busy = Socket::open(&server, None).await;
    busy.call(7, "stub.slowMutation", Value::Null).await;
    let mut listening = Socket::open(&server, None).await;
    listening.subscribe("stub.onLive").await;
    assert_eq!(listening.next().await.unwrap()["params"]["result"], 0);
    let events = server.client.get(server.url("/api/trpc/events"));
    let mut events = events.send().await.unwrap().bytes_stream();
    assert!(events.next().await.unwrap().is_ok());
    let idle = TcpStream::connect(server.address).await.unwrap();
    let mut begun = TcpStream::connect(server.address).await.unwrap();
    begun.write_all(b"POST /rpc HT").await.unwrap();
    assert_eq!(server.post(r#"[]"#).await.0, 200);

    let (answer, ()) = tokio::join!(read(server.request(SLOW)), async {
        server.stubs.until(|seen| seen.started == 3).await;
        server.stop();
        assert!(events.next().await.is_none(), "the event stream ends");
        let mut last = listening.next().await;
        while let Some(message) = last {
            assert_eq!(message["params"]["error"], Value::Null, "{message}");
            last = listening.next().await;
        }
        server.stubs.release.add_permits(2);
    });
    assert_eq!(answer.0, 200);
    assert_eq!(answer.1["result"], "done");
    assert_eq!(
        busy.next().await.unwrap(),
        json!({ "jsonrpc": "2.0", "id": 7, "result": "done" })
    );
    assert!(busy.next().await.is_none(), "the socket is closed");
    let address = server.address;
    assert!(server.served().await, "everything was finished");
    assert!(TcpStream::connect(address).await.is_err());
    drop((idle, begun));
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_it_was_told() {
    let server = TestServer::with(Limits {
        patience: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let stubs = server.stubs.clone();
    let request = server.request(SLOW);
    tokio::select! {
        answer = read(request) => panic!("{answer:?}"),
        is_finished = async {
            stubs.until(|seen| seen.started == 1).await;
            server.stop();
            server.served().await
        } => assert!(!is_finished, "the mutation still runs"),
    }
}

#[tokio::test]
async fn clients_that_take_too_long_over_a_request_are_hung_up_on() {
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    // Nothing; what may become HTTP/2; a head without an end.
    for begun in ["", "P", "POST /rpc HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // Whoever is served now is served after them.
    assert_eq!(server.post("[]").await.0, 200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(76)).await;
    tokio::time::resume();
    for mut stream in streams {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
        let _ = closed.expect("the connection is closed");
    }
    assert_eq!(server.post("[]").await.0, 200);
}

#[tokio::test]
async fn a_stop_waits_for_the_calls_of_sockets_too() {
    let server = TestServer::with(Limits {
        patience: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let mut socket = Socket::open(&server, None).await;
    // A query: nothing but its socket keeps the server.
    socket.call(1, "stub.slowQuery", Value::Null).await;
    server.stubs.until(|seen| seen.started == 1).await;
    server.stop();
    assert!(!server.served().await, "the query still runs");
}
