//! Bodies: reads those of requests for every wire, and watches those of answers.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Bounds,
    budget::{self, BudgetShare},
    connections::RequestUnderWay,
    pace,
    stream::Inflow,
};
use crate::_core::errors::{ErrorCode, RpcError};

/// Inputs and answers that are smaller are not counted: the number of calls bounds them.
const FREE_BYTES: usize = 16 * 1024;

/// Room that is made for a body at once, in lengths of what has come of it.
const MOST_GROWTH: usize = 4;

/// A body that was read, and the share of the budget that it takes until its call is over.
#[derive(Debug, Default)]
pub struct ReadBody {
    /// The whole of it.
    pub bytes: Bytes,
    /// Goes to the call's context.
    pub held: BudgetShare,
}

impl Bounds {
    /// Reads a body of JSON: within the limit, in time, and of no more values than can be read.
    pub async fn read_json(&self, body: Body) -> Result<ReadBody, RpcError> {
        let mut read = self.read(body).await?;
        let weight = budget::weigh(&read.bytes, self.max_body_bytes)?;
        if weight > FREE_BYTES {
            self.budget.extend(&mut read.held, weight)?;
        }
        Ok(read)
    }

    /// Reads a body: within the limit, and in time.
    ///
    /// Of a longer one as much again is read and thrown away, so that most clients finish sending and
    /// see the answer rather than a broken connection.
    pub async fn read(&self, mut body: Body) -> Result<ReadBody, RpcError> {
        let limit = self.max_body_bytes;
        let mut whole = Vec::new();
        let mut held = BudgetShare::default();
        let mut excess = 0_usize;
        let started = Instant::now();
        while let Some(data) = next(&mut body, started, whole.len()).await? {
            if excess == 0 && data.len() <= limit - whole.len() {
                if whole.is_empty() && body.is_end_stream() {
                    return Ok(ReadBody { bytes: data, held });
                }
                let announced = body.size_hint().lower();
                make_room(&mut whole, data.len(), announced, limit);
                whole.extend_from_slice(&data);
                if whole.capacity() > FREE_BYTES {
                    self.budget.extend(&mut held, whole.capacity())?;
                }
            } else {
                excess += data.len();
                if excess > limit {
                    break;
                }
            }
        }
        if excess == 0 {
            return Ok(ReadBody {
                bytes: whole.into(),
                held,
            });
        }
        Err(RpcError::new(
            ErrorCode::PayloadTooLarge,
            format!("the request body is larger than {limit} bytes (MAX_BODY_BYTES)"),
        ))
    }

    /// Reads a body to its end, or to the limit, and keeps nothing of it: some clients see an answer
    /// only once they have sent everything.
    pub async fn discard(&self, mut body: Body) {
        let mut seen = 0_usize;
        let started = Instant::now();
        while let Ok(Some(data)) = next(&mut body, started, seen).await {
            seen += data.len();
            if seen > self.max_body_bytes {
                break;
            }
        }
    }

    /// The share of an answer that was written and is on its way.
    pub fn hold_answer(&self, bytes: usize) -> Result<BudgetShare, RpcError> {
        if bytes <= FREE_BYTES {
            return Ok(BudgetShare::default());
        }
        self.budget.hold(bytes)
    }

    /// The share of calls that come together: each takes room while it runs, or waits to.
    pub fn hold_calls(&self, calls: usize) -> Result<BudgetShare, RpcError> {
        self.budget.hold(CALL_BYTES.saturating_mul(calls))
    }

    /// The share of a message of a socket, and of its values. The outer error
    /// is a message that is not to be read, the inner one a server that is busy.
    pub fn hold_message(&self, text: &[u8]) -> Result<Result<BudgetShare, RpcError>, RpcError> {
        let weight = budget::weigh(text, self.max_body_bytes)?;
        Ok(self.budget.hold(weight))
    }
}

/// About what a call takes while it runs.
const CALL_BYTES: usize = 4 * 1024;

/// Makes room for the next bytes of a body, and for those that are announced behind them: a long body is not moved for each
/// doubling. It is no more than a few times what has come, so that nobody holds memory by announcing, and than the limit.
fn make_room(whole: &mut Vec<u8>, next: usize, announced: u64, limit: usize) {
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > 0 && whole.capacity() - whole.len() < next {
        let most = (whole.len() + next).saturating_mul(MOST_GROWTH);
        let most = most.min(limit - whole.len());
        whole.reserve_exact(next.saturating_add(announced).min(most));
    }
}

/// The next bytes of a body that began at `started`.
async fn next(body: &mut Body, started: Instant, seen: usize) -> Result<Option<Bytes>, RpcError> {
    loop {
        let frame = tokio::time::timeout_at(pace::deadline(started, seen), body.frame());
        let frame = frame
            .await
            .map_err(|_| RpcError::new(ErrorCode::Timeout, "the request body comes too slowly"))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| {
            if is_for_want_of_room(&error) {
                return RpcError::overloaded();
            }
            RpcError::bad_request("the request body could not be read to its end").with_cause(error)
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Whether a body broke off because the budget had no room for what came of it.
fn is_for_want_of_room(error: &axum::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::OutOfMemory)
}

/// The body of a request: what is read of it is claimed.
pub(in crate::transport) struct Claimed {
    pub(in crate::transport) body: Incoming,
    pub(in crate::transport) inflow: Arc<Inflow>,
}

impl hyper::body::Body for Claimed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        drop(self.inflow.claim());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer that go to an HTTP/2 connection at once, as one frame of HTTP/2 has them.
const PIECE: usize = 16 * 1024;

/// The body of an answer: its request is under way until it is sent, and its bytes are counted.
///
/// An HTTP/2 connection takes a piece as soon as its client has room for one byte of it, and is done with the answer when it
/// has the last one. So a long answer goes piece by piece, and the last byte of one that is there as a whole by itself: it is
/// under way until there is room for nearly all of it.
pub(in crate::transport) struct Sending {
    body: Body,
    /// What the connection has not taken yet of what the body gave; nothing but by HTTP/2.
    rest: Bytes,
    _held: BudgetShare,
    _request: Arc<RequestUnderWay>,
    /// Absent where the connection's own writes show whether the peer reads.
    waits: Option<Arc<Wait>>,
}

impl Sending {
    /// Fails where the answer is large and the server is busy.
    pub(in crate::transport) fn new(
        bounds: &Bounds,
        body: Body,
        request: Arc<RequestUnderWay>,
        waits: Option<&UnreadAnswers>,
    ) -> Result<Self, RpcError> {
        let size = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        Ok(Self {
            body,
            rest: Bytes::new(),
            _held: bounds.hold_answer(size)?,
            _request: request,
            waits: waits.map(UnreadAnswers::add),
        })
    }
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self {
            body, rest, waits, ..
        } = &mut *self;
        let Some(wait) = waits else {
            return Pin::new(body).poll_frame(cx);
        };
        wait.set(true);
        if rest.is_empty() {
            let frame = Pin::new(&mut *body).poll_frame(cx);
            wait.set(frame.is_ready());
            match ready!(frame).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = match rest.len() {
            last @ 2..=PIECE if body.is_end_stream() => last - 1,
            all => all.min(PIECE),
        };
        Poll::Ready(Some(Ok(Frame::data(rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut size = SizeHint::new();
        if let Some(most) = of_body.upper() {
            size.set_upper(most.saturating_add(rest));
        }
        size.set_lower(of_body.lower().saturating_add(rest));
        size
    }
}

/// How long an answer may wait for its client to make room.
const STALL: Duration = Duration::from_secs(30);

/// The answers of one HTTP/2 connection. Its peer can read it and yet leave no room for an answer.
#[derive(Clone, Debug)]
pub(in crate::transport) struct UnreadAnswers {
    began: Instant,
    answers: Arc<Mutex<Vec<Weak<Wait>>>>,
}

/// Since when an answer waits for its client, in milliseconds of the connection; 0 where it does not.
#[derive(Debug)]
struct Wait {
    began: Instant,
    since: AtomicU64,
}

impl UnreadAnswers {
    pub(in crate::transport) fn new() -> Self {
        Self {
            began: Instant::now(),
            answers: Arc::default(),
        }
    }

    fn add(&self) -> Arc<Wait> {
        let wait = Arc::new(Wait {
            began: self.began,
            since: AtomicU64::new(0),
        });
        wait.set(true);
        let mut answers = self.answers.lock();
        if answers.len() == answers.capacity() {
            answers.retain(|wait| wait.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&wait));
        wait
    }

    /// Whether an answer waits for its client since long.
    pub(in crate::transport) fn are_stalled(&self) -> bool {
        let now = self.began.elapsed().as_millis() as u64;
        let mut answers = self.answers.lock();
        answers.retain(|wait| wait.strong_count() > 0);
        answers.iter().filter_map(Weak::upgrade).any(|wait| {
            let since = wait.since.load(Ordering::Relaxed);
            since > 0 && now.saturating_sub(since) > STALL.as_millis() as u64
        })
    }
}

impl Wait {
    fn set(&self, waits_for_client: bool) {
        let since = if waits_for_client {
            (self.began.elapsed().as_millis() as u64).max(1)
        } else {
            0
        };
        self.since.store(since, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};

    use super::*;
    use crate::{
        _core::turns::Turns,
        transport::bounds::{Budget, Connections},
    };

    fn bounds(max_body_bytes: usize) -> Bounds {
        Bounds {
            budget: Budget::new(1 << 21),
            connections: Connections::new(1),
            max_body_bytes,
            turns: Turns::default(),
        }
    }

    fn chunked(chunks: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(chunks.iter().map(Ok::<_, Infallible>)).map(|c| c.copied()))
    }

    #[tokio::test]
    async fn bodies_beyond_the_limit_are_refused() {
        let bounds = bounds(5);
        let read = |body| async { bounds.read(body).await.map(|read| read.bytes) };
        assert_eq!(read(Body::from("12345")).await.unwrap(), "12345");
        assert_eq!(read(chunked(&["123", "45"])).await.unwrap(), "12345");
        for long in [Body::from("123456"), chunked(&["123", "45", "6", "7"])] {
            let error = read(long).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::PayloadTooLarge);
        }
    }

    #[test]
    fn who_announces_much_gets_room_for_a_few_times_what_has_come() {
        let room = |announced, limit| {
            let mut whole = vec![b' '; 1_000];
            make_room(&mut whole, 1_000, announced, limit);
            whole.capacity()
        };
        assert_eq!(room(500, 10_000), 2_500);
        assert_eq!(room(u64::MAX, 10_000), 1_000 + MOST_GROWTH * 2_000);
        // More than the limit is never read.
        assert_eq!(room(u64::MAX, 3_000), 3_000);
        // As nothing is known of what is behind it, it grows as it comes.
        assert_eq!(room(0, 10_000), 1_000);
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_room_is_to_come_again() {
        for (kind, code) in [
            (io::ErrorKind::OutOfMemory, ErrorCode::ServiceUnavailable),
            (io::ErrorKind::ConnectionReset, ErrorCode::BadRequest),
        ] {
            let broken = stream::iter([Ok("12"), Err(io::Error::from(kind))]);
            let error = bounds(5).read(Body::from_stream(broken)).await.unwrap_err();
            assert_eq!(error.code, code, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_and_a_slow_one_is_read() {
        let every = |pause, bytes: usize, times| {
            let drops = stream::repeat(()).take(times).then(move |()| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes]))
            });
            Body::from_stream(drops)
        };
        let bounds = bounds(1 << 20);
        let second = Duration::from_secs(1);
        let error = bounds.read(every(second, 1, 1000)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Timeout);
        assert_eq!(bounds.budget.hold(1 << 21).map(drop).ok(), Some(()));
        let slow = bounds.read(every(second, 20_000, 20)).await.unwrap();
        assert_eq!(slow.bytes.len(), 400_000);
    }

    #[tokio::test]
    async fn bodies_together_take_no_more_than_there_is() {
        let bounds = bounds(1 << 20);
        let body = || {
            Body::from_stream(stream::iter(
                [vec![b' '; 300_000], vec![b' '; 300_000]].map(Ok::<_, Infallible>),
            ))
        };
        let first = bounds.read_json(body()).await.unwrap();
        let error = bounds.read_json(body()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ServiceUnavailable);
        drop(first);
        assert!(bounds.read_json(body()).await.is_ok());
    }
}
