//! An old server that is down, slow, cut or lying: its calls fail as tRPC says it, ours do not.
//!
//! The world: it refuses connections; it accepts and says nothing; it answers with a page, with half an
//! answer, with too few or too many answers, with one that is no tRPC; it dies, or stops, in the middle
//! of a batch, a stream, a subscription and a socket; it sends the client elsewhere; it is this server.

use serde_json::{Value, json};

use super::{
    BOTH, before, get, http,
    old_server::{Liar, NodeServer},
    parsed, waiting,
};
use crate::support::app::TestApp;

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
async fn when_to_try_again_is_told_though_the_answer_is_no_trpc() {
    let head = "429 Too Many Requests\r\nretry-after: 37";
    let liar = Liar::start(move |_| http(head, "Too many requests from this IP"), false).await;
    let app = before(&liar.url).await;
    for path in [
        "/api/trpc/old.echo?input=%7B%7D",
        "/api/trpc/old.echo,old.nothing?batch=1&input=%7B%7D",
        BOTH,
    ] {
        let answer = app.http.get(format!("{}{path}", app.url)).send().await;
        let answer = answer.unwrap();
        let seconds = answer.headers()["retry-after"].to_str().unwrap();
        let seconds: u64 = seconds.parse().unwrap();
        assert!((1..=37).contains(&seconds), "{path}: {seconds}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"code\":\"RATE_LIMIT_EXCEEDED\""), "{text}");
        assert!(text.contains("\"retryAfter\""), "{text}");
    }
}

/// The world: a name that somebody typed or made up beside good ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_fails_alone() {
    let old = NodeServer::start().await;
    let app = before(&old.url).await;
    let odd = "..%2F..%2Fsecret";
    for path in [
        format!("/api/trpc/old.echo,{odd}?batch=1&input=%7B%220%22:%7B%22json%22:5%7D%7D"),
        format!("/api/trpc/old.echo,{odd},auth.me?batch=1&input=%7B%220%22:%7B%22json%22:5%7D%7D"),
    ] {
        let (status, text) = get(&app, &path).await;
        assert_eq!(status, 207, "{text}");
        let answers = parsed(&text);
        assert_eq!(answers[0]["result"]["data"]["json"]["echo"], 5, "{text}");
        let error = &answers[1]["error"]["json"]["data"];
        assert_eq!(error["code"], "BAD_REQUEST", "{text}");
        if let Some(third) = answers.get(2) {
            assert_eq!(third["result"]["data"]["json"], Value::Null, "{text}");
        }
        let streamed = app.http.get(format!("{}{path}", app.url));
        let streamed = streamed.header("trpc-accept", "application/jsonl").send();
        let text = streamed.await.unwrap().text().await.unwrap();
        assert!(text.contains("\"echo\":5"), "{text}");
        assert_eq!(text.matches("BAD_REQUEST").count(), 1, "{text}");
    }
    let (status, text) = get(&app, &format!("/api/trpc/{odd},{odd}?batch=1")).await;
    assert_eq!(status, 400, "{text}");
    assert_eq!(parsed(&text).as_array().unwrap().len(), 2);
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
    let http2 = modelramp::_core::http_client::builder().http2_prior_knowledge();
    let http2 = http2.build().unwrap();
    // On HTTP/2 another task writes what came; one time in five it was late.
    for client in std::iter::once(&app.http).chain([&http2; 30]) {
        let request = client.get(format!("{}/api/trpc/old.ticks", app.url));
        let request = request.header("accept", "text/event-stream");
        let mut stream = request.send().await.unwrap();
        assert_eq!(stream.chunk().await.unwrap().unwrap(), event);
        assert!(stream.chunk().await.is_err());
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
