//! One attempt at one model and its event, and what to try when it failed.
//!
//! Every attempt leaves exactly one event, whatever becomes of it: an [`Attempt`] that is dropped
//! without a word was cancelled by its caller, and says so.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::time::Instant;

use super::{Call, Recorder, Route, Trail, catalog::Model};
use crate::{
    _core::amount::Amount,
    providers::{
        Usage, estimate,
        fault::{Cause, Elsewhere, Fault, FaultKind},
    },
    recording::{Attempted, Event, Outcome},
};

/// An attempt under way; recorded when it ends or is dropped.
pub(super) struct Attempt {
    metrics: Arc<dyn Recorder>,
    model: Arc<Model>,
    started: Instant,
    /// By which the metrics know it while it runs.
    number: Option<u64>,
    event: Option<Event>,
    trail: Trail,
    /// What the provider told of what it took.
    told: Option<Usage>,
    /// About how many tokens have come.
    written: u32,
    is_closed: bool,
}

impl Attempt {
    pub(super) fn start(
        metrics: &Arc<dyn Recorder>,
        call: &Call,
        route: &Route,
        model: &Arc<Model>,
        position: usize,
        is_first: bool,
    ) -> Self {
        let started = Instant::now();
        let event = Event::of_attempt(Attempted {
            request_id: call.request_id.clone(),
            subject: route.subject.as_ref(),
            rollout: route.judged_as(),
            // A request is one observation, however often its primary is asked.
            counted: is_first && route.is_counted(position),
            model: model.name.clone(),
            task: route.task.clone(),
            variant: route.variant,
            position,
        });
        Self {
            metrics: metrics.clone(),
            model: model.clone(),
            started,
            number: metrics.begin(&event, started),
            event: Some(event),
            trail: call.trail.clone(),
            told: None,
            written: 0,
            is_closed: false,
        }
    }

    /// The first part of the answer is here.
    pub(super) fn first_token(&mut self) {
        let elapsed = self.started.elapsed().as_secs_f64() * 1e3;
        if let Some(event) = &mut self.event {
            event.first_token_ms.get_or_insert(elapsed);
        }
    }

    /// The provider told how much it took; also counts if the attempt fails or is cancelled later.
    pub(super) fn used(&mut self, usage: &Usage) {
        if let Some(event) = &mut self.event {
            event.prompt_tokens = usage.prompt_tokens;
            event.completion_tokens = usage.completion_tokens;
            event.cost = self.model.prices.cost(usage);
        }
        self.told = Some(*usage);
    }

    /// The model wrote this.
    pub(super) fn wrote(&mut self, text: &str) {
        let tokens = u32::try_from(estimate::tokens_of(text)).unwrap_or(u32::MAX);
        self.written = self.written.saturating_add(tokens);
    }

    /// What it took: by the provider's word, else about. A fault without an answer takes nothing.
    fn amount(&self, outcome: Outcome) -> Amount {
        let usage = match (self.told, outcome) {
            (Some(told), _) => told,
            (None, Outcome::Fault(_)) if self.written == 0 => Usage::default(),
            (None, _) => Usage {
                prompt_tokens: u32::try_from(self.trail.prompt_tokens()).unwrap_or(u32::MAX),
                completion_tokens: self.written,
                cost: None,
            },
        };
        let tokens = i64::from(usage.prompt_tokens) + i64::from(usage.completion_tokens);
        let cost = self.model.prices.cost(&usage);
        Amount { tokens, cost }
    }

    /// The model that is asked.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The name of the provider that is asked.
    pub(super) fn provider(&self) -> &str {
        &self.model.provider
    }

    /// It answered, or said that it will not.
    pub(super) fn succeed(mut self, is_refusal: bool) {
        self.close(if is_refusal {
            Outcome::Refused
        } else {
            Outcome::Success
        });
    }

    pub(super) fn fail(mut self, fault: &Fault) {
        self.log(fault);
        self.close(Outcome::Fault(fault.kind));
    }

    /// It failed, and another model has to show whose fault that was. Dropped without a
    /// [judgement](Attempt::judge), the fault is what it was.
    pub(super) fn refuse(mut self, fault: &Fault) -> Self {
        self.log(fault);
        self.close(Outcome::Fault(fault.kind));
        self
    }

    /// What the fault has turned out to be.
    pub(super) fn judge(mut self, kind: FaultKind) {
        if let Some(event) = &mut self.event {
            event.outcome = Outcome::Fault(kind);
        }
    }

    fn log(&self, fault: &Fault) {
        let (model, provider) = (&*self.model.name, &*self.model.provider);
        let (kind, status) = (fault.kind.name(), fault.status);
        let request_id = self.event.as_ref().map(|event| &*event.request_id);
        tracing::warn!(target: "attempt", model, provider, kind, status, request_id, "attempt failed");
        // What a provider wrote may repeat what a user wrote, so it is not for everyday logs.
        tracing::debug!(target: "attempt", model, request_id, detail = fault.detail(), "attempt failed");
    }

    /// Ends it now; it is recorded when it is dropped.
    #[expect(
        clippy::disallowed_methods,
        reason = "an attempt is an edge: it ends when the network says so"
    )]
    fn close(&mut self, outcome: Outcome) {
        self.trail.use_up(self.amount(outcome));
        let Some(event) = &mut self.event else {
            return;
        };
        event.at_ms = Utc::now().timestamp_millis();
        event.latency_ms = self.started.elapsed().as_secs_f64() * 1e3;
        event.outcome = outcome;
        if let Some(number) = self.number.take() {
            event.was_open = self.metrics.close(number);
        }
        self.is_closed = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_closed {
            self.close(Outcome::Cancelled);
        }
        if let Some(event) = self.event.take() {
            self.metrics.record(event);
        }
    }
}

/// A failed attempt, as far as the next step depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) position: usize,
    pub(super) kind: FaultKind,
    pub(super) cause: Cause,
    pub(super) retry_after: Option<Duration>,
    /// Whether the same model is to be asked once more, with a request that was mended.
    pub(super) again: bool,
}

/// The longest wait that a provider is granted within a call: whoever called can wait better.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try the model at this position of the route, after a pause.
    Try { position: usize, after: Duration },
    /// Nothing can help, or there is no time left.
    Stop,
}

/// Chooses the next step from what failed so far and the time that is left.
///
/// Another model is tried at once where it can help: one that was not tried, whose provider has not
/// refused our account, and whose context is larger if the last ones were too small. A request that was
/// refused for itself goes to one other model only: if that refuses too, the request is wrong. Only when none
/// is left and a provider that is busy or out of order asked us to come back within half of the
/// remaining time, and of [`MAX_WAIT`], the model that may be asked soonest gets one second chance.
pub(super) fn next(route: &[Arc<Model>], failed: &[Failed], remaining: Duration) -> Next {
    let now = |position| Next::Try {
        position,
        after: Duration::ZERO,
    };
    // What was filtered once is not offered to others until one takes it.
    if remaining.is_zero() || failed.iter().any(|one| one.cause == Cause::Refused) {
        return Next::Stop;
    }
    if failed.is_empty() {
        return if route.is_empty() { Next::Stop } else { now(0) };
    }
    if let Some(last) = failed.last().filter(|last| last.again) {
        return now(last.position);
    }
    // A request that was refused is put to one other model, whatever comes of that.
    let is_refusal =
        |one: &Failed| !one.again && one.kind.may_succeed_elsewhere() == Elsewhere::OneOther;
    let refused = failed.iter().position(is_refusal);
    if refused.is_some_and(|first| first + 1 < failed.len()) {
        return Next::Stop;
    }
    let may_help = |model: &Model| {
        failed.iter().all(|failed| {
            let Some(other) = route.get(failed.position) else {
                return true;
            };
            let same_account = failed.kind.is_accounts() && other.provider == model.provider;
            let as_small = failed.cause == Cause::ContextLength && model.context <= other.context;
            !same_account && !as_small
        })
    };
    let is_untried = |position| failed.iter().all(|failed| failed.position != position);
    let untried = route
        .iter()
        .enumerate()
        .find(|(position, model)| is_untried(*position) && may_help(model));
    if let Some((position, _)) = untried {
        return now(position);
    }
    let tried_twice = failed.iter().enumerate().any(|(index, one)| {
        let before = failed.iter().take(index);
        before
            .into_iter()
            .any(|other| other.position == one.position)
    });
    let soonest = failed
        .iter()
        .filter(|failed| failed.kind.may_pass())
        .filter_map(|failed| Some((failed.retry_after?, failed.position)))
        .min()
        .filter(|(after, _)| *after <= MAX_WAIT.min(remaining / 2));
    match soonest {
        Some((after, position)) if !tried_twice => Next::Try { position, after },
        _ => Next::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_router::catalog::Catalog;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn route(models: &[(&str, u32)]) -> Vec<Arc<Model>> {
        let mut text = String::new();
        for (position, (provider, context)) in models.iter().enumerate() {
            text += &format!(
                "[models.m{position}]\nprovider = \"{provider}\"\nid = \"x\"\ncontext = {context}\n"
            );
        }
        for provider in ["a", "b"] {
            text += &format!("[providers.{provider}]\nbase_url = \"http://{provider}/v1\"\n");
        }
        text += "[tasks.chat]\ncandidate = [\"m0\"]\ncontrol = [\"m0\"]\n";
        Catalog::parse(&text).unwrap().models
    }

    fn failed(position: usize, kind: FaultKind) -> Failed {
        Failed {
            position,
            kind,
            cause: Cause::of_kind(kind),
            retry_after: None,
            again: false,
        }
    }

    fn at(position: usize) -> Next {
        Next::Try {
            position,
            after: Duration::ZERO,
        }
    }

    #[test]
    fn the_primary_comes_first_and_then_each_fallback_once() {
        let route = route(&[("a", 1), ("a", 1), ("a", 1)]);
        let mut so_far = Vec::new();
        for position in 0..3 {
            assert_eq!(next(&route, &so_far, TEN_SECONDS), at(position));
            so_far.push(failed(position, FaultKind::Upstream));
        }
        assert_eq!(next(&route, &so_far, TEN_SECONDS), Next::Stop);
    }

    #[test]
    fn a_refused_request_is_put_to_one_other_model() {
        let route = route(&[("a", 1), ("a", 1), ("a", 1)]);
        for kind in [FaultKind::BadRequest, FaultKind::Refused] {
            let mut so_far = vec![failed(0, kind)];
            assert_eq!(next(&route, &so_far, TEN_SECONDS), at(1));
            for second in FaultKind::ALL {
                so_far.truncate(1);
                so_far.push(failed(1, second));
                assert_eq!(next(&route, &so_far, TEN_SECONDS), Next::Stop, "{second}");
            }
            let so_far = [failed(0, FaultKind::Upstream), failed(1, kind)];
            assert_eq!(next(&route, &so_far, TEN_SECONDS), at(2));
        }
    }

    #[test]
    fn the_models_faults_go_on_to_any_other() {
        let route = route(&[("a", 1), ("a", 1)]);
        for kind in FaultKind::ALL
            .into_iter()
            .filter(|kind| kind.is_models_fault())
        {
            assert_eq!(
                next(&route, &[failed(0, kind)], TEN_SECONDS),
                at(1),
                "{kind}"
            );
        }
    }

    #[test]
    fn an_accounts_fault_needs_another_provider() {
        let route = route(&[("a", 1), ("a", 1), ("b", 1)]);
        for kind in FaultKind::ALL.into_iter().filter(|kind| kind.is_accounts()) {
            assert_eq!(next(&route, &[failed(0, kind)], TEN_SECONDS), at(2));
        }
    }

    #[test]
    fn a_context_that_is_too_small_needs_a_larger_one() {
        let route = route(&[("a", 8), ("a", 8), ("a", 32)]);
        let so_far = [failed(0, FaultKind::ContextLength)];
        assert_eq!(next(&route, &so_far, TEN_SECONDS), at(2));
    }

    #[test]
    fn a_wait_that_fits_gives_one_second_chance_when_no_model_is_left() {
        let route = route(&[("a", 1), ("a", 1)]);
        let after = Duration::from_secs(2);
        let busy = Failed {
            retry_after: Some(after),
            ..failed(0, FaultKind::ProviderRateLimited)
        };
        let mut so_far = vec![busy];
        assert_eq!(next(&route, &so_far, TEN_SECONDS), at(1));
        so_far.push(failed(1, FaultKind::Upstream));
        assert_eq!(
            next(&route, &so_far, TEN_SECONDS),
            Next::Try { position: 0, after }
        );
        assert_eq!(next(&route, &so_far, Duration::from_secs(3)), Next::Stop);
        so_far.push(busy);
        assert_eq!(next(&route, &so_far, TEN_SECONDS), Next::Stop);
    }

    #[test]
    fn nothing_is_tried_without_time() {
        assert_eq!(next(&route(&[("a", 1)]), &[], Duration::ZERO), Next::Stop);
    }
}
