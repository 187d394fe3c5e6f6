//! Calls to procedures that this server has not: the old server answers them.
//!
//! A request whose calls are all the old server's goes on as it came, and the answer comes back as it is
//! ([`whole`]). What can be read by no client (an error page, half an answer) is replaced by an envelope
//! per call. A batch of both kinds is split: [`PassedShare`] is the old server's share of it.

mod following;
mod theirs;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::ConnectInfo,
    response::Response,
};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};

use self::following::{Begun, Following};
pub(super) use self::theirs::{BatchSplit, PassedShare};
use super::{
    Trpc, batch_stream,
    envelope::CallFailure,
    input,
    moving::MovingCall,
    part::{self, BatchPart},
    request::{BatchDelivery, QueryParameters},
    respond, sse,
};
use crate::{
    _core::{
        context::new_request_id,
        errors::{ErrorCode, RpcError},
    },
    config::Transformer,
    legacy::{
        self, ForwardedCaller, LegacyFault, OldServer, Onward, answer,
        send::{AnswerRoom, BodyRead},
    },
    transport::gate::CallerGate,
};

/// Answers of this size are read whole before they are handed on, so that half of one is an error that
/// clients can read.
const READ_WHOLE_BYTES: usize = 1 << 20;
pub(in crate::transport) const EVENT_STREAM: &str = "text/event-stream";
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Which calls a request is about.
pub(super) struct RequestedCalls<'a> {
    /// Their names; one where it is no batch.
    pub(super) names: &'a [&'a str],
    pub(super) is_batch: bool,
    pub(super) delivery: BatchDelivery,
}

/// Who asks, as it is said to the old server.
pub(in crate::transport) fn asker<'a>(
    gate: &CallerGate,
    parts: &'a request::Parts,
) -> ForwardedCaller<'a> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    ForwardedCaller {
        peer: peer.map(|ConnectInfo(peer)| peer.ip()),
        https: gate.site().is_https(&parts.headers),
        host: gate.site().host(&parts.headers),
    }
}

/// The error of a request that has come back to this server.
pub(in crate::transport) fn loop_error() -> RpcError {
    RpcError::new(
        ErrorCode::BadGateway,
        "LEGACY_TRPC_URL leads back to this server",
    )
}

/// The answer to such a request: 508, and an envelope.
pub(super) fn looped(transformer: Transformer) -> Response {
    let failure = CallFailure::report(loop_error(), None, new_request_id());
    let mut response = respond::single(&Err(failure), transformer, &[]);
    *response.status_mut() = StatusCode::LOOP_DETECTED;
    response
}

/// Passes a request on as a whole.
pub(super) async fn whole(
    trpc: &Arc<Trpc>,
    old: &Arc<OldServer>,
    parts: request::Parts,
    body: Body,
    asked: RequestedCalls<'_>,
    watched: Option<(MovingCall, Arc<HeaderMap>)>,
) -> Response {
    let reads_events = accepts_events(&parts.headers);
    let answered = match watched {
        Some((watched, by)) => watch(trpc, old, parts, body, (watched, by)).await,
        None => ask(trpc, old, parts, legacy::LegacyBody::Stream(body), &asked).await,
    };
    old.note(&answered);
    let fault = match answered {
        Ok(response) => return response,
        Err(fault) => fault,
    };
    let transformer = trpc.config.transformer;
    let failures = failures(asked.names.iter().copied(), &fault);
    match (asked.is_batch, failures.first()) {
        (false, Some(failure)) if reads_events => sse::failed(failure, transformer),
        (false, Some(failure)) => respond::single(&Err(failure.clone()), transformer, &[]),
        _ => {
            let parts = failures
                .into_iter()
                .map(|failure| BatchPart::Ours(Err(failure)));
            match asked.delivery {
                BatchDelivery::Whole => part::whole(&parts.collect::<Vec<_>>(), transformer, &[]),
                delivery => {
                    let calls = parts.map(std::future::ready);
                    let running = batch_stream::RunningBatch::start(trpc, calls.enumerate());
                    batch_stream::respond(running, None, asked.names.len(), trpc, delivery)
                }
            }
        }
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    accepted.is_some_and(|value| value.contains(EVENT_STREAM))
}

fn failures<'a>(names: impl Iterator<Item = &'a str>, fault: &LegacyFault) -> Vec<CallFailure> {
    let error = RpcError::from(fault.clone());
    let failure = |name| CallFailure::report(error.clone(), Some(name), new_request_id());
    names.map(failure).collect()
}

/// Asks for a single call that is watched.
async fn watch(
    trpc: &Arc<Trpc>,
    old: &Arc<OldServer>,
    mut parts: request::Parts,
    body: Body,
    (watched, by): (MovingCall, Arc<HeaderMap>),
) -> Result<Response, LegacyFault> {
    let is_get = parts.method == Method::GET;
    let is_small = || {
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
        length.is_some_and(|length| length <= trpc.bounds.max_body_bytes)
    };
    let transformer = trpc.config.transformer;
    let mut held = None;
    let (input, body) = match (watched.compares(), is_get) {
        (true, true) => {
            let query = QueryParameters::parse(parts.uri.query().unwrap_or_default());
            let text = query.input.as_deref().map(str::as_bytes);
            let input = input::read(text, transformer).ok();
            (input, legacy::LegacyBody::Stream(body))
        }
        (true, false) if is_small() => {
            let read = trpc.bounds.read(body).await;
            let read = read.map_err(|_| LegacyFault::Upload)?;
            // What it holds takes more than its text, and there may be no room for that.
            let room = trpc
                .bounds
                .hold_message(&read.bytes)
                .ok()
                .and_then(Result::ok);
            let input = room
                .as_ref()
                .and_then(|_| input::read(Some(&read.bytes), transformer).ok());
            held = Some((read.held, room));
            (input, legacy::LegacyBody::Bytes(read.bytes))
        }
        // What it asks for is not known before it has gone on.
        _ => (None, legacy::LegacyBody::Stream(body)),
    };
    parts.headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    let passed = watched.passed_on(trpc, by, input);
    let asked = RequestedCalls {
        names: &[],
        is_batch: false,
        delivery: BatchDelivery::Whole,
    };
    let answered = ask(trpc, old, parts, body, &asked).await;
    drop(held);
    match answered {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            // What was read whole is there at once, and is not copied; of anything else nothing is known.
            let is_whole = body.size_hint().exact().is_some();
            if !is_whole {
                passed.answered(status, None);
                return Ok(Response::from_parts(parts, body));
            }
            let bytes = to_bytes(body, READ_WHOLE_BYTES).await;
            let bytes = bytes.map_err(|error| LegacyFault::Cut(error.to_string()))?;
            passed.answered(status, Some(bytes.clone()));
            Ok(Response::from_parts(parts, Body::from(bytes)))
        }
        Err(fault) => {
            passed.failed(&fault);
            Err(fault)
        }
    }
}

async fn ask(
    trpc: &Arc<Trpc>,
    old: &Arc<OldServer>,
    parts: request::Parts,
    body: legacy::LegacyBody,
    asked: &RequestedCalls<'_>,
) -> Result<Response, LegacyFault> {
    let path = parts.uri.path();
    let path = path.strip_prefix(super::MOUNT).unwrap_or_default();
    let url = old.calls_url(path, old.query(parts.uri.query()).as_deref())?;
    let mut headers = old.headers(&parts.headers, &asker(&trpc.gate, &parts));
    let is_stream = asked.is_batch && asked.delivery == BatchDelivery::Lines;
    if is_stream {
        // It is followed line by line.
        headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    }
    let onward = Onward {
        method: parts.method,
        url,
        headers,
        body,
    };
    let mut reply = old.send(onward).await?;
    let (status, headers) = (reply.status(), reply.headers());
    let retry_after = reply.retry_after();
    let respond = |body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    };
    let is_members = asked.is_batch && asked.delivery == BatchDelivery::Members;
    let may_be_silent = reply.is(EVENT_STREAM);
    let is_bodiless = status.is_redirection() || status == StatusCode::NO_CONTENT;
    if may_be_silent {
        reply = reply.open_ended()?;
    }
    if may_be_silent || is_bodiless || is_members {
        return Ok(respond(Body::from_stream(reply.stream(
            Bytes::new(),
            AnswerRoom::default(),
            may_be_silent,
        ))));
    }
    let batch = asked.is_batch.then_some(asked.names.len());
    if is_stream && status.is_success() && !reply.is_encoded() {
        let names: Vec<String> = asked.names.iter().map(|&name| name.to_owned()).collect();
        let places: Vec<usize> = (0..names.len()).collect();
        let shift = None;
        let body = match Following::begin(trpc, old, reply, names, places, shift).await? {
            Begun::Stream(_, stream) => Body::from_stream(stream.map(Ok::<_, LegacyFault>)),
            Begun::Whole(json) => {
                answer::check(&json, batch)?;
                Body::from(json)
            }
        };
        let mut response = respond(body);
        // Lines may follow that the old server did not send.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return Ok(response);
    }
    let is_encoded = reply.is_encoded();
    match reply.read(READ_WHOLE_BYTES).await? {
        BodyRead::Whole(bytes, _) => {
            if !is_encoded {
                answer::check(&bytes, batch)
                    .map_err(|fault| answer::refused(status.as_u16(), retry_after, fault))?;
            }
            Ok(respond(Body::from(bytes)))
        }
        BodyRead::Part(begun, held) => {
            let body = reply.stream(begun, held, false);
            Ok(respond(Body::from_stream(body)))
        }
    }
}
