//! What is too much, and what is not HTTP enough.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    stubs::MEETING,
    support::{Limits, MAX_BODY_BYTES, TestServer, read},
};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"stub.nothing"}"#;

#[tokio::test]
async fn only_post_is_taken() {
    let server = TestServer::start().await;
    for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE] {
        let request = server.client.request(method.clone(), server.url("/rpc"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST", "{method}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["data"]["code"], "METHOD_NOT_SUPPORTED");
    }
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = TestServer::start().await;
    let post = |media_type: Option<&'static str>| {
        let mut request = server.client.post(server.url("/rpc")).body(CALL);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        read(request)
    };
    for media_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "application/json-rpc",
    ] {
        assert_eq!(post(Some(media_type)).await.0, 200, "{media_type}");
    }
    for media_type in [
        None,
        Some("text/plain"),
        Some("multipart/form-data; boundary=x"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
    ] {
        let (status, body) = post(media_type).await;
        assert_eq!(status, 415, "{media_type:?}");
        assert_eq!(body["error"]["data"]["code"], "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_its_length() {
    let server = TestServer::start().await;
    let fits = format!("{CALL}{}", " ".repeat(MAX_BODY_BYTES - CALL.len()));
    assert_eq!(server.post(fits.clone()).await.0, 200);
    let too_large = fits + " ";
    let chunks = [Ok::<_, std::io::Error>(too_large.clone())];
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    for request in [
        server.request(too_large.clone()),
        server.request("").body(chunked),
    ] {
        let (status, body) = read(request).await;
        assert_eq!(status, 413);
        assert_eq!(body["error"]["code"], -32013);
        assert_eq!(body["error"]["data"]["code"], "PAYLOAD_TOO_LARGE");
    }
}

#[tokio::test]
async fn a_batch_over_the_limit_does_not_run_at_all() {
    let server = TestServer::start().await;
    let batch = |length: usize| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "stub.count" });
        json!(vec![call; length]).to_string()
    };
    let (_, answers) = server.post(batch(MEETING)).await;
    assert_eq!(answers.as_array().unwrap().len(), MEETING);
    let (status, answer) = server.post(batch(MEETING + 1)).await;
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32010)));
    assert_eq!(server.stubs.until(|_| true).await.counted, MEETING);
}

#[tokio::test]
async fn one_request_too_many_is_told_to_wait() {
    let server = TestServer::with(Limits {
        max_connections: 1,
        ..Limits::default()
    })
    .await;
    let slow = r#"{"jsonrpc":"2.0","id":1,"method":"stub.slowQuery"}"#;
    let (first, ()) = tokio::join!(server.post(slow), async {
        server.stubs.until(|seen| seen.started == 1).await;
        let (status, body) = server.post(CALL).await;
        assert_eq!(status, 429);
        assert_eq!(body["error"]["data"]["code"], "TOO_MANY_REQUESTS");
        server.stubs.release.add_permits(1);
    });
    assert_eq!(first.1["result"], "done");
    assert_eq!(server.post(CALL).await.0, 200);
}

#[tokio::test]
async fn a_request_line_and_a_header_of_almost_64_kib_are_taken() {
    let server = TestServer::start().await;
    let url = format!("{}?{}", server.url("/healthz"), "a".repeat(65_000));
    assert_eq!(read(server.client.get(url)).await.0, 200);
    let long = server.client.get(server.url("/healthz"));
    let long = long.header("x-long", "a".repeat(70_000));
    assert_eq!(read(long).await.0, 200);
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_too() {
    let server = TestServer::start().await;
    let client = modelramp::_core::http_client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let response = client
        .post(server.url("/rpc"))
        .header("content-type", "application/json")
        .header("x-long", "a".repeat(70_000))
        // Which origin is our own is known there too.
        .header("origin", server.url(""))
        .header("cookie", "a=b")
        .body(CALL)
        .send()
        .await
        .unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.json::<Value>().await.unwrap()["result"], "nothing");
}

#[tokio::test]
async fn a_body_that_ends_early_harms_nobody() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /rpc HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    // It is told so, or nothing, and is no call.
    let is_told = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ");
    assert!(is_told && !answer.contains("result"), "{answer}");
    assert_eq!(server.post(CALL).await.0, 200);
}
