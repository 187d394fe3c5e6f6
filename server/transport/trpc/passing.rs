//! Calls to procedures that this server has not: the old server answers them.
//!
//! A request whose calls are all the old server's goes on as it came, and the answer comes back as it is
//! ([`whole`]). What can be read by no client (an error page, half an answer) is replaced by an envelope
//! per call. A batch of both kinds is split: [`Theirs`] is the old server's share of it.

use std::{net::SocketAddr, sync::Arc};

use async_stream::stream;
use axum::{body::Body, extract::ConnectInfo, response::Response};
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};

use super::{
    Trpc, batch, batch_stream,
    envelope::{self, Failure},
    input::BatchInputs,
    part::Part,
    request::Delivery,
    respond, sse,
};
use crate::{
    _core::{
        context::new_request_id,
        errors::{ErrorCode, RpcError},
    },
    config::Transformer,
    legacy::{
        self, Asker, Fault, OldServer, Onward, Reply, answer,
        lines::{Lines, Piece, Reader},
        paths::component,
        send::{Held, Read},
    },
    transport::gate::Gate,
};

/// Answers of this size are read whole before they are handed on, so that half of one is an error that
/// clients can read.
const READ_WHOLE_BYTES: usize = 1 << 20;
const EVENT_STREAM: &str = "text/event-stream";
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
        return Ok(respond(body));
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

/// A streamed batch of the old server's, followed to its end.
struct Following {
    trpc: Arc<Trpc>,
    old: Arc<OldServer>,
    names: Vec<String>,
    reader: Reader,
    lines: Lines,
    /// Whether lines go on as they came.
    as_they_came: bool,
}

enum Begun {
    /// The lines by which our promises are fulfilled, and what follows.
    Stream(Vec<Bytes>, BoxStream<'static, Bytes>),
    /// It was no stream.
    Whole(Bytes),
}

impl Following {
    /// Reads the head. With `shift` numbers are moved by as much; without it lines go on as they came.
    async fn begin(
        trpc: &Arc<Trpc>,
        old: &Arc<OldServer>,
        reply: Reply,
        names: Vec<String>,
        places: Vec<usize>,
        shift: Option<u64>,
    ) -> Result<Begun, Fault> {
        let status = reply.status().as_u16();
        let mut reader = Reader::new(reply, old.max_answer_bytes());
        let mut begun = Vec::new();
        let head = loop {
            match reader.next().await? {
                Some(Piece::Blank(blank)) => begun.extend_from_slice(&blank),
                Some(Piece::Line(head)) => break head,
                None => return Err(answer::refused(status, Fault::Cut("nothing came".into()))),
            }
        };
        let superjson = trpc.config.transformer == Transformer::Superjson;
        let Some((lines, fulfilling)) = Lines::begin(&head, superjson, shift.unwrap_or(0), &places)
        else {
            begun.extend_from_slice(&head);
            return Ok(Begun::Whole(reader.rest(&begun).await?));
        };
        let following = Self {
            trpc: trpc.clone(),
            old: old.clone(),
            names,
            reader,
            lines,
            as_they_came: shift.is_none(),
        };
        let first = shift.is_none().then_some(head);
        let rest = stream::iter(first).chain(following.run()).boxed();
        Ok(Begun::Stream(
            fulfilling.into_iter().map(Bytes::from).collect(),
            rest,
        ))
    }

    fn run(mut self) -> impl Stream<Item = Bytes> + Send {
        stream! {
            let fault = loop {
                // A client has all that it waits for, whatever the connection does afterwards.
                if self.lines.is_complete() && !self.as_they_came {
                    return;
                }
                match self.reader.next().await {
                    Ok(Some(Piece::Blank(_))) if !self.as_they_came => {}
                    Ok(Some(Piece::Blank(blank))) => yield blank,
                    Ok(Some(Piece::Line(line))) => match self.lines.follow(&line) {
                        Ok(_) if self.as_they_came => yield line,
                        Ok(moved) => yield moved.into(),
                        Err(fault) => break fault,
                    },
                    Ok(None) if self.lines.is_complete() => return,
                    Ok(None) => break Fault::Cut("its stream has ended".into()),
                    Err(_) if self.lines.is_complete() => return,
                    Err(fault) => break fault,
                }
            };
            self.old.note::<()>(&Err(fault.clone()));
            let error = RpcError::from(fault);
            for (id, awaited) in self.lines.awaited() {
                let name = self.names.get(awaited.call).map(String::as_str);
                let failure = Failure::report(error.clone(), name, new_request_id());
                let transformer = self.trpc.config.transformer;
                let mut line = Vec::with_capacity(256);
                envelope::write_rejection(id, awaited.failed(), &failure, transformer, &mut line);
                yield line.into();
            }
        }
    }
}

/// The old server's share of a batch.
pub(super) struct Theirs {
    trpc: Arc<Trpc>,
    old: Arc<OldServer>,
    onward: Result<Onward, Fault>,
    names: Vec<String>,
    /// The places of its calls in the whole batch, in order.
    places: Vec<usize>,
    /// How many calls the whole batch has.
    count: usize,
    delivery: Delivery,
}

/// What the old server said of its share.
pub(super) struct Said {
    /// In any order.
    pub(super) parts: Vec<(usize, Part)>,
    /// Its `Set-Cookie` and `Retry-After`.
    pub(super) headers: HeaderMap,
}

impl Theirs {
    /// Takes the calls at `places` out of a batch, with their inputs.
    pub(super) fn take(
        trpc: &Arc<Trpc>,
        old: &Arc<OldServer>,
        parts: &request::Parts,
        names: &[&str],
        places: Vec<usize>,
        inputs: &mut BatchInputs,
        delivery: Delivery,
    ) -> Self {
        let theirs: Vec<String> = places.iter().map(|&at| names[at].to_owned()).collect();
        let mut taken = String::from("{");
        for (call, &place) in places.iter().enumerate() {
            if let Some(text) = inputs.take_text(place) {
                let separator = if taken.len() > 1 { "," } else { "" };
                taken.push_str(&format!("{separator}\"{call}\":{text}"));
            }
        }
        taken.push('}');
        let path = theirs.iter().map(|name| component(name));
        let path = format!("/{}", path.collect::<Vec<_>>().join(","));
        let is_get = parts.method == Method::GET;
        let query = old.query(parts.uri.query()).unwrap_or_default();
        let is_input = |pair: &&str| {
            let name = form_urlencoded::parse(pair.as_bytes()).next();
            name.is_some_and(|(name, _)| name == "input")
        };
        let mut query: Vec<String> = query
            .split('&')
            .filter(|pair| !(pair.is_empty() || is_get && is_input(pair)))
            .map(str::to_owned)
            .collect();
        if is_get {
            query.push(format!("input={}", component(&taken)));
        }
        let mut headers = old.headers(&parts.headers, &asker(&trpc.gate, parts));
        headers.insert(header::ACCEPT_ENCODING, IDENTITY);
        // Version 10's stream is one object; there is nothing to gain from taking it apart. And what
        // was stored of this answer is not what is asked for.
        for name in [
            "trpc-batch-mode",
            "if-none-match",
            "if-modified-since",
            "range",
        ] {
            headers.remove(name);
        }
        let url = old.calls_url(&path, Some(&query.join("&")));
        let body = if is_get { String::new() } else { taken };
        Self {
            trpc: trpc.clone(),
            old: old.clone(),
            onward: url.map(|url| Onward {
                method: parts.method.clone(),
                url,
                headers,
                body: legacy::Body::Bytes(body.into()),
            }),
            names: theirs,
            places,
            count: names.len(),
            delivery,
        }
    }

    /// Whether the call at this place is among them.
    pub(super) fn has(&self, place: usize) -> bool {
        self.places.binary_search(&place).is_ok()
    }

    /// Asks for all of it at once.
    pub(super) async fn ask(mut self) -> Said {
        let answered = self.answers().await;
        self.old.note(&answered);
        match answered {
            Ok((envelopes, headers)) => {
                let parts = envelopes.into_iter().map(Part::Theirs);
                let parts = self.places.into_iter().zip(parts).collect();
                Said { parts, headers }
            }
            Err(fault) => Said {
                parts: self.failed(&fault),
                headers: HeaderMap::new(),
            },
        }
    }

    fn failed(&self, fault: &Fault) -> Vec<(usize, Part)> {
        let failures = failures(self.names.iter().map(String::as_str), fault);
        let parts = failures.into_iter().map(|failure| Part::Ours(Err(failure)));
        self.places.iter().copied().zip(parts).collect()
    }

    async fn send(&mut self) -> Result<Reply, Fault> {
        let taken = Err(Fault::Nonsense("it was asked already"));
        self.old
            .send(std::mem::replace(&mut self.onward, taken)?)
            .await
    }

    async fn answers(&mut self) -> Result<(Vec<answer::Envelope>, HeaderMap), Fault> {
        let mut reply = self.send().await?;
        let (status, headers) = (reply.status().as_u16(), kept(&reply));
        if reply.is_encoded() {
            return Err(Fault::Nonsense("it is compressed, which was not asked for"));
        }
        let (json, _held) = reply.read_whole().await?;
        let envelopes = answer::split(status, &json, self.places.len());
        let envelopes = envelopes.map_err(|fault| answer::refused(status, fault))?;
        Ok((envelopes, headers))
    }

    /// Asks for it as a stream; what comes first are the headers.
    pub(super) async fn open(mut self) -> (HeaderMap, BoxStream<'static, batch_stream::Piece>) {
        use batch_stream::Piece::{Call, Line};
        if self.delivery != Delivery::Lines {
            let Said { parts, headers } = self.ask().await;
            let pieces = parts.into_iter().map(|(place, part)| Call(place, part));
            return (headers, stream::iter(pieces).boxed());
        }
        let reply = match self.send().await {
            Ok(reply) => reply,
            Err(fault) => return (HeaderMap::new(), self.all_failed(&fault)),
        };
        let (status, headers) = (reply.status().as_u16(), kept(&reply));
        let pieces = stream! {
            let (names, places) = (self.names.clone(), self.places.clone());
            let shift = Some(self.count as u64);
            let begun = if reply.is_encoded() {
                Err(Fault::Nonsense("it is compressed, which was not asked for"))
            } else {
                Following::begin(&self.trpc, &self.old, reply, names, places, shift).await
            };
            let envelopes = match begun {
                Ok(Begun::Stream(fulfilling, mut rest)) => {
                    self.old.note(&Ok(()));
                    for line in fulfilling {
                        yield Line(line);
                    }
                    while let Some(line) = rest.next().await {
                        yield Line(line);
                    }
                    return;
                }
                Ok(Begun::Whole(json)) => answer::split(status, &json, self.places.len()),
                Err(fault) => Err(fault),
            };
            let envelopes = envelopes.map_err(|fault| answer::refused(status, fault));
            self.old.note(&envelopes);
            match envelopes {
                Ok(envelopes) => {
                    for (place, envelope) in self.places.iter().zip(envelopes) {
                        yield Call(*place, Part::Theirs(envelope));
                    }
                }
                Err(fault) => {
                    for (place, part) in self.failed(&fault) {
                        yield Call(place, part);
                    }
                }
            }
        };
        (headers, pieces.boxed())
    }

    fn all_failed(&self, fault: &Fault) -> BoxStream<'static, batch_stream::Piece> {
        self.old.note::<()>(&Err(fault.clone()));
        let pieces = self.failed(fault).into_iter();
        stream::iter(pieces.map(|(place, part)| batch_stream::Piece::Call(place, part))).boxed()
    }
}

/// What a joined answer keeps of the old server's headers.
fn kept(reply: &Reply) -> HeaderMap {
    let headers = reply.headers();
    let is_kept =
        |name: &http::HeaderName| *name == header::SET_COOKIE || *name == header::RETRY_AFTER;
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}
