//! A call on its way along its route: who is asked next, and with which request.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    Call, ModelRouter, RouteError, Urgency,
    attempt::{Attempt, Occasion},
    breakers::{Admission, Opened, Pass},
    catalog::{Model, Timeouts},
    fleet::Fleet,
    gate::Place,
    keys::Key,
    next::{Failed, Next, next},
    quota::{
        Sent,
        schedule::{Ask, Priority, Refused, Turn},
    },
    reasoning_state,
    route::Route,
    trail::End,
};
use crate::{
    _core::assignment::{Subject, Variant},
    providers::{
        Message, RawObject, Reading,
        fault::{Cause, Elsewhere, Fault, FaultKind},
        masking::{self, Vault},
        openai_compatible::OpenAiCompatible,
        quality::Inspection,
        roles,
    },
    telemetry::Operation,
};

/// How long a call waits for a slot of an account's quota, where it does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a call asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// A whole answer.
    Answer,
    /// A streamed answer.
    Stream,
    /// Vectors.
    Embeddings,
}

/// A call on its way along its route.
pub(super) struct Walk<'a> {
    router: &'a ModelRouter,
    /// What serves the route.
    fleet: Arc<Fleet>,
    route: &'a Route,
    /// Its request is the one for the model that is asked.
    pub(super) call: Call,
    /// As the caller wrote them; a model with strict roles gets them joined.
    messages: Vec<Message>,
    /// The caller's own body, where it is passed on.
    given: Option<RawObject>,
    /// What the placeholders in both stand for, where something is masked.
    pub(super) vault: Option<Arc<Vault>>,
    /// Tokens that the caller lets the answer have.
    max_tokens: Option<u32>,
    asks: Asks,
    position: usize,
    failed: Vec<Failed>,
    /// Positions whose breakers are open.
    skipped: Vec<usize>,
    /// Positions whose accounts have no slot in time.
    closed: Vec<usize>,
    /// Keys whose faults, or whose accounts', this call has met.
    tried: Vec<Arc<Key>>,
    /// The one of the attempt under way.
    key: Option<Arc<Key>>,
    /// How it belongs to a conversation with tools.
    turn: Turn,
    /// What the first of them was told, and its provider.
    refused_slot: Option<(Refused, String)>,
    /// How long the attempt under way waited for its slot.
    queued: Duration,
    /// Whether an event has told evidence how the arm fares.
    is_told: bool,
    /// An attempt that was refused in a way that another model has to judge.
    refused: Option<Attempt>,
}

/// How a call belongs to a conversation with tools: its last message is what a tool said, or it offers tools
/// and is the first of as many requests as the caller, or `usual`, says.
fn turn(call: &Call, usual: impl FnOnce() -> Option<u32>) -> Turn {
    if !call.request.offers_tools() {
        return Turn::Alone;
    }
    if call.request.ends_with_tool() {
        return Turn::GoesOn;
    }
    call.urgency
        .calls
        .or_else(usual)
        .map_or(Turn::Alone, Turn::Begins)
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
pub(super) struct Step {
    pub(super) attempt: Attempt,
    pub(super) api: Arc<OpenAiCompatible>,
    /// When a whole answer must be here, or the first token of a streamed one.
    pub(super) deadline: Instant,
    /// When the last step of a stream must have come.
    pub(super) end: Instant,
    /// How long a stream may be silent.
    pub(super) idle: Duration,
    /// Held while the call is in flight.
    pub(super) place: Place,
    /// Held until its answer begins.
    pub(super) _sent: Sent,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        router: &'a ModelRouter,
        route: &'a Route,
        mut call: Call,
        asks: Asks,
    ) -> Self {
        let vault = masking::mask(&mut call.request, &route.privacy.mask);
        let turn = match asks {
            Asks::Embeddings => Turn::Alone,
            Asks::Answer | Asks::Stream => turn(&call, || {
                let fleet = route.fleet.as_ref()?;
                fleet.catalog.task(&route.task)?.calls
            }),
        };
        Self {
            fleet: route
                .fleet
                .clone()
                .unwrap_or_else(|| router.fleet.load_full()),
            router,
            route,
            vault: vault.map(Arc::new),
            messages: std::mem::take(&mut call.request.messages),
            given: call.request.given.clone(),
            max_tokens: call.request.max_tokens,
            call,
            asks,
            position: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            closed: Vec::new(),
            tried: Vec::new(),
            key: None,
            turn,
            refused_slot: None,
            queued: Duration::ZERO,
            is_told: false,
            refused: None,
        }
    }

    /// The next attempt, already started, with its deadline; `None` when nothing can help.
    pub(super) async fn next(&mut self) -> Result<Option<Step>, RouteError> {
        let (model, pass, client, key, slot) = loop {
            let Some((model, pass)) = self.choose().await else {
                return Ok(None);
            };
            let Some(client) = self.fleet.clients.get(&model.provider).cloned() else {
                // Clients are made for every provider of the catalog; this is for the compiler.
                return Err(self.exhausted());
            };
            let since = Instant::now();
            let (quotas, ask) = (&self.fleet.quotas, self.ask());
            match client.keys.enter(quotas, &model, ask, &self.tried).await {
                Ok((key, slot)) => {
                    self.queued = since.elapsed();
                    break (model, pass, client, key, slot);
                }
                Err(refused) => self.close(&model, refused),
            }
        };
        // What was kept for the conversation is for the requests after this one.
        if matches!(self.turn, Turn::Begins(_)) {
            self.turn = Turn::Alone;
        }
        self.prepare(&model);
        let router = self.router;
        let Some(place) = client.gate.enter(self.call.deadline).await else {
            let provider = model.provider.clone();
            return Err(RouteError::Busy { provider });
        };
        let now = Instant::now();
        let Timeouts {
            first_token,
            idle,
            total,
        } = model.timeouts;
        let limit = match self.asks {
            Asks::Stream => first_token,
            Asks::Answer | Asks::Embeddings => total,
        };
        let own = now + limit.unwrap_or(router.attempt_timeout);
        let end = self.call.stream_deadline.unwrap_or(self.call.deadline);
        let mut attempt = Attempt::start(&self.occasion(&model), pass, own <= self.call.deadline);
        if self.asks != Asks::Embeddings
            && let Some(task) = self.fleet.catalog.task(&self.route.task)
        {
            let request = &self.call.request;
            let limit = self.max_tokens.or_else(|| request.callers_limit());
            attempt.inspect(Inspection::new(&task.checks, request, limit));
        }
        self.is_told = true;
        let sent = slot.send();
        self.key = Some(key.clone());
        Ok(Some(Step {
            attempt,
            api: key.api.clone(),
            _sent: sent,
            deadline: own.min(self.call.deadline),
            end: total.map_or(end, |total| end.min(now + total)),
            idle: idle.unwrap_or(router.attempt_timeout),
            place,
        }))
    }

    /// The model that is asked next, with leave to ask it.
    async fn choose(&mut self) -> Option<(Arc<Model>, Pass)> {
        loop {
            let remaining = self.call.deadline - Instant::now();
            let models = &self.route.models;
            let next = next(models, &self.failed, &self.skipped, &self.closed, remaining);
            let (position, wait) = match next {
                Next::Stop => return None,
                Next::Try { position } => (position, None),
                Next::Repeat {
                    position,
                    after,
                    pause,
                } => (position, Some((after, pause))),
            };
            let model = models.get(position)?.clone();
            let is_repeat = wait.is_some();
            if let Some((after, pause)) = wait {
                if !self.fleet.repeats.grant(&model) {
                    return None;
                }
                let pause = Duration::from_millis(rand::random_range(pause.start..=pause.end));
                sleep_until(Instant::now() + after + pause).await;
            } else {
                self.fleet.repeats.call(&model);
            }
            let was_skipped = self.skipped.contains(&position);
            self.position = position;
            match self.fleet.breakers.admit(&model) {
                Admission::Granted(pass) => return Some((model, pass)),
                Admission::Refused(_) if is_repeat => return None,
                // A whole route is never left alone.
                Admission::Refused(_) if was_skipped || position + 1 == models.len() => {
                    return Some((model, Pass::default()));
                }
                Admission::Refused(opened) => self.skip(&model, &opened),
            }
        }
    }

    fn occasion<'b>(&'b self, model: &'b Arc<Model>) -> Occasion<'b> {
        Occasion {
            metrics: &self.router.metrics,
            telemetry: &self.router.telemetry,
            operation: match self.asks {
                Asks::Answer | Asks::Stream => Operation::Chat,
                Asks::Embeddings => Operation::Embeddings,
            },
            call: &self.call,
            route: self.route,
            model,
            position: self.position,
            is_first: !self.is_told,
        }
    }

    /// What the call asks of an account's quota.
    fn ask(&self) -> Ask {
        let Urgency {
            priority, start_by, ..
        } = self.call.urgency;
        let start_by = start_by.unwrap_or_else(|| Instant::now() + PATIENCE);
        let is_beside = self.route.variant == Variant::Candidate && self.is_told;
        Ask {
            is_spare: (is_beside || priority == Priority::Batch) && self.router.is_in_rollout(),
            turn: self.turn,
            priority,
            user: self.route.subject.as_ref().map(Subject::key),
            deadline: start_by.min(self.call.deadline),
        }
    }

    /// The account of this model has no slot in time: our fault, and no arm's.
    fn close(&mut self, model: &Arc<Model>, refused: Refused) {
        let ours = Opened {
            kind: FaultKind::RateLimited,
            cause: Cause::AccountLimit,
            latency_ms: 0.0,
        };
        self.is_told |= self.occasion(model).skip(&ours);
        self.closed.push(self.position);
        self.call.trail.add(model, End::OverQuota, Duration::ZERO);
        let provider = model.provider.clone();
        self.refused_slot.get_or_insert((refused, provider));
    }

    fn skip(&mut self, model: &Arc<Model>, opened: &Opened) {
        self.is_told |= self.occasion(model).skip(opened);
        self.skipped.push(self.position);
        self.call.trail.add(model, End::Skipped, Duration::ZERO);
        let labels = [
            ("model", model.name.to_string()),
            ("provider", model.provider.clone()),
        ];
        metrics::counter!("ai_breaker_skipped_total", &labels).increment(1);
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
        let catalog = self.fleet.catalog.clone();
        if let Some(provider) = catalog.provider(&model.provider) {
            self.route.privacy.apply(provider, request);
        }
        let task = catalog.task(&self.route.task);
        request.reading = Reading {
            max_bytes: task.map_or(Reading::MAX_BYTES, |task| task.max_reply_bytes),
            reasoning_tag: model.reasoning_tag.clone(),
            context: Some(model.context),
        };
    }

    pub(super) fn failed(&mut self, attempt: Attempt, fault: &Fault) {
        if let Some(model) = self.route.models.get(self.position) {
            self.call
                .trail
                .add(model, End::Failed(fault.clone()), self.queued);
        }
        if let (Cause::AccountLimit, Some(after), Some(key)) =
            (fault.cause, fault.retry_after, &self.key)
        {
            self.fleet.quotas.rest(&key.account, after);
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

    /// Takes note of what the provider has said with its answer of the requests that it still takes.
    fn hear(&self) {
        if let Some(key) = &self.key
            && let Some((left, until)) = key.api.take_allowance()
        {
            self.fleet.quotas.allow(&key.account, left, until);
        }
    }

    /// Whether the same model is to be asked once more, with another key.
    fn change_key(&mut self, attempt: &Attempt, fault: &Fault) -> bool {
        let client = self.fleet.clients.get(attempt.provider());
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
    pub(super) fn answered(&mut self) {
        if let Some(model) = self.route.models.get(self.position) {
            self.router.watch.answered(&model.name);
            self.call.trail.add(model, End::Answered, self.queued);
        }
        self.hear();
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
    pub(super) fn current(&self) -> (Arc<str>, u8) {
        let model = self.route.models.get(self.position);
        let name = model.map_or_else(|| Arc::from(""), |model: &Arc<Model>| model.name.clone());
        (name, u8::try_from(self.position).unwrap_or(u8::MAX))
    }

    pub(super) fn exhausted(&self) -> RouteError {
        if let (true, Some((refused, provider))) = (self.failed.is_empty(), &self.refused_slot) {
            return RouteError::OverQuota {
                provider: provider.clone(),
                refused: *refused,
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
