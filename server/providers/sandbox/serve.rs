//! Serves the sandbox's connections, and ends those that a fault says.
//!
//! A framework answers every request; a server that dies does not. So connections are served here, where
//! a response marked [`Dropped`] ends its connection before a byte of it is written.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

/// Connections at once; one more waits until another ends.
const MAX_CONNECTIONS: usize = 1024;
/// How long a request's head, and its body, may take to come, and how long a connection may be idle.
/// Our own client gives up an idle one earlier.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest body that is read; a longer one ends its connection.
const MAX_BODY_BYTES: usize = 4 << 20;

/// A request whose connection has brought an answer before.
#[derive(Clone, Copy)]
pub(super) struct KeptAlive;

/// A response that is never sent: its connection ends instead.
#[derive(Clone, Copy)]
pub(super) struct Dropped;

/// Accepts connections until it is dropped, which ends them all.
pub(super) async fn serve(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let app = app.clone();
                    connections.spawn(async move {
                        connection(stream, app).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Most likely too many open files: others may close theirs meanwhile.
                    tracing::error!(%error, "the sandbox provider cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, app: Router) {
    // Each event of a stream is a write of its own and should not wait for the next.
    let _ = stream.set_nodelay(true);
    let has_answered = Arc::new(AtomicBool::new(false));
    let service = service_fn(|mut request: http::Request<Incoming>| {
        let (app, has_answered) = (app.clone(), has_answered.clone());
        async move {
            if has_answered.load(Ordering::Relaxed) {
                request.extensions_mut().insert(KeptAlive);
            }
            let (head, body) = request.into_parts();
            let body = timeout(PATIENCE, to_bytes(Body::new(body), MAX_BODY_BYTES)).await;
            let Ok(Ok(body)) = body else {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            };
            let request = http::Request::from_parts(head, Body::from(body));
            let response: Response = match app.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if response.extensions().get::<Dropped>().is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            has_answered.store(true, Ordering::Relaxed);
            Ok(response)
        }
    });
    // Whoever went away, or was dropped, is no news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
