//! Procedures that do what a test of the wire needs, and note that they did.

use std::sync::Arc;

use chrono::DateTime;
use futures::{Stream, StreamExt, stream};
use http::HeaderValue;
use modelramp::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        procedure::{Tracked, Untracked},
        registry::Registry,
        tasks::Tasks,
    },
    procedures,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, Semaphore, watch};

use super::support::SOON;

/// Calls that [`meet`] waits for.
pub(super) const MEETING: usize = 3;

/// What the stub procedures did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) started: usize,
    pub(super) finished: usize,
    pub(super) dropped: usize,
    pub(super) counted: usize,
}

pub(super) struct Stubs {
    seen: watch::Sender<Seen>,
    /// Slow procedures take one permit to finish.
    pub(super) release: Semaphore,
    pub(super) ticks: watch::Sender<u32>,
    meeting: Barrier,
}

impl Stubs {
    pub(super) fn new() -> Self {
        Self {
            seen: watch::Sender::default(),
            release: Semaphore::new(0),
            ticks: watch::Sender::default(),
            meeting: Barrier::new(MEETING),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    pub(super) async fn until(&self, reached: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let seen = tokio::time::timeout(SOON, seen.wait_for(reached)).await;
        *seen.expect("the state is reached").expect("the stubs live")
    }
}

/// Notes whether a call was dropped before its end.
struct Running(Arc<Stubs>, bool);

impl Running {
    fn start(stubs: &Arc<Stubs>) -> Self {
        stubs.note(|seen| seen.started += 1);
        Self(stubs.clone(), false)
    }

    fn finish(mut self) {
        self.1 = true;
        self.0.note(|seen| seen.finished += 1);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.1 {
            self.0.note(|seen| seen.dropped += 1);
        }
    }
}

/// What to say, and how often.
#[derive(Deserialize, Serialize, JsonSchema)]
struct Echo {
    /// The text.
    text: String,
    #[serde(default = "once")]
    times: u32,
    part: Option<Part>,
}

fn once() -> u32 {
    1
}

/// Looks different to the two sides: `size` may be left out of what is sent.
#[derive(Deserialize, Serialize, JsonSchema)]
struct Part {
    #[serde(default)]
    size: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Fail {
    code: String,
    #[serde(default)]
    rate_limited: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Ticks {
    #[serde(default)]
    count: u32,
}

type State = Arc<Stubs>;

async fn echo(_: State, _: Context, input: Echo) -> Result<Echo, RpcError> {
    Ok(input)
}

async fn nothing(_: State, _: Context) -> Result<&'static str, RpcError> {
    Ok("nothing")
}

async fn sum(_: State, _: Context, numbers: Vec<u32>) -> Result<u32, RpcError> {
    Ok(numbers.iter().sum())
}

async fn who_am_i(_: State, context: Context) -> Result<String, RpcError> {
    let user = context.user()?;
    Ok(format!("{} {}", user.open_id, user.role.name()))
}

async fn fail(_: State, _: Context, input: Fail) -> Result<(), RpcError> {
    if input.rate_limited {
        return Err(RpcError::rate_limited("wait", DateTime::UNIX_EPOCH));
    }
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.name() == input.code)
        .copied();
    Err(RpcError::new(
        code.unwrap_or(ErrorCode::ParseError),
        "as asked for",
    ))
}

async fn panics(_: State, _: Context) -> Result<(), RpcError> {
    panic!("on purpose");
}

async fn count(stubs: State, _: Context) -> Result<usize, RpcError> {
    stubs.note(|seen| seen.counted += 1);
    Ok(stubs.seen.borrow().counted)
}

async fn slow(stubs: State, _: Context) -> Result<&'static str, RpcError> {
    let running = Running::start(&stubs);
    stubs.release.acquire().await.unwrap().forget();
    running.finish();
    Ok("done")
}

async fn meet(stubs: State, _: Context, input: Echo) -> Result<String, RpcError> {
    stubs.meeting.wait().await;
    Ok(input.text)
}

async fn sign_in(_: State, context: Context) -> Result<(), RpcError> {
    let cookie = HeaderValue::from_static("app_session_id=x; HttpOnly");
    context.cookies.push(cookie);
    Ok(())
}

async fn ticks(
    _: State,
    _: Context,
    input: Ticks,
) -> Result<impl Stream<Item = Result<Untracked<u32>, RpcError>>, RpcError> {
    if input.count > 100 {
        return Err(RpcError::bad_request("`count` is over 100"));
    }
    Ok(stream::iter(0..input.count).map(|n| Ok(Untracked(n))))
}

async fn tracked(
    _: State,
    _: Context,
) -> Result<impl Stream<Item = Result<Tracked<u32>, RpcError>>, RpcError> {
    let first = Tracked {
        id: "first".into(),
        data: 1,
    };
    let failure = RpcError::new(ErrorCode::Conflict, "overtaken");
    Ok(stream::iter([Ok(first), Err(failure)]))
}

async fn live(
    stubs: State,
    _: Context,
) -> Result<impl Stream<Item = Result<Untracked<u32>, RpcError>>, RpcError> {
    let running = Running::start(&stubs);
    let ticks = tokio_stream::wrappers::WatchStream::new(stubs.ticks.subscribe());
    Ok(ticks.map(move |n| {
        let _ = &running;
        Ok(Untracked(n))
    }))
}

/// Every code there is.
fn any_error() -> Vec<Declared> {
    let codes = ErrorCode::ALL.iter();
    let mut errors: Vec<_> = codes
        .map(|code| Declared::new(*code, "Asked for."))
        .collect();
    errors.push(Declared::rate_limited("Asked for."));
    errors
}

pub(super) fn registry(stubs: &Arc<Stubs>, tasks: &Tasks) -> Registry {
    let mut registry = Registry::new(tasks.clone());
    procedures!(registry.router("stub", stubs.clone());
        /// Says what it was told.
        ///
        /// As often as it was told.
        query Public echo = echo;
        /// Takes nothing.
        query Public nothing = nothing;
        /// Adds up.
        query Public sum = sum;
        /// Who calls.
        query SignedIn whoAmI = who_am_i;
        /// For admins.
        query Admin secret = nothing;
        /// Fails as asked for.
        query Public fail = fail, errors any_error();
        /// Panics.
        query Public panics = panics;
        /// Counts its calls.
        mutation Public count = count;
        /// Waits to be released.
        query Public slowQuery = slow;
        /// Waits to be released.
        mutation Public slowMutation = slow;
        /// Waits for others.
        query Public meet = meet;
        /// Sets a cookie.
        mutation Public signIn = sign_in;
        /// Counts, then ends.
        subscription Public onTick = ticks;
        /// One event, then an error.
        subscription Public onTracked = tracked, errors [Declared::new(ErrorCode::Conflict, "Always.")];
        /// Goes on until it is stopped.
        subscription Public onLive = live;
        /// The same for admins.
        subscription Admin onSecret = live;
    );
    registry
}
