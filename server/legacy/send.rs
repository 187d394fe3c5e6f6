//! Sends a request to the old server and takes its answer, within bounds of time and size.
//!
//! A body goes on as it comes, so an upload takes no more memory than what is on its way; the old
//! server's time to answer begins when it has all of it. Nothing is asked twice, but for a request that
//! only reads, whose connection ended before an answer began.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

use super::{
    LegacyFault, METHODS, OldServer,
    headers::{end_to_end, retry_at},
};
use crate::_core::{context::Holds, errors::in_full};

/// Answers that are smaller take no room: the number of requests bounds them.
const FREE_BYTES: usize = 16 * 1024;
/// How fast a client has to send, on average, beside the time that it has anyway.
const BYTES_PER_SECOND: usize = 16 * 1024;
/// How long what came of an answer has to go out before the answer breaks off. When a body fails, hyper drops what it has
/// not written, and it lets nobody know when it has; on HTTP/2 another task writes, which may have to wait for its turn.
const GOES_OUT: Duration = Duration::from_millis(100);

/// What goes to the old server.
pub struct Onward {
    /// The client's own.
    pub method: Method,
    /// By [`OldServer::calls_url`] or [`OldServer::plain_url`].
    pub url: Url,
    /// By [`OldServer::headers`].
    pub headers: HeaderMap,
    /// What is sent along.
    pub body: LegacyBody,
}

/// The body of a request.
pub enum LegacyBody {
    /// Written here.
    Bytes(Bytes),
    /// The client's, as it comes.
    Stream(axum::body::Body),
}

/// An answer of which the head is here.
pub struct LegacyReply {
    response: reqwest::Response,
    old: Arc<OldServer>,
    /// Taken until the answer is over.
    place: OwnedSemaphorePermit,
}

impl OldServer {
    /// Asks the old server.
    pub async fn send(self: &Arc<Self>, onward: Onward) -> Result<LegacyReply, LegacyFault> {
        let places = self.places.clone();
        let place = places.try_acquire_owned().map_err(|_| LegacyFault::Full)?;
        if !METHODS.contains(&onward.method) {
            return Err(LegacyFault::Method);
        }
        let Onward {
            method,
            url,
            headers,
            body,
        } = onward;
        let is_upgrade = headers.contains_key(header::UPGRADE);
        let mut request = reqwest::Request::new(method.clone(), url);
        *request.headers_mut() = headers;
        let upload = match body {
            LegacyBody::Bytes(bytes) => {
                if !bytes.is_empty() {
                    *request.body_mut() = Some(bytes.into());
                }
                None
            }
            // Nothing is sent, and a length of zero would be a header that the client did not send.
            LegacyBody::Stream(body) if http_body_is_empty(&body) => None,
            LegacyBody::Stream(body) => {
                let upload = Arc::new(Upload::new(self.config.max_upload_bytes));
                if let Some(length) = upload.length(&body)? {
                    request
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                let sent = reqwest::Body::wrap_stream(upload.clone().stream(body));
                *request.body_mut() = Some(sent);
                Some(upload)
            }
        };
        let again = (upload.is_none() && matches!(method, Method::GET | Method::HEAD))
            .then(|| request.try_clone())
            .flatten();
        let sent = self.execute(request, upload.as_deref()).await;
        let sent = match (sent, again) {
            (Err(LegacyFault::Cut(_)), Some(again)) => self.execute(again, None).await,
            (sent, _) => sent,
        };
        let response = sent?;
        if response.status().is_informational() && !is_upgrade {
            return Err(LegacyFault::Nonsense("it begins to speak something else"));
        }
        Ok(LegacyReply {
            response,
            old: self.clone(),
            place,
        })
    }

    async fn execute(
        &self,
        request: reqwest::Request,
        upload: Option<&Upload>,
    ) -> Result<reqwest::Response, LegacyFault> {
        let timeout = self.config.timeout;
        let began = Instant::now();
        let mut response = pin!(self.client.execute(request));
        loop {
            let due = upload.map_or(began + timeout, |upload| upload.due(timeout));
            tokio::select! {
                answer = &mut response => return answer.map_err(|error| {
                    let of_upload = upload.and_then(|upload| upload.fault.lock().take());
                    of_upload.unwrap_or_else(|| fault_of(error))
                }),
                () = sleep_until(due) => match upload {
                    Some(upload) if upload.due(timeout) > Instant::now() => {}
                    Some(upload) if upload.waits.load(Ordering::Relaxed) => return Err(LegacyFault::Upload),
                    _ => return Err(LegacyFault::Slow(timeout)),
                }
            }
        }
    }
}

fn http_body_is_empty(body: &axum::body::Body) -> bool {
    use hyper::body::Body as _;
    body.is_end_stream()
}

/// What reqwest says, without the address, which holds inputs.
fn fault_of(error: reqwest::Error) -> LegacyFault {
    let error = error.without_url();
    let text = in_full(&error);
    if error.is_connect() {
        LegacyFault::Unreachable(text)
    } else {
        LegacyFault::Cut(text)
    }
}

/// A body on its way from a client to the old server.
struct Upload {
    most: usize,
    began: Instant,
    /// When something of it came last.
    last: Mutex<Instant>,
    sent: AtomicUsize,
    /// Whether it is the client that is waited for.
    waits: AtomicBool,
    fault: Mutex<Option<LegacyFault>>,
}

impl Upload {
    fn new(most: usize) -> Self {
        Self {
            most,
            began: Instant::now(),
            last: Mutex::new(Instant::now()),
            sent: AtomicUsize::new(0),
            waits: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    /// How long the body is, where its head says so.
    fn length(&self, body: &axum::body::Body) -> Result<Option<u64>, LegacyFault> {
        use hyper::body::Body as _;
        let length = body.size_hint().exact();
        match length {
            Some(length) if length > self.most as u64 => {
                Err(LegacyFault::UploadTooLarge(self.most))
            }
            length => Ok(length),
        }
    }

    /// When it has taken too long: nothing moved for `timeout`, or the client drips.
    fn due(&self, timeout: Duration) -> Instant {
        let still = *self.last.lock() + timeout;
        if !self.waits.load(Ordering::Relaxed) {
            return still;
        }
        let sent = self.sent.load(Ordering::Relaxed) as u64;
        let earned = Duration::from_millis(sent.saturating_mul(1000) / BYTES_PER_SECOND as u64);
        still.min(self.began + timeout + earned)
    }

    fn stream(
        self: Arc<Self>,
        mut body: axum::body::Body,
    ) -> impl Stream<Item = Result<Bytes, LegacyFault>> + Send {
        stream::poll_fn(move |cx| {
            loop {
                let frame = pin!(body.frame()).poll(cx);
                self.waits.store(frame.is_pending(), Ordering::Relaxed);
                let Poll::Ready(frame) = frame else {
                    return Poll::Pending;
                };
                *self.last.lock() = Instant::now();
                let fault = match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                    None => return Poll::Ready(None),
                    Some(Ok(Ok(data))) => {
                        let sent = self.sent.fetch_add(data.len(), Ordering::Relaxed) + data.len();
                        if sent <= self.most {
                            return Poll::Ready(Some(Ok(data)));
                        }
                        LegacyFault::UploadTooLarge(self.most)
                    }
                    // Trailers are between neighbours.
                    Some(Ok(Err(_))) => continue,
                    Some(Err(_)) => LegacyFault::Upload,
                };
                *self.fault.lock() = Some(fault.clone());
                return Poll::Ready(Some(Err(fault)));
            }
        })
    }
}

impl LegacyReply {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers as they go on to the client. Who may read an answer from elsewhere is not theirs to say, but
    /// which of their headers, such as the name of a file.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = end_to_end(self.response.headers());
        let of_cors = |name: &&HeaderName| {
            let is_exposed = **name == header::ACCESS_CONTROL_EXPOSE_HEADERS;
            name.as_str().starts_with("access-control-") && !is_exposed
        };
        let of_cors: Vec<HeaderName> = headers.keys().filter(of_cors).cloned().collect();
        for name in of_cors {
            headers.remove(name);
        }
        headers
    }

    /// From when on it makes sense to try again, where it says so.
    #[expect(
        clippy::disallowed_methods,
        reason = "the header counts from when it comes"
    )]
    pub fn retry_after(&self) -> Option<DateTime<Utc>> {
        retry_at(self.response.headers(), Utc::now())
    }

    /// The same answer as one that lasts for as long as its client likes, and so leaves its place to
    /// requests that end.
    pub fn open_ended(mut self) -> Result<Self, LegacyFault> {
        let places = self.old.open_ended.clone();
        self.place = places.try_acquire_owned().map_err(|_| LegacyFault::Full)?;
        Ok(self)
    }

    /// Whether its `Content-Type` is this one.
    pub fn is(&self, media_type: &str) -> bool {
        let value = self.response.headers().get(header::CONTENT_TYPE);
        let essence = value.and_then(|value| value.to_str().ok()?.split(';').next());
        essence.is_some_and(|it| it.trim().eq_ignore_ascii_case(media_type))
    }

    /// Whether it is compressed, and so cannot be looked into.
    pub fn is_encoded(&self) -> bool {
        let value = self.response.headers().get(header::CONTENT_ENCODING);
        value.is_some_and(|value| value != "identity")
    }

    /// Makes room for so many bytes of it, if there is not as much already.
    pub fn hold(&self, held: &mut AnswerRoom, bytes: usize) -> Result<(), LegacyFault> {
        if bytes > held.bytes.max(FREE_BYTES) {
            held.room = (self.old.room)(bytes).map_err(|_| LegacyFault::Busy)?;
            held.bytes = bytes;
        }
        Ok(())
    }

    /// The next bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, LegacyFault> {
        let timeout = self.old.config.timeout;
        match tokio::time::timeout(timeout, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| LegacyFault::Cut(in_full(&error.without_url()))),
            Err(_) => Err(LegacyFault::Slow(timeout)),
        }
    }

    /// All of it, if it is no longer than `most`; else what came so far, with which it goes on.
    pub async fn read(&mut self, most: usize) -> Result<BodyRead, LegacyFault> {
        let mut whole = BytesMut::new();
        let mut held = AnswerRoom::default();
        while let Some(data) = self.chunk().await? {
            if whole.is_empty() && self.is_last(data.len()) {
                return Ok(BodyRead::Whole(data, held));
            }
            whole.extend_from_slice(&data);
            self.hold(&mut held, whole.capacity())?;
            if whole.len() > most {
                return Ok(BodyRead::Part(whole.freeze(), held));
            }
        }
        Ok(BodyRead::Whole(whole.freeze(), held))
    }

    fn is_last(&self, bytes: usize) -> bool {
        self.response.headers().contains_key(header::CONTENT_LENGTH)
            && self.response.content_length() == Some(bytes as u64)
    }

    /// All of it, if it is no longer than `LEGACY_MAX_ANSWER_BYTES`.
    pub async fn read_whole(&mut self) -> Result<(Bytes, AnswerRoom), LegacyFault> {
        let most = self.old.config.max_answer_bytes;
        match self.read(most).await? {
            BodyRead::Whole(bytes, held) if bytes.len() <= most => Ok((bytes, held)),
            _ => Err(LegacyFault::AnswerTooLarge(most)),
        }
    }

    /// What follows `begun`, as it comes. A stream of events may be silent for as long as it likes, and is
    /// over when this server stops.
    pub fn stream(
        mut self,
        begun: Bytes,
        held: AnswerRoom,
        may_be_silent: bool,
    ) -> impl Stream<Item = Result<Bytes, LegacyFault>> + Send {
        let stopping = self.old.tasks.stopping();
        let stop = async move {
            match may_be_silent {
                true => stopping.await,
                false => std::future::pending().await,
            }
        };
        let stream = async_stream::stream! {
            if !begun.is_empty() {
                yield Ok(begun);
            }
            drop(held);
            loop {
                let next = if may_be_silent {
                    let next = self.response.chunk().await;
                    next.map_err(|error| LegacyFault::Cut(in_full(&error.without_url())))
                } else {
                    self.chunk().await
                };
                match next {
                    Ok(Some(data)) => yield Ok(data),
                    Ok(None) => return,
                    Err(fault) => {
                        tracing::warn!(kind = fault.kind(), "an answer of the old server was cut");
                        self.old.note_fault(&fault);
                        sleep(GOES_OUT).await;
                        yield Err(fault);
                        return;
                    }
                }
            }
        };
        stream.take_until(Box::pin(stop))
    }

    /// The connection, where the old server has agreed to speak something else on it.
    pub(super) async fn upgrade(
        self,
    ) -> Result<(reqwest::Upgraded, OwnedSemaphorePermit), LegacyFault> {
        let Self {
            response, place, ..
        } = self.open_ended()?;
        let connection = response.upgrade().await.map_err(fault_of)?;
        Ok((connection, place))
    }
}

/// What was read of an answer.
pub enum BodyRead {
    /// All of it, and the room that it takes.
    Whole(Bytes, AnswerRoom),
    /// As much as was to be read; more follows.
    Part(Bytes, AnswerRoom),
}

/// The room that a part of an answer takes, until this is dropped.
#[derive(Default)]
pub struct AnswerRoom {
    room: Holds,
    bytes: usize,
}
