//! What follows from how an attempt ended.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Walk;
use crate::{
    model_router::{
        RouteError, attempt::Attempt, catalog::Model, next::FailedAttempt,
        quota::schedule::SlotRefusal, reasoning_state, trail::AttemptEnd,
    },
    providers::fault::{Cause, Elsewhere, Fault, FaultKind},
};

impl Walk<'_> {
    pub(in crate::model_router) fn failed(&mut self, attempt: Attempt, fault: &Fault) {
        if let Some(model) = self.route.models.get(self.position) {
            self.call
                .trail
                .add(model, AttemptEnd::Failed(fault.clone()), self.queued);
        }
        if let (Cause::AccountLimit, Some(after), Some(key)) =
            (fault.cause, fault.retry_after, &self.key)
        {
            let (quotas, model) = (&self.in_use.quotas, attempt.model());
            quotas.rest(&key.account, model, after, fault.scope);
        }
        self.hear();
        if fault.cause == Cause::ModelGone {
            self.router.watch.refused(&attempt.model().name);
        }
        if fault.kind == FaultKind::Authentication {
            self.tell_of_the_key(&attempt);
        }
        let again = self.change_key(&attempt, fault) || self.mend(fault);
        if !again
            && fault.kind.may_succeed_elsewhere() == Elsewhere::OneOther
            && self.refused.is_none()
        {
            self.refused = Some(attempt.refuse(fault));
        } else {
            // Nobody answered the request either: it stays uncounted, and is recorded first.
            drop(self.refused.take());
            attempt.fail(fault);
        }
        self.failed.push(FailedAttempt {
            position: self.position,
            kind: fault.kind,
            cause: fault.cause,
            scope: fault.scope,
            retry_after: fault.retry_after,
            again,
        });
    }

    /// Takes note of what the provider has said with its answer of what it still takes for this model.
    fn hear(&self) {
        if let Some(key) = &self.key
            && let Some(model) = self.route.models.get(self.position)
            && let Some((told, at)) = key.api.take_allowance(&model.id)
        {
            let quotas = &self.in_use.quotas;
            quotas.allow(&key.account, model, &told, at, self.tokens);
        }
    }

    /// Whether the same model is to be asked once more, with another key.
    fn change_key(&mut self, attempt: &Attempt, fault: &Fault) -> bool {
        let client = self.in_use.clients.get(attempt.provider());
        match (client, &self.key) {
            (Some(client), Some(key)) => client.keys.refused(key, fault, &mut self.tried),
            _ => false,
        }
    }

    /// Whether the same model is to be asked once more, as it misses what it thought earlier, or does not
    /// know it.
    fn mend(&mut self, fault: &Fault) -> bool {
        let is_first = self.failed.iter().all(|failed| !failed.was_mended());
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
    pub(in crate::model_router) fn answered(&mut self) {
        if let Some(model) = self.route.models.get(self.position) {
            self.router.watch.answered(&model.name);
            self.call
                .trail
                .add(model, AttemptEnd::Answered, self.queued);
        }
        self.hear();
        if let (Some(key), Some(model)) = (&self.key, self.route.models.get(self.position)) {
            self.in_use.quotas.answered(&key.account, model);
        }
        if let Some(refused) = self.refused.take() {
            refused.judge(FaultKind::Rejected);
        }
    }

    /// Whoever runs the server can only mend it if told which key it is.
    fn tell_of_the_key(&self, attempt: &Attempt) {
        let name = attempt.provider();
        match self.key.as_ref().and_then(|key| key.variable.as_deref()) {
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
    pub(in crate::model_router) fn current(&self) -> (Arc<str>, u8) {
        let model = self.route.models.get(self.position);
        let name = model.map_or_else(|| Arc::from(""), |model: &Arc<Model>| model.name.clone());
        (name, u8::try_from(self.position).unwrap_or(u8::MAX))
    }

    pub(in crate::model_router) fn exhausted(&self) -> RouteError {
        let soonest = self
            .refused_slots
            .iter()
            .min_by_key(|(_, until, ..)| *until);
        if let (true, Some((_, until, reason, provider))) = (self.failed.is_empty(), soonest) {
            // The call may have waited elsewhere since.
            let after = until.saturating_duration_since(Instant::now());
            return RouteError::OverQuota {
                provider: provider.clone(),
                refused: SlotRefusal {
                    after: after.max(Duration::from_secs(1)),
                    reason: *reason,
                },
            };
        }
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
