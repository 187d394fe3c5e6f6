//! A call on its way along its route: who is asked next, and with which request.

mod outcome;
mod request;
mod resting;
pub(super) mod texts;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use self::{request::turn, resting::RestingModels};
use super::{
    Call, ModelRouter, RouteError, Urgency,
    attempt::{Attempt, Occasion, SkippedModel},
    breakers::{Admission, OpeningFault, Pass},
    catalog::{Model, Timeouts},
    catalog_in_use::CatalogInUse,
    concurrency_limit::InFlight,
    keys::ProviderKey,
    next::{FailedAttempt, NextAttempt, next},
    quota::{
        Sent,
        schedule::{ConversationTurn, Priority, SlotRefusal, SlotRefusalReason, SlotRequest},
    },
    route::Route,
    trail::AttemptEnd,
};
use crate::{
    _core::{
        assignment::{Subject, Variant},
        trace_parent::TraceParent,
    },
    providers::{
        ChatMessage, RawObject,
        fault::{Cause, FaultKind},
        masking::{self, Vault},
        openai_compatible::OpenAiCompatible,
        quality::Inspection,
    },
    recording::texts::Note,
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
    in_use: Arc<CatalogInUse>,
    route: &'a Route,
    /// Its request is the one for the model that is asked.
    pub(super) call: Call,
    /// As the caller wrote them; a model with strict roles gets them joined.
    messages: Vec<ChatMessage>,
    /// The caller's own body, where it is passed on.
    given: Option<RawObject>,
    /// Further fields of the request, as the caller gave them.
    rest: Map<String, Value>,
    /// What the placeholders in both stand for, where something is masked.
    pub(super) vault: Option<Arc<Vault>>,
    /// What is kept of its texts, where they are.
    pub(super) note: Option<Note>,
    /// Tokens that the caller lets the answer have.
    max_tokens: Option<u32>,
    asks: Asks,
    /// The caller's span, where it has a trace.
    parent: Option<TraceParent>,
    position: usize,
    failed: Vec<FailedAttempt>,
    /// Positions whose breakers are open.
    skipped: Vec<usize>,
    /// Positions whose accounts have no slot in time.
    closed: Vec<usize>,
    /// Those among them that can be asked when a rest of their account, or of a model of it, is over.
    resting: RestingModels,
    /// Whether it waits for accounts that rest, as no other is left.
    waits_out_rest: bool,
    /// Keys whose faults, or whose accounts', this call has met.
    tried: Vec<Arc<ProviderKey>>,
    /// The one of the attempt under way.
    key: Option<Arc<ProviderKey>>,
    /// How it belongs to a conversation with tools.
    turn: ConversationTurn,
    /// Tokens that the attempt under way may take, about; 0 where nobody counts them.
    tokens: u32,
    /// Tokens of its prompt, about, once somebody has asked.
    prompt_tokens: Option<u64>,
    /// Those of them that were asked for a slot: when they have one again, why they have none, and their providers.
    refused_slots: Vec<(usize, Instant, SlotRefusalReason, String)>,
    /// How long the attempt under way waited for its slot.
    queued: Duration,
    /// Whether the evidence has, or will have, an event of how the arm fares.
    is_told: bool,
    /// The event that it gets where the account of the arm's model has no slot: at the end, as the call may wait for it.
    no_slot: Option<SkippedModel>,
    /// An attempt that was refused in a way that another model has to judge.
    refused: Option<Attempt>,
}

/// An attempt that is about to be made.
pub(super) struct PlannedAttempt {
    pub(super) attempt: Attempt,
    pub(super) api: Arc<OpenAiCompatible>,
    /// When a whole answer must be here, or the first token of a streamed one.
    pub(super) deadline: Instant,
    /// When the last step of a stream must have come.
    pub(super) end: Instant,
    /// How long a stream may be silent.
    pub(super) idle: Duration,
    /// Held while the call is in flight.
    pub(super) place: InFlight,
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
        let note = match asks {
            Asks::Embeddings => None,
            Asks::Answer | Asks::Stream => router
                .texts
                .begin(&route.task, || texts::asked(&call, route, vault.as_ref())),
        };
        let turn = match asks {
            Asks::Embeddings => ConversationTurn::Alone,
            Asks::Answer | Asks::Stream => turn(&call, || {
                let in_use = route.in_use.as_ref()?;
                in_use.catalog.task(&route.task)?.calls
            }),
        };
        let kinds = route.models.iter().map(|it| (&it.provider, it.tier));
        let rest_as_one = kinds.clone().zip(kinds.skip(1)).all(|(a, b)| a == b);
        Self {
            in_use: route
                .in_use
                .clone()
                .unwrap_or_else(|| router.in_use.load_full()),
            router,
            route,
            vault: vault.map(Arc::new),
            note,
            messages: std::mem::take(&mut call.request.messages),
            given: call.request.given.clone(),
            rest: call.request.rest.clone(),
            max_tokens: call.request.max_tokens,
            parent: call.request.trace,
            call,
            asks,
            position: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            closed: Vec::new(),
            resting: RestingModels::default(),
            // Nobody is asked for another model that rests with it.
            waits_out_rest: rest_as_one,
            tried: Vec::new(),
            key: None,
            turn,
            tokens: 0,
            prompt_tokens: None,
            refused_slots: Vec::new(),
            queued: Duration::ZERO,
            is_told: false,
            no_slot: None,
            refused: None,
        }
    }

    /// The next attempt, already started, with its deadline; `None` when nothing can help.
    pub(super) async fn next(&mut self) -> Result<Option<PlannedAttempt>, RouteError> {
        let (model, pass, client, key, slot) = loop {
            let Some((model, pass)) = self.choose().await else {
                if self.wait_out_rest() {
                    continue;
                }
                return Ok(None);
            };
            let Some(client) = self.in_use.clients.get(&model.provider).cloned() else {
                // Clients are made for every provider of the catalog; this is for the compiler.
                return Err(self.exhausted());
            };
            let since = Instant::now();
            self.tokens = self.tokens_of(&model);
            let (quotas, ask) = (&self.in_use.quotas, self.ask());
            match client.keys.enter(quotas, &model, ask, &self.tried).await {
                Ok((key, slot)) => {
                    self.queued = since.elapsed();
                    break (model, pass, client, key, slot);
                }
                Err(refused) => self.close(&model, refused),
            }
        };
        let goes_on = self.turn != ConversationTurn::Alone;
        // What was kept for the conversation is for the requests after this one.
        if matches!(self.turn, ConversationTurn::Begins(_)) {
            self.turn = ConversationTurn::Alone;
        }
        self.prepare(&model);
        let router = self.router;
        let Some(place) = client.limit.enter(self.call.deadline).await else {
            let provider = model.provider.clone();
            return Err(RouteError::Busy { provider });
        };
        self.call.trail.send();
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
            && let Some(task) = self.in_use.catalog.task(&self.route.task)
        {
            let request = &self.call.request;
            let limit = self.max_tokens.or_else(|| request.callers_limit());
            attempt.inspect(Inspection::new(&task.checks, request, limit));
        }
        self.call.request.trace = attempt.span();
        if self.position == 0 {
            self.tell();
        }
        let (sent, course) = slot.send();
        attempt.goes_by(course, goes_on.then(|| self.user()));
        self.key = Some(key.clone());
        Ok(Some(PlannedAttempt {
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
                NextAttempt::Stop => return None,
                NextAttempt::Try { position } => (position, None),
                NextAttempt::Repeat {
                    position,
                    after,
                    pause,
                } => (position, Some((after, pause))),
            };
            let model = models.get(position)?.clone();
            let is_repeat = wait.is_some();
            if let Some((after, pause)) = wait {
                if !self.in_use.repeats.grant(&model) {
                    return None;
                }
                // Nobody else is left, and after a rest its account takes one call after the other.
                self.waits_out_rest |= self.resting.is_empty();
                let pause = Duration::from_millis(rand::random_range(pause.start..=pause.end));
                sleep_until(Instant::now() + after + pause).await;
            } else {
                self.in_use.repeats.call(&model);
            }
            let was_skipped = self.skipped.contains(&position);
            self.position = position;
            match self.in_use.breakers.admit(&model) {
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
            parent: self.parent,
            is_first: !self.is_told,
        }
    }

    /// The evidence has, or will have, an event of how the arm fares, and gets no other one of this call.
    fn tell(&mut self) {
        self.is_told = true;
        self.no_slot.iter_mut().for_each(SkippedModel::withdraw);
    }

    fn user(&self) -> Option<u64> {
        self.route.subject.as_ref().map(Subject::key)
    }

    /// What the call asks of an account's quota.
    fn ask(&self) -> SlotRequest {
        let Urgency {
            priority, start_by, ..
        } = self.call.urgency;
        let start_by = start_by.unwrap_or_else(|| Instant::now() + PATIENCE);
        let is_beside = self.is_told || self.position > 0;
        let is_beside = self.route.variant == Variant::Candidate && is_beside;
        SlotRequest {
            is_spare: (is_beside || priority == Priority::Batch) && self.router.is_in_rollout(),
            turn: self.turn,
            tokens: self.tokens,
            priority,
            user: self.user(),
            deadline: start_by.min(self.call.deadline),
            waits_out_rest: self.waits_out_rest,
        }
    }

    /// Whether an account that rests is waited for now, as those of all models that are left do: the one whose rest is
    /// over first.
    fn wait_out_rest(&mut self) -> bool {
        let Some(opened) = self.resting.take_first() else {
            return false;
        };
        self.waits_out_rest = true;
        self.closed.retain(|position| !opened.contains(position));
        self.refused_slots
            .retain(|(position, ..)| !opened.contains(position));
        true
    }

    /// The account of this model has no slot in time: our fault, and no arm's.
    fn close(&mut self, model: &Arc<Model>, refused: SlotRefusal) {
        let ours = OpeningFault {
            kind: FaultKind::RateLimited,
            cause: Cause::AccountLimit,
            latency_ms: 0.0,
        };
        if self.no_slot.is_none() {
            self.no_slot = self.occasion(model).skip(&ours);
        }
        let until = Instant::now() + refused.after;
        if refused.reason == SlotRefusalReason::Rest {
            // As after the refusal itself, the provider is asked for no other model either, but for one that is paid
            // for where this one costs nothing: it says itself whether it rests.
            let models = self.route.models.iter().enumerate();
            let rests =
                |other: &Model| other.provider == model.provider && other.tier <= model.tier;
            let of_provider = models.filter(|(_, other)| rests(other));
            let positions = of_provider.map(|(position, _)| position);
            self.closed.extend(positions.clone());
            if !self.waits_out_rest {
                self.resting.add(positions, until);
            }
        } else {
            self.closed.push(self.position);
        }
        let end = AttemptEnd::OverQuota(refused.reason);
        self.call.trail.add(model, end, Duration::ZERO);
        let provider = model.provider.clone();
        let (position, reason) = (self.position, refused.reason);
        self.refused_slots.push((position, until, reason, provider));
    }

    fn skip(&mut self, model: &Arc<Model>, opened: &OpeningFault) {
        if self.occasion(model).skip(opened).is_some() {
            self.tell();
        }
        self.skipped.push(self.position);
        self.call
            .trail
            .add(model, AttemptEnd::Skipped, Duration::ZERO);
        let labels = [
            ("model", model.name.to_string()),
            ("provider", model.provider.clone()),
        ];
        metrics::counter!("ai_breaker_skipped_total", &labels).increment(1);
    }
}
