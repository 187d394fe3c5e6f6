//! The HTTP client, and the one retry for a request that a server never took up.
//!
//! A server may close an idle connection just as the next request arrives on it. That request is lost
//! without the head of a reply, and says nothing about the model; the same would happen to whoever asks
//! seldom more than to whoever asks often. So it is sent once more, on a connection of its own. On a
//! connection that was made for the request, where the server has had it for a while, and after a time limit, there
//! is no second try: it may have been answered and billed.
//!
//! By HTTP/2 a server says itself that it did not begin with a request: it refuses the stream, or goes away
//! before it. Then there is a second try on any connection. A stream that it resets otherwise was begun, on a
//! connection that still lives, and is a fault.
//!
//! All of this is done here, for any body: reqwest repeats what a server did not begin with only where the body
//! is one piece, so that long prompts, which are sent in parts, would be lost.

use std::{
    error::Error as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response, Url};
use tokio::time::Instant;
use tower::util::MapFutureLayer;

use crate::_core::http_client;

/// A connection is made within this, or the provider counts as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that its server has closed shows that within a turn of the network. Who closes it later had begun.
const SOON: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Whether a connection was made for the request that this task sends.
    static CONNECTS: Arc<AtomicBool>;
}

/// What all providers are asked with, so that they share connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    pooled: Client,
    proxy: Option<Proxy>,
    /// Its connections serve one request each.
    fresh: Arc<OnceLock<Client>>,
}

impl Http {
    /// Without a proxy, or through this one where an address is `https`, but for the hosts in `except`, as
    /// `NO_PROXY` has them.
    pub(super) fn new(proxy: Option<(&str, Option<&str>)>) -> reqwest::Result<Self> {
        let proxy = proxy.map(|(url, except)| {
            let except = except.and_then(NoProxy::from_string);
            Ok::<_, reqwest::Error>(Proxy::https(url)?.no_proxy(except))
        });
        let proxy = proxy.transpose()?;
        Ok(Self {
            pooled: builder(proxy.as_ref()).build()?,
            proxy,
            fresh: Arc::default(),
        })
    }

    /// A request to be finished.
    pub fn get(&self, url: Url) -> reqwest::RequestBuilder {
        self.pooled.get(url)
    }

    pub(super) fn post(&self, url: Url) -> reqwest::RequestBuilder {
        self.pooled.post(url)
    }

    /// Sends a request, once more where its server did not take it up.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> reqwest::Result<Request>,
    ) -> reqwest::Result<Response> {
        let connects = Arc::new(AtomicBool::new(false));
        let since = Instant::now();
        let sent = CONNECTS
            .scope(connects.clone(), self.pooled.execute(request()?))
            .await;
        let is_kept = !connects.load(Ordering::Relaxed);
        match sent {
            Err(error) if may_be_repeated(&error, is_kept && since.elapsed() < SOON) => {
                tracing::debug!("the server did not take a request up; trying a fresh connection");
                self.fresh()?.execute(request()?).await
            }
            sent => sent,
        }
    }

    fn fresh(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.fresh.get() {
            return Ok(client);
        }
        let client = builder(self.proxy.as_ref());
        let client = client.pool_max_idle_per_host(0).build()?;
        Ok(self.fresh.get_or_init(|| client))
    }
}

/// Whether the server has not begun with a request: it says so, or the connection ended before the head of a reply,
/// and `was_stale`, as it was kept alive and ended soon.
fn may_be_repeated(error: &reqwest::Error, was_stale: bool) -> bool {
    match http2_error(error) {
        Some(error) if error.is_remote() && error.is_reset() => {
            error.reason() == Some(h2::Reason::REFUSED_STREAM)
        }
        Some(error) if error.is_remote() && error.is_go_away() => {
            was_stale || error.reason() == Some(h2::Reason::NO_ERROR)
        }
        _ => was_stale && error.is_request() && !error.is_timeout() && !error.is_connect(),
    }
}

/// What HTTP/2 says of it, if it was spoken.
fn http2_error(error: &reqwest::Error) -> Option<&h2::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// Notes that a connection was made, in the task that waits for it. One that was begun, and then was not
/// needed because another became free, is finished elsewhere.
async fn noted<F: Future>(connecting: F) -> F::Output {
    let made = connecting.await;
    // Outside of `send` nobody asks.
    let _ = CONNECTS.try_with(|connects| connects.store(true, Ordering::Relaxed));
    made
}

fn builder(proxy: Option<&Proxy>) -> ClientBuilder {
    // Compression would hold steps of a stream back. What comes compressed unasked is read all the same.
    let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    let builder = http_client::builder();
    match proxy {
        Some(proxy) => builder.proxy(proxy.clone()),
        None => builder,
    }
    .default_headers(headers)
    .connect_timeout(CONNECT_TIMEOUT)
    .tcp_nodelay(true)
    .retry(reqwest::retry::never())
    .connector_layer(MapFutureLayer::new(noted))
}

#[cfg(test)]
mod tests;
