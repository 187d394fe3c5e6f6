//! The catalog, its providers and models, what happens to texts there, and the plans that move users.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{Findings, database::clock};
use crate::{
    _core::{feature_flags::FeatureFlags, retry_after, units::counted},
    ai_metrics::AiMetrics,
    app::{catalog, provider_http},
    config::Config,
    model_router::{
        Call, Clients, ModelRouter, Trail, Urgency,
        catalog::{Catalog, Provider, ProviderAccess, Task, Tier},
        privacy::Privacy,
        watch::ModelFinding,
    },
    providers::{ChatMessage, ChatRequest, connection::Http},
    recording::Log,
    rollout::plan::Library,
};

/// The longest that a model may take for one word.
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for a model that thinks before it answers.
const MAX_TOKENS: u32 = 400;
/// The longest that a provider's server may take to say its time.
const CLOCK_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn look(config: &Config, call_models: bool, findings: &mut Findings) {
    let catalog = match catalog::load(config) {
        Ok(catalog) => catalog,
        Err(error) => {
            return findings.fail(
                "catalog",
                error.to_string(),
                "correct the file that `MODEL_CATALOGUE` names",
            );
        }
    };
    findings.pass(
        "catalog",
        format!(
            "{} and {}",
            counted(catalog.tasks.len(), "task"),
            counted(catalog.models.len(), "model")
        ),
    );
    let known = catalog::known(&catalog);
    match Library::load(config.rollout.plans.as_deref(), &known) {
        Ok(plans) => {
            let names: Vec<_> = plans.plans().map(|plan| plan.name.as_str()).collect();
            findings.pass(
                "plans",
                format!("these can be started: {}", names.join(", ")),
            );
        }
        Err(error) => findings.fail(
            "plans",
            error.to_string(),
            "correct the file; `modelramp simulate plan` shows what a plan can see",
        ),
    }
    privacy(&catalog, findings);
    let http = provider_http(&config.models);
    let clients = http.and_then(|http| {
        let clients = Clients::over(http.clone(), &catalog, Some(NO_SANDBOX))?;
        Ok((http, clients))
    });
    let (http, clients) = match clients {
        Ok(both) => both,
        Err(error) => {
            return findings.fail(
                "providers",
                error.to_string(),
                "correct the provider's settings",
            );
        }
    };
    let flags = Arc::new(FeatureFlags::new(config.flags.clone()));
    let metrics = Arc::new(AiMetrics::over(Arc::new(Log::default())));
    let timeout = config.models.attempt_timeout;
    let models = ModelRouter::new(catalog, clients, flags, metrics, timeout);
    providers(&http, &models, findings).await;
    quota(&models, findings).await;
    calls(&models, call_models, findings).await;
}

/// The simulated provider is not asked, so it need not run.
const NO_SANDBOX: &str = "http://127.0.0.1:9/v1";

/// Whether each task says what providers may do with its texts.
fn privacy(catalog: &Catalog, findings: &mut Findings) {
    let (said, unsaid): (Vec<_>, Vec<_>) =
        (catalog.tasks.iter()).partition(|task| *task.privacy != Privacy::default());
    let names = |tasks: &[&Task]| {
        let names: Vec<_> = tasks.iter().map(|task| &*task.name).collect();
        names.join(", ")
    };
    if !said.is_empty() {
        findings.pass(
            "privacy",
            format!("the catalog demands something for: {}", names(&said)),
        );
    }
    if !unsaid.is_empty() {
        findings.warn(
            "privacy",
            format!(
                "nothing is demanded for the texts of: {}; some providers train models with what they get",
                names(&unsaid)
            ),
            "say in the catalog what a provider may do with them (docs/privacy.md)",
        );
    }
}

/// The providers of models that a task uses.
fn used(catalog: &Catalog) -> Vec<&Provider> {
    let names: BTreeSet<_> = routed(catalog)
        .iter()
        .filter_map(|name| Some(catalog.model(name)?.provider.as_str()))
        .collect();
    let providers = catalog.providers.iter();
    providers
        .filter(|it| names.contains(it.name.as_str()))
        .collect()
}

/// The models that a task uses, each once.
fn routed(catalog: &Catalog) -> BTreeSet<Arc<str>> {
    let tasks = catalog.tasks.iter();
    let models = tasks.flat_map(|task| task.candidate.iter().chain(&task.control));
    models.map(|model| model.name.clone()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a command looks now")]
async fn providers(http: &Http, models: &ModelRouter, findings: &mut Findings) {
    let catalog = models.catalog();
    let mut has_asked_for_time = false;
    for provider in used(&catalog) {
        let name = &provider.name;
        let variable = provider.api_key_env.as_deref().unwrap_or("its key");
        if matches!(provider.access, ProviderAccess::Sandbox) {
            findings.warn(
                "providers",
                format!("{name} is simulated, as `{variable}` is not set"),
                format!("for real answers, set `{variable}`"),
            );
            continue;
        }
        if !has_asked_for_time && let Some(told) = time_at(http, &provider.base_url).await {
            clock("a provider's", told - Utc::now(), findings);
            has_asked_for_time = true;
        }
        let mut has_list = false;
        let note = |_: &[_]| {
            has_list = true;
            true
        };
        match models.look_at(&catalog, name, note, Utc::now).await {
            Ok(_) if has_list => {
                let differs = differences(models, &catalog, name);
                if differs.is_empty() {
                    findings.pass(
                        "providers",
                        format!("{name} lists all of its models that tasks use"),
                    );
                }
                for words in differs {
                    findings.fail(
                        "providers",
                        words,
                        "correct the catalog; its tasks would lose a model, or cost more than it says",
                    );
                }
            }
            Ok(_) => findings.pass("providers", format!("{name} answers, and lists no models")),
            Err(fault) => findings.fail(
                "providers",
                format!(
                    "{name} does not list its models: {} ({})",
                    fault.cause.name(),
                    fault.kind.name()
                ),
                match &provider.api_key_env {
                    Some(variable) => {
                        format!("see its address in the catalog, and the key in `{variable}`")
                    }
                    None => "see whether it runs, and its address in the catalog".to_owned(),
                },
            ),
        }
    }
}

/// In words, for the models of a provider that tasks use.
fn differences(models: &ModelRouter, catalog: &Catalog, provider: &str) -> Vec<String> {
    let routed = routed(catalog);
    let mut words = Vec::new();
    for model in catalog
        .models
        .iter()
        .filter(|it| it.provider == provider && routed.contains(&it.name))
    {
        if let Some(watched) = models.watch().of(&model.name) {
            let findings = ModelFinding::ALL.into_iter().filter(|it| watched.has(*it));
            words.extend(findings.map(|finding| watched.words(finding, model)));
        }
    }
    words
}

/// What a server says that the time is, to the second.
async fn time_at(http: &Http, base_url: &str) -> Option<DateTime<Utc>> {
    let answer = http
        .get(base_url.parse().ok()?)
        .timeout(CLOCK_PATIENCE)
        .send()
        .await
        .ok()?;
    retry_after::date(answer.headers())
}

/// What OpenRouter says that our accounts may still ask today.
async fn quota(models: &ModelRouter, findings: &mut Findings) {
    if let Err(fault) = models.learn_quotas().await {
        findings.fail(
            "quota",
            format!(
                "OpenRouter does not tell our quota: {} ({})",
                fault.cause.name(),
                fault.kind.name()
            ),
            "see whether `OPENROUTER_API_KEY` is one that holds",
        );
        return;
    }
    let catalog = models.catalog();
    let accounts = used(&catalog).into_iter().flat_map(|it| it.accounts());
    for (account, _) in accounts {
        let Some(standing) = models.quota(&account) else {
            continue;
        };
        let (Some(day), Some(left)) = (standing.limits.day, standing.free_day) else {
            continue;
        };
        let found = format!("{account} has {left} of {day} requests left today");
        match left {
            0 => findings.fail(
                "quota",
                found,
                "wait for midnight (UTC), or use another account",
            ),
            _ => findings.pass("quota", found),
        }
    }
}

/// Asks each model for one word, or says how many calls that would be.
async fn calls(models: &ModelRouter, call_models: bool, findings: &mut Findings) {
    let catalog = models.catalog();
    let routed = routed(&catalog);
    let real = routed
        .iter()
        .filter_map(|name| catalog.model(name))
        .filter(|model| {
            let provider = catalog.provider(&model.provider);
            provider.is_some_and(|it| !matches!(it.access, ProviderAccess::Sandbox))
        });
    let real: Vec<_> = real.collect();
    if real.is_empty() {
        return findings.skip("models", "all models are simulated", "set a provider's key");
    }
    if !call_models {
        let free = real.iter().filter(|it| it.tier == Tier::Free).count();
        return findings.skip(
            "models",
            format!(
                "no model was asked; that would be {}, {free} of them free",
                counted(real.len(), "call")
            ),
            "`--call-models` asks each for one word",
        );
    }
    for model in real {
        let begun = Instant::now();
        let answered = ask(models, &model.name).await;
        let ms = begun.elapsed().as_millis();
        match answered {
            Ok(()) => findings.pass("models", format!("{} answered after {ms} ms", model.name)),
            Err(why) => findings.fail(
                "models",
                format!("{} did not answer: {why}", model.name),
                "see the provider's status page; take the model out of its routes if it stays",
            ),
        }
    }
}

async fn ask(models: &ModelRouter, model: &str) -> Result<(), String> {
    let route = models
        .select_model(model, None)
        .map_err(|error| error.to_string())?;
    let request = ChatRequest {
        max_tokens: Some(MAX_TOKENS),
        ..ChatRequest::new(vec![ChatMessage::text(
            "user",
            "Reply with one word: ready",
        )])
    };
    let trail = Trail::default();
    let call = Call {
        request_id: uuid::Uuid::new_v4().to_string().into(),
        request,
        deadline: Instant::now() + PATIENCE,
        stream_deadline: None,
        urgency: Urgency::default(),
        trail: trail.clone(),
    };
    match models.complete(&route, call).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let tried = trail.attempts();
            let words: Vec<_> = tried.iter().map(|it| it.word()).collect();
            Err(format!("{error} ({})", words.join(", ")))
        }
    }
}
