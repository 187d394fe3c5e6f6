//! The breakers of all models of the catalog, shared by all calls.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    breaker::{AttemptClass, Breaker, BreakerState, Permit, Rules},
    catalog::{Catalog, Model},
};
use crate::providers::fault::{Cause, Fault, FaultKind};

/// The breaker of each model, by its name; none where there are no rules.
#[derive(Default)]
pub(super) struct Breakers(HashMap<Arc<str>, Arc<ModelBreaker>>);

/// A model and its breaker.
struct ModelBreaker {
    model: Arc<Model>,
    /// With the fault that opened it last, and when that was.
    breaker: Mutex<(Breaker, Option<(OpeningFault, Instant)>)>,
}

/// The fault of the attempt that opened a breaker.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpeningFault {
    pub(super) kind: FaultKind,
    pub(super) cause: Cause,
    /// How long that attempt took.
    pub(super) latency_ms: f64,
}

/// What a breaker says to an attempt.
pub(super) enum Admission {
    /// It may be made.
    Granted(Pass),
    /// The model is left alone because of this fault.
    Refused(OpeningFault),
}

impl Breakers {
    pub(super) fn new(catalog: &Catalog, rules: Option<Rules>) -> Self {
        let Some(rules) = rules else {
            return Self::default();
        };
        let watched = |model: &Arc<Model>| {
            let breaker = Mutex::new((Breaker::new(rules), None));
            let model = model.clone();
            (
                model.name.clone(),
                Arc::new(ModelBreaker { model, breaker }),
            )
        };
        Self(catalog.models.iter().map(watched).collect())
    }

    /// Those of another catalog. A model that is the same one at the same place keeps its breaker;
    /// `is_same_place` says whether its provider is where it was.
    pub(super) fn renewed(
        &self,
        catalog: &Catalog,
        rules: Option<Rules>,
        is_same_place: impl Fn(&str) -> bool,
    ) -> Self {
        let mut renewed = Self::new(catalog, rules);
        for (name, watched) in &mut renewed.0 {
            let is_same = |before: &&Arc<ModelBreaker>| {
                let (before, now) = (&before.model, &watched.model);
                before.provider == now.provider
                    && before.id == now.id
                    && is_same_place(&now.provider)
            };
            if let Some(before) = self.0.get(name).filter(is_same) {
                *watched = before.clone();
            }
        }
        renewed
    }

    /// Asks the breaker of a model for leave.
    pub(super) fn admit(&self, model: &Model) -> Admission {
        let Some(watched) = self.0.get(&model.name) else {
            return Admission::Granted(Pass::default());
        };
        let mut breaker = watched.breaker.lock();
        match (breaker.0.admit(Instant::now()), breaker.1) {
            (None, Some((opened, _))) => Admission::Refused(opened),
            (permit, _) => Admission::Granted(Pass(permit.map(|it| (watched.clone(), it)))),
        }
    }

    /// What the breaker of a model lets through; `None` where it has none.
    pub(super) fn state(&self, model: &str) -> Option<BreakerState> {
        let watched = self.0.get(model)?;
        Some(watched.breaker.lock().0.state(Instant::now()))
    }
}

impl Breakers {
    /// How long ago the breaker of a model opened that is not closed again.
    pub(super) fn opened(&self, model: &str) -> Option<Duration> {
        let watched = self.0.get(model)?;
        let (breaker, opened) = &*watched.breaker.lock();
        let is_closed = breaker.state(Instant::now()) == BreakerState::Closed;
        (*opened).filter(|_| !is_closed).map(|(_, at)| at.elapsed())
    }
}

/// Leave to make an attempt; it reports what became of that. Dropped, it reports that nothing did.
#[derive(Default)]
pub(super) struct Pass(Option<(Arc<ModelBreaker>, Permit)>);

impl Pass {
    /// The model answers.
    pub(super) fn answered(&mut self) {
        self.settle(AttemptClass::Answers, None);
    }

    /// The beginning of a stream is here. Others need not wait for its end.
    pub(super) fn began(&mut self) {
        if self.0.as_ref().is_some_and(|(_, permit)| permit.is_probe()) {
            self.answered();
        }
    }

    /// The attempt failed after `latency_ms`. One that had less time than the model is given says nothing
    /// by not coming in time.
    pub(super) fn failed(&mut self, fault: &Fault, latency_ms: f64, had_time: bool) {
        let verdict = match verdict(fault) {
            AttemptClass::Fails if fault.cause == Cause::TimeoutFirst && !had_time => {
                AttemptClass::Nothing
            }
            verdict => verdict,
        };
        let opened = OpeningFault {
            kind: fault.kind,
            cause: fault.cause,
            latency_ms,
        };
        self.settle(verdict, Some(opened));
    }

    fn settle(&mut self, verdict: AttemptClass, opened: Option<OpeningFault>) {
        let Some((watched, permit)) = self.0.take() else {
            return;
        };
        let has_opened = {
            let mut breaker = watched.breaker.lock();
            let has_opened = breaker.0.settle(permit, verdict, Instant::now());
            if has_opened {
                breaker.1 = opened.map(|it| (it, Instant::now()));
            }
            has_opened
        };
        if has_opened {
            let (model, provider) = (&*watched.model.name, &*watched.model.provider);
            let cause = opened.map(|it| it.cause.name());
            tracing::warn!(
                model,
                provider,
                cause,
                "the model fails: its breaker is open"
            );
            let labels = [
                ("model", model.to_owned()),
                ("provider", provider.to_owned()),
            ];
            metrics::counter!("ai_breaker_opened_total", &labels).increment(1);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.settle(AttemptClass::Nothing, None);
    }
}

/// What a fault says about the model: nothing where the account, the caller, our settings or a limit of
/// requests was at fault, or where one caller's requests alone may bring it about.
fn verdict(fault: &Fault) -> AttemptClass {
    match fault.cause {
        Cause::Unreachable
        | Cause::Cut
        | Cause::CutStream
        | Cause::TimeoutFirst
        | Cause::Stall
        | Cause::TimeoutUpstream
        | Cause::Malformed
        | Cause::Empty
        | Cause::BadGeneration => AttemptClass::Fails,
        Cause::UpstreamError if fault.kind.is_models_fault() => AttemptClass::Fails,
        Cause::Overloaded => AttemptClass::IsBusy,
        Cause::UpstreamError
        | Cause::Refused
        | Cause::ContextLength
        | Cause::TooLarge
        | Cause::BadRequest
        | Cause::ReasoningState
        | Cause::AccountKey
        | Cause::AccountFunds
        | Cause::AccountLimit
        | Cause::ProviderLimit
        | Cause::PolicyUnroutable
        | Cause::PolicyRegion
        | Cause::ModelGone
        | Cause::WrongUrl => AttemptClass::Nothing,
    }
}
