//! JSON-RPC 2.0 at `/rpc`, over HTTP and WebSocket, with jsonrpsee.
//!
//! jsonrpsee speaks the protocol: envelopes, sockets, subscriptions, pings. Around it lies what it
//! leaves out. Here: origin and caller, media types, sizes, statuses and cookies of HTTP. In
//! [`calls`]: notifications that run, batches that run concurrently, errors with data. In
//! [`dispatch`]: what a name stands for. In [`methods`]: the registry's procedures.
//!
//! Two things are jsonrpsee's way and stay so. Its ids are strings, `null` and whole numbers from 0
//! to 2^64−1; over HTTP any other id is refused, but on a socket a request with such an id arrives
//! here as a notification, so it runs and is not answered. And faults of the envelope on a socket
//! (not JSON, no method, too large) carry a number and a text, but no `data`.

mod calls;
mod dispatch;
mod failure;
mod methods;
mod silent;
mod socket;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    response::Response,
    routing::any,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use jsonrpsee::{
    ConnectionId, MethodResponse,
    server::{BatchRequestConfig, HttpBody, HttpResponse, Methods, RegisterMethodError},
    types::{ErrorCode as JsonRpcCode, Id, InvalidRequest, error::reject_too_big_request},
};
use serde::de::IgnoredAny;
use tokio::{sync::Semaphore, time::Instant};

use self::{calls::CallService, silent::Silent};
use super::{
    bounds::{self, Bounds},
    csrf_cookie::CsrfCookie,
    gate::CallerGate,
    headers,
    trpc::{Trpc, other_wires::CallOrigin},
};
use crate::{
    _core::{
        clock,
        context::{Context, Holds, new_request_id},
        errors::{ErrorCode, RpcError},
        registry::Registry,
        tasks::Tasks,
    },
    config::JsonRpcConfig,
    schema::Documents,
};

/// Two methods want the same name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a procedure has a name that JSON-RPC needs for itself")]
pub struct NameTaken(#[from] RegisterMethodError);

/// What the wire needs.
pub struct JsonRpc {
    /// The procedures.
    pub registry: Arc<Registry>,
    /// Finds callers and refuses foreign origins.
    pub gate: Arc<CallerGate>,
    /// Limits.
    pub config: JsonRpcConfig,
    /// Between two pings on a socket; zero sends none.
    pub ping_interval: Duration,
    /// Tells sockets when the server stops.
    pub tasks: Tasks,
    /// What clients may take of the server.
    pub bounds: Bounds,
    /// Have what `rpc.discover` answers.
    pub documents: Arc<Documents>,
    /// Knows which server answers what; none where there is one alone.
    pub moving: Option<Arc<Trpc>>,
}

/// The route of the wire, to be merged into the server's router.
///
/// Fails where a procedure has a name that JSON-RPC needs for itself.
pub fn routes(parts: JsonRpc) -> Result<Router, NameTaken> {
    let JsonRpc {
        registry,
        gate,
        config,
        ping_interval,
        tasks,
        bounds,
        documents,
        moving,
    } = parts;
    let limit = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    let wire = Wire {
        methods: methods::build(
            &registry,
            (&gate, moving.as_ref()),
            &bounds.turns,
            documents,
        )?,
        moving,
        registry,
        batch_concurrency: NonZeroUsize::new(config.batch_concurrency).unwrap_or(NonZeroUsize::MIN),
        max_batch: BatchRequestConfig::Limit(limit(config.max_batch)),
        places: Arc::new(Semaphore::new(config.max_connections as usize)),
        sockets: AtomicUsize::new(1),
        gate,
        tasks,
        bounds,
        ping_interval,
    };
    Ok(Router::new()
        .route("/rpc", any(answer))
        .with_state(Arc::new(wire)))
}

/// Whose calls these are; travels in the extensions of a request.
#[derive(Clone)]
enum Peer {
    /// One HTTP request: its context, and its body, which still holds ids that jsonrpsee dropped.
    Request {
        context: Context,
        body: Bytes,
        origin: CallOrigin,
    },
    /// A socket: the headers of its upgrade, from which each call finds its caller anew, so that an
    /// expired session or a deleted user does not live on in an open socket; and when that was.
    Socket(Arc<HeaderMap>, CallOrigin, Instant),
}

struct Wire {
    registry: Arc<Registry>,
    /// What is not in the registry, and the books of subscriptions.
    methods: Methods,
    moving: Option<Arc<Trpc>>,
    /// How many calls of a batch run at once.
    batch_concurrency: NonZeroUsize,
    max_batch: BatchRequestConfig,
    /// Of sockets and of requests under way.
    places: Arc<Semaphore>,
    sockets: AtomicUsize,
    gate: Arc<CallerGate>,
    tasks: Tasks,
    bounds: Bounds,
    ping_interval: Duration,
}

/// What a socket is to send, with what it holds until then.
struct SocketAnswer {
    text: String,
    _held: Option<Holds>,
}

/// Why a request gets no further than here.
struct Refusal {
    status: StatusCode,
    error: RpcError,
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        let status = StatusCode::from_u16(error.code.http_status());
        Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error,
        }
    }
}

impl Refusal {
    /// A fault of the envelope: an answer of JSON-RPC, so not a failure of HTTP.
    fn envelope(error: RpcError) -> Self {
        Self {
            status: StatusCode::OK,
            error,
        }
    }

    fn into_response(self, request_id: &str) -> Response {
        let mut response = json(
            self.status,
            Body::from(refusal_text(&self.error, Id::Null, request_id)),
        );
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers::allow(&mut response, headers::POST);
        }
        headers::retry_after(&mut response, retry_after_seconds(&self.error));
        headers::request_id(&mut response, request_id);
        response
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the header counts from when it is sent"
)]
fn retry_after_seconds(error: &RpcError) -> Option<u64> {
    error.retry_after_seconds(clock::now())
}

/// The answer to a request that is not run.
fn refusal_text(error: &RpcError, id: Id<'_>, request_id: &str) -> String {
    let object = failure::of_envelope(error, request_id);
    MethodResponse::error(id, object).as_ref().to_owned()
}

async fn answer(State(wire): State<Arc<Wire>>, request: Request) -> Response {
    let request_id = new_request_id();
    let outcome = if headers::is_upgrade(request.headers()) {
        wire.upgrade(request).await
    } else {
        wire.post(request).await
    };
    outcome.unwrap_or_else(|refusal| refusal.into_response(&request_id))
}

impl Wire {
    /// Opens a socket. No preflight protects it, so its origin is always looked at.
    async fn upgrade(self: &Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let (mut head, _) = request.into_parts();
        bounds::admit_request(&self.gate, &head.extensions, &head.headers).await?;
        self.gate.check_origin(&head.headers)?;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| too_many())?;
        let headers = head.headers.clone();
        let origin = CallOrigin::of(&head);
        let wire = self.clone();
        // Twice the size, so that a message that is somewhat too large gets an answer.
        let most = self.bounds.max_body_bytes.saturating_mul(2);
        let run = move |socket| async move {
            socket::serve(wire, socket, headers, origin).await;
            drop(place);
        };
        let (tasks, turns) = (&self.tasks, &self.bounds.turns);
        bounds::socket::upgrade(&mut head, tasks, turns, most, self.ping_interval, run)
            .await
            .map_err(|_| RpcError::bad_request("the WebSocket handshake is not complete").into())
    }

    /// Answers one call, notification or batch.
    async fn post(self: &Arc<Self>, request: Request) -> Result<Response, Refusal> {
        if request.method() != Method::POST {
            return Err(RpcError::new(
                ErrorCode::MethodNotSupported,
                "JSON-RPC takes POST, or a WebSocket upgrade",
            )
            .into());
        }
        let (head, body) = request.into_parts();
        bounds::admit_request(&self.gate, &head.extensions, &head.headers).await?;
        check_media_type(&head.headers)?;
        if self.gate.is_for_pages_to_send(&head.headers) {
            let paths = [head.uri.path()];
            self.gate.check_change(&head.headers, &paths).await?;
        }
        let _place = self.places.try_acquire().map_err(|_| too_many())?;
        let mut context = self.gate.context(&head.headers).await;
        let bounds::bodies::ReadBody { bytes, held } = self.bounds.read_json(body).await?;
        context.holds = Holds::new(held);
        let body = trimmed(&bytes)?;
        // Each call of a batch has an id of its own; then none of them stands for the response.
        let is_batch = body.first() == Some(&b'[');
        let calls = CallService {
            wire: self.clone(),
            events: None,
        };
        let csrf = CsrfCookie::of(&self.gate, &head.headers).await;
        let peer = Peer::Request {
            context: context.clone(),
            body: body.clone(),
            origin: CallOrigin::of(&head),
        };
        let answer = self.run(calls, peer, body).await;

        let mut response = if answer.extensions().get::<Silent>().is_some() {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            json(answer.status(), Body::new(answer.into_body()))
        };
        if let Err(error) = context.user() {
            let seconds = error.retry_after_seconds(context.received_at);
            headers::retry_after(&mut response, seconds);
        }
        for cookie in context.cookies.take() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        csrf.settle(&mut response);
        if !is_batch {
            headers::request_id(&mut response, &context.request_id);
        }
        Ok(response)
    }

    /// Answers one text, as jsonrpsee does it.
    async fn run(&self, calls: CallService, peer: Peer, text: Bytes) -> HttpResponse {
        // A long text is not kept until its answer.
        let asked = (text.len() <= SMALL_BYTES).then(|| text.clone());
        let mut request = http::Request::new(HttpBody::new(http_body_util::Full::new(text)));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        request.extensions_mut().insert(peer);
        let limit = u32::try_from(self.bounds.max_body_bytes).unwrap_or(u32::MAX);
        let answer =
            jsonrpsee::server::http::call_with_service(request, self.max_batch, limit, calls).await;
        match asked {
            Some(asked) => told_apart(answer, &asked).await,
            None => answer,
        }
    }

    /// Begins what a message of a socket asks for, or says why not.
    fn start(
        self: &Arc<Self>,
        calls: &CallService,
        peer: &Peer,
        text: Bytes,
    ) -> Result<impl Future<Output = Option<SocketAnswer>> + Send + use<>, String> {
        let limit = self.bounds.max_body_bytes;
        if text.len() > limit {
            let error = reject_too_big_request(u32::try_from(limit).unwrap_or(u32::MAX));
            return Err(MethodResponse::error(Id::Null, error).as_ref().to_owned());
        }
        let room = self.bounds.hold_calls(1);
        let held = self
            .bounds
            .hold_message(&text)
            .and_then(|held| Ok((held?, room?)));
        let held = held.map_err(|error| {
            let id = serde_json::from_slice::<InvalidRequest<'_>>(&text);
            let id = id.map_or(Id::Null, |request| request.id);
            refusal_text(&error, id, &new_request_id())
        })?;
        let (wire, calls, peer) = (self.clone(), calls.clone(), peer.clone());
        Ok(async move {
            let answer = wire.run(calls, peer, text).await;
            if answer.extensions().get::<Silent>().is_some() {
                return None;
            }
            drop(held);
            let _held = answer.extensions().get::<Holds>().cloned();
            let text = answer.into_body().collect().await.ok()?.to_bytes();
            let text = String::from_utf8(text.into()).ok()?;
            Some(SocketAnswer { text, _held })
        })
    }

    /// Distinguishes sockets.
    fn next_socket(&self) -> ConnectionId {
        ConnectionId(self.sockets.fetch_add(1, Ordering::Relaxed))
    }
}

/// Of a text that is no longer, it is looked whether it is no JSON, or JSON and no request; bytes.
const SMALL_BYTES: usize = 16 * 1024;

/// jsonrpsee calls an object a fault of the JSON that names neither a method nor an id. By the specification (JSON-RPC
/// 2.0, 5.1) what is JSON and no request is an invalid request, and an id that cannot be read is null.
async fn told_apart(answer: HttpResponse, asked: &Bytes) -> HttpResponse {
    let error = |code: JsonRpcCode| MethodResponse::error(Id::Null, code);
    let fault = error(JsonRpcCode::ParseError);
    let length = fault.as_json().get().len() as u64;
    if answer.body().size_hint().exact() != Some(length) {
        return answer;
    }
    let (head, body) = answer.into_parts();
    // It has come whole; there is nobody to wait for.
    let text = body
        .collect()
        .await
        .map(|it| it.to_bytes())
        .unwrap_or_default();
    let is_fault = text == fault.as_json().get().as_bytes();
    let text = match is_fault && serde_json::from_slice::<IgnoredAny>(asked).is_ok() {
        true => error(JsonRpcCode::InvalidRequest)
            .as_json()
            .get()
            .to_owned()
            .into(),
        false => text,
    };
    HttpResponse::from_parts(head, HttpBody::new(http_body_util::Full::new(text)))
}

/// A body without the white space before it, if it can be a request.
fn trimmed(body: &Bytes) -> Result<Bytes, Refusal> {
    let body = body.slice(body.len() - body.trim_ascii_start().len()..);
    match body.first() {
        Some(b'{' | b'[') => Ok(body),
        // jsonrpsee would take a lone number for a fault of the JSON.
        _ => Err(Refusal::envelope(
            match serde_json::from_slice::<IgnoredAny>(&body) {
                Ok(_) => RpcError::bad_request("a request is an object, a batch is a list"),
                Err(error) => RpcError::new(ErrorCode::ParseError, format!("not JSON: {error}")),
            },
        )),
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), RpcError> {
    if headers::is_media_type(headers, &["application/json", "application/json-rpc"]) {
        return Ok(());
    }
    let media_type = headers::media_type(headers).unwrap_or_default();
    Err(RpcError::new(
        ErrorCode::UnsupportedMediaType,
        format!(
            "content type is `{}`; JSON-RPC takes `application/json`",
            String::from_utf8_lossy(media_type)
        ),
    ))
}

fn too_many() -> Refusal {
    RpcError::new(
        ErrorCode::TooManyRequests,
        "too many JSON-RPC requests and sockets at once; try again later",
    )
    .into()
}

fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}
