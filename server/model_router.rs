//! Chooses a model for a request, tries it and its fallbacks, and records every attempt.
//!
//! The flags say which variant the caller is in, the [`catalog`] has the route of (variant, task),
//! [`Route::select`] puts the two together, and each model of the route gets one [`attempt`] until one
//! answers or none can help. A fallback's success does not erase the failure before it: both are
//! events, and both count.

mod attempt;
pub mod breaker;
mod breakers;
pub mod bundle;
mod call;
pub mod catalog;
mod catalog_in_use;
mod clients;
mod concurrency_limit;
mod exposition;
mod keys;
mod next;
pub mod privacy;
mod questions;
pub mod quota;
mod reasoning_state;
mod recorder;
mod repeats;
pub mod route;
mod streaming;
pub mod told;
mod trail;
mod walk;
pub mod watch;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout_at,
};

use self::{
    breaker::BreakerState,
    catalog::Catalog,
    catalog_in_use::CatalogInUse,
    quota::{AccountStanding, AllowedByProvider, store::QuotaStore},
    streaming::{recorded, until_answer, until_first_token},
    walk::{Asks, Walk, texts},
    watch::ModelWatch,
};
pub use self::{
    call::{Answer, AnswerStream, Call, RouteError, Urgency},
    clients::Clients,
    exposition::describe,
    questions::Question,
    recorder::Recorder,
    route::Route,
    trail::{AttemptEnd, Trail, Tried},
};
use crate::{
    _core::{
        assignment::Subject,
        feature_flags::{FeatureFlags, LiveShares},
    },
    providers::{
        fault::{Fault, FaultKind},
        listing::Listed,
        masking,
        openai_compatible::ClientError,
    },
    recording::texts::Keep,
    telemetry::Telemetry,
};

/// Fallbacks that are tried after the first model, at most, as on the TypeScript server.
const MAX_FALLBACKS: usize = 2;

/// Why nobody can get an answer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The catalog does not have it.
    FromCatalog,
    /// Its provider does not offer it, and has refused a request for it.
    FromProvider,
}

/// What came of a look at a provider's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListLook {
    /// What it has was taken note of; or that it has no list.
    Taken,
    /// It was not believed.
    Doubted,
    /// Another catalog is in use by now.
    Outdated,
}

/// Chooses, tries, falls back and records; shared by everything that asks models.
pub struct ModelRouter {
    in_use: ArcSwap<CatalogInUse>,
    rules: Option<breaker::Rules>,
    watch: ModelWatch,
    adopted: Notify,
    /// Who wants questions to be judged, if somebody does.
    questions: OnceLock<mpsc::Sender<Question>>,
    flags: Arc<FeatureFlags>,
    metrics: Arc<dyn Recorder>,
    telemetry: Telemetry,
    texts: Keep,
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
            in_use: ArcSwap::from_pointee(CatalogInUse::new(catalog, clients)),
            rules: None,
            watch: ModelWatch::default(),
            adopted: Notify::new(),
            questions: OnceLock::new(),
            flags,
            metrics,
            telemetry: Telemetry::default(),
            texts: Keep::default(),
            attempt_timeout,
            max_fallbacks: MAX_FALLBACKS,
        }
    }

    /// Tries this many fallbacks after the first model, at most; 2 unless said.
    pub fn with_max_fallbacks(mut self, max_fallbacks: usize) -> Self {
        self.max_fallbacks = max_fallbacks;
        self
    }

    /// Records attempts by this as well.
    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Keeps texts like this; none where nothing is said.
    pub fn with_texts(mut self, texts: Keep) -> Self {
        self.texts = texts;
        self
    }

    /// Leaves models alone that fail, by these rules; without rules it does not.
    pub fn with_breakers(mut self, rules: Option<breaker::Rules>) -> Self {
        self.rules = rules;
        let in_use = CatalogInUse::clone(&self.in_use.load()).with_breakers(rules);
        self.in_use.store(Arc::new(in_use));
        self
    }

    /// Clients for another catalog; those without their key call `sandbox` (a base URL) instead.
    pub fn clients_of(
        &self,
        catalog: &Catalog,
        sandbox: Option<&str>,
    ) -> Result<Clients, ClientError> {
        self.in_use.load().clients.renewed(catalog, sandbox)
    }

    /// Goes on with another catalog. A call that has chosen its route goes its way to the end with the one
    /// before. Breakers of models that stay and what our accounts have used go on.
    pub async fn adopt(&self, catalog: Catalog, clients: Clients) {
        let before = self.in_use.load_full();
        let in_use = before.renewed(catalog, clients, self.rules);
        in_use.quotas.catch_up().await;
        let in_use = Arc::new(in_use);
        self.in_use.store(in_use.clone());
        self.watch.keep(|model| in_use.has_as(&before, model));
        self.adopted.notify_one();
    }

    /// Resolves when another catalog is in use; of those who wait, one hears of it.
    pub async fn adopted(&self) {
        self.adopted.notified().await;
    }

    /// What the breaker of a model lets through now; `None` where it has none.
    pub fn breaker(&self, model: &str) -> Option<BreakerState> {
        self.in_use.load().breakers.state(model)
    }

    /// How long ago the breaker of a model opened that is not closed again.
    pub fn breaker_opened(&self, model: &str) -> Option<Duration> {
        self.in_use.load().breakers.opened(model)
    }

    /// Attempts at a provider's models that are under way; `None` of one that is not known.
    pub fn in_flight(&self, provider: &str) -> Option<usize> {
        let in_use = self.in_use.load();
        Some(in_use.clients.of.get(provider)?.in_flight())
    }

    /// Goes on with what an earlier process used of our accounts' quotas, and keeps what this one uses.
    pub async fn restore_quotas(&self, store: Arc<dyn QuotaStore>) -> anyhow::Result<()> {
        self.in_use.load().quotas.restore(store).await
    }

    /// Our keys at the providers by the variables that hold them, and whether each is in use: provider,
    /// variable, and that.
    pub fn keys(&self) -> Vec<(String, String, bool)> {
        let in_use = self.in_use.load();
        let mut all = Vec::new();
        for (provider, client) in in_use.clients.of.iter() {
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
    pub fn quota(&self, account: &str) -> Option<AccountStanding> {
        self.in_use.load().quotas.standing(account)
    }

    /// What providers said with their last answers of the models of an account, by its label.
    pub fn allowed(&self, account: &str) -> Vec<AllowedByProvider> {
        self.in_use.load().quotas.allowed(account)
    }

    /// How long a model can be asked by none of our accounts, where its provider said so of each.
    pub fn rests(&self, model: &catalog::Model) -> Option<Duration> {
        let in_use = self.in_use.load();
        let provider = in_use.catalog.provider(&model.provider)?;
        let accounts = provider.accounts().into_iter();
        let rests = accounts.map(|(label, _)| in_use.quotas.rests(&label, model));
        rests.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Whether some rollout is under way.
    fn is_in_rollout(&self) -> bool {
        let live = self.flags.live();
        live.rollouts
            .iter()
            .any(|it| it.is_open && it.ended.is_none())
    }

    /// What providers list of their models.
    pub fn watch(&self) -> &ModelWatch {
        &self.watch
    }

    /// Asks a provider which models it lists, and takes note of it, unless another catalog took the place of this
    /// one meanwhile. A list that `is_believed` does not want changes nothing.
    ///
    /// # Errors
    ///
    /// Why it could not be read.
    pub async fn look_at(
        &self,
        catalog: &Arc<Catalog>,
        provider: &str,
        is_believed: impl FnOnce(&[Listed]) -> bool,
        at: impl FnOnce() -> DateTime<Utc>,
    ) -> Result<ListLook, Fault> {
        let in_use = self.in_use.load_full();
        let client = in_use.clients.get(provider);
        let key = client.and_then(|client| client.keys.0.first());
        let (true, Some(key)) = (Arc::ptr_eq(&in_use.catalog, catalog), key) else {
            return Ok(ListLook::Outdated);
        };
        let listed = match key.api.models().await {
            Ok(listed) => Some(listed),
            Err(fault) if matches!(fault.status, Some(404 | 405 | 501)) => None,
            Err(fault) => return Err(fault),
        };
        if !Arc::ptr_eq(&self.in_use.load().catalog, catalog) {
            return Ok(ListLook::Outdated);
        }
        match listed {
            None => self.watch.not_told(catalog, provider, at()),
            Some(listed) if is_believed(&listed) => {
                self.watch.listed(catalog, provider, &listed, at());
            }
            Some(_) => return Ok(ListLook::Doubted),
        }
        Ok(ListLook::Taken)
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

    /// The shares and the kill switch that decide now; others may take their place.
    pub fn live(&self) -> Arc<LiveShares> {
        self.flags.live()
    }

    /// The catalog in use now; another may take its place.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.in_use.load().catalog.clone()
    }

    /// Which models a request of this subject for this task is put to, and why; nothing is sent. `model`
    /// is one of the catalog that the caller insists on. The subject is `None` for callers without an id.
    pub fn select(
        &self,
        task: &str,
        subject: Option<&Subject>,
        model: Option<&str>,
    ) -> Result<Route, RouteError> {
        let in_use = self.in_use.load_full();
        let (catalog, flags, most) = (&in_use.catalog, &self.flags, self.max_fallbacks);
        let gone = self.watch.gone();
        let route = Route::select(catalog, flags, &gone, task, subject, model, most)?;
        Ok(route.by(in_use))
    }

    /// The route of a caller that names a model and no task: that model alone. Nobody decides about it.
    pub fn select_model(
        &self,
        model: &str,
        subject: Option<&Subject>,
    ) -> Result<Route, RouteError> {
        let in_use = self.in_use.load_full();
        let route = Route::of_model(&in_use.catalog, model, None, subject)?;
        Ok(route.by(in_use))
    }

    /// The primary of a task's control route alone, for what no rollout decides about.
    pub fn select_control(
        &self,
        task: &str,
        subject: Option<&Subject>,
    ) -> Result<Route, RouteError> {
        let in_use = self.in_use.load_full();
        let route = Route::of_control(&in_use.catalog, task, subject)?;
        Ok(route.by(in_use))
    }

    /// One model alone for texts of a task, of whose privacy it has to be worthy. Nobody decides about it, and it is
    /// recorded as a model that is named.
    pub fn select_alone(&self, task: &str, model: &str) -> Result<Route, RouteError> {
        let in_use = self.in_use.load_full();
        let route = Route::alone(&in_use.catalog, task, model)?;
        Ok(route.by(in_use))
    }

    /// The same, but told nothing first: it reads texts of the task, and does not do what the task's models do.
    pub fn select_reader(&self, task: &str, model: &str) -> Result<Route, RouteError> {
        let in_use = self.in_use.load_full();
        let route = Route::reader(&in_use.catalog, task, model)?;
        Ok(route.by(in_use))
    }

    /// The whole answer of the first model of the route that gives one.
    pub async fn complete(&self, route: &Route, call: Call) -> Result<Answer, RouteError> {
        self.offer(route, &call);
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
                    if let Some(note) = &mut walk.note {
                        texts::answered(note, &completion);
                    }
                    if let Some(told) = step.attempt.texts() {
                        completion.written().for_each(|text| told.add(text));
                    }
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
        self.offer(route, &call);
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
                    let mut note = walk.note.take();
                    let deltas = futures::stream::iter(held.into_iter().map(Ok)).chain(rest);
                    let told = attempt.texts();
                    let deltas = deltas.inspect(move |step| {
                        let Ok(step) = step else {
                            return;
                        };
                        if let Some(note) = &mut note {
                            texts::heard(note, step);
                        }
                        if let Some(told) = &told {
                            step.written().for_each(|text| told.add(text));
                        }
                    });
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
