//! A provider that does what a test tells it to, over real HTTP on a port of its own.

use std::{io, sync::Arc};

use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, headers and a body.
    Http(u16, Vec<(&'static str, &'static str)>, String),
    /// An event stream, one network write for each piece.
    Events(Vec<Bytes>, End),
    /// Nothing, ever.
    Hang,
    /// The connection is cut before an answer.
    Cut,
}

/// How an event stream ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Clean,
    Cut,
    Hang,
}

impl Reply {
    pub(crate) fn ok(text: &str) -> Self {
        Self::json(&json!({
            "id": "gen-1",
            "model": "served-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }))
    }

    pub(crate) fn json(body: &Value) -> Self {
        let headers = vec![("content-type", "application/json")];
        Self::Http(200, headers, body.to_string())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Http(status, vec![], "upstream words".into())
    }

    /// An event stream of these pieces.
    pub(crate) fn events(pieces: impl IntoIterator<Item = String>, end: End) -> Self {
        Self::Events(pieces.into_iter().map(Bytes::from).collect(), end)
    }

    /// One event for each text, then `[DONE]`.
    pub(crate) fn tokens(texts: &[&str]) -> Self {
        let token = |text: &&str| format!("data: {}\n\n", token(text));
        let done = "data: [DONE]\n\n".to_owned();
        Self::events(texts.iter().map(token).chain([done]), End::Clean)
    }
}

/// The JSON of one step of a stream.
pub(crate) fn token(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}}]})
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

type Script = Box<dyn Fn(usize, &Request) -> Reply + Send + Sync>;

struct Shared {
    script: Script,
    requests: Mutex<Vec<Request>>,
    models: Mutex<Option<Value>>,
}

/// A running provider; ends when dropped.
pub(crate) struct Upstream {
    pub(crate) base_url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Answers in this order; the last answer repeats.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        Self::with(move |count, _| replies[count.min(replies.len() - 1)].clone()).await
    }

    /// Answers by how many requests came before, and by the request.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server ends with the test"
    )]
    pub(crate) async fn with(
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            models: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            base_url,
            shared,
            server,
        }
    }

    /// Lists these models, the `data` of `/models`, from now on.
    pub(crate) fn list(&self, models: &Value) {
        *self.shared.models.lock() = Some(json!({ "data": models }));
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().clone()
    }

    /// The models that were asked for, in order.
    pub(crate) fn models(&self) -> Vec<String> {
        let requests = self.requests();
        let models = requests.iter().map(|r| r.body["model"].as_str());
        models.map(|model| model.unwrap_or("").to_owned()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == http::Method::GET {
        let listed = shared.models.lock().clone();
        if let Some(listed) = listed.filter(|_| parts.uri.path().ends_with("/models")) {
            return Response::new(Body::from(listed.to_string()));
        }
        // What our account may do, say. It has nothing to tell.
        let refused = Response::builder().status(404);
        return refused.body(Body::empty()).unwrap();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = Request {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let count = {
        let mut requests = shared.requests.lock();
        requests.push(request.clone());
        requests.len() - 1
    };
    // What was written so far gets out before the connection is cut.
    let cut = || async {
        tokio::task::yield_now().await;
        Err::<Bytes, _>(io::Error::other("cut"))
    };
    match (shared.script)(count, &request) {
        Reply::Http(status, headers, body) => {
            let response = Response::builder().status(status);
            let response = headers
                .into_iter()
                .fold(response, |response, (name, value)| {
                    response.header(name, value)
                });
            response.body(Body::from(body)).unwrap()
        }
        Reply::Events(pieces, end) => {
            // Giving the server a turn between two pieces makes each a write of its own.
            let pieces = stream::iter(pieces).then(|piece| async {
                tokio::task::yield_now().await;
                Ok::<_, io::Error>(piece)
            });
            let end = match end {
                End::Clean => stream::empty().boxed(),
                End::Cut => stream::once(cut()).boxed(),
                End::Hang => stream::pending().boxed(),
            };
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(pieces.chain(end)))
                .unwrap()
        }
        Reply::Hang => std::future::pending().await,
        // A length that is not kept: the client sees the connection end too early.
        Reply::Cut => Response::builder()
            .header("content-length", "1000")
            .body(Body::from_stream(stream::once(cut())))
            .unwrap(),
    }
}
