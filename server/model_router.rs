//! Chooses a model for a request, tries it and its fallbacks, and records every attempt.
//!
//! The flags say which variant the caller is in, the [`catalog`] has the route of (variant, task),
//! [`selection`] puts the two together, and each model of the route gets one [`attempt`] until one
//! answers or none can help. A fallback's success does not erase the failure before it: both are
//! events, and both count.

mod attempt;
pub mod catalog;
mod gate;
pub mod selection;
pub mod told;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::{
    attempt::{Attempt, Failed, Next, next},
    catalog::{Access, Catalog, Model},
    gate::{Gate, Place},
    selection::Selection,
};
use crate::{
    _core::{
        assignment::{Subject, Variant},
        feature_flags::FeatureFlags,
        suggest::hint,
    },
    ai_metrics::{AiMetrics, Event},
    providers::{
        ChatRequest, Completion, Delta, Message, Reading,
        fault::{Elsewhere, Fault, FaultKind},
        openai_compatible::{ClientError, DeltaStream, OpenAiCompatible, http_client},
        roles,
    },
};

/// One request for an answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// A task of the catalogue.
    pub task: String,
    /// Whose variant counts; `None` for callers without an id.
    pub subject: Option<Subject>,
    /// Goes into the events.
    pub request_id: Arc<str>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// A model of the catalogue that the caller insists on, instead of the route's.
    pub model: Option<String>,
    /// Tokens the answer may have.
    pub max_tokens: Option<u32>,
    /// When the whole call must be over.
    pub deadline: Instant,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's answer.
    pub completion: Completion,
    /// The catalogue's name of the model that gave it.
    pub model: Arc<str>,
    /// The route it was on.
    pub variant: Variant,
    /// The rollout that counts the call, where one does.
    pub rollout: Option<Arc<str>>,
    /// 0 for the primary, then the fallbacks.
    pub position: u8,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// The catalogue has no such task.
    #[error("unknown task `{task}`; known are {known}{}", hint(task, known.split(", ")))]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// The catalogue's tasks.
        known: String,
    },
    /// The catalogue has no such model.
    #[error("unknown model `{model}`; known are {known}{}", hint(model, known.split(", ")))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The catalogue's models.
        known: String,
    },
    /// Every model that could help was tried.
    #[error("no model answered; the last of {attempts}, `{model}`, failed with {kind:?}")]
    AllFailed {
        /// How many were tried.
        attempts: usize,
        /// The last one.
        model: Arc<str>,
        /// Its fault.
        kind: FaultKind,
    },
    /// The provider has as many calls in flight as it may, and as many wait.
    #[error("`{provider}` has no place for another call")]
    Busy {
        /// Its name in the catalogue.
        provider: String,
    },
    /// A streamed answer broke off after it had begun, so no other model can take over.
    #[error("the answer of `{model}` broke off with {kind:?}")]
    Interrupted {
        /// The model that had begun.
        model: Arc<str>,
        /// Its fault.
        kind: FaultKind,
    },
}

/// Where events of attempts go: the windows of [`AiMetrics`], or whatever wants to see each one.
pub trait Recorder: Send + Sync {
    /// Takes the event of an attempt that has ended. Never waits.
    fn record(&self, event: Event);

    /// Notes an attempt that begins; the number that [`Recorder::close`] wants, where it wants to know.
    fn begin(&self, _event: &Event, _started: Instant) -> Option<u64> {
        None
    }

    /// Lets an attempt go that was noted and has ended, before it is known whose fault its end was;
    /// whether it was told to be open and slow.
    fn close(&self, _number: u64) -> bool {
        false
    }
}

impl Recorder for AiMetrics {
    fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        Self::begin(self, event, started)
    }

    fn close(&self, number: u64) -> bool {
        Self::close(self, number)
    }

    fn record(&self, event: Event) {
        Self::record(self, event);
    }
}

/// Fallbacks that are tried after the first model, at most, as on the TypeScript server.
const MAX_FALLBACKS: usize = 2;

/// One client for each provider of a catalogue.
#[derive(Clone, Debug)]
pub struct Clients(HashMap<String, Client>);

#[derive(Clone, Debug)]
struct Client {
    api: OpenAiCompatible,
    gate: Gate,
}

impl Clients {
    /// Clients for all providers; those without their key call `sandbox` (a base URL) instead.
    pub fn connect(catalog: &Catalog, sandbox: Option<&str>) -> Result<Self, ClientError> {
        let http = http_client()?;
        let client = |provider: &catalog::Provider| {
            let (base_url, key) = match &provider.access {
                Access::Open => (provider.base_url.as_str(), None),
                Access::Key(key) => (provider.base_url.as_str(), Some(key.clone())),
                Access::Sandbox => (sandbox.unwrap_or(&provider.base_url), None),
            };
            let headers = provider.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
            let api = OpenAiCompatible::new(http.clone(), base_url, key, headers)?;
            let gate = Gate::new(provider.max_in_flight);
            Ok((provider.name.clone(), Client { api, gate }))
        };
        let clients = catalog.providers.iter().map(client);
        clients.collect::<Result<_, ClientError>>().map(Self)
    }
}

/// A streamed answer that has begun.
pub struct AnswerStream {
    /// The catalogue's name of the model that gives it.
    pub model: Arc<str>,
    /// The route it is on.
    pub variant: Variant,
    /// 0 for the primary, then the fallbacks.
    pub position: u8,
    /// Its steps. Dropping them cancels the call, which is recorded.
    pub deltas: BoxStream<'static, Result<Delta, RouteError>>,
}

/// Chooses, tries, falls back and records; shared by everything that asks models.
pub struct ModelRouter {
    catalog: Catalog,
    clients: Clients,
    flags: Arc<FeatureFlags>,
    metrics: Arc<dyn Recorder>,
    attempt_timeout: Duration,
    max_fallbacks: usize,
}

impl ModelRouter {
    /// A router over a catalogue whose providers all have a client. One attempt, or the wait for
    /// the first token of a stream, takes `attempt_timeout` at most.
    pub fn new(
        catalog: Catalog,
        clients: Clients,
        flags: Arc<FeatureFlags>,
        metrics: Arc<dyn Recorder>,
        attempt_timeout: Duration,
    ) -> Self {
        Self {
            catalog,
            clients,
            flags,
            metrics,
            attempt_timeout,
            max_fallbacks: MAX_FALLBACKS,
        }
    }

    /// Tries this many fallbacks after the first model, at most; 2 unless said.
    pub fn with_max_fallbacks(mut self, max_fallbacks: usize) -> Self {
        self.max_fallbacks = max_fallbacks;
        self
    }

    /// The catalogue in use.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Which models a call would try, and why; nothing is sent.
    pub fn select(
        &self,
        task: &str,
        subject: Option<&Subject>,
        model: Option<&str>,
    ) -> Result<Selection, RouteError> {
        let (catalog, flags) = (&self.catalog, &self.flags);
        Selection::new(catalog, flags, task, subject, model, self.max_fallbacks)
    }

    /// The whole answer of the first model that gives one.
    pub async fn complete(&self, call: Call) -> Result<Answer, RouteError> {
        let mut walk = Walk::new(self, call)?;
        while let Some(mut step) = walk.next().await? {
            match step.api.complete(&walk.request, step.deadline).await {
                Ok(completion) => {
                    if let Some(usage) = &completion.usage {
                        step.attempt.used(usage);
                    }
                    walk.answered();
                    step.attempt.succeed(completion.is_refusal);
                    let (model, position) = walk.current();
                    let selection = &walk.selection;
                    return Ok(Answer {
                        completion,
                        model,
                        variant: selection.variant,
                        rollout: selection.counted_by(),
                        position,
                    });
                }
                Err(fault) => walk.failed(step.attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }

    /// A streamed answer, from where it begins. Until then the next model takes over from one that
    /// fails; after that a failure ends the stream. What a model only thinks is no beginning yet.
    pub async fn stream(&self, call: Call) -> Result<AnswerStream, RouteError> {
        let mut walk = Walk::new(self, call)?;
        let idle = self.attempt_timeout;
        while let Some(mut step) = walk.next().await? {
            let opened = async {
                let deltas = step.api.stream(&walk.request, walk.call.deadline, idle);
                until_first_token(deltas.await?).await
            };
            let opened = timeout_at(step.deadline, opened).await.unwrap_or_else(|_| {
                let detail = "the first token did not come in time";
                Err(Fault::new(FaultKind::Timeout, detail))
            });
            if opened.as_ref().is_ok_and(|(held, _)| held.last().is_some()) {
                step.attempt.first_token();
            }
            let opened = match opened {
                Ok((held, rest)) => until_answer(held, rest).await,
                Err(fault) => Err(fault),
            };
            match opened {
                Ok((held, rest)) => {
                    walk.answered();
                    let (model, position) = walk.current();
                    return Ok(AnswerStream {
                        deltas: recorded(step.attempt, step.place, model.clone(), held, rest),
                        model,
                        variant: walk.selection.variant,
                        position,
                    });
                }
                Err(fault) => walk.failed(step.attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }
}

/// A call on its way along its route.
struct Walk<'a> {
    router: &'a ModelRouter,
    call: Call,
    selection: Selection,
    request: ChatRequest,
    /// As the caller wrote them; a model with strict roles gets them joined.
    messages: Vec<Message>,
    position: usize,
    failed: Vec<Failed>,
    /// An attempt that was refused in a way that another model has to judge.
    refused: Option<Attempt>,
}

/// An attempt that is about to be made.
struct Step<'a> {
    attempt: Attempt,
    api: &'a OpenAiCompatible,
    deadline: Instant,
    /// Held while the call is in flight.
    place: Place,
}

impl<'a> Walk<'a> {
    fn new(router: &'a ModelRouter, mut call: Call) -> Result<Self, RouteError> {
        let forced = call.model.as_deref();
        let selection = router.select(&call.task, call.subject.as_ref(), forced)?;
        let messages = std::mem::take(&mut call.messages);
        Ok(Self {
            router,
            call,
            selection,
            request: ChatRequest::new(Vec::new()),
            messages,
            position: 0,
            failed: Vec::new(),
            refused: None,
        })
    }

    /// The next attempt, already started, with its deadline; `None` when nothing can help.
    async fn next(&mut self) -> Result<Option<Step<'a>>, RouteError> {
        let remaining = self.call.deadline - Instant::now();
        let route = &self.selection.route;
        let Next::Try { position, after } = next(route, &self.failed, remaining) else {
            return Ok(None);
        };
        let Some(model) = route.get(position).cloned() else {
            return Ok(None);
        };
        if !after.is_zero() {
            sleep_until(Instant::now() + after).await;
        }
        self.position = position;
        self.prepare(&model);
        let router = self.router;
        let Some(client) = router.clients.0.get(&model.provider) else {
            // Clients are made for every provider of the catalogue; this is for the compiler.
            return Err(self.exhausted());
        };
        let Some(place) = client.gate.enter(self.call.deadline).await else {
            let provider = model.provider.clone();
            return Err(RouteError::Busy { provider });
        };
        let attempt = Attempt::start(
            &router.metrics,
            &self.call,
            &self.selection,
            &model,
            position,
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
        self.request.model.clone_from(&model.id);
        self.request.max_tokens = self.call.max_tokens.or(model.max_tokens);
        let messages = self.messages.clone();
        self.request.messages = if model.strict_roles {
            roles::joined(messages)
        } else {
            messages
        };
        let task = self.router.catalog.task(&self.selection.task);
        self.request.reading = Reading {
            max_bytes: task.map_or(Reading::MAX_BYTES, |task| task.max_reply_bytes),
            reasoning_tag: model.reasoning_tag.clone(),
        };
    }

    fn failed(&mut self, attempt: Attempt, fault: &Fault) {
        if fault.kind == FaultKind::Authentication {
            self.tell_of_the_key(&attempt);
        }
        if fault.kind.may_succeed_elsewhere() == Elsewhere::OneOther && self.refused.is_none() {
            self.refused = Some(attempt.refuse(fault));
        } else {
            // Nobody answered the request either: it stays uncounted, and is told first.
            drop(self.refused.take());
            attempt.fail(fault);
        }
        self.failed.push(Failed {
            position: self.position,
            kind: fault.kind,
            retry_after: fault.retry_after,
        });
    }

    /// A model answers: one that refused the same request was wrong to.
    fn answered(&mut self) {
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
                "the provider wants a key, and the catalogue names none for it (`api_key_env`)"
            ),
        }
    }

    /// Name and position of the model that is being tried.
    fn current(&self) -> (Arc<str>, u8) {
        let model = self.selection.route.get(self.position);
        let name = model.map_or_else(|| Arc::from(""), |model: &Arc<Model>| model.name.clone());
        (name, u8::try_from(self.position).unwrap_or(u8::MAX))
    }

    fn exhausted(&self) -> RouteError {
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

/// Reads up to the first token; what came before it is held back, so that another model could
/// still take over.
async fn until_first_token(mut deltas: DeltaStream) -> Result<(Vec<Delta>, DeltaStream), Fault> {
    let mut held = Vec::new();
    while let Some(delta) = deltas.next().await {
        let delta = delta?;
        let is_token = delta.is_token;
        held.push(delta);
        if is_token {
            break;
        }
    }
    Ok((held, deltas))
}

/// Reads on, holding back what the model thinks, until its answer begins.
async fn until_answer(
    mut held: Vec<Delta>,
    mut deltas: DeltaStream,
) -> Result<(Vec<Delta>, DeltaStream), Fault> {
    while !held.last().is_some_and(|delta| delta.is_answer) {
        match deltas.next().await {
            Some(delta) => held.push(delta?),
            None => break,
        }
    }
    Ok((held, deltas))
}

/// Passes the steps on and records the attempt when they end; a drop before that records itself.
fn recorded(
    mut attempt: Attempt,
    place: Place,
    model: Arc<str>,
    held: Vec<Delta>,
    rest: DeltaStream,
) -> BoxStream<'static, Result<Delta, RouteError>> {
    let mut deltas = futures::stream::iter(held.into_iter().map(Ok)).chain(rest);
    stream! {
        let _place = place;
        let mut is_refusal = false;
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(delta) => {
                    if let Some(usage) = &delta.usage {
                        attempt.used(usage);
                    }
                    is_refusal |= delta.is_refusal;
                    yield Ok(delta);
                }
                Err(fault) => {
                    let kind = fault.kind;
                    attempt.fail(&fault);
                    yield Err(RouteError::Interrupted { model, kind });
                    return;
                }
            }
        }
        attempt.succeed(is_refusal);
    }
    .boxed()
}
