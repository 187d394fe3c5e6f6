//! The calls of a socket that the old server answers, over a socket of its own for each client's.
//!
//! It is opened by the first such call, with what the client's own was opened with. The old server gets numbers
//! for ids, since JavaScript reads and writes some ids as others (`1.0`, a number beyond 2^53, `"\u0061"`) and would
//! answer nobody; but for the id, frames come back as it wrote them. Here is noted what is still awaited: to end it
//! where the old server's socket is lost, or says nothing.

use std::{collections::HashMap, fmt::Display, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::{
    Trpc,
    frame::{AnswerHead, CallFrame},
};
use crate::{
    _core::{
        context::{Holds, new_request_id},
        errors::RpcError,
        procedure::{Input, ProcedureKind},
    },
    legacy::{
        LegacyFault, OldServer, answer,
        socket::{OldSocket, SocketEvent},
    },
    transport::trpc::{
        envelope::CallFailure,
        input,
        moving::{MovingCall, Passed},
    },
};

/// With nothing awaited: as good as never.
const LONG: Duration = Duration::from_secs(86_400);

/// What a client's socket has to do with the old server.
pub(super) struct SocketPassing {
    trpc: Arc<Trpc>,
    old: Arc<OldServer>,
    url: Result<Url, LegacyFault>,
    /// Of the client's upgrade, as they go on.
    headers: HeaderMap,
    /// The first frame, where the client's URL promised one.
    params: Option<Value>,
    socket: Option<OldSocket>,
    live: HashMap<Arc<str>, Live>,
    /// The ids of these by the numbers that the old server has for them.
    ids: HashMap<u64, Arc<str>>,
    /// The last number that was given.
    last: u64,
}

struct Live {
    number: u64,
    head: AnswerHead,
    path: String,
    is_subscription: bool,
    /// When the old server has to have answered; nothing for what was answered once.
    due: Option<Instant>,
    /// What is noted of a call that is watched.
    passed: Option<Passed>,
    _holds: Holds,
}

#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    result: Option<ResultLook>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResultLook {
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl SocketPassing {
    pub(super) fn new(
        trpc: &Arc<Trpc>,
        old: &Arc<OldServer>,
        headers: HeaderMap,
        query: Option<&str>,
    ) -> Self {
        Self {
            trpc: trpc.clone(),
            old: old.clone(),
            url: old.calls_url("", old.query(query).as_deref()),
            headers,
            params: None,
            socket: None,
            live: HashMap::new(),
            ids: HashMap::new(),
            last: 0,
        }
    }

    /// Notes what the client's first frame brought.
    pub(super) fn set_params(&mut self, params: Option<Value>) {
        let params = params.unwrap_or_default();
        self.params = Some(self.old.connection_params(params));
    }

    /// How many calls are under way, subscriptions left out.
    pub(super) fn calls(&self) -> usize {
        self.live.len() - self.subscriptions()
    }

    /// How many subscriptions are live.
    pub(super) fn subscriptions(&self) -> usize {
        let live = self.live.values();
        live.filter(|live| live.is_subscription).count()
    }

    /// Whether something under this id is under way.
    pub(super) fn has(&self, id: &str) -> bool {
        self.live.contains_key(id)
    }

    /// Passes a request on.
    pub(super) fn start(
        &mut self,
        request: CallFrame,
        holds: Holds,
        watched: Option<(MovingCall, Arc<HeaderMap>)>,
    ) -> Result<(), CallFailure> {
        let failed = |fault: LegacyFault, path: &str| {
            CallFailure::report(RpcError::from(fault), Some(path), new_request_id())
        };
        if self.socket.is_none() {
            let url = self.url.clone();
            let url = url.map_err(|fault| failed(fault, &request.path))?;
            let ping = self.trpc.config.ping_interval;
            let headers = self.headers.clone();
            let socket = OldSocket::open(&self.old, url, headers, ping);
            if let Some(params) = &self.params {
                let frame = json!({"method": "connectionParams", "data": params});
                let sent = socket.send(frame.to_string());
                sent.map_err(|fault| failed(fault, &request.path))?;
            }
            self.socket = Some(socket);
        }
        self.last += 1;
        let number = self.last;
        let frame = frame(&request, number);
        let sent = self.socket.as_ref().map_or(Ok(()), |it| it.send(frame));
        sent.map_err(|fault| failed(fault, &request.path))?;
        let transformer = self.trpc.config.transformer;
        let input = |value: Option<Value>| match value {
            Some(value) => input::decode(transformer, value).ok(),
            None => Some(Input::Absent),
        };
        let passed = watched.map(|(watched, by)| {
            let input = watched.compares().then(|| input(request.input)).flatten();
            watched.passed_on(&self.trpc, by, input)
        });
        self.ids.insert(number, request.head.id.clone());
        let live = Live {
            number,
            passed,
            is_subscription: request.kind == ProcedureKind::Subscription,
            due: Some(Instant::now() + self.old.timeout()),
            path: request.path,
            head: request.head.clone(),
            _holds: holds,
        };
        self.live.insert(request.head.id, live);
        Ok(())
    }

    /// Asks the old server to end a subscription; what it says to that goes to the client.
    pub(super) fn stop(&self, head: &AnswerHead) {
        if let (Some(socket), Some(live)) = (&self.socket, self.live.get(&head.id)) {
            // One that takes no frame is lost soon.
            let _ = socket.send(stop(head, live.number));
        }
    }

    /// The next frames for the client. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Vec<Vec<u8>> {
        let due = self.live.values().filter_map(|live| live.due).min();
        let due = due.unwrap_or_else(|| Instant::now() + LONG);
        let event = async {
            match &mut self.socket {
                Some(socket) => socket.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = event => match event {
                SocketEvent::Frame(text, _held) => self.take(text).into_iter().collect(),
                SocketEvent::Lost(fault) => self.lose(&fault),
            },
            () = sleep_until(due) => self.give_up(),
        }
    }

    /// A frame of the old server's, if somebody waits for it.
    fn take(&mut self, text: String) -> Option<Vec<u8>> {
        let Ok(look) = serde_json::from_str::<Look<'_>>(&text) else {
            tracing::warn!("a frame of the old server is no JSON");
            return None;
        };
        if look.method.as_deref() == Some("reconnect") {
            return Some(text.into_bytes());
        }
        let Some(number) = look.id else {
            let error = look.error?.get();
            return Some(self.of_nobody(error).unwrap_or(text).into_bytes());
        };
        let id = self.ids.get(&number.get().parse().ok()?)?.clone();
        let live = self.live.get_mut(&id)?;
        let kind = look.result.as_ref().and_then(|it| it.kind.as_deref());
        let was_started = live.due.take().is_none();
        if !was_started {
            self.old.note(&Ok(()));
        }
        let is_over = match (live.is_subscription, kind) {
            (true, Some("stopped")) => true,
            // What could not be set up is never said to have stopped.
            (true, _) => look.error.is_some() && !was_started,
            (false, _) => true,
        };
        let is_error = look.error.is_some();
        let text = Bytes::from(with_id(&text, number.get(), &id));
        let over = if is_over { self.remove(&id) } else { None };
        if let Some(passed) = over.and_then(|live| live.passed) {
            let status = if is_error {
                answer::status_of(&text)
            } else {
                200
            };
            passed.answered(status, Some(text.clone()));
        }
        Some(text.into())
    }

    /// An error that names no call, for the one call that is awaited; `None` where it may be of several. So the old
    /// server answers where it could not read a frame, or not make a context.
    fn of_nobody(&mut self, error: &str) -> Option<String> {
        let mut awaited = self.live.values().filter(|live| live.due.is_some());
        let (live, None) = (awaited.next()?, awaited.next()) else {
            return None;
        };
        let head = live.head.clone();
        let live = self.remove(&head.id)?;
        let text = with_head(&head, &head.id, &format!("\"error\":{error}"));
        self.old.note(&Ok(()));
        if let Some(passed) = live.passed {
            let envelope = Bytes::from(text.clone());
            passed.answered(answer::status_of(&envelope), Some(envelope));
        }
        Some(text)
    }

    fn remove(&mut self, id: &str) -> Option<Live> {
        let live = self.live.remove(id)?;
        self.ids.remove(&live.number);
        Some(live)
    }

    /// Ends all that the old server's socket was to answer.
    fn lose(&mut self, fault: &LegacyFault) -> Vec<Vec<u8>> {
        self.socket = None;
        self.ids.clear();
        let live: Vec<Live> = self.live.drain().map(|(_, live)| live).collect();
        for _ in live.iter().filter(|live| live.due.is_some()) {
            self.old.note_fault(fault);
        }
        live.into_iter()
            .flat_map(|live| self.fail(live, fault))
            .collect()
    }

    /// Ends what the old server should have answered by now.
    fn give_up(&mut self) -> Vec<Vec<u8>> {
        let now = Instant::now();
        let late = |live: &Live| live.due.is_some_and(|due| due <= now);
        let late: Vec<Arc<str>> = self
            .live
            .iter()
            .filter(|(_, live)| late(live))
            .map(|(id, _)| id.clone())
            .collect();
        if late.is_empty() {
            return Vec::new();
        }
        let fault = LegacyFault::Slow(self.old.timeout());
        for _ in &late {
            self.old.note_fault(&fault);
        }
        let mut frames = Vec::new();
        for id in late {
            if let Some(live) = self.live.get(&id)
                && live.is_subscription
            {
                self.stop(&live.head);
            }
            if let Some(live) = self.remove(&id) {
                frames.extend(self.fail(live, &fault));
            }
        }
        frames
    }

    fn fail(&self, live: Live, fault: &LegacyFault) -> Vec<Vec<u8>> {
        if let Some(passed) = live.passed {
            passed.failed(fault);
        }
        let error = RpcError::from(fault.clone());
        let failure = CallFailure::report(error, Some(&live.path), new_request_id());
        let frame = live.head.error(&failure, self.trpc.config.transformer);
        let was_started = live.is_subscription && live.due.is_none();
        let stopped = was_started.then(|| live.head.stopped());
        [Some(frame), stopped].into_iter().flatten().collect()
    }
}

fn frame(request: &CallFrame, number: u64) -> String {
    let mut params = json!({ "path": request.path });
    if let Some(input) = &request.input {
        params["input"] = input.clone();
    }
    if let Some(id) = &request.last_event_id {
        params["lastEventId"] = id.as_str().into();
    }
    let method = request.kind.name();
    with_head(
        &request.head,
        number,
        &format!("\"method\":\"{method}\",\"params\":{params}"),
    )
}

fn stop(head: &AnswerHead, number: u64) -> String {
    with_head(head, number, "\"method\":\"subscription.stop\"")
}

/// A frame with another id in the place of this one, which is a part of it.
fn with_id(text: &str, number: &str, id: &str) -> String {
    let at = (number.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let after = rest.get(number.len()..).unwrap_or_default();
    [before, id, after].concat()
}

/// Ids are JSON already.
fn with_head(head: &AnswerHead, id: impl Display, rest: &str) -> String {
    let jsonrpc = if head.jsonrpc {
        "\"jsonrpc\":\"2.0\","
    } else {
        ""
    };
    format!("{{\"id\":{id},{jsonrpc}{rest}}}")
}
