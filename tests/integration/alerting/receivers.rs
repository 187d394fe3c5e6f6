//! HTTP receivers that check what they get, as the real ones do.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response};
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use super::verify::verify;

pub(crate) const SIGNING_SECRET: &str = "a signing secret";
pub(crate) const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const SLACK_PATH: &str = "/services/T0/B0/slack-secret";

/// What a receiver says to a request that it finds right.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) Vec<(&'static str, &'static str)>);

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

type Check = fn(&Received) -> Result<(), &'static str>;

struct Shared {
    check: Check,
    answers: Mutex<Vec<Answer>>,
    taken: Mutex<Vec<Received>>,
    refused: Mutex<Vec<&'static str>>,
}

/// A running receiver; ends when dropped, and fails the test if something was not right.
pub(crate) struct Receiver {
    pub(crate) origin: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Gives these answers first, then 202.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server ends with the test"
    )]
    pub(crate) async fn start(check: Check, answers: &[Answer]) -> Self {
        let shared = Arc::new(Shared {
            check,
            answers: Mutex::new(answers.iter().rev().cloned().collect()),
            taken: Mutex::default(),
            refused: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            origin,
            shared,
            server,
        }
    }

    /// What arrived so far, refused or not.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.taken.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
        let refused = self.shared.refused.lock();
        assert!(
            refused.is_empty() || std::thread::panicking(),
            "{refused:?}"
        );
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let received = Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    };
    let checked = (shared.check)(&received);
    shared.taken.lock().push(received);
    let Answer(status, headers) = match checked {
        Ok(()) => shared.answers.lock().pop().unwrap_or(Answer(202, vec![])),
        Err(fault) => {
            shared.refused.lock().push(fault);
            Answer(400, vec![])
        }
    };
    let response = Response::builder().status(status);
    let response = headers
        .into_iter()
        .fold(response, |response, (name, value)| {
            response.header(name, value)
        });
    response.body("answered_so".into()).unwrap()
}

fn ensure(is_right: bool, fault: &'static str) -> Result<(), &'static str> {
    if is_right { Ok(()) } else { Err(fault) }
}

fn is_json(received: &Received) -> Result<Value, &'static str> {
    let content_type = received.headers.get("content-type");
    ensure(
        content_type.is_some_and(|value| value == "application/json"),
        "content type",
    )?;
    serde_json::from_str(&received.text).map_err(|_| "not JSON")
}

fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

/// Our own form: signed, and the id in header and body.
#[expect(
    clippy::disallowed_methods,
    reason = "a receiver has a clock of its own"
)]
pub(crate) fn signed(received: &Received) -> Result<(), &'static str> {
    let body = is_json(received)?;
    let now = chrono::Utc::now().timestamp();
    let (headers, text) = (&received.headers, &received.text);
    ensure(verify(SIGNING_SECRET, headers, text, now), "signature")?;
    ensure(
        !verify("another secret", headers, text, now),
        "any secret would do",
    )?;
    ensure(
        !verify(SIGNING_SECRET, headers, text, now + 600),
        "may be old",
    )?;
    let id = headers
        .get("x-modelramp-alert-id")
        .and_then(|id| id.to_str().ok());
    ensure(id.is_some() && id == body["id"].as_str(), "id")
}

/// Slack's incoming webhooks: blocks and their limits.
pub(crate) fn slack(received: &Received) -> Result<(), &'static str> {
    ensure(received.path == SLACK_PATH, "path")?;
    let body = is_json(received)?;
    ensure(length(&body["text"]) > 0, "text for notifications")?;
    let blocks = body["blocks"].as_array().ok_or("blocks")?;
    ensure((1..=50).contains(&blocks.len()), "number of blocks")?;
    let text = |text: &Value, kinds: &[&str], limit| {
        let kind = text["type"].as_str().unwrap_or_default();
        kinds.contains(&kind) && (1..=limit).contains(&length(&text["text"]))
    };
    for block in blocks {
        let list = |name: &str| block[name].as_array().cloned().unwrap_or_default();
        let is_right = match block["type"].as_str().unwrap_or_default() {
            "header" => text(&block["text"], &["plain_text"], 150),
            "section" => {
                let fields = list("fields");
                let some = text(&block["text"], &["plain_text"], 3000) || !fields.is_empty();
                some && fields.len() <= 10 && fields.iter().all(|f| text(f, &["mrkdwn"], 2000))
            }
            "context" => {
                let elements = list("elements");
                (1..=10).contains(&elements.len())
                    && elements
                        .iter()
                        .all(|e| text(e, &["mrkdwn", "plain_text"], 3000))
            }
            _ => false,
        };
        ensure(is_right, "block")?;
    }
    Ok(())
}

/// PagerDuty's Events API v2.
pub(crate) fn pagerduty(received: &Received) -> Result<(), &'static str> {
    ensure(received.path == "/v2/enqueue", "path")?;
    let body = is_json(received)?;
    ensure(body["routing_key"] == ROUTING_KEY, "routing key")?;
    ensure((1..=255).contains(&length(&body["dedup_key"])), "dedup key")?;
    match body["event_action"].as_str() {
        Some("resolve" | "acknowledge") => Ok(()),
        Some("trigger") => {
            let payload = &body["payload"];
            ensure((1..=1024).contains(&length(&payload["summary"])), "summary")?;
            ensure(length(&payload["source"]) > 0, "source")?;
            let severity = payload["severity"].as_str().unwrap_or_default();
            let severities = ["critical", "error", "warning", "info"];
            ensure(severities.contains(&severity), "severity")?;
            let time = payload["timestamp"].as_str().unwrap_or_default();
            ensure(
                chrono::DateTime::parse_from_rfc3339(time).is_ok(),
                "timestamp",
            )
        }
        _ => Err("action"),
    }
}
