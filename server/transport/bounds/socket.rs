//! A WebSocket as both wires hold it.
//!
//! There is no queue: whoever owns a socket reads a message only when it has written what it had to
//! say, and a pong counts as said. So a client that does not read makes its own frames wait in the
//! kernel, and is closed when it has made no room for 30 s.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        FromRequestParts,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use futures::{SinkExt, StreamExt};
use http::request::Parts;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{BudgetShare, arrived::Arrived, stream::Inflow};
use crate::_core::{errors::RpcError, tasks::Tasks, turns::Turns};

/// How long a client may take to make room for one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A client from which nothing came for this many ping intervals is gone.
const SILENT_PINGS: u32 = 3;
/// The libraries' defaults would be 128 KiB each.
const BUFFER_BYTES: usize = 8 * 1024;

/// A socket that knows who is silent, late, or does not read.
pub struct Socket {
    socket: WebSocket,
    inflow: Option<Arc<Inflow>>,
    /// The share of the last message, until the next one is asked for.
    arrived: BudgetShare,
    heard: Instant,
    period: Duration,
}

/// The socket is of no more use.
#[derive(Debug)]
pub struct Closed;

/// Turns a request into a socket, which `run` owns until its end, in turns.
pub async fn upgrade<R>(
    parts: &mut Parts,
    tasks: &Tasks,
    turns: &Turns,
    max_message_bytes: usize,
    ping_interval: Duration,
    run: impl FnOnce(Socket) -> R + Send + 'static,
) -> Result<Response, RpcError>
where
    R: Future<Output = ()> + Send + 'static,
{
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|rejection| RpcError::bad_request(rejection.body_text()))?;
    let arrived = parts.extensions.get::<Arrived>();
    if let Some(arrived) = arrived {
        arrived.under_way.keep();
    }
    let inflow = arrived.map(|arrived| arrived.inflow.clone());
    let (tasks, turns) = (tasks.clone(), turns.clone());
    Ok(upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(max_message_bytes)
        .max_frame_size(max_message_bytes)
        .on_upgrade(move |socket| async move {
            let socket = Socket {
                socket,
                inflow,
                arrived: BudgetShare::default(),
                heard: Instant::now(),
                period: ping_interval,
            };
            let run = run(socket);
            // Spawned, so that a stopping server waits for it. A panic has been reported by then.
            let _ = tasks.spawn(async move { turns.take(run).await }).await;
        }))
}

impl Socket {
    /// The next message. May be dropped and called again.
    pub async fn receive(&mut self) -> Result<Message, Closed> {
        self.arrived = BudgetShare::default();
        let message = self.socket.next().await;
        self.heard = Instant::now();
        if let Some(inflow) = &self.inflow {
            self.arrived = inflow.claim();
        }
        match message {
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Closed),
            Some(Ok(message)) => Ok(message),
        }
    }

    /// What the library answered by itself, a pong, has to go before the next message is read.
    pub async fn answered(&mut self) -> Result<(), Closed> {
        in_time(self.socket.flush()).await
    }

    /// Sends a text, and waits until the kernel has it.
    pub async fn send(&mut self, text: impl Into<String>) -> Result<(), Closed> {
        in_time(self.socket.send(Message::text(text.into()))).await
    }

    /// When [`Socket::ping`] is due.
    pub fn ticks(&self) -> Interval {
        ticks(self.period)
    }

    /// Asks for a sign of life; fails where the last ones were not answered, or where a message that
    /// was begun does not come to its end.
    pub async fn ping(&mut self) -> Result<(), Closed> {
        let is_silent = self.heard.elapsed() > self.period.saturating_mul(SILENT_PINGS);
        let is_late = self.inflow.as_ref().is_some_and(|inflow| inflow.is_late());
        if is_silent || is_late {
            return Err(Closed);
        }
        in_time(self.socket.send(Message::Ping(Default::default()))).await
    }

    /// Says goodbye and waits, not for long, until the client has said so, too.
    pub async fn close(&mut self, reason: Option<CloseFrame>) -> Result<(), Closed> {
        in_time(self.socket.send(Message::Close(reason))).await?;
        let goodbye = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        Err(Closed)
    }
}

async fn in_time<E>(sent: impl Future<Output = Result<(), E>>) -> Result<(), Closed> {
    match tokio::time::timeout(SEND_TIMEOUT, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Closed),
    }
}

/// Ticks every `period`, first after one, and never in bursts.
pub fn ticks(period: Duration) -> Interval {
    // Periods of zero and of centuries would panic.
    let period = period.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
