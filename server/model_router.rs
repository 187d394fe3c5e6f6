//! Chooses a model for a request, tries it and its fallbacks, and records every attempt.
//!
//! The flags say which variant the caller is in, the [`catalog`] has the route of (variant, task),
//! [`Route::select`] puts the two together, and each model of the route gets one [`attempt`] until one
//! answers or none can help. A fallback's success does not erase the failure before it: both are
//! events, and both count.

mod attempt;
pub mod breaker;
mod breakers;
pub mod catalog;
mod fleet;
mod gate;
mod keys;
mod next;
pub mod privacy;
pub mod quota;
mod reasoning_state;
mod repeats;
pub mod route;
mod streaming;
pub mod told;
mod trail;
mod walk;
pub mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use self::{
    breaker::State,
    catalog::{Access, Catalog},
    fleet::Fleet,
    gate::Gate,
    keys::{Key, Keyring},
    quota::{
        Quota, Standing,
        schedule::{Limits, Priority, Refused},
        store::QuotaStore,
    },
    streaming::{recorded, until_answer, until_first_token},
    walk::{Asks, Walk},
    watch::Watch,
};
pub use self::{
    route::Route,
    trail::{End, Trail, Tried},
};
use crate::{
    _core::{assignment::Subject, feature_flags::FeatureFlags, suggest::hint},
    ai_metrics::AiMetrics,
    providers::{
        ChatRequest, Completion, Delta,
        fault::{Fault, FaultKind},
        listing::Listed,
        masking,
        openai_compatible::{ClientError, OpenAiCompatible, http_client},
        openrouter,
    },
    recording::Event,
    telemetry::Telemetry,
};

/// One request, to be put to the models of a [`Route`].
#[derive(Clone, Debug)]
pub struct Call {
    /// Goes into the events.
    pub request_id: Arc<str>,
    /// All that the caller asks for. Which model it names is of no matter: the route's are asked.
    pub request: ChatRequest,
    /// When the whole call must be over; a streamed one, when its answer must have begun.
    pub deadline: Instant,
    /// When the last step of a stream must have come; `deadline` where it is `None`.
    pub stream_deadline: Option<Instant>,
    /// How urgent it is where an account's quota makes it wait.
    pub urgency: Urgency,
    /// Notes what became of the attempts.
    pub trail: Trail,
}

/// How urgent a call is where the quota of an account makes it wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Urgency {
    /// Who goes first.
    pub priority: Priority,
    /// When its attempt must have begun; in 30 s where it is `None`, and before the call's deadline.
    pub start_by: Option<Instant>,
    /// Requests that its conversation takes, where it has tools and the caller says.
    pub calls: Option<u32>,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's answer.
    pub completion: Completion,
    /// The catalog's name of the model that gave it.
    pub model: Arc<str>,
    /// Its place on the route: 0 for the primary, then the fallbacks.
    pub position: u8,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// The catalog has no such task.
    #[error("unknown task `{task}`; known are {known}{}", hint(task, known.split(", ")))]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// The catalog's tasks.
        known: String,
    },
    /// The catalog has no such model.
    #[error("unknown model `{model}`; known are {known}{}", hint(model, known.split(", ")))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The catalog's models.
        known: String,
    },
    /// The model that the caller insists on may not get the texts.
    #[error("{whose} keeps texts from model `{model}`: {reason}")]
    Private {
        /// Which part of the catalog demands it.
        whose: String,
        /// The model.
        model: Arc<str>,
        /// What its provider does not give.
        reason: String,
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
        /// Its name in the catalog.
        provider: String,
    },
    /// The quotas of our accounts leave no slot in time.
    #[error("the quota at `{provider}` leaves no slot in time: {} is used up", refused.reason.name())]
    OverQuota {
        /// Its name in the catalog.
        provider: String,
        /// What, and when to come back.
        refused: Refused,
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
        self.log()?.begin(event, started)
    }

    fn close(&self, number: u64) -> bool {
        self.log().is_some_and(|log| log.close(number))
    }

    fn record(&self, event: Event) {
        Self::record(self, event);
    }
}

/// Between two questions for a quota that others may use as well.
const QUOTA_INTERVAL: Duration = Duration::from_secs(600);
/// The same after one that was not answered; twice as long after each further one.
const QUOTA_RETRY: Duration = Duration::from_secs(60);

/// Fallbacks that are tried after the first model, at most, as on the TypeScript server.
const MAX_FALLBACKS: usize = 2;

/// One client for each provider of a catalog.
#[derive(Clone, Debug)]
pub struct Clients {
    http: reqwest::Client,
    of: Arc<HashMap<String, Client>>,
}

#[derive(Clone, Debug)]
struct Client {
    keys: Keyring,
    gate: Gate,
    max_in_flight: usize,
}

impl Clients {
    /// Clients for all providers; those without their key call `sandbox` (a base URL) instead.
    pub fn connect(catalog: &Catalog, sandbox: Option<&str>) -> Result<Self, ClientError> {
        let (http, of) = (http_client()?, Arc::default());
        Self { http, of }.renewed(catalog, sandbox)
    }

    /// Clients for the providers of another catalog, over the same connections.
    fn renewed(&self, catalog: &Catalog, sandbox: Option<&str>) -> Result<Self, ClientError> {
        let client = |provider: &catalog::Provider| {
            let (base_url, secret) = match &provider.access {
                Access::Open => (provider.base_url.as_str(), None),
                Access::Key(key) => (provider.base_url.as_str(), Some(key.clone())),
                Access::Sandbox => (sandbox.unwrap_or(&provider.base_url), None),
            };
            let key = |secret, account, weight, variable: Option<&String>| {
                let headers = provider.headers.iter();
                let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
                let api = OpenAiCompatible::new(self.http.clone(), base_url, secret, headers)?;
                Ok::<_, ClientError>(Arc::new(Key {
                    api: Arc::new(api),
                    account,
                    weight,
                    variable: variable.cloned(),
                    rest: Mutex::default(),
                }))
            };
            let variable = provider.api_key_env.as_ref();
            let mut keys = vec![key(
                secret,
                provider.name.clone(),
                provider.weight,
                variable,
            )?];
            for further in &provider.keys {
                if let (Some(secret), Access::Key(_)) = (&further.key, &provider.access) {
                    let (account, variable) = (provider.label_of(further), &further.api_key_env);
                    let secret = Some(secret.clone());
                    keys.push(key(secret, account, further.weight, Some(variable))?);
                }
            }
            let max_in_flight = provider.max_in_flight;
            let before = self.of.get(&provider.name);
            let before = before.filter(|it| it.max_in_flight == max_in_flight);
            let client = Client {
                keys: Keyring(keys.into()),
                gate: before.map_or_else(|| Gate::new(max_in_flight), |it| it.gate.clone()),
                max_in_flight,
            };
            Ok((provider.name.clone(), client))
        };
        let clients = catalog.providers.iter().map(client);
        Ok(Self {
            http: self.http.clone(),
            of: Arc::new(clients.collect::<Result<_, ClientError>>()?),
        })
    }

    fn get(&self, provider: &str) -> Option<&Client> {
        self.of.get(provider)
    }
}

/// Why nobody can get an answer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The catalog does not have it.
    FromCatalog,
    /// Its provider does not offer it, and has refused a request for it.
    FromProvider,
}

/// A streamed answer that has begun.
pub struct AnswerStream {
    /// The catalog's name of the model that gives it.
    pub model: Arc<str>,
    /// Its place on the route: 0 for the primary, then the fallbacks.
    pub position: u8,
    /// Its steps. Dropping them cancels the call, which is recorded.
    pub deltas: BoxStream<'static, Result<Delta, RouteError>>,
}

/// Chooses, tries, falls back and records; shared by everything that asks models.
pub struct ModelRouter {
    fleet: ArcSwap<Fleet>,
    rules: Option<breaker::Rules>,
    watch: Watch,
    adopted: Notify,
    /// Counts the catalogs that took the place of another.
    generation: AtomicU64,
    flags: Arc<FeatureFlags>,
    metrics: Arc<dyn Recorder>,
    telemetry: Telemetry,
    attempt_timeout: Duration,
    max_fallbacks: usize,
}

impl ModelRouter {
    /// A router over a catalog whose providers all have a client. One attempt, or the wait for
    /// the first token of a stream, takes `attempt_timeout` at most.
    pub fn new(
        catalog: Catalog,
        clients: Clients,
        flags: Arc<FeatureFlags>,
        metrics: Arc<dyn Recorder>,
        attempt_timeout: Duration,
    ) -> Self {
        Self {
            fleet: ArcSwap::from_pointee(Fleet::new(catalog, clients)),
            rules: None,
            watch: Watch::default(),
            adopted: Notify::new(),
            generation: AtomicU64::new(0),
            flags,
            metrics,
            telemetry: Telemetry::default(),
            attempt_timeout,
            max_fallbacks: MAX_FALLBACKS,
        }
    }

    /// Tries this many fallbacks after the first model, at most; 2 unless said.
    pub fn with_max_fallbacks(mut self, max_fallbacks: usize) -> Self {
        self.max_fallbacks = max_fallbacks;
        self
    }

    /// Tells of attempts like this.
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Leaves models alone that fail, by these rules; without rules it does not.
    pub fn with_breakers(mut self, rules: Option<breaker::Rules>) -> Self {
        self.rules = rules;
        let fleet = Fleet::clone(&self.fleet.load()).with_breakers(rules);
        self.fleet.store(Arc::new(fleet));
        self
    }

    /// Clients for another catalog; those without their key call `sandbox` (a base URL) instead.
    pub fn clients_of(
        &self,
        catalog: &Catalog,
        sandbox: Option<&str>,
    ) -> Result<Clients, ClientError> {
        self.fleet.load().clients.renewed(catalog, sandbox)
    }

    /// Goes on with another catalog. A call that has chosen its route goes its way to the end with the one
    /// before. Breakers of models that stay and what our accounts have used go on.
    pub async fn adopt(&self, catalog: Catalog, clients: Clients) {
        let fleet = self.fleet.load().renewed(catalog, clients, self.rules);
        fleet.quotas.catch_up().await;
        self.fleet.store(Arc::new(fleet));
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.adopted.notify_one();
    }

    /// Resolves when another catalog is in use; of those who wait, one hears of it.
    pub async fn adopted(&self) {
        self.adopted.notified().await;
    }

    /// What the breaker of a model lets through now; `None` where it has none.
    pub fn breaker(&self, model: &str) -> Option<State> {
        self.fleet.load().breakers.state(model)
    }

    /// Goes on with what an earlier process used of our accounts' quotas, and keeps what this one uses.
    pub async fn restore_quotas(&self, store: Arc<dyn QuotaStore>) -> anyhow::Result<()> {
        self.fleet.load().quotas.restore(store).await
    }

    /// Our keys at the providers by the variables that hold them, and whether each is in use: provider,
    /// variable, and that.
    pub fn keys(&self) -> Vec<(String, String, bool)> {
        let fleet = self.fleet.load();
        let mut all = Vec::new();
        for (provider, client) in fleet.clients.of.iter() {
            for key in client.keys.0.iter() {
                if let Some(variable) = &key.variable {
                    all.push((provider.clone(), variable.clone(), key.is_usable()));
                }
            }
        }
        all
    }

    /// How an account of ours stands, by its label: the provider's name, or `NAME/ACCOUNT`. `None` where no
    /// quota of it is known.
    pub fn quota(&self, account: &str) -> Option<Standing> {
        self.fleet.load().quotas.standing(account)
    }

    /// Asks OpenRouter what our account may do with models that cost nothing, as often as that is worth
    /// it. Other providers do not tell.
    pub async fn watch_quotas(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let watch = async {
            let mut retry = QUOTA_RETRY;
            loop {
                let pause = match self.learn_quotas().await {
                    Ok(()) => QUOTA_INTERVAL,
                    // A server that speaks the same and has nothing to tell.
                    Err(fault) if fault.kind == FaultKind::NotFound => QUOTA_INTERVAL,
                    Err(fault) => {
                        tracing::warn!(
                            kind = fault.kind.name(),
                            "OpenRouter does not tell our account's quota"
                        );
                        fault
                            .retry_after
                            .unwrap_or(retry)
                            .clamp(retry, QUOTA_INTERVAL)
                    }
                };
                retry = match pause {
                    QUOTA_INTERVAL => QUOTA_RETRY,
                    _ => (retry * 2).min(QUOTA_INTERVAL),
                };
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = stop => {}
        }
    }

    async fn learn_quotas(&self) -> Result<(), Fault> {
        let fleet = self.fleet.load_full();
        let providers = fleet.catalog.providers.iter();
        let mut asked = providers
            .filter(|it| it.name == openrouter::NAME && matches!(it.access, Access::Key(_)));
        let Some((provider, client)) =
            asked.find_map(|it| Some((it, fleet.clients.get(&it.name)?)))
        else {
            return Ok(());
        };
        let mut failed = Ok(());
        for (account, quota) in provider.accounts() {
            let mut keys = client.keys.0.iter().filter(|key| key.account == account);
            // One that is refused is no use.
            let key = keys.clone().find(|key| key.is_usable()).or(keys.next());
            let Some(key) = key else {
                continue;
            };
            let free = match key.api.free_requests().await {
                Ok(Some(free)) => free,
                Ok(None) => continue,
                Err(fault) => {
                    failed = Err(fault);
                    continue;
                }
            };
            let told = Limits {
                minute: Some(openrouter::FREE_A_MINUTE),
                day: Some(free.limit),
            };
            let known = Quota {
                limits: quota.unwrap_or(told),
                used: free.used,
                only_free: quota.is_none(),
            };
            fleet.quotas.learn(&account, known);
        }
        failed
    }

    /// Whether some rollout is under way.
    fn is_in_rollout(&self) -> bool {
        let live = self.flags.live();
        live.rollouts
            .iter()
            .any(|it| it.is_open && it.ended.is_none())
    }

    /// What providers tell of their models.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The models that a provider lists; `None` where it has no list.
    pub async fn listed_by(&self, provider: &str) -> Result<Option<Vec<Listed>>, Fault> {
        let fleet = self.fleet.load_full();
        let Some(client) = fleet.clients.get(provider) else {
            return Ok(None);
        };
        let Some(key) = client.keys.0.first() else {
            return Ok(None);
        };
        match key.api.models().await {
            Ok(listed) => Ok(Some(listed)),
            Err(fault) if matches!(fault.status, Some(404 | 405 | 501)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Why nobody can get an answer of a model; `None` where that is not known.
    pub fn gone(&self, model: &str) -> Option<Gone> {
        if self.catalog().model(model).is_none() {
            Some(Gone::FromCatalog)
        } else if self.watch.gone().contains(model) {
            Some(Gone::FromProvider)
        } else {
            None
        }
    }

    /// The number of the catalog in use: each that takes the place of another has the next one.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The catalog in use now; another may take its place.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.fleet.load().catalog.clone()
    }

    /// Which models a request of this subject for this task is put to, and why; nothing is sent. `model`
    /// is one of the catalog that the caller insists on. The subject is `None` for callers without an id.
    pub fn select(
        &self,
        task: &str,
        subject: Option<&Subject>,
        model: Option<&str>,
    ) -> Result<Route, RouteError> {
        let fleet = self.fleet.load_full();
        let (catalog, flags, most) = (&fleet.catalog, &self.flags, self.max_fallbacks);
        let gone = self.watch.gone();
        let route = Route::select(catalog, flags, &gone, task, subject, model, most)?;
        Ok(route.by(fleet))
    }

    /// The route of a caller that names a model and no task: that model alone. Nobody decides about it.
    pub fn select_model(
        &self,
        model: &str,
        subject: Option<&Subject>,
    ) -> Result<Route, RouteError> {
        let fleet = self.fleet.load_full();
        let route = Route::of_model(&fleet.catalog, model, None, subject)?;
        Ok(route.by(fleet))
    }

    /// The primary of a task's control route alone, for what no rollout decides about.
    pub fn select_control(
        &self,
        task: &str,
        subject: Option<&Subject>,
    ) -> Result<Route, RouteError> {
        let fleet = self.fleet.load_full();
        let route = Route::of_control(&fleet.catalog, task, subject)?;
        Ok(route.by(fleet))
    }

    /// One model alone for texts of a task, of whose privacy it has to be worthy. Nobody decides about it, and it is
    /// recorded as a model that is named.
    pub fn select_alone(&self, task: &str, model: &str) -> Result<Route, RouteError> {
        let fleet = self.fleet.load_full();
        let route = Route::alone(&fleet.catalog, task, model)?;
        Ok(route.by(fleet))
    }

    /// The whole answer of the first model of the route that gives one.
    pub async fn complete(&self, route: &Route, call: Call) -> Result<Answer, RouteError> {
        let mut walk = Walk::new(self, route, call, Asks::Answer);
        while let Some(mut step) = walk.next().await? {
            match step.api.complete(&walk.call.request, step.deadline).await {
                Ok(mut completion) => {
                    match &completion.usage {
                        Some(usage) => step.attempt.used(usage),
                        None => step.attempt.wrote(&completion.raw),
                    }
                    step.attempt.ended();
                    walk.answered();
                    if let Some(vault) = &walk.vault {
                        vault.restore(&mut completion);
                    }
                    // As the caller gets it.
                    step.attempt.brought(&completion);
                    step.attempt.succeed(completion.is_refusal);
                    let (model, position) = walk.current();
                    return Ok(Answer {
                        completion,
                        model,
                        position,
                    });
                }
                Err(fault) => walk.failed(step.attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }

    /// The embeddings that the first model of the route gives, as JSON. Those of two models cannot be
    /// compared, so there is no fallback.
    pub async fn embed(&self, route: &Route, call: Call) -> Result<String, RouteError> {
        let mut route = route.clone();
        route.models.truncate(1);
        let mut walk = Walk::new(self, &route, call, Asks::Embeddings);
        while let Some(mut step) = walk.next().await? {
            match step.api.embed(&walk.call.request, step.deadline).await {
                Ok(embedded) => {
                    if let Some(usage) = &embedded.usage {
                        step.attempt.used(usage);
                    }
                    walk.answered();
                    step.attempt.succeed(false);
                    return Ok(embedded.raw);
                }
                Err(fault) => walk.failed(step.attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }

    /// A streamed answer, from where it begins. Until then the next model takes over from one that
    /// fails; after that a failure ends the stream. What a model only thinks is no beginning yet.
    pub async fn stream(&self, route: &Route, call: Call) -> Result<AnswerStream, RouteError> {
        let mut walk = Walk::new(self, route, call, Asks::Stream);
        while let Some(mut step) = walk.next().await? {
            let opened = async {
                let deltas = step.api.stream(&walk.call.request, step.end, step.idle);
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
                    step.attempt.began();
                    let (model, position) = walk.current();
                    let trail = walk.call.trail.clone();
                    let (attempt, place) = (step.attempt, step.place);
                    let deltas = futures::stream::iter(held.into_iter().map(Ok)).chain(rest);
                    // It is recorded as the caller gets it.
                    let deltas = match walk.vault.take() {
                        Some(vault) => masking::restored(deltas.boxed(), vault),
                        None => deltas.boxed(),
                    };
                    return Ok(AnswerStream {
                        deltas: recorded(attempt, place, model.clone(), trail, deltas),
                        model,
                        position,
                    });
                }
                Err(fault) => walk.failed(step.attempt, &fault),
            }
        }
        Err(walk.exhausted())
    }
}
