//! Chooses a model for a request, tries it and its fallbacks, and records every attempt.
//!
//! The flags say which variant the caller is in, the [`catalog`] has the route of (variant, task),
//! [`selection`] puts the two together, and each model of the route gets one [`attempt`] until one
//! answers or none can help. A fallback's success does not erase the failure before it: both are
//! events, and both count.

mod attempt;
pub mod catalog;
pub mod selection;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::{
    attempt::{Attempt, Failed, Next, next},
    catalog::{Access, Catalog, Model},
    selection::Selection,
};
use crate::{
    _core::{
        assignment::{Subject, Variant},
        errors::{ErrorCode, RpcError},
        feature_flags::FeatureFlags,
        suggest::hint,
    },
    ai_metrics::{AiMetrics, Event},
    providers::{
        ChatRequest, Completion, Delta, Message,
        fault::{Fault, FaultKind},
        openai_compatible::{ClientError, DeltaStream, OpenAiCompatible, http_client},
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
    /// A streamed answer broke off after it had begun, so no other model can take over.
    #[error("the answer of `{model}` broke off with {kind:?}")]
    Interrupted {
        /// The model that had begun.
        model: Arc<str>,
        /// Its fault.
        kind: FaultKind,
    },
}

impl From<RouteError> for RpcError {
    /// The client learns what it can do about it and nothing of what a provider wrote. All failures
    /// of models are 500s, as they were on the TypeScript server.
    fn from(error: RouteError) -> Self {
        let kind = match &error {
            RouteError::UnknownTask { .. } | RouteError::UnknownModel { .. } => {
                return Self::bad_request(error.to_string());
            }
            RouteError::AllFailed { kind, .. } | RouteError::Interrupted { kind, .. } => *kind,
        };
        let message = match kind {
            FaultKind::BadRequest => "The language model did not accept the request",
            FaultKind::ContextLength => "The conversation is too long for the language model",
            FaultKind::Refused => "The language model refused to answer",
            FaultKind::Timeout => "The language model did not answer in time. Please try again",
            FaultKind::RateLimited | FaultKind::ProviderRateLimited => {
                "The language model is busy. Please try again in a moment"
            }
            _ => "No language model could answer. Please try again in a moment",
        };
        Self::new(ErrorCode::InternalServerError, message).with_cause(error)
    }
}

/// Where events of attempts go: the windows of [`AiMetrics`], or whatever wants to see each one.
pub trait Recorder: Send + Sync {
    /// Takes the event of an attempt that has ended. Never waits.
    fn record(&self, event: Event);

    /// Notes an attempt that begins; the number that [`Recorder::end`] wants, where it wants to know.
    fn begin(&self, _event: &Event, _started: Instant) -> Option<u64> {
        None
    }

    /// Takes the event of an attempt that was noted and has ended.
    fn end(&self, _number: u64, event: Event) {
        self.record(event);
    }
}

impl Recorder for AiMetrics {
    fn begin(&self, event: &Event, started: Instant) -> Option<u64> {
        Self::begin(self, event, started)
    }

    fn end(&self, number: u64, event: Event) {
        Self::end(self, number, event);
    }

    fn record(&self, event: Event) {
        Self::record(self, event);
    }
}

/// Fallbacks that are tried after the first model, at most, as on the TypeScript server.
const MAX_FALLBACKS: usize = 2;

/// One client for each provider of a catalogue.
#[derive(Clone, Debug)]
pub struct Clients(HashMap<String, OpenAiCompatible>);

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
            let client = OpenAiCompatible::new(http.clone(), base_url, key, headers)?;
            Ok((provider.name.clone(), client))
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
        while let Some((mut attempt, client, deadline)) = walk.next().await? {
            match client.complete(&walk.request, deadline).await {
                Ok(completion) => {
                    if let Some(usage) = &completion.usage {
                        attempt.used(usage);
                    }
                    attempt.succeed();
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
                Err(fault) => walk.failed(attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }

    /// A streamed answer, from its first token on. Until then the next model takes over from one
    /// that fails; after that a failure ends the stream.
    pub async fn stream(&self, call: Call) -> Result<AnswerStream, RouteError> {
        let mut walk = Walk::new(self, call)?;
        let idle = self.attempt_timeout;
        while let Some((mut attempt, client, deadline)) = walk.next().await? {
            let opened = async {
                let deltas = client
                    .stream(&walk.request, walk.call.deadline, idle)
                    .await?;
                until_first_token(deltas).await
            };
            let opened = timeout_at(deadline, opened).await.unwrap_or_else(|_| {
                let detail = "the first token did not come in time";
                Err(Fault::new(FaultKind::Timeout, detail))
            });
            match opened {
                Ok((held, rest)) => {
                    if held.iter().any(|delta| delta.is_token) {
                        attempt.first_token();
                    }
                    let (model, position) = walk.current();
                    return Ok(AnswerStream {
                        deltas: recorded(attempt, model.clone(), held, rest),
                        model,
                        variant: walk.selection.variant,
                        position,
                    });
                }
                Err(fault) => walk.failed(attempt, &fault),
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
    position: usize,
    failed: Vec<Failed>,
}

impl<'a> Walk<'a> {
    fn new(router: &'a ModelRouter, mut call: Call) -> Result<Self, RouteError> {
        let forced = call.model.as_deref();
        let selection = router.select(&call.task, call.subject.as_ref(), forced)?;
        let request = ChatRequest {
            model: String::new(),
            messages: std::mem::take(&mut call.messages),
            max_tokens: None,
            rest: Default::default(),
        };
        Ok(Self {
            router,
            call,
            selection,
            request,
            position: 0,
            failed: Vec::new(),
        })
    }

    /// The next attempt, already started, with its deadline; `None` when nothing can help.
    async fn next(
        &mut self,
    ) -> Result<Option<(Attempt, &'a OpenAiCompatible, Instant)>, RouteError> {
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
        self.request.model.clone_from(&model.id);
        self.request.max_tokens = self.call.max_tokens.or(model.max_tokens);
        let router = self.router;
        let Some(client) = router.clients.0.get(&model.provider) else {
            // Clients are made for every provider of the catalogue; this is for the compiler.
            return Err(self.exhausted());
        };
        let attempt = Attempt::start(
            &router.metrics,
            &self.call,
            &self.selection,
            &model,
            position,
        );
        let deadline = (Instant::now() + router.attempt_timeout).min(self.call.deadline);
        Ok(Some((attempt, client, deadline)))
    }

    fn failed(&mut self, attempt: Attempt, fault: &Fault) {
        attempt.fail(fault);
        self.failed.push(Failed {
            position: self.position,
            kind: fault.kind,
            retry_after: fault.retry_after,
        });
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

/// Passes the steps on and records the attempt when they end; a drop before that records itself.
fn recorded(
    mut attempt: Attempt,
    model: Arc<str>,
    held: Vec<Delta>,
    rest: DeltaStream,
) -> BoxStream<'static, Result<Delta, RouteError>> {
    let mut deltas = futures::stream::iter(held.into_iter().map(Ok)).chain(rest);
    stream! {
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(delta) => {
                    if let Some(usage) = &delta.usage {
                        attempt.used(usage);
                    }
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
        attempt.succeed();
    }
    .boxed()
}
