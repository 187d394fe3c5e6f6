//! Subscriptions as event streams, for `httpSubscriptionLink`.
//!
//! The status is always 200, errors are events: `EventSource` tells its user nothing about a failed
//! request. An end that is meant is said with `return`; without it the client comes back with the id
//! of the last event it saw, which is what we want when the server stops, and when a proxy has to say anew who
//! calls. `EventSource` drops events
//! that have no `data:` line, so even empty events have one.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};

use super::{
    Trpc,
    envelope::{CallFailure, Payload},
};
use crate::_core::{
    context::Context,
    errors::RpcError,
    procedure::{Input, Procedure, StreamItem},
    shape::Shape,
};
use crate::config::Transformer;

/// Compression would hold events back.
pub(super) const NO_TRANSFORM: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
/// Nginx would hold events back.
pub(super) const NO_BUFFERING: HeaderValue = HeaderValue::from_static("no");
/// A client that hears nothing for this many ping intervals connects anew.
const SILENT_PINGS: u128 = 3;

/// Opens a subscription and streams its events; dropping the body drops the producer.
pub(super) fn respond(
    trpc: Arc<Trpc>,
    procedure: Arc<Procedure>,
    context: Context,
    input: Input,
) -> Response {
    response(Body::from_stream(events(trpc, procedure, context, input)))
}

/// A stream that says only that there is none. Any other answer would end the subscription for good,
/// where it is an error that may pass.
pub(super) fn failed(failure: &CallFailure, transformer: Transformer) -> Response {
    let mut data = Vec::with_capacity(256);
    failure.write(transformer, &mut data);
    let connected = frame(Some("connected"), None, b"{}");
    let error = frame(Some("serialized-error"), None, &data);
    response(Body::from([connected, error].concat()))
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, NO_TRANSFORM);
    headers.insert("x-accel-buffering", NO_BUFFERING);
    headers.insert(
        header::VARY,
        HeaderValue::from_static("trpc-accept, accept"),
    );
    response
}

fn events(
    trpc: Arc<Trpc>,
    procedure: Arc<Procedure>,
    context: Context,
    input: Input,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    async_stream::stream! {
        let interval = trpc.config.ping_interval;
        let patience = interval.as_millis() * SILENT_PINGS;
        let options = format!("{{\"reconnectAfterInactivityMs\":{patience}}}");
        yield Ok(frame(Some("connected"), None, options.as_bytes()));

        let request_id = context.request_id.clone();
        let session = context.session.clone();
        let failed = |failure: CallFailure| {
            let mut data = Vec::with_capacity(256);
            failure.write(trpc.config.transformer, &mut data);
            frame(Some("serialized-error"), None, &data)
        };
        let mut events = match procedure.subscribe(context, input).await {
            Ok(events) => events,
            Err(error) => {
                yield Ok(failed(CallFailure::reported(error, procedure.path, request_id)));
                return;
            }
        };
        let mut ping = super::ticks(interval);
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(event) => match event.and_then(|event| message(&trpc, &procedure.output, &event)) {
                        Ok(message) => {
                            ping.reset();
                            yield Ok(message);
                        }
                        Err(error) => {
                            yield Ok(failed(CallFailure::report(error, Some(procedure.path), request_id)));
                            return;
                        }
                    },
                    None => break,
                },
                _ = ping.tick() => yield Ok(frame(Some("ping"), None, b"")),
            }
        }
        let is_outdated = session.is_some_and(|session| session.is_outdated());
        if procedure.ends_itself || !(trpc.tasks.is_stopping() || is_outdated) {
            yield Ok(frame(Some("return"), None, b""));
        }
    }
}

fn message(trpc: &Trpc, shape: &Shape, event: &StreamItem) -> Result<Bytes, RpcError> {
    let transformer = trpc.config.transformer;
    let payload = Payload::encode(transformer, shape, &*event.data)?;
    let mut data = Vec::with_capacity(512);
    payload.write(transformer, &mut data);
    Ok(frame(None, event.id.as_deref(), &data))
}

/// One event. `data` holds no line breaks; those of an id are left out, and an empty id, which would
/// make the client forget where it was, is not sent.
fn frame(event: Option<&str>, id: Option<&str>, data: &[u8]) -> Bytes {
    debug_assert!(!data.contains(&b'\n') && !data.contains(&b'\r'));
    let mut frame = Vec::with_capacity(data.len() + 48);
    if let Some(event) = event {
        frame.extend_from_slice(b"event: ");
        frame.extend_from_slice(event.as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(data);
    frame.push(b'\n');
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        frame.extend_from_slice(b"id: ");
        // `EventSource` also ignores ids that hold NUL.
        frame.extend(id.bytes().filter(|b| !matches!(b, b'\n' | b'\r' | b'\0')));
        frame.push(b'\n');
    }
    frame.push(b'\n');
    Bytes::from(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_data_line_and_ends_with_a_blank_one() {
        assert_eq!(
            frame(Some("return"), None, b""),
            "event: return\ndata: \n\n"
        );
        assert_eq!(frame(Some("ping"), None, b""), "event: ping\ndata: \n\n");
        assert_eq!(
            frame(None, Some("7"), b"{\"json\":1}"),
            "data: {\"json\":1}\nid: 7\n\n"
        );
    }

    #[test]
    fn ids_cannot_break_the_framing() {
        assert_eq!(
            frame(None, Some("a\n\ndata: x\r\0"), b"1"),
            "data: 1\nid: adata: x\n\n"
        );
        assert_eq!(frame(None, Some(""), b"1"), "data: 1\n\n");
    }
}
