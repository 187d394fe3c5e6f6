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

use axum::{Router, body::Body, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tower::ServiceExt as _;

/// A request whose connection has brought an answer before.
#[derive(Clone, Copy)]
pub(super) struct KeptAlive;

/// A response that is never sent: its connection ends instead.
#[derive(Clone, Copy)]
pub(super) struct Dropped;

/// Accepts connections until it is dropped, which ends them all.
pub(super) async fn serve(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, app.clone()));
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
            let response: Response = match app.oneshot(request.map(Body::new)).await {
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
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
