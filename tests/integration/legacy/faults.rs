//! An old server that is down, slow, cut or lying: its calls fail as tRPC says it, ours do not.
//!
//! The world: it refuses connections; it accepts and says nothing; it answers with a page, with half an
//! answer, with too few or too many answers, with one that is no tRPC; it dies, or stops, in the middle
//! of a batch, a stream, a subscription and a socket; it sends the client elsewhere; it is this server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::old_server::{Liar, NodeServer};
use crate::support::{app::TestApp, wait::until};

const BOTH: &str = "/api/trpc/auth.me,old.echo,old.nothing?batch=1&input=%7B%7D";

/// An application before this old server, with time enough on a busy machine.
async fn before(url: &str) -> TestApp {
    waiting(url, "20s").await
}

/// One that waits no longer than this.
async fn waiting(url: &str, timeout: &str) -> TestApp {
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{url}/api/trpc"))
        .with_setting("LEGACY_PATHS", "/api/files")
        .with_setting("LEGACY_TIMEOUT", timeout)
        .with_setting("TRPC_PING_INTERVAL", "2s");
    app.start().await
}

async fn get(app: &TestApp, path: &str) -> (u16, String) {
    let answer = app
        .http
        .get(format!("{}{path}", app.url))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Every form fails with this code, and what is ours is answered.
async fn fails_with(app: &TestApp, code: &str, status: u16) {
    let error = |value: &Value| {
        let data = &value["error"]["json"]["data"];
        (data["code"].clone(), data["path"].clone())
    };
    let (found, text) = get(app, "/api/trpc/old.echo?input=%7B%7D").await;
    assert_eq!(found, status, "{text}");
    assert_eq!(error(&parsed(&text)), (json!(code), json!("old.echo")));

    let (found, text) = get(app, "/api/trpc/old.echo,old.nothing?batch=1&input=%7B%7D").await;
    assert_eq!(found, status, "{text}");
    let answers = parsed(&text);
    assert_eq!(answers.as_array().unwrap().len(), 2);
    assert_eq!(error(&answers[1]), (json!(code), json!("old.nothing")));

    let (found, text) = get(app, BOTH).await;
    assert_eq!(found, 207, "{text}");
    let answers = parsed(&text);
    assert_eq!(answers[0]["result"]["data"]["json"], Value::Null, "{text}");
    assert_eq!(error(&answers[1]), (json!(code), json!("old.echo")));
    assert_eq!(error(&answers[2]), (json!(code), json!("old.nothing")));

    let streamed = app.http.get(format!("{}{BOTH}", app.url));
    let streamed = streamed.header("trpc-accept", "application/jsonl").send();
    let streamed = streamed.await.unwrap();
    assert_eq!(streamed.status(), 200);
    let text = streamed.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(parsed).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines
            .iter()
            .any(|line| line["json"][2][0][0].get("result").is_some())
    );
    assert_eq!(
        text.matches(&format!("\"code\":\"{code}\"")).count(),
        2,
        "{text}"
    );

    let members = app.http.get(format!("{}{BOTH}", app.url));
    let members = members.header("trpc-batch-mode", "stream").send().await;
    let members = parsed(&members.unwrap().text().await.unwrap());
    assert_eq!(error(&members["2"]), (json!(code), json!("old.nothing")));

    let events = app.http.get(format!("{}/api/trpc/old.ticks", app.url));
    let events = events
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    let text = events.text().await.unwrap();
    assert!(text.starts_with("event: connected\n"), "{text}");
    assert!(text.contains("event: serialized-error\n"), "{text}");
    assert!(text.contains(code), "{text}");

    let (_, ready) = get(app, "/readyz").await;
    assert_eq!(
        parsed(&ready),
        json!({"status": "ready", "oldServer": "fails"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_is_down_is_a_bad_gateway() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let app = before(&url).await;
    fails_with(&app, "BAD_GATEWAY", 502).await;
    let (status, text) = get(&app, "/api/files/x").await;
    assert_eq!(status, 502);
    assert_eq!(parsed(&text)["error"]["code"], "BAD_GATEWAY");
    assert!(!text.contains(&url), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_says_nothing_is_a_gateway_timeout() {
    let silent = Liar::start(|_| Vec::new(), true).await;
    let app = waiting(&silent.url, "500ms").await;
    fails_with(&app, "GATEWAY_TIMEOUT", 504).await;
    // Half a head, and half a body.
    for begun in [
        "HTTP/1.1 200 OK\r\nx: ",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"result\"",
    ] {
        let slow = Liar::start(move |_| begun.as_bytes().to_vec(), true).await;
        let app = waiting(&slow.url, "500ms").await;
        fails_with(&app, "GATEWAY_TIMEOUT", 504).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_a_bad_gateway() {
    let html = ("200 OK", "<html>It works!</html>");
    for (head, body) in [
        html,
        ("502 Bad Gateway", "<html>nginx</html>"),
        ("200 OK", ""),
        ("200 OK", "[]"),
        ("200 OK", "{\"json\":{}}"),
        ("200 OK", "[{\"result\":{\"data\":{\"json\":1}}},"),
        ("200 OK", "[{\"result\":1},{\"result\":1},{\"result\":1}]"),
        ("200 OK", "[[0,0,[[1]]]]\n[0,0,[[1]]]\n"),
        ("404 Not Found", "Cannot GET /api/trpc/old.echo"),
    ] {
        let liar = Liar::start(move |_| http(head, body), false).await;
        let app = before(&liar.url).await;
        fails_with(&app, "BAD_GATEWAY", 502).await;
    }
    // Bytes that are no HTTP, and a connection that ends in the middle.
    for bytes in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n[{\"result\":{}}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[{\"re\r\n",
        "",
    ] {
        let liar = Liar::start(move |_| bytes.as_bytes().to_vec(), false).await;
        let app = before(&liar.url).await;
        fails_with(&app, "BAD_GATEWAY", 502).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_old_server_keeps_its_meaning() {
    for (head, code, status) in [
        ("429 Too Many Requests", "TOO_MANY_REQUESTS", 429),
        ("503 Service Unavailable", "SERVICE_UNAVAILABLE", 503),
        ("504 Gateway Time-out", "GATEWAY_TIMEOUT", 504),
    ] {
        let liar = Liar::start(move |_| http(head, "Too many requests from this IP"), false).await;
        let app = before(&liar.url).await;
        fails_with(&app, code, status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_handed_back_and_not_followed() {
    let answer = |_: &str| {
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n".to_vec()
    };
    let away = Liar::start(answer, false).await;
    let app = before(&away.url).await;
    for path in ["/api/trpc/old.echo", "/api/files/x"] {
        let answer = app
            .http
            .get(format!("{}{path}", app.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 307);
        assert_eq!(answer.headers()["location"], "http://127.0.0.1:1/x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_fails_what_is_awaited_and_nothing_else() {
    // The head and one answer of two, half a line, and the end.
    let lines = "{\"json\":{\"0\":[[0],[null,0,0]],\"1\":[[0],[null,0,1]]}}\n{\"json\":[0,0,[[{\"result\":{\"data\":5}}]]]}\n{\"json\":[1,0,[[{\"res";
    for stays_open in [false, true] {
        let answer = move |_: &str| {
            let size = format!("{:x}", lines.len());
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\n{lines}\r\n").into_bytes()
        };
        let liar = Liar::start(answer, stays_open).await;
        let timeout = if stays_open { "500ms" } else { "20s" };
        let app = waiting(&liar.url, timeout).await;
        let code = if stays_open {
            "GATEWAY_TIMEOUT"
        } else {
            "BAD_GATEWAY"
        };
        for (path, id) in [
            (BOTH, 4),
            ("/api/trpc/old.echo,old.nothing?batch=1&input=%7B%7D", 1),
        ] {
            let request = app.http.get(format!("{}{path}", app.url));
            let answer = request
                .header("trpc-accept", "application/jsonl")
                .send()
                .await;
            let text = answer.unwrap().text().await.unwrap();
            let lines: Vec<Value> = text.lines().map(parsed).collect();
            let rejected: Vec<_> = lines.iter().filter(|line| line["json"][1] == 1).collect();
            assert_eq!(rejected.len(), 1, "{text}");
            assert_eq!(rejected[0]["json"][0], id, "{text}");
            assert_eq!(rejected[0]["json"][2]["data"]["code"], code, "{text}");
            assert_eq!(rejected[0]["json"][2]["data"]["path"], "old.nothing");
            assert!(text.contains("[{\"result\":{\"data\":5}}]"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_server_dies_in_the_middle() {
    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let (status, text) = get(&app, "/api/trpc/auth.me,old.die?batch=1&input=%7B%7D").await;
    assert_eq!(status, 207);
    assert_eq!(
        parsed(&text)[1]["error"]["json"]["data"]["code"],
        "BAD_GATEWAY"
    );

    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let mixed = "/api/trpc/auth.me,old.never,old.die?batch=1&input=%7B%7D";
    let request = app.http.get(format!("{}{mixed}", app.url));
    let answer = request
        .header("trpc-accept", "application/jsonl")
        .send()
        .await;
    let text = answer.unwrap().text().await.unwrap();
    assert_eq!(text.matches("BAD_GATEWAY").count(), 2, "{text}");
    assert!(text.contains("[{\"result\":{\"data\":null}}]"), "{text}");
}

async fn socket(
    app: &TestApp,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    let url = app.url.replace("http", "ws");
    let socket = tokio_tungstenite::connect_async(format!("{url}/api/trpc")).await;
    socket.unwrap().0
}

fn request(id: u32, method: &str, path: &str, input: &Value) -> Message {
    let params = json!({"path": path, "input": {"json": input}});
    Message::text(json!({"id": id, "method": method, "params": params}).to_string())
}

async fn frames(
    socket: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
    count: usize,
) -> Vec<Value> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {frames:?}"));
        if let Message::Text(text) = next.unwrap().unwrap() {
            frames.push(parsed(&text));
        }
    }
    frames
}

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
async fn half_an_event_stream_is_not_a_whole_one() {
    let event = "event: connected\ndata: {}\n\ndata: {\"json\":1}\nid: 7\n\ndata: {\"js";
    let answer = move |_: &str| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
        format!("{head}\r\n\r\n{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    let liar = Liar::start(answer, false).await;
    let app = before(&liar.url).await;
    let request = app.http.get(format!("{}/api/trpc/old.ticks", app.url));
    let mut stream = request
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), event);
    assert!(stream.chunk().await.is_err());
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
async fn each_kind_of_failure_is_counted() {
    let app = before("http://127.0.0.1:1").await;
    get(&app, "/api/trpc/old.echo").await;
    let (_, metrics) = get(&app, "/metrics").await;
    assert!(
        metrics.contains("legacy_requests_total{outcome=\"unreachable\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_is_one() {
    for head in ["304 Not Modified", "204 No Content"] {
        let answer = move |_: &str| format!("HTTP/1.1 {head}\r\netag: \"x\"\r\n\r\n").into_bytes();
        let old = Liar::start(answer, false).await;
        let app = before(&old.url).await;
        let request = app.http.get(format!("{}/api/trpc/old.echo", app.url));
        let answer = request
            .header("if-none-match", "\"x\"")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().to_string(), head);
        assert_eq!(answer.headers()["etag"], "\"x\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_at_the_old_server_is_not_answered_here() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PROCEDURES", "auth.*,system.health");
    let app = app.start().await;
    let path = "/api/trpc/auth.me,system.aiConfig,system.health?batch=1&input=%7B%7D";
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
    let (status, _) = get(&app, "/api/trpc/auth.me").await;
    assert_eq!(status, 404);
    let mut socket = socket(&app).await;
    socket
        .send(request(1, "query", "auth.me", &Value::Null))
        .await
        .unwrap();
    let frame = frames(&mut socket, 1).await.remove(0);
    assert_eq!(frame["error"]["json"]["data"]["code"], "NOT_FOUND");
}
