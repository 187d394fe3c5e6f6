//! JSON-RPC over a WebSocket.
//!
//! One task owns a socket and the calls that run for it: it writes an answer or an event before it
//! reads on, and does not read while too many calls run. Subscriptions have a task each, and a short
//! common queue in which each waits for its turn.

use std::{pin::pin, sync::Arc};

use axum::extract::ws::{CloseFrame, Message, close_code};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::HeaderMap;
use jsonrpsee::{MethodSink, core::server::BoundedSubscriptions};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::Instant};

use super::{Peer, SocketAnswer, Wire, calls::CallService, dispatch::SubscriptionEvents};
use crate::{
    _core::turns,
    transport::{
        bounds::socket::{Closed, Socket},
        gate::{OUTDATED, SocketEnd},
        trpc::other_wires::CallOrigin,
    },
};

/// Calls under way on one socket, of which a batch is one; then its messages wait.
const MAX_CALLS: usize = 256;
/// Live subscriptions of one socket; the next one is refused.
const MAX_SUBSCRIPTIONS: u32 = 1024;
/// Events that wait for a socket, of all its subscriptions.
const QUEUED_EVENTS: usize = 16;

/// Serves a socket until it is closed or the server stops.
pub(super) async fn serve(
    wire: Arc<Wire>,
    mut socket: Socket,
    headers: HeaderMap,
    origin: CallOrigin,
) {
    let (sink, events) = mpsc::channel(QUEUED_EVENTS);
    let service = CallService {
        wire: wire.clone(),
        events: Some(SubscriptionEvents {
            sink: MethodSink::new(sink),
            places: BoundedSubscriptions::new(MAX_SUBSCRIPTIONS),
            socket: wire.next_socket(),
        }),
    };
    let headers = (Arc::new(headers), origin);
    // Either way it is dropped, and with it the calls that run for it.
    let _: Result<(), Closed> = run(&wire, &mut socket, service, &headers, events).await;
}

async fn run(
    wire: &Arc<Wire>,
    socket: &mut Socket,
    service: CallService,
    (headers, origin): &(Arc<HeaderMap>, CallOrigin),
    mut events: mpsc::Receiver<Box<RawValue>>,
) -> Result<(), Closed> {
    let opened = Instant::now();
    let peer = Peer::Socket(headers.clone(), origin.clone(), opened);
    let mut service = Some(service);
    let mut reason = (close_code::RESTART, "the server is stopping");
    let mut calls: FuturesUnordered<BoxFuture<'static, Option<SocketAnswer>>> =
        FuturesUnordered::new();
    let mut ping = socket.ticks();
    let mut stopping = pin!(wire.tasks.stopping());
    let mut session_end = pin!(wire.gate.socket_end(headers, opened));
    loop {
        turns::pass().await;
        tokio::select! {
            message = socket.receive(), if calls.len() < MAX_CALLS && service.is_some() => {
                let text = match message? {
                    Message::Text(text) => Bytes::from(text),
                    Message::Binary(bytes) => bytes,
                    _ => {
                        socket.answered().await?;
                        continue;
                    }
                };
                let Some(service) = &service else { continue };
                match wire.start(service, &peer, text) {
                    Ok(call) => calls.push(Box::pin(call)),
                    Err(refusal) => socket.send(refusal).await?,
                }
            }
            Some(answer) = calls.next(), if !calls.is_empty() => {
                if let Some(SocketAnswer { text, _held }) = answer {
                    socket.send(text).await?;
                }
            }
            event = events.recv() => match event {
                Some(event) => socket.send(String::from(Box::<str>::from(event))).await?,
                // The last subscription has ended, and there will be no other.
                None if calls.is_empty() => {
                    let (code, reason) = reason;
                    let reason = reason.into();
                    return socket.close(Some(CloseFrame { code, reason })).await;
                }
                None => {
                    if let Some(Some(SocketAnswer { text, _held })) = calls.next().await {
                        socket.send(text).await?;
                    }
                }
            },
            _ = ping.tick() => socket.ping().await?,
            // What runs is finished; nothing else is begun.
            () = &mut stopping, if service.is_some() => service = None,
            end = &mut session_end, if service.is_some() => {
                service = None;
                reason = match end {
                    SocketEnd::Lost => (close_code::POLICY, "the session has ended"),
                    SocketEnd::Outdated => (close_code::RESTART, OUTDATED),
                };
            }
        }
    }
}
