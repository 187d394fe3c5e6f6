//! Which pages may call, what browsers are told about it, and what operators ask.

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::support::{LISTED_ORIGIN, TestServer, read};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"stub.whoAmI"}"#;

#[tokio::test]
async fn a_post_with_a_cookie_needs_an_origin_that_is_ours_or_listed() {
    let server = TestServer::start().await;
    let own = server.url("");
    let post = |origin: Option<String>| {
        let mut request = server
            .request(CALL)
            .header("cookie", TestServer::cookie("bo"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        read(request)
    };
    for allowed in [None, Some(own), Some(LISTED_ORIGIN.into())] {
        assert_eq!(post(allowed.clone()).await.0, 200, "{allowed:?}");
    }
    for foreign in ["https://evil.example", "null", "", "http://127.0.0.1:1"] {
        let (status, body) = post(Some(foreign.into())).await;
        assert_eq!(status, 403, "{foreign}");
        assert_eq!(body["error"]["code"], -32003, "{foreign}");
        assert_eq!(body["error"]["data"]["code"], "FORBIDDEN", "{foreign}");
    }
    // Without a cookie there is nothing that a foreign page could misuse.
    let bearer = server
        .request(CALL)
        .bearer_auth(TestServer::token("bo"))
        .header("origin", "https://evil.example");
    assert_eq!(read(bearer).await.0, 200);
}

#[tokio::test]
async fn a_socket_needs_an_origin_that_is_ours_or_listed() {
    let server = TestServer::start().await;
    let connect = async |origin: Option<&str>| {
        let mut request = format!("ws://{}/rpc", server.address)
            .into_client_request()
            .unwrap();
        if let Some(origin) = origin {
            let headers = request.headers_mut();
            headers.insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok(_) => 101,
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                response.status().as_u16()
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(connect(None).await, 101);
    assert_eq!(connect(Some(&server.url(""))).await, 101);
    assert_eq!(connect(Some(LISTED_ORIGIN)).await, 101);
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(connect(Some(foreign)).await, 403, "{foreign}");
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_complete_is_a_bad_request() {
    let server = TestServer::start().await;
    let request = server
        .client
        .get(server.url("/rpc"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "7");
    assert_eq!(read(request).await.0, 400);
}

#[tokio::test]
async fn preflights_of_listed_origins_are_answered_without_a_session() {
    const ASKED: &str = "content-type,trpc-accept,x-trpc-source,sentry-trace,baggage,traceparent";
    let server = TestServer::start().await;
    let preflight = async |origin: &str| -> HeaderMap {
        let response = server
            .client
            .request(Method::OPTIONS, server.url("/rpc"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", ASKED)
            .send()
            .await
            .unwrap();
        assert!(response.status().is_success());
        response.headers().clone()
    };
    let allowed = preflight(LISTED_ORIGIN).await;
    assert_eq!(allowed["access-control-allow-origin"], LISTED_ORIGIN);
    assert_eq!(allowed["access-control-allow-credentials"], "true");
    assert_eq!(allowed["access-control-allow-methods"], "GET,POST");
    assert_eq!(allowed["vary"], "origin");
    // Whatever headers a front end and its tracing send: the origin is what decides.
    assert_eq!(allowed["access-control-allow-headers"], ASKED);
    assert_eq!(allowed["access-control-max-age"], "7200");
    for foreign in ["https://evil.example", "null", "https://app.example:444"] {
        let headers = preflight(foreign).await;
        assert!(!headers.contains_key("access-control-allow-origin"));
        assert_eq!(headers["vary"], "origin");
    }
}

#[tokio::test]
async fn answers_are_readable_for_listed_origins_only() {
    let server = TestServer::start().await;
    for (origin, allowed) in [(LISTED_ORIGIN, true), ("https://evil.example", false)] {
        let request = server.request(CALL).header("origin", origin);
        let response = request.send().await.unwrap();
        let header = response.headers().get("access-control-allow-origin");
        assert_eq!(header.is_some(), allowed, "{origin}");
        assert_eq!(response.headers()["vary"], "origin");
    }
}

#[tokio::test]
async fn health_says_alive_and_readiness_says_why_not() {
    let server = TestServer::start().await;
    let get = |path: &str| read(server.client.get(server.url(path)));
    assert_eq!(get("/healthz").await, (200, json!({ "status": "ok" })));
    assert_eq!(get("/readyz").await, (200, json!({ "status": "ready" })));
    server.obstacles.lock().push("no database".into());
    let unavailable = json!({ "status": "unavailable", "reasons": ["no database"] });
    assert_eq!(get("/readyz").await, (503, unavailable));
    assert_eq!(get("/healthz").await.0, 200);
}

#[tokio::test]
async fn an_unknown_path_is_named_in_json() {
    let server = TestServer::start().await;
    let (status, body) = read(server.client.get(server.url("/nowhere?token=secret"))).await;
    let error = json!({ "code": "NOT_FOUND", "message": "nothing is served at `/nowhere`" });
    assert_eq!((status, body), (404, json!({ "error": error })));
    let posted: (u16, Value) = read(server.client.post(server.url("/"))).await;
    assert_eq!(posted.0, 404);
    let asked: (u16, Value) = read(server.client.get(server.url("/"))).await;
    assert_eq!(asked.0, 404);
    let http = modelramp::_core::http_client::builder().build().unwrap();
    let browser = http.get(server.url("/")).header("accept", "text/html,*/*");
    let led = browser.send().await.unwrap();
    assert_eq!(
        (led.status().as_u16(), &led.headers()["location"]),
        (307, &http::HeaderValue::from_static("/dashboard/"))
    );
}
