//! `test.*`: what the tests of tRPC call, and none of the application's own procedures does.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::Stream;
use modelramp::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        procedure::{Binary, FormData, Tracked, Untracked},
        registry::Registry,
    },
    procedures,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Between two events of a subscription.
const BEAT: Duration = Duration::from_millis(20);

/// What procedures did, so that a test can see that they stopped.
#[derive(Default)]
pub(crate) struct Counts {
    running: AtomicU64,
    finished: AtomicU64,
    flooded: AtomicU64,
}

/// One piece of work under way.
struct Running(Arc<Counts>);

impl Running {
    fn start(counts: Arc<Counts>) -> Self {
        counts.running.fetch_add(1, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Adds them.
pub(crate) fn register(registry: &mut Registry) {
    procedures!(registry.router("test", Arc::new(Counts::default()));
        /// Its input.
        query Public echo = echo;
        /// `undefined`.
        query Public nothing = nothing;
        /// Waits, then says how long.
        query Public wait = wait;
        /// Never answers.
        query Public hang = hang;
        /// What is running, and what has finished.
        query Public counts = counts;
        /// Finishes after a while, whoever waits for it.
        mutation Public finish = finish;
        /// Fails in the worst way.
        query Public panic = panicking;
        /// Fails in the worst way, detached.
        mutation Public panicDetached = panicking;
        /// Signs in, so to say.
        mutation Public setCookie = set_cookie;
        /// What a form holds.
        mutation Public upload = upload;
        /// How long a body is.
        mutation Public binary = binary;
        /// Counts on from the last event that was seen.
        subscription Public onCount = on_count;
        /// Large events as fast as they are taken.
        subscription Public onFlood = on_flood;
        /// Two events, then a fault.
        subscription Public onFault = on_fault, errors [
            Declared::new(ErrorCode::BadRequest, "Always, after two events."),
        ];
        /// Two events, then a panic.
        subscription Public onPanic = on_panic;
    );
}

#[derive(Serialize, JsonSchema)]
struct Success {
    success: bool,
}

/// One of each kind that JSON alone does not know.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Echo {
    at: DateTime<Utc>,
    #[schemars(extend("x-superjson" = "bigint"))]
    big: String,
    #[schemars(extend("x-superjson" = "number"))]
    number: Value,
    tags: BTreeSet<String>,
    #[schemars(extend("x-superjson" = "map"))]
    by_name: Vec<(String, DateTime<Utc>)>,
    #[serde(default)]
    #[schemars(extend("x-superjson" = "undefined"))]
    maybe: Option<f64>,
}

async fn echo(_: Arc<Counts>, _: Context, echo: Echo) -> Result<Echo, RpcError> {
    Ok(echo)
}

#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-superjson" = "undefined"))]
struct Nothing(Option<bool>);

async fn nothing(_: Arc<Counts>, _: Context) -> Result<Nothing, RpcError> {
    Ok(Nothing(None))
}

#[derive(Deserialize, JsonSchema)]
struct Wait {
    ms: u64,
}

async fn wait(_: Arc<Counts>, _: Context, wait: Wait) -> Result<u64, RpcError> {
    // What it is for.
    tokio::time::sleep(Duration::from_millis(wait.ms)).await;
    Ok(wait.ms)
}

async fn hang(counts: Arc<Counts>, _: Context) -> Result<(), RpcError> {
    let _running = Running::start(counts);
    std::future::pending().await
}

#[derive(Serialize, JsonSchema)]
struct CountsNow {
    running: u64,
    finished: u64,
    flooded: u64,
}

async fn counts(counts: Arc<Counts>, _: Context) -> Result<CountsNow, RpcError> {
    Ok(CountsNow {
        running: counts.running.load(Ordering::SeqCst),
        finished: counts.finished.load(Ordering::SeqCst),
        flooded: counts.flooded.load(Ordering::SeqCst),
    })
}

async fn finish(counts: Arc<Counts>, _: Context) -> Result<Success, RpcError> {
    let _running = Running::start(counts.clone());
    // Work that takes a while.
    tokio::time::sleep(BEAT * 10).await;
    counts.finished.fetch_add(1, Ordering::SeqCst);
    Ok(Success { success: true })
}

async fn panicking(_: Arc<Counts>, _: Context) -> Result<Success, RpcError> {
    panic!("a secret detail")
}

async fn set_cookie(_: Arc<Counts>, context: Context) -> Result<Success, RpcError> {
    for cookie in ["a=1; Path=/; HttpOnly", "b=2; Path=/"] {
        context.cookies.push(http::HeaderValue::from_static(cookie));
    }
    Ok(Success { success: true })
}

async fn upload(_: Arc<Counts>, _: Context, form: FormData) -> Result<Value, RpcError> {
    let fields = form.0.iter().map(
        |field| json!({"name": field.name, "fileName": field.file_name, "size": field.bytes.len()}),
    );
    Ok(Value::Array(fields.collect()))
}

async fn binary(_: Arc<Counts>, _: Context, body: Binary) -> Result<u64, RpcError> {
    Ok(body.0.len() as u64)
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Count {
    to: Option<u64>,
    last_event_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Number {
    n: u64,
    at: DateTime<Utc>,
}

fn number(n: u64) -> Number {
    let at = DateTime::from_timestamp(n as i64, 0).unwrap();
    Number { n, at }
}

async fn on_count(
    counts: Arc<Counts>,
    _: Context,
    count: Count,
) -> Result<impl Stream<Item = Result<Tracked<Number>, RpcError>>, RpcError> {
    let seen = match &count.last_event_id {
        Some(id) => id
            .parse()
            .map_err(|_| RpcError::bad_request(format!("`{id}` is not an event's id")))?,
        None => 0_u64,
    };
    Ok(async_stream::stream! {
        let _running = Running::start(counts);
        for n in seen + 1..=count.to.unwrap_or(u64::MAX - 1) {
            yield Ok(Tracked { id: n.to_string(), data: number(n) });
            tokio::time::sleep(BEAT).await;
        }
    })
}

async fn on_flood(
    counts: Arc<Counts>,
    _: Context,
) -> Result<impl Stream<Item = Result<Untracked<String>, RpcError>>, RpcError> {
    let event = "x".repeat(64 * 1024);
    Ok(futures::stream::repeat_with(move || {
        counts.flooded.fetch_add(1, Ordering::SeqCst);
        Ok(Untracked(event.clone()))
    }))
}

async fn on_fault(
    _: Arc<Counts>,
    _: Context,
) -> Result<impl Stream<Item = Result<Untracked<u64>, RpcError>>, RpcError> {
    Ok(futures::stream::iter([
        Ok(Untracked(1)),
        Ok(Untracked(2)),
        Err(RpcError::bad_request("that was enough")),
    ]))
}

async fn on_panic(
    _: Arc<Counts>,
    _: Context,
) -> Result<impl Stream<Item = Result<Untracked<u64>, RpcError>>, RpcError> {
    Ok(async_stream::stream! {
        for n in 1..=3 {
            assert!(n < 3, "a secret detail");
            yield Ok(Untracked(n));
        }
    })
}
