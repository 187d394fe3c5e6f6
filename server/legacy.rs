//! The old server: what this one does not serve is asked of it, and its answer is handed on.
//!
//! It is asked at one address, which the settings name, and nothing that a client sends leads anywhere
//! else: [`paths`] makes the address of a request, [`headers`] says what goes along. [`send`] asks it
//! within bounds. [`answer`], [`lines`] and [`socket`] take its answers apart where they are joined with
//! ours. Whatever goes wrong is a [`LegacyFault`]; the wire that asked writes it in its own form.

pub mod answer;
mod fault;
mod headers;
pub mod lines;
pub mod paths;
pub mod send;
pub mod socket;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use url::Url;

pub use self::{
    fault::LegacyFault,
    headers::ForwardedCaller,
    send::{LegacyBody, LegacyReply, Onward},
};
use crate::{
    _core::{context::Holds, errors::RpcError, http_client, tasks::Tasks},
    config::LegacyConfig,
};

/// By which a server knows a request that it has passed on itself.
const MARKER: &str = "x-modelramp-passed";
/// The methods of requests that go on; others are between neighbours, or debug them.
pub const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];
/// How long a connection that nobody uses is kept: Node closes it after five seconds, and a request
/// that is just on its way would be lost.
const IDLE: Duration = Duration::from_secs(4);
/// How long a connection may take, unless `LEGACY_TIMEOUT` is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes memory for so many bytes of an answer, until it is dropped.
pub type TakeMemory = Arc<dyn Fn(usize) -> Result<Holds, RpcError> + Send + Sync>;

/// The old server, as this one sees it.
pub struct OldServer {
    client: reqwest::Client,
    /// `LEGACY_TRPC_URL`, without a slash at its end.
    base: Url,
    config: LegacyConfig,
    /// Names the address in requests, so that one which comes back is known.
    marker: HeaderValue,
    room: TakeMemory,
    /// Of requests that are under way.
    places: Arc<Semaphore>,
    /// Of event streams and sockets, which stay for as long as clients like.
    open_ended: Arc<Semaphore>,
    tasks: Tasks,
    standing: AtomicU8,
}

/// What the last request to the old server came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyStanding {
    /// Nothing was asked yet.
    NotAsked,
    /// It answered.
    Answers,
    /// It did not, or nothing that could be used.
    Fails,
}

impl LegacyStanding {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAsked => "not asked yet",
            Self::Answers => "answers",
            Self::Fails => "fails",
        }
    }
}

impl OldServer {
    /// The old server of these settings; answers that are read whole take of `room`, and streams without an
    /// end are over when the `tasks` stop.
    pub fn new(config: LegacyConfig, room: TakeMemory, tasks: Tasks) -> anyhow::Result<Self> {
        let client = http_client::builder()
            .http1_only()
            .no_gzip()
            .no_deflate()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
            .pool_idle_timeout(IDLE)
            .build()?;
        let base = Url::parse(&config.url).context("LEGACY_TRPC_URL is no URL")?;
        let places = config.max_requests.min(Semaphore::MAX_PERMITS);
        let digest = hex::encode(&Sha256::digest(base.as_str())[..8]);
        Ok(Self {
            client,
            base,
            marker: HeaderValue::try_from(digest)?,
            places: Arc::new(Semaphore::new(places)),
            open_ended: Arc::new(Semaphore::new(places)),
            tasks,
            config,
            room,
            standing: AtomicU8::new(0),
        })
    }

    /// Whether a request has been passed on by this server, or by one that asks the same old server.
    pub fn has_passed(&self, headers: &HeaderMap) -> bool {
        headers.get_all(MARKER).iter().any(|it| *it == self.marker)
    }

    /// Whether the old server answers, by the last request.
    pub fn standing(&self) -> LegacyStanding {
        match self.standing.load(Ordering::Relaxed) {
            0 => LegacyStanding::NotAsked,
            1 => LegacyStanding::Answers,
            _ => LegacyStanding::Fails,
        }
    }

    /// Notes that a request failed.
    pub fn note_fault(&self, fault: &LegacyFault) {
        self.note::<()>(&Err(fault.clone()));
    }

    /// Notes what came of a request.
    pub fn note<T>(&self, outcome: &Result<T, LegacyFault>) {
        let kind = outcome.as_ref().err().map_or("answered", LegacyFault::kind);
        metrics::counter!("legacy_requests_total", "outcome" => kind).increment(1);
        match outcome {
            Ok(_) => self.standing.store(1, Ordering::Relaxed),
            Err(fault) if fault.is_of_old_server() => self.standing.store(2, Ordering::Relaxed),
            Err(_) => {}
        }
    }

    /// The most bytes of an answer that is taken apart.
    pub fn max_answer_bytes(&self) -> usize {
        self.config.max_answer_bytes
    }

    /// The longest wait for a sign of it.
    pub fn timeout(&self) -> Duration {
        self.config.timeout
    }
}

/// Whether a name, `namespace.*` or `*` names a procedure.
fn names(pattern: &str, procedure: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => procedure.starts_with(start),
        None => procedure == pattern,
    }
}

/// The first of these patterns that names none of the procedures.
pub fn idle_pattern<'p>(patterns: &'p [String], procedures: &[&str]) -> Option<&'p str> {
    let is_idle = |pattern: &&String| !procedures.iter().any(|it| names(pattern, it));
    patterns.iter().find(is_idle).map(String::as_str)
}

/// Registers the help texts of the counters.
pub fn describe() {
    metrics::describe_counter!(
        "legacy_requests_total",
        "Requests passed to the old server, by what came of them"
    );
}
