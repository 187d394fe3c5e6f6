//! Answers HTTP requests: one call, a batch, or an event stream.
//!
//! The order of checks is the one of `@trpc/server` 11 (`resolveResponse.ts`), because clients and
//! tests see it: HEAD before anything, then media type, path, batch rules, and per call the lookup
//! before the method before the input.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::Value;

use super::{
    Trpc, batch,
    envelope::{self, Answer, Failure, Payload},
    input,
    request::{self, Delivery, MediaType, Query},
    sse, websocket,
};
use crate::_core::{
    config::Transformer,
    context::{Context, Holds, new_request_id},
    errors::{ErrorCode, RpcError},
    json_text,
    procedure::{Accepts, Input, Kind, Procedure},
};
use crate::transport::{
    bounds::{self, Held},
    name,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const VARY: HeaderValue = HeaderValue::from_static("trpc-accept, accept");

/// Any request at or below the mount point.
pub(super) async fn handle(State(trpc): State<Arc<Trpc>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match respond(&trpc, parts, body).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(trpc.config.transformer),
    }
}

/// Why there is no answer per call: one envelope for the whole request, without a path.
pub(super) struct Refused {
    error: RpcError,
    allow: Option<&'static str>,
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self { error, allow: None }
    }
}

impl Refused {
    fn into_response(self, transformer: Transformer) -> Response {
        let answer = Err(Failure::report(self.error, None, new_request_id()));
        single(&answer, transformer, self.allow)
    }
}

async fn respond(trpc: &Arc<Trpc>, mut parts: Parts, body: Body) -> Result<Response, Refused> {
    bounds::admit_request(&trpc.gate, &parts.extensions, &parts.headers).await?;
    if parts.method == Method::HEAD {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let path = parts.uri.path();
    let path = path.strip_prefix(super::MOUNT).unwrap_or(path);
    if request::is_upgrade(&parts.headers) && matches!(path, "" | "/") {
        return Ok(websocket::upgrade(trpc, &mut parts).await?);
    }
    let media = MediaType::of(&parts.method, &parts.headers).map_err(|error| Refused {
        allow: (error.code == ErrorCode::MethodNotSupported).then_some("POST"),
        error,
    })?;
    if parts.method != Method::GET && parts.headers.contains_key(header::COOKIE) {
        trpc.gate.check_origin(&parts.headers)?;
    }
    let path = request::procedure_path(parts.uri.path())?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let params =
        match &query.connection_params {
            Some(text) => Some(json_text::from_str::<Value>(text).map_err(|_| {
                RpcError::new(ErrorCode::ParseError, "Not JSON-parsable query params")
            })?),
            None => None,
        };
    let headers = request::with_connection_params(&parts.headers, params.as_ref())?;
    let batched = query.batch && media == MediaType::Json;
    let delivery = Delivery::of(&parts.headers);
    if delivery == Delivery::Lines && !batched {
        return Err(RpcError::bad_request(
            "Streaming requests must be batched (you can do a batch of 1)",
        )
        .into());
    }
    if batched {
        let names = batch::split(&path, trpc.config.max_batch)?;
        batch::check_kinds(names.iter().filter_map(|name| trpc.registry.get(name)))?;
        let room = trpc.bounds.hold_calls(names.len())?;
        let mut context = trpc.gate.context(&headers).await;
        let mut procedures = names.iter().filter_map(|name| trpc.registry.get(name));
        let inputs = if !procedures.any(|procedure| procedure.admits(&context)) {
            trpc.bounds.discard(body).await;
            Ok(input::BatchInputs::default())
        } else if parts.method == Method::GET {
            input::BatchInputs::parse(query.input.as_deref().unwrap_or_default().as_bytes())
        } else {
            trpc.bounds.read_json(body).await.and_then(|read| {
                context.holds = Holds::new(read.held);
                input::BatchInputs::parse(&read.bytes)
            })
        };
        context.holds = Holds::new((room, context.holds));
        let calls = batch::Calls {
            trpc,
            names: &names,
            method: &parts.method,
            context,
            inputs,
        };
        return Ok(calls.respond(delivery).await);
    }

    let mut context = trpc.gate.context(&headers).await;
    let request_id = context.request_id.clone();
    let fail = |error| Failure::report(error, Some(&path), request_id.clone());
    let transformer = trpc.config.transformer;
    let procedure = match trpc.procedure(&path, &parts.method) {
        Ok(procedure) => procedure,
        Err(error) => {
            let allow = trpc.allow(&path);
            return Ok(single(&Err(fail(error)), transformer, allow));
        }
    };
    let read = if procedure.admits(&context) {
        let read = trpc.read_input(procedure, media, &parts, &query, body);
        read.await.map(|(input, held)| {
            context.holds = Holds::new(held);
            input
        })
    } else {
        trpc.bounds.discard(body).await;
        Ok(Input::Absent)
    };
    let input = match read {
        Ok(input) => input,
        Err(error) => return Ok(single(&Err(fail(error)), transformer, None)),
    };
    if procedure.kind == Kind::Subscription {
        return Ok(sse::respond(trpc.clone(), procedure.path, context, input));
    }
    let cookies = context.cookies.clone();
    let answer = trpc.call(procedure, context, input).await;
    let mut response = single(&answer, transformer, None);
    name(&mut response, &request_id);
    set_cookies(&mut response, cookies.take());
    Ok(response)
}

impl Trpc {
    /// The procedure that a path names, if the method fits.
    pub(super) fn procedure(&self, path: &str, method: &Method) -> Result<&Procedure, RpcError> {
        let procedure = self.registry.find(path)?;
        let mut allowed = allow(procedure.kind, self.config.method_override).split(", ");
        if allowed.any(|allowed| allowed == method.as_str()) {
            return Ok(procedure);
        }
        Err(RpcError::new(
            ErrorCode::MethodNotSupported,
            format!(
                "Unsupported {method}-request to {} procedure at path \"{path}\"",
                procedure.kind.name()
            ),
        ))
    }

    /// The methods that a path takes, for the `Allow` header.
    pub(super) fn allow(&self, path: &str) -> Option<&'static str> {
        let procedure = self.registry.get(path)?;
        Some(allow(procedure.kind, self.config.method_override))
    }

    /// Runs a query or a mutation and encodes what came of it.
    pub(super) async fn call(
        &self,
        procedure: &Procedure,
        context: Context,
        input: Input,
    ) -> Answer {
        let request_id = context.request_id.clone();
        match self.registry.call(procedure, context, input).await {
            Ok(output) => Payload::encode(self.config.transformer, &procedure.output, &*output)
                .and_then(|mut payload| payload.hold(&self.bounds).map(|()| payload))
                .map_err(|error| Failure::report(error, Some(procedure.path), request_id)),
            Err(error) => Err(Failure::reported(error, procedure.path, request_id)),
        }
    }

    async fn read_input(
        &self,
        procedure: &Procedure,
        media: MediaType,
        parts: &Parts,
        query: &Query<'_>,
        body: Body,
    ) -> Result<(Input, Held), RpcError> {
        let transformer = self.config.transformer;
        let mut held = Held::default();
        let mut input = match (media, procedure.accepts) {
            (MediaType::Json, _) => {
                let value = if parts.method == Method::GET {
                    input::parse(query.input.as_deref().unwrap_or_default().as_bytes())?
                } else {
                    let read = self.bounds.read_json(body).await?;
                    held = read.held;
                    input::parse(&read.bytes)?
                };
                match value {
                    Some(value) => input::decode(transformer, value)?,
                    None if parts.method == Method::GET && procedure.kind == Kind::Query => {
                        input::from_parameters(&procedure.input, query.raw)
                    }
                    None => Input::Absent,
                }
            }
            (MediaType::Form, Accepts::Form) => {
                let read = self.bounds.read(body).await?;
                held = read.held;
                input::form(&parts.headers, read.bytes).await?
            }
            (MediaType::Binary, Accepts::Binary) => {
                let read = self.bounds.read(body).await?;
                held = read.held;
                Input::Binary(read.bytes)
            }
            (MediaType::Form | MediaType::Binary, _) => {
                return Err(RpcError::new(
                    ErrorCode::UnsupportedMediaType,
                    format!(
                        "the procedure at path \"{}\" does not take a body of this type",
                        procedure.path
                    ),
                ));
            }
        };
        if procedure.kind == Kind::Subscription {
            let header = parts.headers.get("last-event-id");
            let id = header
                .map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
                .or_else(|| query.last_event_id.as_deref().map(str::to_owned));
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                input::add_last_event_id(&mut input, id);
            }
        }
        Ok((input, held))
    }
}

/// A GET never runs a mutation, so that no link can.
fn allow(kind: Kind, method_override: bool) -> &'static str {
    match kind {
        Kind::Mutation => "POST",
        Kind::Query | Kind::Subscription if method_override => "GET, POST",
        Kind::Query | Kind::Subscription => "GET",
    }
}

/// A response of one envelope; `allow` is sent with a 405 only.
fn single(answer: &Answer, transformer: Transformer, allow: Option<&'static str>) -> Response {
    let mut body = Vec::with_capacity(512);
    envelope::write_envelope(answer, transformer, &mut body);
    let mut response = json(envelope::status(answer), body, allow);
    set_retry_after(&mut response, envelope::retry_after_seconds(answer));
    if let Err(failure) = answer {
        name(&mut response, failure.request_id());
    }
    response
}

/// A response of JSON; `allow` is sent with a 405 only.
pub(super) fn json(status: u16, body: impl Into<Body>, allow: Option<&'static str>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::VARY, VARY);
    if let Some(allow) = allow.filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Says when trying again makes sense, for clients and proxies that know HTTP alone.
pub(super) fn set_retry_after(response: &mut Response, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        let value = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
}

/// Adds what the calls of a request put into their context.
pub(super) fn set_cookies(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
