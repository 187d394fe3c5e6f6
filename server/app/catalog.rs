//! What follows from the catalog of models: the sandbox, where requests go, what plans may name.

use anyhow::Context as _;

use crate::{
    _core::{suggest, toml_reader::FileError},
    alerting::{Alert, Outbox},
    chat,
    config::Config,
    model_router::catalog::{Catalog, ProviderAccess},
    providers::{
        openrouter,
        sandbox::{Sandbox, SandboxPlan},
    },
    recording::texts::Keep,
    rollout::{arms::PerArm, plan::KnownNames},
};

/// The catalog as the settings have it, or all of its faults.
pub(crate) fn load(config: &Config) -> Result<Catalog, FileError> {
    Catalog::load(
        &config.models,
        &config.providers,
        config.environment,
        &[("chat.sendMessage", chat::send::TASK)],
    )
}

/// What keeps texts of the tasks that the settings name.
pub(super) fn texts(config: &Config, catalog: &Catalog) -> anyhow::Result<Keep> {
    let tasks = &config.database.text_tasks;
    if let Some(unknown) = tasks.iter().find(|name| catalog.task(name).is_none()) {
        let known = || catalog.tasks.iter().map(|task| &*task.name);
        anyhow::bail!(
            "TEXT_TASKS has `{unknown}`, which is no task of the catalog; expected some of {}{}",
            known().collect::<Vec<_>>().join(", "),
            suggest::hint(unknown, known())
        );
    }
    Ok(Keep::of(tasks.iter().cloned()))
}

/// Stores an alert for sending; whether that succeeded. A failure is logged, with the words of the alert.
pub(super) async fn send(outbox: &dyn Outbox, alert: &Alert) -> bool {
    let told = outbox.enqueue(alert).await;
    if let Err(error) = &told {
        let error = format!("{error:#}");
        tracing::error!(
            error,
            title = alert.title,
            text = alert.text,
            "an alert could not be stored"
        );
    }
    told.is_ok()
}

/// The simulated provider, where one of the catalog's has to be simulated.
pub(super) async fn sandbox(config: &Config, catalog: &Catalog) -> anyhow::Result<Option<Sandbox>> {
    if !catalog.needs_sandbox() {
        return Ok(None);
    }
    let plan = match &config.sandbox.file {
        Some(path) => SandboxPlan::load(path)?,
        None => SandboxPlan::default(),
    };
    let sandbox = Sandbox::start_with(&plan).await;
    sandbox
        .map(Some)
        .context("cannot start the sandbox provider")
}

/// Warns of an address for OpenRouter that no provider of the catalog takes.
pub(super) fn warn_of_an_unused_address(config: &Config, catalog: &Catalog) {
    let is_redirected = config.providers.openrouter_base_url != openrouter::BASE_URL;
    let mut providers = catalog.providers.iter();
    if is_redirected && !providers.any(|it| it.name == openrouter::NAME) {
        tracing::warn!(
            "OPENROUTER_BASE_URL changes nothing, as MODEL_CATALOGUE has no provider `{}`",
            openrouter::NAME
        );
    }
}

/// The names that plans of rollouts may use.
pub(crate) fn known(catalog: &Catalog) -> KnownNames {
    let tasks = catalog.tasks.iter();
    let bundles = catalog.models.iter().filter_map(|model| {
        let bundle = model.bundle.as_ref()?;
        Some((bundle.name.to_string(), model.name.to_string()))
    });
    let routes = tasks.clone().map(|task| {
        let route = |variant| names(task.route(variant).iter().map(|it| &*it.name));
        (task.name.to_string(), PerArm::of(route))
    });
    KnownNames {
        tasks: Some(names(tasks.clone().map(|task| &*task.name))),
        models: Some(names(catalog.models.iter().map(|model| model.called()))),
        routes: routes.collect(),
        bundles: bundles.collect(),
        kept_out: tasks
            .map(|task| {
                let models = catalog.models.iter();
                let kept_out = models.filter_map(|model| {
                    let why = catalog.keeps_from(&task.privacy, model)?;
                    Some((model.called().to_owned(), why))
                });
                (task.name.to_string(), kept_out.collect())
            })
            .collect(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

/// A line for each provider that a task uses: its name, where its requests go, and with what.
pub(super) fn destinations(catalog: &Catalog, sandbox_url: Option<&str>) -> Vec<String> {
    let of_tasks = catalog
        .tasks
        .iter()
        .flat_map(|task| task.candidate.iter().chain(&task.control));
    let models: Vec<_> = of_tasks.chain(&catalog.unrouted).collect();
    let is_used = |name: &str| models.iter().any(|model| model.provider == name);
    let used = catalog.providers.iter().filter(|it| is_used(&it.name));
    used.map(|provider| {
        let (name, url) = (&provider.name, &provider.base_url);
        let variable = provider.api_key_env.as_deref().unwrap_or_default();
        match &provider.access {
            ProviderAccess::Key(_) => format!("{name} at {url}, with the key in {variable}"),
            ProviderAccess::Open => format!("{name} at {url}, without a key"),
            ProviderAccess::Sandbox => format!(
                "{name} is SIMULATED by the sandbox at {}, as {variable} is not set",
                sandbox_url.unwrap_or_default()
            ),
        }
    })
    .collect()
}
