//! Upstreams whose connections end at every stage of an exchange, by an orderly end and by a reset.
//!
//! The world: servers that are restarted, proxies that run out of time, hosts that lose power.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use modelramp::providers::{
    ChatMessage, ChatRequest, RawObject,
    fault::{Fault, FaultKind},
    openai_compatible::{OpenAiCompatible, http_client, http_client_through},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// FIN.
    Orderly,
    /// RST.
    Reset,
}

/// Answers the requests on one connection, each with these bytes; then the connection ends. An empty
/// answer ends it as soon as its request begins.
type Connection = Vec<String>;

/// An upstream on a port of its own.
struct Upstream {
    client: OpenAiCompatible,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with the test"
)]
async fn upstream(script: Vec<Connection>, end: End) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let server = tokio::spawn(async move {
        for answers in script {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            for answer in answers {
                if answer.is_empty() {
                    let _ = socket.read_u8().await;
                    break;
                }
                read_request(&mut socket).await;
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            // What was written has to arrive before a reset, which overtakes it otherwise; when it has,
            // this side is not told.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if matches!(end, End::Reset) {
                socket.set_zero_linger().unwrap();
            }
        }
        std::future::pending::<()>().await;
    });
    let client = OpenAiCompatible::new(http_client().unwrap(), &url, None, []).unwrap();
    Upstream {
        client,
        connections,
        server,
    }
}

/// Up to the end of its body.
async fn read_request(socket: &mut TcpStream) {
    let mut seen = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the client goes away");
        seen.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        if body.len() >= length {
            return;
        }
    }
}

impl Upstream {
    async fn whole(&self) -> Result<String, Fault> {
        self.whole_of(&request()).await
    }

    async fn whole_of(&self, request: &ChatRequest) -> Result<String, Fault> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let answer = self.client.complete(request, deadline).await;
        answer.map(|answer| answer.content)
    }

    /// The text of a stream, and how it broke off.
    async fn streamed(&self) -> (String, Option<FaultKind>) {
        let (deadline, idle) = (
            Instant::now() + Duration::from_secs(10),
            Duration::from_secs(5),
        );
        let mut deltas = match self.client.stream(&request(), deadline, idle).await {
            Ok(deltas) => deltas,
            Err(fault) => return (String::new(), Some(fault.kind)),
        };
        let mut text = String::new();
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(delta) => text += &delta.content,
                Err(fault) => return (text, Some(fault.kind)),
            }
        }
        (text, None)
    }
}

fn request() -> ChatRequest {
    let mut request = ChatRequest::new(vec![ChatMessage::text("user", "hej")]);
    request.model = "m".into();
    request
}

/// A prompt that is sent in parts.
fn long_request() -> ChatRequest {
    let prompt = "x".repeat(100_000);
    let body = json!({"messages": [{"role": "user", "content": prompt}]}).to_string();
    let mut request = ChatRequest::passing_on(RawObject::parse(body.as_bytes()).unwrap());
    request.model = "m".into();
    request
}

fn answer() -> String {
    json!({"choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}]}).to_string()
}

fn head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}\r\n")
}

fn sized(status: u16, body: &str) -> String {
    let length = format!("content-length: {}\r\n", body.len());
    head(status, &length) + body
}

/// One chunk, and no sign of the end.
fn chunk(status: u16, body: &str) -> String {
    let head = head(status, "transfer-encoding: chunked\r\n");
    format!("{head}{:x}\r\n{body}\r\n", body.len())
}

fn events(events: &[&str]) -> String {
    let events: String = events.iter().map(|it| format!("data: {it}\n\n")).collect();
    let chunk = chunk(200, &events);
    chunk.replace("application/json", "text/event-stream")
}

#[tokio::test]
async fn an_answer_that_is_whole_counts_however_its_connection_ends() {
    let step = r#"{"choices": [{"delta": {"content": "hej"}}]}"#;
    let last = r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#;
    let answer = answer();
    let cut = |text: &str| text[..text.len() - 3].to_owned();
    let too_long = json!({"error": {"message": "prompt is too long: 9001 tokens"}}).to_string();
    for end in [End::Orderly, End::Reset] {
        for (reply, fault) in [
            (String::new(), Some(FaultKind::Connection)),
            (cut(&head(200, "")), Some(FaultKind::Connection)),
            (
                head(200, "content-length: 5\r\n"),
                Some(FaultKind::Connection),
            ),
            (cut(&sized(200, &answer)), Some(FaultKind::Connection)),
            (chunk(200, &cut(&answer)), Some(FaultKind::Connection)),
            (chunk(200, &answer), None),
            (sized(200, &answer), None),
            (head(200, "connection: close\r\n") + &answer, None),
            (chunk(400, &too_long), Some(FaultKind::ContextLength)),
            (cut(&sized(503, "busy")), Some(FaultKind::Upstream)),
        ] {
            let upstream = upstream(vec![vec![reply.clone()]], end).await;
            let told = upstream.whole().await;
            let expected = fault.map_or_else(|| Ok("hej".to_owned()), Err);
            assert_eq!(told.map_err(|it| it.kind), expected, "{end:?} {reply:?}");
            assert_eq!(upstream.connections.load(Ordering::Relaxed), 1);
        }
        for (reply, text, fault) in [
            (events(&["x"]), "", Some(FaultKind::Connection)),
            (events(&[step]), "hej", Some(FaultKind::Connection)),
            (events(&[step, last]), "hej", None),
            (events(&[step, "[DONE]"]), "hej", None),
            (chunk(200, &answer), "hej", None),
        ] {
            let upstream = upstream(vec![vec![reply.clone()]], end).await;
            let told = upstream.streamed().await;
            assert_eq!(told, (text.to_owned(), fault), "{end:?} {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_as_a_request_is_sent_is_replaced_once() {
    let good = || sized(200, &answer());
    for end in [End::Orderly, End::Reset] {
        for dies in [String::new(), "HTTP/1.1 200 OK\r\ncontent-".into()] {
            for request in [request(), long_request()] {
                let script = vec![vec![good(), dies.clone()], vec![good()]];
                let upstream = upstream(script, end).await;
                for _ in 0..2 {
                    let answer = upstream.whole_of(&request).await;
                    assert_eq!(answer.unwrap(), "hej", "{end:?} {dies:?}");
                }
                assert_eq!(upstream.connections.load(Ordering::Relaxed), 2);
            }
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_compressed_unasked_says_so() {
    for coding in ["br", "zstd", "gzip, br"] {
        let coded = |status| {
            let more = format!("content-encoding: {coding}\r\ncontent-length: 4\r\n");
            head(status, &more) + "\u{1}\u{2}ab"
        };
        let script = vec![vec![coded(200), coded(429), coded(200)]];
        let upstream = upstream(script, End::Orderly).await;
        let fault = upstream.whole().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidReply);
        assert!(fault.detail().contains(&format!("`{coding}`")), "{fault:?}");
        let fault = upstream.whole().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::ProviderRateLimited);
        assert_eq!(upstream.streamed().await.1, Some(FaultKind::InvalidReply));
    }
}

/// A proxy that takes a connection nowhere, and the line with which it was asked for one.
#[tokio::test]
async fn a_provider_whose_address_is_https_is_asked_through_the_proxy_unless_it_is_left_out() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://us:pass@{}", proxy.local_addr().unwrap());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = closed.local_addr().unwrap();
    drop(closed);
    let ask = async |except: Option<&str>, scheme: &str| {
        let http = http_client_through(&url.clone().into(), except).unwrap();
        let base_url = format!("{scheme}://{at}/v1");
        let client = OpenAiCompatible::new(http, &base_url, None, []).unwrap();
        let request = ChatRequest::new(vec![ChatMessage::text("user", "hello")]);
        let deadline = Instant::now() + Duration::from_secs(20);
        client.complete(&request, deadline).await.unwrap_err()
    };
    let refuse = async {
        let (mut socket, _) = proxy.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let refusal = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        socket.write_all(refusal.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let (fault, head) = tokio::join!(ask(None, "https"), refuse);
    assert!(head.starts_with(&format!("CONNECT {at} ")), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("proxy-authorization: basic"),
        "{head}"
    );
    assert_eq!(fault.kind, FaultKind::Connection);
    assert!(!format!("{fault:?}").contains("pass"), "{fault:?}");
    // Nobody waits for these at the proxy, which would hold them up.
    for (except, scheme) in [(Some("127.0.0.1"), "https"), (None, "http")] {
        let fault = ask(except, scheme).await;
        assert!(format!("{fault:?}").contains("refused"), "{fault:?}");
    }
}

/// Seventeen answers of one model that stall after 40 KB, and a long one of another model.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with the test"
)]
async fn long_answers_of_a_model_that_stalls_hold_up_no_other() {
    const STALLED: usize = 17;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (all_stall, stalling) = tokio::sync::oneshot::channel();
    let text = "x".repeat(60_000);
    let answer = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        for _ in 0..STALLED {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            let begun = format!("{head}{}", &answer[..40_000]);
            socket.write_all(begun.as_bytes()).await.unwrap();
            open.push(socket);
        }
        all_stall.send(()).unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        let whole = format!("{head}{answer}");
        socket.write_all(whole.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = OpenAiCompatible::new(http_client().unwrap(), &url, None, []).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let of = |model: &str| {
        let mut request = request();
        request.model = model.to_owned();
        request
    };
    let (stalls, other) = (of("stalls"), of("other"));
    let stalled =
        futures::future::join_all((0..STALLED).map(|_| client.complete(&stalls, deadline)));
    let healthy = async {
        stalling.await.unwrap();
        client.complete(&other, deadline).await
    };
    tokio::select! {
        all = stalled => panic!("they stall: {all:?}"),
        answer = healthy => assert_eq!(answer.unwrap().content.len(), 60_000),
    }
    server.abort();
}
