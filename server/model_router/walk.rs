//! A call on its way along its route: who is asked next, and with which request.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{
    Call, ModelRouter, RouteError,
    attempt::{Attempt, Failed, Next, next},
    catalog::Model,
    gate::Place,
    reasoning_state,
    route::Route,
};
use crate::providers::{
    Message, RawObject, Reading,
    fault::{Cause, Elsewhere, Fault, FaultKind},
    openai_compatible::OpenAiCompatible,
    roles,
};

/// A call on its way along its route.
pub(super) struct Walk<'a> {
    router: &'a ModelRouter,
    route: &'a Route,
    /// Its request is the one for the model that is asked.
    pub(super) call: Call,
    /// As the caller wrote them; a model with strict roles gets them joined.
    messages: Vec<Message>,
    /// The caller's own body, where it is passed on.
    given: Option<RawObject>,
    /// Tokens that the caller lets the answer have.
    max_tokens: Option<u32>,
    position: usize,
    failed: Vec<Failed>,
    /// An attempt that was refused in a way that another model has to judge.
    refused: Option<Attempt>,
}

/// A caller's body as this model takes it.
fn given_to(model: &Model, given: &RawObject) -> RawObject {
    let mut given = given.clone();
    if model.strict_roles
        && let Some(messages) = given.get("messages")
        && let Ok(messages) = serde_json::from_str(messages.get())
    {
        // Messages that were read can be written.
        let _ = given.set("messages", &roles::joined(messages));
    }
    given
}

/// An attempt that is about to be made.
pub(super) struct Step<'a> {
    pub(super) attempt: Attempt,
    pub(super) api: &'a OpenAiCompatible,
    pub(super) deadline: Instant,
    /// Held while the call is in flight.
    pub(super) place: Place,
}

impl<'a> Walk<'a> {
    pub(super) fn new(router: &'a ModelRouter, route: &'a Route, mut call: Call) -> Self {
        Self {
            router,
            route,
            messages: std::mem::take(&mut call.request.messages),
            given: call.request.given.clone(),
            max_tokens: call.request.max_tokens,
            call,
            position: 0,
            failed: Vec::new(),
            refused: None,
        }
    }

    /// The next attempt, already started, with its deadline; `None` when nothing can help.
    pub(super) async fn next(&mut self) -> Result<Option<Step<'a>>, RouteError> {
        let remaining = self.call.deadline - Instant::now();
        let models = &self.route.models;
        let Next::Try { position, after } = next(models, &self.failed, remaining) else {
            return Ok(None);
        };
        let Some(model) = models.get(position).cloned() else {
            return Ok(None);
        };
        if !after.is_zero() {
            sleep_until(Instant::now() + after).await;
        }
        self.position = position;
        self.prepare(&model);
        let router = self.router;
        let Some(client) = router.clients.0.get(&model.provider) else {
            // Clients are made for every provider of the catalog; this is for the compiler.
            return Err(self.exhausted());
        };
        let Some(place) = client.gate.enter(self.call.deadline).await else {
            let provider = model.provider.clone();
            return Err(RouteError::Busy { provider });
        };
        let attempt = Attempt::start(
            &router.metrics,
            &self.call,
            self.route,
            &model,
            position,
            self.failed.is_empty(),
        );
        let deadline = (Instant::now() + router.attempt_timeout).min(self.call.deadline);
        Ok(Some(Step {
            attempt,
            api: &client.api,
            deadline,
            place,
        }))
    }

    /// Makes the request one for this model.
    fn prepare(&mut self, model: &Model) {
        let request = &mut self.call.request;
        request.model.clone_from(&model.id);
        request.max_tokens = self.max_tokens.or(model.max_tokens);
        let messages = self.messages.clone();
        request.messages = if model.strict_roles {
            roles::joined(messages)
        } else {
            messages
        };
        if let Some(given) = &self.given {
            request.given = Some(given_to(model, given));
        }
        let task = self.router.catalog.task(&self.route.task);
        request.reading = Reading {
            max_bytes: task.map_or(Reading::MAX_BYTES, |task| task.max_reply_bytes),
            reasoning_tag: model.reasoning_tag.clone(),
            context: Some(model.context),
        };
    }

    pub(super) fn failed(&mut self, attempt: Attempt, fault: &Fault) {
        if let Some(model) = self.route.models.get(self.position) {
            self.call.trail.add(model, Some(fault.clone()));
        }
        if fault.kind == FaultKind::Authentication {
            self.tell_of_the_key(&attempt);
        }
        let again = self.mend(fault);
        if !again
            && fault.kind.may_succeed_elsewhere() == Elsewhere::OneOther
            && self.refused.is_none()
        {
            self.refused = Some(attempt.refuse(fault));
        } else {
            // Nobody answered the request either: it stays uncounted, and is told first.
            drop(self.refused.take());
            attempt.fail(fault);
        }
        self.failed.push(Failed {
            position: self.position,
            kind: fault.kind,
            cause: fault.cause,
            retry_after: fault.retry_after,
            again,
        });
    }

    /// Whether the same model is to be asked once more, as it misses what it thought earlier, or does not
    /// know it.
    fn mend(&mut self, fault: &Fault) -> bool {
        let is_first = self.failed.iter().all(|failed| !failed.again);
        if fault.cause != Cause::ReasoningState || !is_first {
            return false;
        }
        let given = self.given.as_ref();
        let mended = given.and_then(|given| reasoning_state::mended(given, fault));
        let is_other = mended.is_some();
        if is_other {
            self.given = mended;
        }
        is_other
    }

    /// A model answers: one that refused the same request was wrong to.
    pub(super) fn answered(&mut self) {
        if let Some(model) = self.route.models.get(self.position) {
            self.call.trail.add(model, None);
        }
        if let Some(refused) = self.refused.take() {
            refused.judge(FaultKind::Rejected);
        }
    }

    /// Whoever runs the server can only mend it if told which key it is.
    fn tell_of_the_key(&self, attempt: &Attempt) {
        let name = attempt.provider();
        let mut providers = self.router.catalog.providers.iter();
        let provider = providers.find(|provider| provider.name == name);
        match provider.and_then(|provider| provider.api_key_env.as_deref()) {
            Some(variable) => tracing::error!(
                provider = name,
                variable,
                "the provider refuses the key: check the key in this variable, and that it belongs to this provider"
            ),
            None => tracing::error!(
                provider = name,
                "the provider wants a key, and the catalog names none for it (`api_key_env`)"
            ),
        }
    }

    /// Name and position of the model that is being tried.
    pub(super) fn current(&self) -> (Arc<str>, u8) {
        let model = self.route.models.get(self.position);
        let name = model.map_or_else(|| Arc::from(""), |model: &Arc<Model>| model.name.clone());
        (name, u8::try_from(self.position).unwrap_or(u8::MAX))
    }

    pub(super) fn exhausted(&self) -> RouteError {
        RouteError::AllFailed {
            attempts: self.failed.len(),
            model: self.current().0,
            kind: self
                .failed
                .last()
                .map_or(FaultKind::Timeout, |failed| failed.kind),
        }
    }
}
