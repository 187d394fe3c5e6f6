//! Reads the body of a reply: whole, within bounds, or step by step.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::try_stream;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use parking_lot::Mutex;
use reqwest::Response;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    _core::patience::Patience,
    providers::{
        Delta, ReplyPlace,
        fault::{Cause, Fault, FaultKind},
        stream::Steps,
    },
};

/// Replies of up to so many bytes have no limit together but the number of calls.
const SMALL_BYTES: usize = 32 * 1024;
/// Larger replies of one model that are read and used at once.
const MAX_LARGE: usize = 8;
/// How long usage and the sign of the end may take after the finish reason.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Places of large replies, by the model's id: a model that stalls holds up no other, in whose latency the
/// wait would be. The catalog bounds how many there are.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Places {
    /// Those of one model; lists of models have the name of none.
    pub(super) fn of(&self, model: &str) -> Arc<Semaphore> {
        let mut all = self.0.lock();
        if let Some(places) = all.get(model) {
            return places.clone();
        }
        let places = Arc::new(Semaphore::new(MAX_LARGE));
        all.insert(model.to_owned(), places.clone());
        places
    }
}

pub(super) fn steps(
    mut response: Response,
    mut steps: Steps,
    deadline: Instant,
    idle: Duration,
) -> impl futures::Stream<Item = Result<Delta, Fault>> {
    try_stream! {
        let mut last = None;
        let mut has_begun = false;
        let mut patience = Patience::default();
        while !steps.is_done() {
            if steps.is_over() {
                last.get_or_insert_with(|| soonest(deadline, LAST_WORDS));
            }
            let until = last.unwrap_or_else(|| soonest(deadline, idle));
            let chunk = patience.until(until, response.chunk()).await;
            let chunk = match chunk {
                Some(chunk) => chunk.map_err(|error| {
                    let fault = transport(error);
                    match fault.cause {
                        Cause::Cut => fault.because(Cause::CutStream),
                        _ => fault,
                    }
                }),
                // What is missing is not part of the answer.
                None if last.is_some() => break,
                // Silence in mid-answer is another fault than an answer that never begins, whose
                // own deadline may pass at the same moment.
                None if has_begun => Err(timed_out("the next step").because(Cause::Stall)),
                None => Err(timed_out("the first token")),
            };
            let bytes: Bytes = match chunk {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                // Only the sign of the end is missing.
                Err(_) if steps.is_whole() => break,
                Err(fault) => Err(fault)?,
            };
            for delta in steps.push(&bytes) {
                let delta = delta?;
                has_begun |= delta.is_token;
                yield delta;
            }
        }
        for delta in steps.finish() {
            yield delta?;
        }
    }
}

pub(super) fn is(response: &Response, media_type: &str) -> bool {
    let told = response.headers().get(CONTENT_TYPE);
    told.and_then(|value| value.to_str().ok())
        .is_some_and(|told| {
            told.trim_start()
                .to_ascii_lowercase()
                .starts_with(media_type)
        })
}

/// The whole body; a fault, with what came before it, if it breaks off or is longer than `limit` bytes.
///
/// A large one waits until there is room for it, and keeps its place as long as `held` lives.
pub(super) async fn read(
    response: &mut Response,
    limit: usize,
    large: &Arc<Semaphore>,
    held: &mut ReplyPlace,
) -> Result<Vec<u8>, (Vec<u8>, Fault)> {
    let mut body = Vec::new();
    loop {
        if body.len() > SMALL_BYTES && held.0.is_none() {
            // Nobody closes it.
            held.0 = large.clone().acquire_owned().await.ok().map(Arc::new);
        }
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                let detail = format!("the body is longer than {limit} bytes");
                return Err((body, Fault::new(FaultKind::InvalidReply, detail)));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err((body, transport(error))),
        }
    }
}

/// How a body is still compressed after what we read was undone.
pub(super) fn foreign_coding(response: &Response) -> Option<String> {
    let coding = response.headers().get(CONTENT_ENCODING)?;
    let coding = String::from_utf8_lossy(coding.as_bytes()).trim().to_owned();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity")).then_some(coding)
}

pub(super) fn soonest(deadline: Instant, idle: Duration) -> Instant {
    Instant::now()
        .checked_add(idle)
        .map_or(deadline, |soon| soon.min(deadline))
}

pub(super) fn timed_out(what: &str) -> Fault {
    Fault::new(FaultKind::Timeout, format!("{what} did not come in time"))
}

/// A fault below HTTP. The URL is left out; the chain of causes says what happened.
pub(super) fn transport(error: reqwest::Error) -> Fault {
    let (kind, cause) = if error.is_timeout() {
        (FaultKind::Timeout, Cause::TimeoutFirst)
    } else if error.is_connect() {
        (FaultKind::Connection, Cause::Unreachable)
    } else {
        (FaultKind::Connection, Cause::Cut)
    };
    let detail = format!("{:#}", anyhow::Error::new(error.without_url()));
    Fault::new(kind, detail).because(cause)
}
