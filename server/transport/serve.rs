//! Accepts connections and ends them gracefully.
//!
//! Every connection is a tracked task, so that one wait at the end covers connections, sockets and
//! mutations alike. On stop no connection is accepted any more, subscriptions end by
//! [`Tasks::stopping`], idle connections close, and calls under way are answered first.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http::{HeaderValue, header, uri::Authority};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use crate::_core::tasks::Tasks;

/// How long a client may take over a request's head, and how long an idle connection is kept.
///
/// Longer than the 60 s for which common load balancers keep connections, so that it is never we
/// who close one just as they use it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after a failed accept (out of file descriptors, as a rule), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Headers of one HTTP/2 request. HTTP/1 takes about 400 KiB; both take a request target of up to
/// 65,534 bytes, which is where `http::Uri` ends.
const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// Serves until `stop` resolves or [`Tasks::stop`] is called, then waits at most `patience` for what
/// still runs; `false` if that was not enough.
pub async fn serve(
    listener: TcpListener,
    router: Router,
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
            Ok((stream, _)) => {
                // Answers are written whole; waiting to fill a packet only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                tasks.spawn(connection(stream, router.clone(), tasks.stopping()));
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

async fn connection(stream: TcpStream, router: Router, stopping: impl Future<Output = ()>) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let asked = asked.clone();
        move |mut request: hyper::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            name_host(&mut request);
            router.clone().call(request)
        }
    });

    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES);

    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut stopping = pin!(stopping);
    let mut silence = pin!(tokio::time::sleep(HEAD_TIMEOUT));
    let (mut is_stopping, mut was_checked) = (false, false);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error = %error, "a connection failed");
                }
                return;
            }
            () = stopping.as_mut(), if !is_stopping => {
                is_stopping = true;
                // hyper would wait for a head that was begun; there is no call to lose here.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            // hyper's own timer starts only once the protocol is known, which takes a first byte.
            () = silence.as_mut(), if !was_checked => {
                was_checked = true;
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}
