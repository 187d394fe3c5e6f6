//! A WebSocket to the old server, which a socket of a client opens when it first needs one.
//!
//! It has a task of its own, so that an old server which connects slowly or does not read holds up
//! nobody else. Frames wait in short queues: while a client does not read, the old server is not read
//! either. Dropping it ends the task.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use url::Url;

use super::{LegacyBody, LegacyFault, OldServer, Onward};
use crate::_core::context::Holds;

/// Frames that wait for the old server; one more, and it is said not to read. A client has fewer calls
/// and subscriptions at once, so that it can ask for all of them while the socket is being opened.
const WAITING: usize = 4096;
const BUFFER_BYTES: usize = 8 * 1024;
/// An old server from which nothing came for this many ping intervals is gone.
const SILENT_PINGS: u32 = 3;

/// What came of a socket.
pub enum SocketEvent {
    /// A text frame, and the room that it takes.
    Frame(String, Holds),
    /// There is no socket any more, or there never was.
    Lost(LegacyFault),
}

/// A client's end of the task.
pub struct OldSocket {
    frames: mpsc::Sender<String>,
    events: mpsc::Receiver<SocketEvent>,
}

impl OldSocket {
    /// Opens a socket at `url` with these headers; what is sent meanwhile waits.
    pub fn open(old: &Arc<OldServer>, url: Url, headers: HeaderMap, ping: Duration) -> Self {
        let (frames, to_send) = mpsc::channel(WAITING);
        let (event, events) = mpsc::channel(1);
        let (old, tasks) = (old.clone(), old.tasks.clone());
        tasks.spawn(async move {
            let closed = event.clone();
            let run = run(&old, url, headers, ping, to_send, &event);
            tokio::select! {
                Err(fault) = run => {
                    old.note_fault(&fault);
                    let _ = event.send(SocketEvent::Lost(fault)).await;
                }
                () = closed.closed() => {}
            }
        });
        Self { frames, events }
    }

    /// Sends a frame, or says that the old server takes none.
    pub fn send(&self, frame: String) -> Result<(), LegacyFault> {
        let sent = self.frames.try_send(frame);
        sent.map_err(|_| LegacyFault::Cut("it does not read its socket".into()))
    }

    /// What comes next; never ends before a [`SocketEvent::Lost`].
    pub async fn next(&mut self) -> SocketEvent {
        let lost = || SocketEvent::Lost(LegacyFault::Cut("its socket is closed".into()));
        self.events.recv().await.unwrap_or_else(lost)
    }
}

async fn run(
    old: &Arc<OldServer>,
    url: Url,
    headers: HeaderMap,
    ping: Duration,
    mut to_send: mpsc::Receiver<String>,
    events: &mpsc::Sender<SocketEvent>,
) -> Result<(), LegacyFault> {
    let (mut socket, _place) = connect(old, url, headers).await?;
    old.note(&Ok(()));
    let mut heard = Instant::now();
    let mut ticks = tokio::time::interval(ping.max(Duration::from_millis(1)));
    let timeout = old.config.timeout;
    loop {
        let frame = tokio::select! {
            frame = to_send.recv() => match frame {
                Some(frame) => Message::text(frame),
                None => return Ok(()),
            },
            message = socket.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) if text == "PING" => Message::text("PONG"),
                    Some(Ok(Message::Text(text))) => {
                        let held = (old.room)(text.len()).map_err(|_| LegacyFault::Busy)?;
                        let frame = SocketEvent::Frame(text.to_string(), held);
                        // Nobody is there any more.
                        if events.send(frame).await.is_err() {
                            return Ok(());
                        }
                        // The wait for the client is not the old server's silence.
                        heard = Instant::now();
                        continue;
                    }
                    Some(Ok(Message::Close(_))) | None => {
                        return Err(LegacyFault::Cut("it closed its socket".into()));
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(Error::Capacity(_))) => {
                        return Err(LegacyFault::AnswerTooLarge(old.config.max_answer_bytes));
                    }
                    Some(Err(error)) => return Err(LegacyFault::Cut(error.to_string())),
                }
            }
            _ = ticks.tick() => {
                if heard.elapsed() > ping.saturating_mul(SILENT_PINGS) {
                    return Err(LegacyFault::Slow(ping.saturating_mul(SILENT_PINGS)));
                }
                Message::Ping(Bytes::new())
            }
        };
        match tokio::time::timeout(timeout, socket.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(LegacyFault::Cut(error.to_string())),
            Err(_) => return Err(LegacyFault::Slow(timeout)),
        }
    }
}

async fn connect(
    old: &Arc<OldServer>,
    url: Url,
    mut headers: HeaderMap,
) -> Result<(WebSocketStream<reqwest::Upgraded>, OwnedSemaphorePermit), LegacyFault> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let accept = derive_accept_key(key.as_bytes());
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, key.as_str()),
    ] {
        let value = HeaderValue::from_str(value).map_err(|_| LegacyFault::Nonsense("a header"))?;
        headers.insert(name, value);
    }
    // Compression would have to be undone.
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    let onward = Onward {
        method: Method::GET,
        url,
        headers,
        body: LegacyBody::Bytes(Bytes::new()),
    };
    let reply = old.send(onward).await?;
    let accepted = reply.headers().get(header::SEC_WEBSOCKET_ACCEPT).cloned();
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS
        || accepted.is_none_or(|it| it != accept.as_str())
    {
        return Err(LegacyFault::Refused(
            reply.status().as_u16(),
            reply.retry_after(),
        ));
    }
    let (connection, place) = reply.upgrade().await?;
    let most = old.config.max_answer_bytes;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
    Ok((socket, place))
}
