//! The answer of a route: whole or as a stream, byte by byte what the model's server wrote.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::{
    Admitted, Gateway,
    bill::{self, Bill},
    cache::{self, CachePlace, CacheableRequest, KeptAnswer},
    endpoint::RequestLogLine,
    headers::{ATTEMPTS, QUEUED, add_attempts},
    refusal::Refusal,
};
use crate::{
    _core::{call_limits, patience::Patience, rounds::others_first},
    model_router::{AnswerStream, Call, Route, RouteError, Trail},
    providers::{ChatRequest, Delta},
};

/// A stream ends after this, whatever it still has to say.
const STREAM_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A client that hears nothing for so long is told that the connection lives.
const IDLE: Duration = Duration::from_secs(15);
/// Turns of the runtime that the next piece may take, as measured: what reads from the model's server hands over one piece at a
/// time, and needs a turn to see that there is room for the next.
const TURNS: u8 = 2;
/// Bytes of events that go out together.
const MOST_AT_ONCE: usize = 16 * 1024;

/// Writes an answer as its caller expects it.
pub(super) trait AnswerWriter: Send + 'static {
    /// The body of a whole answer that this model gave.
    fn whole(self, raw: String, model: &str) -> Result<String, Refusal>;

    /// The events that come before the first chunk of this model's.
    fn begin(&mut self, _model: &str) -> String {
        String::new()
    }

    /// The events for a step.
    fn push(&mut self, step: Delta) -> String;

    /// The events of a good end.
    fn finish(&mut self) -> String;

    /// The event of a bad end.
    fn fail(&mut self, refusal: &Refusal, request_id: &str) -> String;

    /// What shows that the connection lives.
    fn idle(&self) -> &'static str {
        ": waiting\n\n"
    }
}

/// What a caller asks a route for.
pub(super) struct RouteRequest<W> {
    pub(super) route: Route,
    pub(super) request: ChatRequest,
    pub(super) streams: bool,
    pub(super) writer: W,
    /// What it is to the answers that are kept.
    pub(super) asking: Option<CacheableRequest>,
}

/// The answer, or why there is none.
pub(super) async fn of<W: AnswerWriter>(
    gateway: &Gateway,
    admitted: &mut Admitted,
    asked: RouteRequest<W>,
) -> Result<Response, Refusal> {
    let (context, route) = (&admitted.context, &asked.route);
    let asking = asked.asking.as_ref();
    let kept_at = asking.and_then(|asking| gateway.cache.place(&admitted.call, route, asking));
    if let Some(kept) = kept_at.as_ref().and_then(CachePlace::kept) {
        return again(gateway, admitted, kept);
    }
    let permit = if asked.streams {
        gateway.limits.subscription(context)?
    } else {
        gateway.limits.call(context).await?
    };
    let mut request = asked.request;
    request.trace = admitted.call.trace;
    let bill = match &mut request.given {
        Some(body) => Bill::of_answer(gateway, admitted, route, body).await?,
        None => return Err(Refusal::unreadable()),
    };
    let now = Instant::now();
    let call = Call {
        request_id: context.request_id.clone(),
        request,
        deadline: now + admitted.call.patience,
        stream_deadline: Some(now + STREAM_MAX),
        urgency: admitted.call.urgency(),
        trail: bill.trail().clone(),
    };
    let mut told = HeaderMap::new();
    bill.add_headers(&mut told);
    let opened = Opened {
        bill,
        permit,
        gateway,
        route,
        call,
        writer: asked.writer,
        kept_at,
    };
    let (body, headers) = match asked.streams {
        true => opened.streamed(&mut admitted.line).await?,
        false => opened.whole().await?,
    };
    told.extend(headers);
    let mut response = Response::new(body);
    *response.headers_mut() = told;
    Ok(response)
}

/// A request whose bill is open, and that no model was asked for yet.
struct Opened<'a, W> {
    bill: Bill,
    permit: call_limits::CallPermit,
    gateway: &'a Gateway,
    route: &'a Route,
    call: Call,
    writer: W,
    /// Where the answer is kept, if it may be.
    kept_at: Option<CachePlace>,
}

impl<W: AnswerWriter> Opened<'_, W> {
    /// The answer as a stream, with the headers that are kept.
    async fn streamed(self, line: &mut RequestLogLine) -> Result<(Body, HeaderMap), Refusal> {
        let (route, trail) = (self.route, self.bill.trail().clone());
        let request_id = self.call.request_id.clone();
        // Boxed, as it is large, and would be copied with each future around it.
        let answer = Box::pin(self.gateway.models.stream(route, self.call)).await;
        let answer = answer.map_err(|error| refused(&error, &trail, route))?;
        let headers = kept_headers(true, &trail, route);
        let kept_at = self.kept_at.filter(|_| answer.position == 0);
        let under_way = UnderWay {
            answer,
            bill: self.bill,
            writer: self.writer,
            request_id,
            line: std::mem::take(line),
            _place: self.permit,
            keeping: kept_at.map(|place| Keeping::new(place, headers.clone())),
        };
        Ok((Body::from_stream(under_way.events()), headers))
    }

    /// The answer as a whole, with the headers that are kept.
    async fn whole(self) -> Result<(Body, HeaderMap), Refusal> {
        let (route, trail) = (self.route, self.bill.trail().clone());
        let answer = Box::pin(self.gateway.models.complete(route, self.call)).await;
        let answer = answer.map_err(|error| refused(&error, &trail, route))?;
        let completion = answer.completion;
        let is_whole = cache::is_whole(completion.finish_reason.as_deref());
        let may_be_kept = answer.position == 0 && is_whole && !completion.is_refusal;
        let body = Bytes::from(self.writer.whole(completion.raw, &answer.model)?);
        let headers = kept_headers(false, &trail, route);
        if let Some(place) = self.kept_at.filter(|_| may_be_kept) {
            let (headers, body) = (headers.clone(), body.clone());
            place.keep(KeptAnswer { headers, body });
        }
        Ok((Body::from(body), headers))
    }
}

fn refused(error: &RouteError, trail: &Trail, route: &Route) -> Refusal {
    Refusal::of_route(error, &trail.attempts()).on(route)
}

/// What an answer says in headers of itself and of its attempts, also where it is given again.
fn kept_headers(streams: bool, trail: &Trail, route: &Route) -> HeaderMap {
    let mut headers = HeaderMap::new();
    tell_media_type(&mut headers, streams);
    add_attempts(&mut headers, &trail.attempts(), route);
    headers
}

/// An answer that was kept. It counts at the rate of its key, costs nothing, and asks no model.
fn again(gateway: &Gateway, admitted: &Admitted, kept: KeptAnswer) -> Result<Response, Refusal> {
    let KeptAnswer { mut headers, body } = kept;
    bill::count_alone(gateway, admitted, &mut headers)?;
    // Nobody was asked for this one.
    headers.remove(ATTEMPTS);
    headers.remove(QUEUED);
    headers.insert(cache::CACHE, cache::HIT);
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    Ok(response)
}

pub(super) fn tell_media_type(headers: &mut HeaderMap, streams: bool) {
    let media_type = match streams {
        true => "text/event-stream; charset=utf-8",
        false => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if streams {
        let buffering = HeaderName::from_static("x-accel-buffering");
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(buffering, HeaderValue::from_static("no"));
    }
}

/// A streamed answer that is kept when it has come to a good end.
struct Keeping {
    place: CachePlace,
    headers: HeaderMap,
    body: Vec<u8>,
    is_whole: bool,
    is_spoilt: bool,
}

impl Keeping {
    fn new(place: CachePlace, headers: HeaderMap) -> Self {
        Self {
            place,
            headers,
            body: Vec::new(),
            is_whole: false,
            is_spoilt: false,
        }
    }

    fn see(&mut self, delta: &Delta) {
        self.is_spoilt |= delta.is_refusal;
        if let Some(reason) = &delta.finish_reason {
            self.is_whole = cache::is_whole(Some(reason));
        }
    }

    fn push(&mut self, events: &str) {
        if self.body.len() + events.len() > self.place.most() {
            self.is_spoilt = true;
            self.body = Vec::new();
        }
        if !self.is_spoilt {
            self.body.extend_from_slice(events.as_bytes());
        }
    }

    fn keep(self) {
        if self.is_whole && !self.is_spoilt {
            let (headers, body) = (self.headers, self.body.into());
            self.place.keep(KeptAnswer { headers, body });
        }
    }
}

/// A streamed answer on its way to its caller.
struct UnderWay<W> {
    // Before the bill, which is settled when the last attempt is over.
    answer: AnswerStream,
    bill: Bill,
    writer: W,
    request_id: Arc<str>,
    line: RequestLogLine,
    _place: call_limits::CallPermit,
    keeping: Option<Keeping>,
}

impl<W: AnswerWriter> UnderWay<W> {
    /// Its events. A fault is the last one, and then there is no good end.
    ///
    /// Events that are there together go out together: under load a write for each of them costs more than all else that
    /// is done about it. None waits for one that is not there yet.
    fn events(mut self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        async_stream::stream! {
            let mut patience = Patience::default();
            // A model may write for long what is held back, such as a second call of a tool: then its client hears nothing.
            let mut heard = Instant::now();
            let mut out = self.begin();
            let end = loop {
                let next = self.answer.deltas.next();
                let next = match out.len() {
                    0 => patience.until(heard + IDLE, next).await,
                    1..MOST_AT_ONCE => at_once(next).await,
                    _ => None,
                };
                match next {
                    Some(Some(step)) => {
                        let mut events = pin!(self.step(step));
                        let events = match events.as_mut().now_or_never() {
                            Some(events) => events,
                            // A budget is asked of the database: what is ready does not wait for that.
                            None => {
                                if !out.is_empty() {
                                    yield Ok(std::mem::take(&mut out).into());
                                    heard = Instant::now();
                                }
                                events.await
                            }
                        };
                        match events {
                            Ok(events) => out += &events,
                            Err(end) => break end,
                        }
                    }
                    Some(None) => break self.finish(),
                    None => {
                        let told: Bytes = match out.is_empty() {
                            true => self.writer.idle().into(),
                            false => std::mem::take(&mut out).into(),
                        };
                        yield Ok(told);
                        heard = Instant::now();
                    }
                }
            };
            out += &end;
            yield Ok(out.into());
        }
    }

    fn begin(&mut self) -> String {
        let events = self.writer.begin(&self.answer.model);
        self.keep(&events);
        events
    }

    /// The events for a step, or those of a bad end.
    async fn step(&mut self, step: Result<Delta, RouteError>) -> Result<String, String> {
        let delta = step.map_err(|error| {
            let refusal = Refusal::of_route(&error, &self.bill.trail().attempts());
            self.fail(&refusal)
        })?;
        if let Err(refusal) = self.bill.count(&delta).await {
            return Err(self.fail(&refusal));
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.see(&delta);
        }
        let events = self.writer.push(delta);
        self.keep(&events);
        Ok(events)
    }

    fn fail(&mut self, refusal: &Refusal) -> String {
        self.line.finish(refusal.code());
        self.writer.fail(refusal, &self.request_id)
    }

    fn finish(&mut self) -> String {
        self.line.finish(None);
        let end = self.writer.finish();
        self.keep(&end);
        if let Some(keeping) = self.keeping.take() {
            keeping.keep();
        }
        end
    }

    fn keep(&mut self, events: &str) {
        if let Some(keeping) = &mut self.keeping {
            keeping.push(events);
        }
    }
}

/// What is there now, or once all that can go on had its turns ([`TURNS`]).
async fn at_once<T>(next: impl Future<Output = T>) -> Option<T> {
    let (mut next, mut turns) = (pin!(next), 0);
    poll_fn(|cx| match next.as_mut().poll(cx) {
        Poll::Ready(next) => Poll::Ready(Some(next)),
        Poll::Pending if turns == TURNS => Poll::Ready(None),
        Poll::Pending => {
            turns += 1;
            others_first(cx);
            Poll::Pending
        }
    })
    .await
}

/// A response of JSON.
pub(super) fn json(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
