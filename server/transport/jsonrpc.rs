//! JSON-RPC 2.0 at `/rpc`, over HTTP and WebSocket, with jsonrpsee.
//!
//! jsonrpsee speaks the protocol: envelopes, sockets, subscriptions, pings. Around it lies what it
//! leaves out. Here: origin and caller, media types, sizes, statuses and cookies of HTTP. In
//! [`calls`]: notifications that run, batches that run concurrently, errors with data. In
//! [`methods`]: the registry's procedures.
//!
//! Two things are jsonrpsee's way and stay so. Its ids are strings, `null` and whole numbers from 0
//! to 2^64−1; over HTTP any other id is refused, but on a socket a request with such an id arrives
//! here as a notification, so it runs and is not answered. And faults of the envelope on a socket
//! (not JSON, no method, too large) carry a number and a text, but no `data`.

mod calls;
mod failure;
mod methods;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
    routing::any,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jsonrpsee::{
    core::middleware::RpcServiceBuilder,
    server::{
        BatchRequestConfig, HttpBody, MethodResponse, Methods, PingConfig, RandomStringIdProvider,
        RegisterMethodError, ServerBuilder, ServerConfig, TowerServiceBuilder, stop_channel,
        ws::is_upgrade_request,
    },
    types::Id,
};
use serde::de::IgnoredAny;
use tower::{
    Service,
    layer::util::{Identity, Stack},
};

use self::calls::{CallsLayer, MAX_ANSWER_BYTES, Silent};
use super::{Parts, gate::Gate};
use crate::_core::{
    context::{Context, new_request_id},
    errors::{ErrorCode, RpcError},
    tasks::Tasks,
};

/// Two methods want the same name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a procedure has a name that JSON-RPC needs for itself")]
pub struct NameTaken(#[from] RegisterMethodError);

/// Length of a subscription's id; a text, since JavaScript cannot hold every 64-bit number.
const SUBSCRIPTION_ID_LENGTH: usize = 16;

/// Pings that are rarer than this find nobody.
const MAX_PING_INTERVAL: Duration = Duration::from_secs(86_400);

/// The route of the wire.
pub fn routes(parts: &Parts) -> Result<Router, NameTaken> {
    let methods = methods::build(&parts.registry, &parts.gate, &parts.documents.openrpc)?;

    let max_body_bytes = parts.server.max_body_bytes;
    let limit = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    let mut config = ServerConfig::builder()
        .max_request_body_size(limit(max_body_bytes))
        .max_response_body_size(MAX_ANSWER_BYTES)
        .max_connections(parts.jsonrpc.max_connections)
        .set_batch_request_config(BatchRequestConfig::Limit(limit(parts.jsonrpc.max_batch)))
        .set_id_provider(RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH));
    if !parts.ping_interval.is_zero() {
        config = config.enable_ws_ping(pings(parts.ping_interval));
    }
    let layer = CallsLayer::new(methods.clone(), parts.jsonrpc.batch_concurrency);
    let wire = Wire {
        services: ServerBuilder::with_config(config.build())
            .set_rpc_middleware(RpcServiceBuilder::new().layer(layer))
            .to_service_builder(),
        methods,
        gate: parts.gate.clone(),
        tasks: parts.tasks.clone(),
        max_body_bytes,
    };
    Ok(Router::new()
        .route("/rpc", any(answer))
        .with_state(Arc::new(wire)))
}

/// A socket that missed one pong, and half the time until the next, is given up.
fn pings(interval: Duration) -> PingConfig {
    // Centuries would overflow the clock.
    let interval = interval.min(MAX_PING_INTERVAL);
    PingConfig::new()
        .ping_interval(interval)
        .inactive_limit(interval + interval / 2)
        .max_failures(1)
}

/// Whose calls these are; travels in the extensions of a request.
#[derive(Clone)]
enum Peer {
    /// One HTTP request: its context, and its body, which still holds ids that jsonrpsee dropped.
    Request { context: Context, body: Bytes },
    /// A socket: the headers of its upgrade, from which each call finds its caller anew, so that an
    /// expired session or a deleted user does not live on in an open socket.
    Socket(Arc<HeaderMap>),
}

struct Wire {
    services: TowerServiceBuilder<Stack<CallsLayer, Identity>, Identity>,
    methods: Methods,
    gate: Arc<Gate>,
    tasks: Tasks,
    max_body_bytes: usize,
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
        let object = failure::of_envelope(&self.error, request_id);
        let answer = MethodResponse::error(Id::Null, object);
        let mut response = json(self.status, Body::from(answer.as_ref().to_owned()));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        name(&mut response, request_id);
        response
    }
}

async fn answer(State(wire): State<Arc<Wire>>, request: Request) -> Response {
    let request_id = new_request_id();
    let outcome = if is_upgrade_request(&request) {
        wire.upgrade(request).await
    } else {
        wire.post(request).await
    };
    outcome.unwrap_or_else(|refusal| refusal.into_response(&request_id))
}

impl Wire {
    /// Opens a socket. No preflight protects it, so its origin is always looked at.
    async fn upgrade(&self, mut request: Request) -> Result<Response, Refusal> {
        self.gate.check_origin(request.headers())?;
        let headers = Arc::new(request.headers().clone());
        // jsonrpsee writes requests to its trace log.
        request.headers_mut().remove(header::AUTHORIZATION);
        request.headers_mut().remove(header::COOKIE);
        request
            .extensions_mut()
            .insert(Peer::Socket(headers.clone()));

        let (stop, handle) = stop_channel();
        let mut service = self.services.clone().build(self.methods.clone(), stop);
        let closed = service.on_session_closed();
        let response = service.call(request).await.map_err(failed)?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let gate = self.gate.clone();
                let stopping = self.tasks.stopping();
                self.tasks.spawn(async move {
                    let mut closed = pin!(closed);
                    tokio::select! {
                        () = &mut closed => return,
                        () = stopping => {}
                        () = gate.socket_end(&headers) => {}
                    }
                    // Calls under way are answered first. Fails where the socket is gone already.
                    let _ = handle.stop();
                    closed.await;
                });
                Ok(response.map(Body::new))
            }
            StatusCode::TOO_MANY_REQUESTS => Err(too_many()),
            _ => Err(RpcError::bad_request("the WebSocket handshake is not complete").into()),
        }
    }

    /// Answers one call, notification or batch.
    async fn post(&self, request: Request) -> Result<Response, Refusal> {
        if request.method() != Method::POST {
            return Err(RpcError::new(
                ErrorCode::MethodNotSupported,
                "JSON-RPC takes POST, or a WebSocket upgrade",
            )
            .into());
        }
        let (head, body) = request.into_parts();
        check_media_type(&head.headers)?;
        if head.headers.contains_key(header::COOKIE) {
            self.gate.check_origin(&head.headers)?;
        }
        let context = self.gate.context(&head.headers).await;
        let body = self.read(body).await?;
        // Each call of a batch has an id of its own; then none of them stands for the response.
        let is_batch = body.first() == Some(&b'[');

        let mut request =
            http::Request::new(HttpBody::new(http_body_util::Full::new(body.clone())));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        request.extensions_mut().insert(Peer::Request {
            context: context.clone(),
            body,
        });
        // A request ends by itself; nobody stops it.
        let (stop, _handle) = stop_channel();
        let mut service = self.services.clone().build(self.methods.clone(), stop);
        let answer = service.call(request).await.map_err(failed)?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(too_many());
        }

        let mut response = if answer.extensions().get::<Silent>().is_some() {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            json(answer.status(), Body::new(answer.into_body()))
        };
        if let Err(error) = context.user()
            && let Some(seconds) = error.retry_after_seconds(context.received_at)
        {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for cookie in context.cookies.take() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        if !is_batch {
            name(&mut response, &context.request_id);
        }
        Ok(response)
    }

    /// The body, without the white space before it.
    async fn read(&self, body: Body) -> Result<Bytes, Refusal> {
        let body = match Limited::new(body, self.max_body_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {} bytes", self.max_body_bytes);
                return Err(RpcError::new(ErrorCode::PayloadTooLarge, message).into());
            }
            Err(_) => return Err(RpcError::bad_request("the body ended early").into()),
        };
        let body = body.slice(body.len() - body.trim_ascii_start().len()..);
        match body.first() {
            Some(b'{' | b'[') => Ok(body),
            // jsonrpsee would take a lone number for a fault of the JSON.
            _ => Err(Refusal::envelope(
                match serde_json::from_slice::<IgnoredAny>(&body) {
                    Ok(_) => RpcError::bad_request("a request is an object, a batch is a list"),
                    Err(error) => {
                        RpcError::new(ErrorCode::ParseError, format!("not JSON: {error}"))
                    }
                },
            )),
        }
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), RpcError> {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or("")
        .trim();
    let known = ["application/json", "application/json-rpc"];
    if known
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media_type))
    {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::UnsupportedMediaType,
        format!("content type is `{media_type}`; JSON-RPC takes `application/json`"),
    ))
}

fn too_many() -> Refusal {
    RpcError::new(
        ErrorCode::TooManyRequests,
        "too many JSON-RPC requests and sockets at once; try again later",
    )
    .into()
}

fn failed(error: jsonrpsee::core::BoxError) -> Refusal {
    tracing::error!(error, "jsonrpsee failed");
    RpcError::internal(anyhow::anyhow!(error)).into()
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

/// Lets a client name the call to whoever reads the log.
fn name(response: &mut Response, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        let header = HeaderName::from_static("x-request-id");
        response.headers_mut().insert(header, value);
    }
}
