//! The HTTP client, and the one retry for a kept-alive connection that died.
//!
//! A server may close an idle connection just as the next request arrives on it. That request is lost
//! without a byte of a reply, and says nothing about the model; the same would happen to whoever asks
//! seldom more than to whoever asks often. So it is sent once more, on a connection of its own. On a
//! connection that was made for the request, and after a time limit, there is no second try.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
use reqwest::{Client, ClientBuilder, Request, Response};
use tower::util::MapFutureLayer;

use crate::_core::http_client;

/// A connection is made within this, or the provider counts as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// Whether a connection was made for the request that this task sends.
    static CONNECTS: Arc<AtomicBool>;
}

/// The HTTP client that all providers share, so that connections are.
pub(super) fn pooled() -> reqwest::Result<Client> {
    builder().build()
}

/// Sends a request, once more where a kept-alive connection died under it.
pub(super) async fn send(http: &Client, request: Request) -> reqwest::Result<Response> {
    let again = request.try_clone();
    let connects = Arc::new(AtomicBool::new(false));
    let sent = CONNECTS
        .scope(connects.clone(), http.execute(request))
        .await;
    match (sent, again) {
        (Err(error), Some(again)) if is_lost(&error) && !connects.load(Ordering::Relaxed) => {
            tracing::debug!("a kept-alive connection died before a reply; trying a fresh one");
            fresh()?.execute(again).await
        }
        (sent, _) => sent,
    }
}

/// Whether the connection ended before the head of a reply.
fn is_lost(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_timeout() && !error.is_connect()
}

/// A client whose connections serve one request each.
fn fresh() -> reqwest::Result<&'static Client> {
    static FRESH: OnceLock<Client> = OnceLock::new();
    if let Some(client) = FRESH.get() {
        return Ok(client);
    }
    let client = builder().pool_max_idle_per_host(0).build()?;
    Ok(FRESH.get_or_init(|| client))
}

/// Notes that a connection was made, in the task that waits for it. One that was begun, and then was not
/// needed because another became free, is finished elsewhere.
async fn noted<F: Future>(connecting: F) -> F::Output {
    let made = connecting.await;
    // Outside of `send` nobody asks.
    let _ = CONNECTS.try_with(|connects| connects.store(true, Ordering::Relaxed));
    made
}

fn builder() -> ClientBuilder {
    // Compression would hold steps of a stream back. What comes compressed unasked is read all the same.
    let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    http_client::builder()
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connector_layer(MapFutureLayer::new(noted))
}
