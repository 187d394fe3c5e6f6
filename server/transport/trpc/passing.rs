//! Calls to procedures that this server has not: the old server answers them.
//!
//! A request whose calls are all the old server's goes on as it came, and the answer comes back as it is
//! ([`whole`]). What can be read by no client (an error page, half an answer) is replaced by an envelope
//! per call. A batch of both kinds is split: [`Theirs`] is the old server's share of it.

mod following;
mod theirs;

use std::{net::SocketAddr, sync::Arc};

use axum::{body::Body, extract::ConnectInfo, response::Response};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header, request};

use self::following::{Begun, Following};
pub(super) use self::theirs::Theirs;
use super::{
    Trpc, batch, batch_stream, envelope::Failure, part::Part, request::Delivery, respond, sse,
};
use crate::{
    _core::{
        context::new_request_id,
        errors::{ErrorCode, RpcError},
    },
    config::Transformer,
    legacy::{
        self, Asker, Fault, OldServer, Onward, answer,
        send::{Held, Read},
    },
    transport::gate::Gate,
};

/// Answers of this size are read whole before they are handed on, so that half of one is an error that
/// clients can read.
const READ_WHOLE_BYTES: usize = 1 << 20;
pub(in crate::transport) const EVENT_STREAM: &str = "text/event-stream";
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Which calls a request is about.
pub(super) struct Asked<'a> {
    /// Their names; one where it is no batch.
    pub(super) names: &'a [&'a str],
    pub(super) is_batch: bool,
    pub(super) delivery: Delivery,
}

/// Who asks, as the old server is told.
pub(in crate::transport) fn asker<'a>(gate: &Gate, parts: &'a request::Parts) -> Asker<'a> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    Asker {
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
    let failure = Failure::report(loop_error(), None, new_request_id());
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
    asked: Asked<'_>,
) -> Response {
    let reads_events = accepts_events(&parts.headers);
    let answered = ask(trpc, old, parts, body, &asked).await;
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
            let parts = failures.into_iter().map(|failure| Part::Ours(Err(failure)));
            match asked.delivery {
                Delivery::Whole => batch::whole(&parts.collect::<Vec<_>>(), transformer, &[]),
                delivery => {
                    let calls = parts.map(std::future::ready);
                    let running = batch_stream::Running::start(trpc, calls.enumerate());
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

fn failures<'a>(names: impl Iterator<Item = &'a str>, fault: &Fault) -> Vec<Failure> {
    let error = RpcError::from(fault.clone());
    let failure = |name| Failure::report(error.clone(), Some(name), new_request_id());
    names.map(failure).collect()
}

async fn ask(
    trpc: &Arc<Trpc>,
    old: &Arc<OldServer>,
    parts: request::Parts,
    body: Body,
    asked: &Asked<'_>,
) -> Result<Response, Fault> {
    let path = parts.uri.path();
    let path = path.strip_prefix(super::MOUNT).unwrap_or_default();
    let url = old.calls_url(path, old.query(parts.uri.query()).as_deref())?;
    let mut headers = old.headers(&parts.headers, &asker(&trpc.gate, &parts));
    let is_stream = asked.is_batch && asked.delivery == Delivery::Lines;
    if is_stream {
        // It is followed line by line.
        headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    }
    let onward = Onward {
        method: parts.method,
        url,
        headers,
        body: legacy::Body::Stream(body),
    };
    let mut reply = old.send(onward).await?;
    let (status, headers) = (reply.status(), reply.headers());
    let respond = |body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    };
    let is_members = asked.is_batch && asked.delivery == Delivery::Members;
    let may_be_silent = reply.is(EVENT_STREAM);
    let is_bodiless = status.is_redirection() || status == StatusCode::NO_CONTENT;
    if may_be_silent {
        reply = reply.open_ended()?;
    }
    if may_be_silent || is_bodiless || is_members {
        return Ok(respond(Body::from_stream(reply.stream(
            Bytes::new(),
            Held::default(),
            may_be_silent,
        ))));
    }
    let batch = asked.is_batch.then_some(asked.names.len());
    if is_stream && status.is_success() && !reply.is_encoded() {
        let names: Vec<String> = asked.names.iter().map(|&name| name.to_owned()).collect();
        let places: Vec<usize> = (0..names.len()).collect();
        let shift = None;
        let body = match Following::begin(trpc, old, reply, names, places, shift).await? {
            Begun::Stream(_, stream) => Body::from_stream(stream.map(Ok::<_, Fault>)),
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
        Read::Whole(bytes, _) => {
            if !is_encoded {
                answer::check(&bytes, batch)
                    .map_err(|fault| answer::refused(status.as_u16(), fault))?;
            }
            Ok(respond(Body::from(bytes)))
        }
        Read::Part(begun, held) => {
            let body = reply.stream(begun, held, false);
            Ok(respond(Body::from_stream(body)))
        }
    }
}
