//! Accepts connections and ends them gracefully.
//!
//! Every connection is a tracked task, so that one wait at the end covers connections, sockets and
//! mutations alike. On stop no connection is accepted any more, subscriptions end by
//! [`Tasks::stopping`], idle connections close, and calls under way are answered first.

use std::{future::Future, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse};
use http::{HeaderValue, StatusCode, Version, header, uri::Authority};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::bounds::{
    BoundedStream, Bounds, ConnectionHandle,
    arrived::Arrived,
    bodies::{Claimed, Sending, UnreadAnswers},
    socket::ticks,
};
use crate::_core::{rounds::straight, tasks::Tasks};

/// How long a client may take over a request's head, and how long an idle connection is kept.
///
/// Longer than the 60 s for which common load balancers keep connections, so that it is never we
/// who close one just as they use it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after a failed accept (out of file descriptors, as a rule), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Headers of one HTTP/2 request. HTTP/1 takes as much; both take a request target of up to 65,534
/// bytes, which is where `http::Uri` ends.
const MAX_HEADER_BYTES: u32 = 256 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// What an HTTP/2 client may send of a body before it is read, of one request and of all.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// What waits for an HTTP/2 client to make room, of one answer.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Between two looks at whether an HTTP/2 client takes its answers.
const STALL_CHECK: Duration = Duration::from_secs(5);

/// Serves until `stop` resolves or [`Tasks::stop`] is called, then waits at most `patience` for what
/// still runs; `false` if that was not enough.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: &Bounds,
    tasks: &Tasks,
    stop: impl Future<Output = ()>,
    patience: Duration,
) -> bool {
    let mut stop = pin!(stop);
    let mut stopping = pin!(tasks.stopping());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Closed where even the reserve is in use.
                let Some(slot) = bounds.connections.open() else {
                    continue;
                };
                // Answers are written whole; waiting to fill a packet only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                let connection = Connection {
                    peer,
                    slot,
                    router: router.clone(),
                    bounds: bounds.clone(),
                };
                tasks.spawn(straight(connection.run(stream, tasks.stopping())));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.shutdown(patience).await
}

/// HTTP/2 names the host in the target alone; whoever compares origins looks at the header.
fn name_host(request: &mut hyper::Request<Incoming>) {
    if request.headers().contains_key(header::HOST) {
        return;
    }
    let authority = request.uri().authority().map(Authority::as_str);
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(MAX_HEADER_BYTES as usize)
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        // A peer that is gone without a word, or answers nothing.
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT);
    builder
}

struct Connection {
    peer: SocketAddr,
    slot: ConnectionHandle,
    router: Router,
    bounds: Bounds,
}

impl Connection {
    async fn run(self, stream: TcpStream, stopping: impl Future<Output = ()>) {
        let Self {
            peer,
            slot,
            router,
            bounds,
        } = self;
        let stream = BoundedStream::new(stream, slot.clone(), bounds.budget.clone());
        let inflow = stream.inflow();
        let waits = UnreadAnswers::new();
        let service = service_fn({
            let (slot, waits) = (slot.clone(), waits.clone());
            move |mut request: hyper::Request<Incoming>| {
                let under_way = slot.begin();
                drop(inflow.claim());
                name_host(&mut request);
                let extensions = request.extensions_mut();
                extensions.insert(ConnectInfo(peer));
                extensions.insert(Arrived {
                    under_way: under_way.clone(),
                    inflow: inflow.clone(),
                });
                let waits = (request.version() == Version::HTTP_2).then(|| waits.clone());
                let inflow = inflow.clone();
                let request = request.map(|body| Body::new(Claimed { body, inflow }));
                let answer = router.clone().call(request);
                let bounds = bounds.clone();
                async move {
                    let (parts, body) = answer.await?.into_parts();
                    Ok::<_, std::convert::Infallible>(
                        match Sending::new(&bounds, body, under_way, waits.as_ref()) {
                            Ok(body) => hyper::Response::from_parts(parts, Body::new(body)),
                            Err(_) => busy(),
                        },
                    )
                }
            }
        });

        let builder = builder();
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut stopping = pin!(stopping);
        let mut left = pin!(slot.left());
        let mut silence = pin!(tokio::time::sleep(HEAD_TIMEOUT));
        let mut checks = ticks(STALL_CHECK);
        let (mut is_ending, mut was_checked) = (false, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error = %error, "a connection failed");
                    }
                    return;
                }
                () = async {
                    tokio::select! { () = stopping.as_mut() => {}, () = left.as_mut() => {} }
                }, if !is_ending => {
                    is_ending = true;
                    // What has come meanwhile is no less in time: it is read first.
                    tokio::task::yield_now().await;
                    if futures::poll!(connection.as_mut()).is_ready() {
                        return;
                    }
                    // hyper would wait for a head that was begun; there is no call to lose here.
                    if !slot.is_busy() && (slot.has_left() || !slot.was_used()) {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                }
                // hyper's own timer starts only once the protocol is known, which takes a first byte.
                () = silence.as_mut(), if !was_checked => {
                    was_checked = true;
                    if !slot.was_used() {
                        return;
                    }
                }
                // Always: a condition would be looked at once, before the first request, and not again while nothing happens.
                _ = checks.tick() => {
                    if waits.are_stalled() {
                        tracing::debug!("a client does not take its answers");
                        return;
                    }
                }
            }
        }
    }
}

/// There is no memory for an answer.
fn busy() -> axum::response::Response {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after).into_response()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::routing::get;
    use bytes::Bytes;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::{
        _core::turns::Turns,
        transport::bounds::{Budget, Connections},
    };

    /// Asks for one path after another, with minutes between, as a client that has room for so many bytes of each answer,
    /// and makes no more. Returns when its connection is closed.
    async fn is_left(window: u32, paths: &[&str]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/nothing", get(async || ()))
            .route("/something", get(async || "something"))
            .route("/much", get(async || "x".repeat(100_000)));
        let bounds = Bounds {
            budget: Budget::new(1 << 21),
            connections: Connections::new(1),
            max_body_bytes: 1_000,
            turns: Turns::default(),
        };
        let tasks = Tasks::default();
        let server = serve(listener, router, &bounds, &tasks, pending(), Duration::ZERO);
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window);
            let (mut client, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
            let asks = async {
                let mut answers = Vec::new();
                for path in paths {
                    let url = format!("http://a{path}");
                    let request = http::Request::get(url).body(()).unwrap();
                    let (answer, _) = client.send_request(request, true).unwrap();
                    answers.push(answer.await.unwrap());
                    sleep(2 * HEAD_TIMEOUT).await;
                }
                answers
            };
            tokio::select! {
                _ = connection => {}
                answers = asks => panic!("{answers:?} wait for longer than a client may take"),
            }
        };
        tokio::select! {
            _ = server => unreachable!("nobody stops it"),
            ended = timeout(HEAD_TIMEOUT * 5, client) => ended.unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_answer_is_left_also_after_a_quiet_time() {
        is_left(0, &["/nothing", "/something"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_room_for_a_part_of_an_answer_is_left_as_well() {
        for window in [1, 7, 65_535] {
            is_left(window, &["/much"]).await;
        }
        is_left(1, &["/something"]).await;
    }
}
