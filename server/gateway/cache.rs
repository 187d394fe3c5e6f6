//! Answers that are given again to whoever asks exactly the same, off unless `ANSWER_CACHE_BYTES` is set.
//!
//! Only what has one right answer is kept: that to a request whose `temperature` is written as 0 and that wants one
//! answer, or to one that its caller may repeat (`Idempotency-Key`) to have the same. It has to be whole, with a finish
//! reason of a good end. A kept answer belongs to its caller, its subject, its variant, and the route as it was: another
//! key, another user, another rollout or another catalog does not see it. Whoever gets one asks no model, so there is no attempt, no event and no evidence. What a task keeps
//! from being retained (`zdr`) or masks is never kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::caller::GatewayCall;
use crate::{
    _core::assignment::{Subject, Variant},
    model_router::Route,
    providers::RawObject,
};

/// Says that an answer was kept.
pub(super) const CACHE: HeaderName = HeaderName::from_static("x-modelramp-cache");
pub(super) const HIT: HeaderValue = HeaderValue::from_static("hit");
/// What an entry takes besides its body, about, in bytes.
const ENTRY: usize = 512;
/// No answer may take more than this part of the whole.
const PART: usize = 8;

/// Answers that are kept.
pub struct Cache {
    /// Bytes of all of them together; 0 where none is kept.
    bytes: usize,
    /// How long one is kept.
    age: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<CacheKey, Entry>,
    /// In the order in which they were kept, which is the order in which they end.
    order: VecDeque<(CacheKey, Instant)>,
    bytes: usize,
    /// Counts the purges, so that what was asked before one is not kept after it.
    purges: u64,
}

struct Entry {
    at: Instant,
    answer: KeptAnswer,
}

/// An answer as it went out.
#[derive(Clone)]
pub(super) struct KeptAnswer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl KeptAnswer {
    fn bytes(&self) -> usize {
        self.body.len() + ENTRY
    }
}

/// What a request is, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey([u8; 32]);

impl CacheKey {
    fn new(call: &GatewayCall, route: &Route, asked: &CacheableRequest) -> Self {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        add(asked.wire);
        add(&call.identity());
        add(&route
            .subject
            .as_ref()
            .map(Subject::to_string)
            .unwrap_or_default());
        add(route.variant.name());
        add(route.rollout.as_ref().map_or("", |rollout| &rollout.id));
        add(&route.task);
        add(&route.generation().to_string());
        for model in &route.models {
            add(&model.name);
        }
        digest.update(asked.body);
        Self(digest.finalize().into())
    }
}

/// A request as its caller wrote it: two that differ in a field that no model sees may be answered otherwise.
pub(super) struct CacheableRequest {
    wire: &'static str,
    /// The digest of its body, and of what its caller gives it and its repetitions.
    body: [u8; 32],
}

impl CacheableRequest {
    /// Of this body, at this path, where it has one likeliest answer, or is a request that may be repeated.
    pub(super) fn of(
        wire: &'static str,
        body: &RawObject,
        repetition: Option<&str>,
    ) -> Option<Self> {
        // What has one likeliest answer has it under any key: clients that give each request a new one find it too.
        let has_one = has_one_answer(body);
        let repetition = repetition.filter(|_| !has_one);
        (has_one || repetition.is_some()).then(|| {
            let mut digest = Sha256::new_with_prefix(body.to_json());
            // In no JSON there is a byte of 0.
            digest.update([0]);
            digest.update(repetition.unwrap_or_default());
            Self {
                wire,
                body: digest.finalize().into(),
            }
        })
    }
}

/// Describes the metrics to the installed recorder.
pub(super) fn describe() {
    metrics::describe_counter!(
        "gateway_cache_total",
        "Requests whose answer may be kept, and whether one was there"
    );
    metrics::describe_gauge!("gateway_cache_bytes", "What kept answers take");
}

impl Cache {
    /// One of so many bytes, whose answers are kept for so long; 0 bytes keep nothing.
    pub fn new(bytes: usize, age: Duration) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            age,
            state: Mutex::default(),
        })
    }

    /// Forgets everything, also what is under way.
    pub fn purge(&self) {
        let mut state = self.state.lock();
        let purges = state.purges + 1;
        *state = State {
            purges,
            ..State::default()
        };
        self.set_gauge(&state);
    }

    /// What a request is to it, where answers are kept at all.
    pub(super) fn asking(
        &self,
        call: &GatewayCall,
        wire: &'static str,
        body: &RawObject,
    ) -> Option<CacheableRequest> {
        (self.bytes > 0)
            .then(|| CacheableRequest::of(wire, body, call.repetition.as_deref()))
            .flatten()
    }

    /// The place of an answer, where one may be kept.
    pub(super) fn place(
        self: &Arc<Self>,
        call: &GatewayCall,
        route: &Route,
        asked: &CacheableRequest,
    ) -> Option<CachePlace> {
        (call.may_keep && route.may_be_kept()).then(|| CachePlace {
            cache: self.clone(),
            key: CacheKey::new(call, route, asked),
            variant: route.variant,
            purges: self.state.lock().purges,
        })
    }

    fn take_away(&self, state: &mut State, now: Instant, room: usize) {
        while let Some((key, at)) = state.order.front().copied() {
            if state.bytes + room <= self.bytes && now.saturating_duration_since(at) < self.age {
                break;
            }
            state.order.pop_front();
            // One that was kept anew has a later place as well.
            if state.entries.get(&key).is_some_and(|entry| entry.at == at)
                && let Some(entry) = state.entries.remove(&key)
            {
                state.bytes -= entry.answer.bytes();
            }
        }
    }

    fn set_gauge(&self, state: &State) {
        metrics::gauge!("gateway_cache_bytes").set(state.bytes as f64);
    }
}

/// Where an answer is kept.
pub(super) struct CachePlace {
    cache: Arc<Cache>,
    key: CacheKey,
    variant: Variant,
    purges: u64,
}

impl CachePlace {
    /// The answer that is there; counts whether there is one.
    pub(super) fn kept(&self) -> Option<KeptAnswer> {
        let kept = {
            let mut state = self.cache.state.lock();
            self.cache.take_away(&mut state, Instant::now(), 0);
            state
                .entries
                .get(&self.key)
                .map(|entry| entry.answer.clone())
        };
        let result = if kept.is_some() { "hit" } else { "miss" };
        let labels = [("result", result), ("variant", self.variant.name())];
        metrics::counter!("gateway_cache_total", &labels).increment(1);
        kept
    }

    /// Keeps an answer, unless it is too long or everything was purged since it was asked for.
    pub(super) fn keep(self, answer: KeptAnswer) {
        let (cache, bytes) = (&self.cache, answer.bytes());
        if bytes > cache.bytes / PART {
            return;
        }
        let mut state = cache.state.lock();
        if state.purges != self.purges {
            return;
        }
        let at = Instant::now();
        if let Some(before) = state.entries.remove(&self.key) {
            state.bytes -= before.answer.bytes();
        }
        cache.take_away(&mut state, at, bytes);
        state.bytes += bytes;
        state.order.push_back((self.key, at));
        state.entries.insert(self.key, Entry { at, answer });
        cache.set_gauge(&state);
    }

    /// The longest body that is kept.
    pub(super) fn most(&self) -> usize {
        (self.cache.bytes / PART).saturating_sub(ENTRY)
    }
}

/// Whether a request says that it wants the likeliest answer, and one only.
fn has_one_answer(body: &RawObject) -> bool {
    let number = |name| body.get(name)?.get().parse::<f64>().ok();
    number("temperature") == Some(0.0) && number("n").unwrap_or(1.0) == 1.0
}

/// Whether an answer with this finish reason came to its end.
pub(super) fn is_whole(finish_reason: Option<&str>) -> bool {
    matches!(finish_reason, Some("stop" | "tool_calls" | "function_call"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cache: &Arc<Cache>, key: u8) -> CachePlace {
        CachePlace {
            cache: cache.clone(),
            key: CacheKey([key; 32]),
            variant: Variant::Control,
            purges: cache.state.lock().purges,
        }
    }

    fn answer(bytes: usize) -> KeptAnswer {
        KeptAnswer {
            headers: HeaderMap::new(),
            body: vec![b'x'; bytes].into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_in_bytes_and_in_age() {
        let cache = Cache::new(10 * 1_024, Duration::from_secs(60));
        place(&cache, 0).keep(answer(2_000));
        assert!(place(&cache, 0).kept().is_none(), "more than an eighth");
        for key in 0..20 {
            place(&cache, key).keep(answer(512));
            // The same again takes no more.
            place(&cache, key).keep(answer(512));
            assert!(cache.state.lock().bytes <= 10 * 1_024);
        }
        let kept: Vec<_> = (0..20)
            .filter(|key| place(&cache, *key).kept().is_some())
            .collect();
        assert_eq!(kept, (10..20).collect::<Vec<_>>(), "the oldest go first");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(place(&cache, 19).kept().is_none());
        let state = cache.state.lock();
        assert_eq!(
            (state.bytes, state.entries.len(), state.order.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn what_was_asked_before_a_purge_is_not_kept_after_it() {
        let cache = Cache::new(10 * 1_024, Duration::from_secs(60));
        let before = place(&cache, 1);
        place(&cache, 2).keep(answer(10));
        cache.purge();
        before.keep(answer(10));
        assert!(place(&cache, 1).kept().is_none() && place(&cache, 2).kept().is_none());
        place(&cache, 1).keep(answer(10));
        assert!(place(&cache, 1).kept().is_some());
    }

    #[test]
    fn only_a_request_that_says_so_has_one_answer() {
        let has = |body: &str| has_one_answer(&RawObject::parse(body.as_bytes()).unwrap());
        assert!(has(r#"{"temperature":0}"#) && has(r#"{"temperature":0.0,"n":1}"#));
        for body in [
            "{}",
            r#"{"temperature":0.1}"#,
            r#"{"temperature":null}"#,
            r#"{"temperature":"0"}"#,
            r#"{"temperature":0,"n":2}"#,
            r#"{"seed":7}"#,
        ] {
            assert!(!has(body), "{body}");
        }
    }
}
