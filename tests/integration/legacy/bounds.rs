//! What goes on to the old server and what does not: no other server is asked, no session leaks, no request
//! takes another's place, nothing comes round again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    BOTH, before, frames, get, http,
    old_server::{Liar, NodeServer},
    parsed, request, socket, waiting,
};
use crate::support::{app::TestApp, wait::until};

/// What a raw connection gets for these bytes.
async fn raw(app: &TestApp, bytes: &str) -> String {
    let address = app.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    read.await.expect("it answers and closes").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test starts tasks")]
async fn a_loop_ends_with_508() {
    // The settings cannot know that this leads back.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = before(&format!("http://{}", relay.local_addr().unwrap())).await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let relay = tokio::spawn(async move {
        loop {
            let (mut client, _) = relay.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&address).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut client, &mut server).await },
            );
        }
    });
    for (path, status) in [
        ("/api/trpc/old.echo", 508),
        ("/api/trpc/old.echo,old.nothing?batch=1&input=%7B%7D", 508),
        ("/api/files/x", 508),
        (BOTH, 207),
    ] {
        let (found, text) = get(&app, path).await;
        assert_eq!(found, status, "{text}");
        assert!(
            text.contains("LEGACY_TRPC_URL leads back to this server"),
            "{text}"
        );
    }
    let mut socket = socket(&app).await;
    socket
        .send(request(1, "query", "old.echo", &Value::Null))
        .await
        .unwrap();
    assert!(frames(&mut socket, 1).await[0].get("error").is_some());
    relay.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_hangs_takes_no_place_from_ours() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let count = move |_: &str| {
        counted.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    };
    let silent = Liar::start(count, true).await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", silent.url))
        .with_setting("LEGACY_MAX_REQUESTS", "2");
    let app = app.start().await;
    let url = format!("{}/api/trpc/old.echo", app.url);
    let hanging = [0, 1].map(|_| tokio::spawn(app.http.get(&url).send()));
    let has_asked = async |times| {
        until("the old server is asked", async || {
            asked.load(Ordering::Relaxed) == times
        })
        .await;
    };
    has_asked(2).await;
    let (status, _) = get(&app, "/api/trpc/old.nothing").await;
    assert_eq!(status, 503);
    let (status, text) = get(&app, BOTH).await;
    assert_eq!(status, 207);
    assert!(
        text.starts_with(r#"[{"result":{"data":{"json":null}}},{"error""#),
        "{text}"
    );
    assert!(text.contains("LEGACY_MAX_REQUESTS"), "{text}");
    for request in hanging {
        request.abort();
    }
    // Those who left have made room, so one more gets through.
    until("there is a place again", async || {
        let request = app.http.get(&url).timeout(Duration::from_millis(300));
        request.send().await.is_err()
    })
    .await;
    has_asked(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_is_given_up() {
    let old = NodeServer::start().await;
    let app = waiting(&old.url, "500ms").await;
    let head = "POST /api/trpc/old.bytes HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/octet-stream\r\n";
    let answer = raw(
        &app,
        &format!("{head}content-length: 100\r\n\r\nten bytes."),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"code\":\"TIMEOUT\""), "{answer}");
    let (_, ready) = get(&app, "/readyz").await;
    assert_eq!(parsed(&ready)["oldServer"], "not asked yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_request_names_only_the_old_server_is_asked() {
    // Says of each request what it was.
    let echo = |head: &str| {
        http(
            "200 OK",
            &json!({"result": {"data": {"json": head}}}).to_string(),
        )
    };
    let old = Liar::start(echo, false).await;
    let trap = Liar::start(|_| http("200 OK", "trapped"), false).await;
    let (app, trap) = (
        before(&old.url).await,
        trap.url.trim_start_matches("http://").to_owned(),
    );
    for target in [
        format!("http://{trap}/api/trpc/old.echo"),
        format!("http://{trap}/api/files/x"),
        format!("/api/trpc//{trap}/x"),
        format!("/api/trpc/@{trap}"),
        format!("/api/files//{trap}"),
        format!("/api/files/@{trap}/"),
        format!("//{trap}/api/files/x"),
        format!("/api/files/x?url=http://{trap}"),
        format!("/api/files/%0d%0ahost:%20{trap}"),
        "/api/files/%2e%2e/%2e%2e/secret".to_owned(),
        "/api/trpc/%2e%2e%2f%2e%2e%2fsecret".to_owned(),
        "/api/files/..\\..\\secret".to_owned(),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {trap}\r\nconnection: close\r\n\r\n");
        let answer = raw(&app, &request).await;
        assert!(!answer.contains("trapped"), "{target}: {answer}");
        let asked = answer
            .split("GET ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let stays = |it: &str| it.starts_with("/api/trpc/") || it.starts_with("/api/files/");
        assert!(asked.is_none_or(stays), "{target}: {answer}");
        assert!(!answer.contains("GET /secret"), "{target}: {answer}");
    }
    // Two requests in one: what the first names as its body is no second.
    let smuggled = "POST /api/files/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\n\r\n";
    let answer = raw(&app, smuggled).await;
    assert!(!answer.contains("GET /secret"), "{answer}");
    assert!(!answer.contains("content-length: 5\\r"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_session_goes_on_only_where_a_setting_says_so() {
    let old = NodeServer::start().await;
    for (setting, passes) in [("false", false), ("true", true)] {
        let app = TestApp::builder()
            .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
            .with_setting("LEGACY_FORWARD_SESSION", setting);
        let app = app.start().await;
        for path in [
            "old.seen",
            "old.seen,auth.me?batch=1",
            "old.seen?connectionParams=%7B%22authorization%22%3A%22Bearer%20a.b.c%22%7D",
        ] {
            let request = app.http.get(format!("{}/api/trpc/{path}", app.url));
            let request = request.header("cookie", "x=1; app_session_id=a.b.c; y=2");
            let answer = request.header("authorization", "Bearer a.b.c").send().await;
            let text = answer.unwrap().text().await.unwrap();
            assert!(text.contains("x=1"), "{text}");
            assert_eq!(text.contains("a.b.c"), passes, "{path}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_at_the_old_server_is_not_answered_here() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PROCEDURES", "auth.*,models.list");
    let app = app.start().await;
    let path = "/api/trpc/auth.session,system.aiConfig,models.list?batch=1&input=%7B%7D";
    let (status, text) = get(&app, path).await;
    assert_eq!(status, 207, "{text}");
    let answers = parsed(&text);
    // The old server of this test has neither.
    for there in [0, 2] {
        assert_eq!(answers[there]["error"]["json"]["data"]["code"], "NOT_FOUND");
        assert!(
            answers[there]["error"]["json"]["data"]
                .get("requestId")
                .is_none()
        );
    }
    assert!(answers[1].get("result").is_some(), "{text}");
    let (status, _) = get(&app, "/api/trpc/auth.session").await;
    assert_eq!(status, 404);
    let mut socket = socket(&app).await;
    socket
        .send(request(1, "query", "auth.session", &Value::Null))
        .await
        .unwrap();
    let frame = frames(&mut socket, 1).await.remove(0);
    assert_eq!(frame["error"]["json"]["data"]["code"], "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_large_answer_is_not_written_for_each_of_many_calls() {
    let error = json!({"error": {"json": {"message": "x".repeat(1 << 20), "code": -32600}}});
    let answer = move |_: &str| http("400 Bad Request", &error.to_string());
    let old = Liar::start(answer, false).await;
    let app = before(&old.url).await;
    let names = vec!["old.echo"; 900].join(",");
    let (status, text) = get(&app, &format!("/api/trpc/{names},auth.me?batch=1")).await;
    assert_eq!(status, 207);
    assert!(text.contains("LEGACY_MAX_ANSWER_BYTES"));
    assert!(text.ends_with(r#"{"result":{"data":{"json":null}}}]"#));
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    // Clients read it as the answer to all calls, so it goes on as it came.
    let (status, text) = get(&app, &format!("/api/trpc/{names}?batch=1")).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("{\"error\"") && text.len() > 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_leave_places_to_calls_and_end_with_this_server() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_MAX_REQUESTS", "2");
    let app = app.start().await;
    let input = "%7B%22json%22%3A%7B%22to%22%3A1%2C%22stay%22%3Atrue%7D%7D";
    let url = format!("{}/api/trpc/old.ticks?input={input}", app.url);
    let open = async || {
        let request = app.http.get(&url).header("accept", "text/event-stream");
        request.send().await.unwrap()
    };
    let mut streams = [open().await, open().await];
    for stream in &mut streams {
        assert!(stream.chunk().await.unwrap().is_some());
    }
    let third = open().await.text().await.unwrap();
    assert!(third.contains("LEGACY_MAX_REQUESTS"), "{third}");
    let (status, text) = get(&app, "/api/trpc/old.echo?input=%7B%22json%22%3A1%7D").await;
    assert_eq!(status, 200, "{text}");

    let began = Instant::now();
    app.stop().await;
    let took = began.elapsed();
    // Much less than SHUTDOWN_TIMEOUT.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_an_answer_from_elsewhere_is_ours_to_say() {
    let answer = |_: &str| {
        http(
            "200 OK\r\naccess-control-allow-origin: https://evil.example\r\naccess-control-expose-headers: x-kept\r\nx-kept: 1",
            r#"{"result":{"data":{"json":1}}}"#,
        )
    };
    let old = Liar::start(answer, false).await;
    let app = before(&old.url).await;
    for path in ["/api/trpc/old.echo", "/api/files/x"] {
        let request = app.http.get(format!("{}{path}", app.url));
        let answer = request.header("origin", "https://evil.example").send();
        let headers = answer.await.unwrap().headers().clone();
        assert!(
            !headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
        assert_eq!(headers["x-kept"], "1");
        let exposed = headers.get_all("access-control-expose-headers").iter();
        let exposed: Vec<_> = exposed.map(|it| it.to_str().unwrap()).collect();
        assert_eq!(exposed[0], "x-kept", "{path}");
        assert!(exposed[1].contains("x-request-id"), "{path} {exposed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_between_neighbours_do_not_go_on() {
    let old = Liar::start(|head| http("200 OK", head), false).await;
    let app = before(&old.url).await;
    for method in ["TRACE", "FOO"] {
        for path in ["/api/trpc/old.echo", "/api/files/x"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: a=b\r\n\r\n"
            );
            let answer = raw(&app, &request).await;
            assert!(
                answer.starts_with("HTTP/1.1 405"),
                "{method} {path}: {answer}"
            );
            assert!(!answer.contains("a=b"), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_a_chunked_answer_ends_here() {
    let answer = |_: &str| {
        let json = r#"{"result":{"data":{"json":1}}}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked";
        format!("{head}\r\n\r\n{:x}\r\n{json}\r\n0\r\n\r\n", json.len()).into_bytes()
    };
    let old = Liar::start(answer, false).await;
    let app = before(&old.url).await;
    for path in ["/api/trpc/old.echo", "/api/files/x"] {
        let (status, text) = get(&app, path).await;
        assert_eq!((status, &*text), (200, r#"{"result":{"data":{"json":1}}}"#));
    }
}
