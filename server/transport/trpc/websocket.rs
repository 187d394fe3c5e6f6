//! Queries, mutations and subscriptions over one WebSocket, for `wsLink` of versions 10 and 11.
//!
//! One task owns a socket and everything that runs for it: it reads a frame, or takes the next
//! result of a call or event of a subscription, and writes it before it does anything else. So there
//! is no queue that could grow: while a client does not read, its subscriptions are not asked for
//! more, and its frames wait in the kernel. It also keeps frames in order, which version 11 relies
//! on when it moves subscriptions to a new socket and waits for the answer to its `PING`. Dropping
//! the task drops all of it; only mutations live on, because the registry runs them elsewhere.
//!
//! Callers are looked up anew for each call. Once the session that a socket was opened with has ended,
//! so have its subscriptions, and the socket closes as soon as its calls are answered: the client
//! opens another, with the session that it has by then.
//!
//! We never send `PING` as text, as the reference server can: version 10 does not know it and breaks.
//! Pings of the WebSocket protocol do the same for all clients.

mod calls;
pub mod frame;
mod passing;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use axum::{
    extract::ws::{CloseFrame, Message, close_code},
    response::Response,
};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{AbortHandle, Abortable, BoxStream, FuturesUnordered, SelectAll},
};
use http::{HeaderMap, request::Parts};
use tokio::time::Instant;

use self::{
    calls::{SubscriptionStep, answer, steps},
    frame::{AnswerHead, CallFrame, ClientMessage, Incoming},
    passing::SocketPassing,
};
use super::{
    Trpc,
    envelope::{CallAnswer, CallFailure},
    moving::MovingCall,
    passing::asker,
    request,
};
use crate::_core::{
    context::{Holds, new_request_id},
    errors::{ErrorCode, RpcError},
    procedure::ProcedureKind,
    turns,
};
use crate::transport::{
    bounds::{
        self, BudgetShare,
        socket::{Closed, Socket},
    },
    gate::{OUTDATED, SocketEnd},
};

/// Live subscriptions of one socket; the next one is refused.
const MAX_SUBSCRIPTIONS: usize = 1024;
/// Queries and mutations under way on one socket; the next one is refused.
const MAX_CALLS: usize = 1024;
/// How long clients have, when the server stops, to move to another one.
const MOVE_TIME: Duration = Duration::from_secs(2);

/// Turns the request into a socket, if its origin is allowed.
pub(super) async fn upgrade(trpc: &Arc<Trpc>, parts: &mut Parts) -> Result<Response, RpcError> {
    trpc.gate.check_origin(&parts.headers)?;
    let query = request::QueryParameters::parse(parts.uri.query().unwrap_or_default());
    let expects_params = query.connection_params.as_deref() == Some("1");
    let headers = Arc::new(parts.headers.clone());
    let of_socket = trpc.clone();
    let passing = trpc.old.as_ref().map(|old| {
        let onward = old.headers(&parts.headers, &asker(&trpc.gate, parts));
        SocketPassing::new(trpc, old, onward, parts.uri.query())
    });
    let run = move |socket| {
        let opened = Instant::now();
        let connection = Connection {
            opened,
            session_end: session_end(&of_socket, &headers, opened),
            trpc: of_socket,
            socket,
            headers,
            expects_params,
            calls: FuturesUnordered::new(),
            subscriptions: SelectAll::new(),
            live: HashMap::new(),
            passing,
        };
        connection.run()
    };
    let most = trpc.bounds.max_body_bytes;
    let (tasks, turns) = (&trpc.tasks, &trpc.bounds.turns);
    bounds::socket::upgrade(parts, tasks, turns, most, trpc.config.ping_interval, run).await
}

fn session_end(
    trpc: &Trpc,
    headers: &Arc<HeaderMap>,
    opened: Instant,
) -> BoxFuture<'static, SocketEnd> {
    let (gate, headers) = (trpc.gate.clone(), headers.clone());
    Box::pin(async move { gate.socket_end(&headers, opened).await })
}

/// A message of this size is read although there is no room for it.
const SMALL_BYTES: usize = 16 * 1024;

/// A subscription under way.
struct Live {
    handle: AbortHandle,
    ends_itself: bool,
}

struct Connection {
    trpc: Arc<Trpc>,
    socket: Socket,
    /// Of the upgrade, with what `connectionParams` added.
    headers: Arc<HeaderMap>,
    opened: Instant,
    /// Resolves once the session that these headers name has ended.
    session_end: BoxFuture<'static, SocketEnd>,
    /// Whether the first frame is to bring `connectionParams`.
    expects_params: bool,
    /// Each with what it was written from, which holds its share of memory until it is sent.
    calls: FuturesUnordered<BoxFuture<'static, (Vec<u8>, CallAnswer)>>,
    subscriptions: SelectAll<BoxStream<'static, SubscriptionStep>>,
    live: HashMap<Arc<str>, Live>,
    /// What the old server answers.
    passing: Option<SocketPassing>,
}

impl Connection {
    async fn run(mut self) {
        // Either way the socket is dropped, and with it all that runs for it.
        let _: Result<(), Closed> = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), Closed> {
        let mut ping = self.socket.ticks();
        let mut stopping = pin!(self.trpc.tasks.stopping());
        let mut leave_at: Option<Instant> = None;
        // From when nothing is begun any more.
        let mut over_at: Option<Instant> = None;
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        let mut reason = (close_code::RESTART, "the server is stopping");
        loop {
            turns::pass().await;
            tokio::select! {
                message = self.socket.receive(), if !is_over(over_at) => {
                    let message = message?;
                    // It may have passed while nothing came.
                    if !is_over(over_at) {
                        self.receive(message).await?;
                    }
                }
                Some((frame, _answer)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.send(frame).await?;
                }
                Some(step) = self.subscriptions.next(), if !self.subscriptions.is_empty() => {
                    if step.ended {
                        self.live.remove(&step.id);
                    }
                    if let Some(frame) = step.frame {
                        self.send(frame).await?;
                    }
                }
                frames = next_passed(&mut self.passing) => {
                    for frame in frames {
                        self.send(frame).await?;
                    }
                }
                _ = ping.tick() => self.socket.ping().await?,
                // A client that is told to move takes its subscriptions with it at once.
                () = &mut stopping, if leave_at.is_none() && !self.awaits_streams() => {
                    leave_at = Some(Instant::now() + MOVE_TIME);
                    self.send(frame::RECONNECT.to_vec()).await?;
                }
                end = &mut self.session_end, if leave_at.is_none() => {
                    let now = Instant::now();
                    if end == SocketEnd::Outdated {
                        leave_at = Some(now + MOVE_TIME);
                        reason = (close_code::RESTART, OUTDATED);
                        self.send(frame::RECONNECT.to_vec()).await?;
                    } else {
                        leave_at = Some(now);
                        reason = (close_code::POLICY, "the session has ended");
                    }
                    over_at = leave_at;
                }
                () = tokio::time::sleep_until(leave_at.unwrap_or(self.opened)),
                    if leave_at.is_some() && self.is_done(over_at.is_some()) =>
                {
                    let (code, reason) = reason;
                    let reason = reason.into();
                    return self.socket.close(Some(CloseFrame { code, reason })).await;
                }
            }
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), Closed> {
        let mut held = Ok(BudgetShare::default());
        let incoming = match &message {
            Message::Text(text) => {
                let share = self.trpc.bounds.hold_message(text.as_bytes());
                share.and_then(|share| {
                    held = share;
                    match &held {
                        Err(busy) if text.len() > SMALL_BYTES && self.expects_params => {
                            Err(busy.clone())
                        }
                        // There is no memory for what it holds, only to say so.
                        Err(_) if text.len() > SMALL_BYTES => frame::parse_heads(text),
                        _ => frame::parse(text, self.expects_params),
                    }
                })
            }
            Message::Binary(_) => Err(RpcError::new(
                ErrorCode::ParseError,
                "binary frames are not supported",
            )),
            Message::Ping(_) | Message::Pong(_) => return self.socket.answered().await,
            Message::Close(_) => return Err(Closed),
        };
        match incoming {
            Ok(Incoming::Ping) => self.send(b"PONG".to_vec()).await,
            Ok(Incoming::Pong) => Ok(()),
            Ok(Incoming::ConnectionParams(params)) => {
                match request::with_connection_params(&self.headers, params.as_ref()) {
                    Ok(headers) => {
                        self.headers = Arc::new(headers.into_owned());
                        if let Some(passing) = &mut self.passing {
                            passing.set_params(params);
                        }
                        self.session_end = session_end(&self.trpc, &self.headers, self.opened);
                        self.expects_params = false;
                        Ok(())
                    }
                    Err(error) => self.refuse(error).await,
                }
            }
            Ok(Incoming::Messages(mut messages)) => {
                drop(message);
                let room = self.trpc.bounds.hold_calls(messages.len());
                let holds = held.and_then(|held| Ok(Holds::new((held, room?))));
                if holds.is_err() {
                    // What is refused is not kept while its client reads why.
                    messages.iter_mut().for_each(ClientMessage::forget_input);
                }
                let too_many = messages.len() > self.trpc.config.max_batch;
                for message in messages {
                    turns::pass().await;
                    match message {
                        ClientMessage::Stop(head) => self.stop(&head).await?,
                        ClientMessage::Request(request) if too_many => {
                            let error = RpcError::bad_request("Batch call exceeds maximum size");
                            self.reject(&request, error).await?;
                        }
                        ClientMessage::Request(request) => match holds.clone() {
                            Ok(holds) => self.start(request, holds).await?,
                            Err(busy) => self.reject(&request, busy).await?,
                        },
                    }
                }
                Ok(())
            }
            Err(error) => self.refuse(error).await,
        }
    }

    fn calls_under_way(&self) -> usize {
        self.calls.len() + self.passing.as_ref().map_or(0, SocketPassing::calls)
    }

    /// Whether nothing is under way that has to be finished. Where nothing is begun any more, that is also what
    /// ends by itself.
    fn is_done(&self, is_last: bool) -> bool {
        self.calls_under_way() == 0 && !(is_last && self.awaits_streams())
    }

    fn subscriptions(&self) -> usize {
        self.live.len()
            + self
                .passing
                .as_ref()
                .map_or(0, SocketPassing::subscriptions)
    }

    /// Whether a subscription is under way that ends by itself.
    fn awaits_streams(&self) -> bool {
        self.live.values().any(|live| live.ends_itself)
    }

    fn is_live(&self, id: &str) -> bool {
        let is_passed = self.passing.as_ref().is_some_and(|it| it.has(id));
        is_passed || self.live.contains_key(id)
    }

    async fn start(&mut self, request: CallFrame, holds: Holds) -> Result<(), Closed> {
        let lead = self
            .trpc
            .lead(&request.path, &self.headers, &mut None)
            .await;
        let is_passed = self.passing.is_some() && lead.target.here().is_none();
        if request.kind != ProcedureKind::Subscription {
            if self.calls_under_way() >= MAX_CALLS {
                let error = format!("more than {MAX_CALLS} calls at once on one socket");
                let error = RpcError::new(ErrorCode::TooManyRequests, error);
                return self.reject(&request, error).await;
            }
            if is_passed {
                return self.pass(request, holds, lead.watched).await;
            }
            let answer = answer(
                self.trpc.clone(),
                self.headers.clone(),
                lead,
                request,
                holds,
            );
            self.calls.push(Box::pin(answer));
            return Ok(());
        }
        if self.is_live(&request.head.id) {
            let error = RpcError::bad_request(format!("Duplicate id {}", request.head.id));
            return self.reject(&request, error).await;
        }
        if self.subscriptions() >= MAX_SUBSCRIPTIONS {
            let error = format!("more than {MAX_SUBSCRIPTIONS} subscriptions on one socket");
            let error = RpcError::new(ErrorCode::TooManyRequests, error);
            return self.reject(&request, error).await;
        }
        if is_passed {
            return self.pass(request, holds, None).await;
        }
        let target = lead.target;
        let id = request.head.id.clone();
        let (handle, registration) = AbortHandle::new_pair();
        let ends_itself = target.here().is_some_and(|here| here.ends_itself);
        let steps = steps(self.trpc.clone(), self.headers.clone(), target, request);
        self.subscriptions
            .push(Abortable::new(steps, registration).boxed());
        let live = Live {
            handle,
            ends_itself,
        };
        self.live.insert(id, live);
        Ok(())
    }

    /// Hands a request to the old server.
    async fn pass(
        &mut self,
        request: CallFrame,
        holds: Holds,
        watched: Option<MovingCall>,
    ) -> Result<(), Closed> {
        if self
            .passing
            .as_ref()
            .is_some_and(|it| it.has(&request.head.id))
        {
            let error = RpcError::bad_request(format!("Duplicate id {}", request.head.id));
            return self.reject(&request, error).await;
        }
        let head = request.head.clone();
        let watched = watched.map(|watched| (watched, self.headers.clone()));
        let passing = self.passing.as_mut();
        match passing.map(|it| it.start(request, holds, watched)) {
            Some(Err(failure)) => {
                let frame = head.error(&failure, self.trpc.config.transformer);
                self.send(frame).await
            }
            _ => Ok(()),
        }
    }

    /// An aborted stream says nothing more, so `stopped` is the last that the client hears of it.
    async fn stop(&mut self, head: &AnswerHead) -> Result<(), Closed> {
        match self.live.remove(&head.id) {
            Some(subscription) => {
                subscription.handle.abort();
                self.send(head.stopped()).await
            }
            None => {
                if let Some(passing) = self.passing.as_ref().filter(|it| it.has(&head.id)) {
                    passing.stop(head);
                }
                Ok(())
            }
        }
    }

    /// Answers a request that was not started.
    async fn reject(&mut self, request: &CallFrame, error: RpcError) -> Result<(), Closed> {
        let failure = CallFailure::report(error, Some(&request.path), new_request_id());
        let frame = request.head.error(&failure, self.trpc.config.transformer);
        self.send(frame).await
    }

    /// Answers a frame that names no call; one that should have brought `connectionParams` is fatal.
    async fn refuse(&mut self, error: RpcError) -> Result<(), Closed> {
        let failure = CallFailure::report(error, None, new_request_id());
        let frame = AnswerHead::none().error(&failure, self.trpc.config.transformer);
        self.send(frame).await?;
        if self.expects_params {
            return self.socket.close(None).await;
        }
        Ok(())
    }

    async fn send(&mut self, frame: Vec<u8>) -> Result<(), Closed> {
        let text = String::from_utf8(frame)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        self.socket.send(text).await
    }
}

/// What the old server says next; never, where there is none.
async fn next_passed(passing: &mut Option<SocketPassing>) -> Vec<Vec<u8>> {
    match passing {
        Some(passing) => passing.next().await,
        None => std::future::pending().await,
    }
}
