//! The routes of the port: every wire with what it works with.

use std::sync::Arc;

use super::{
    areas::Areas,
    prometheus::{self, Gauges},
    upkeep,
};
use crate::{
    _core::{auth::Authenticator, context::Holds, registry::Registry, site::Site, tasks::Tasks},
    config::Config,
    dashboard::{self, Export},
    gateway::{self, Cache, Gateway},
    keys::{ApiKeys, WrongKeys},
    legacy::{self, OldServer},
    schema,
    transport::{
        self,
        bounds::Bounds,
        gate::CallerGate,
        jsonrpc::{self, JsonRpc},
        mcp,
        operations::Readiness,
        sign_in::{self, SignIn},
        trpc,
    },
};

/// All routes. Fails where a procedure has a name that JSON-RPC needs for itself.
pub(super) fn router(
    config: &Config,
    areas: &Areas,
    registry: Arc<Registry>,
    authenticator: Arc<Authenticator>,
) -> anyhow::Result<axum::Router> {
    let Areas { bounds, tasks, .. } = areas;
    let gate = Arc::new(CallerGate::new(
        authenticator,
        config.server.allowed_origins.clone(),
        Site::new(config.environment, &config.auth.site),
    ));
    let old = old_server(config, &registry, bounds, tasks)?;
    let trpc = Arc::new(trpc::Trpc {
        registry: registry.clone(),
        gate: gate.clone(),
        config: config.trpc.clone(),
        tasks: tasks.clone(),
        bounds: bounds.clone(),
        old: old.clone(),
        moves: areas.moves.clone(),
    });
    let moving = old.is_some().then(|| trpc.clone());
    let trpc = trpc::routes(trpc);
    let documents = Arc::new(schema::Documents::new(
        registry.clone(),
        config.trpc.transformer,
        config.trpc.method_override,
    ));
    let export = Export {
        registry: registry.clone(),
        gate: gate.clone(),
    };
    let mcp = mcp::routes(
        &registry,
        config.mcp_tools,
        gate.clone(),
        bounds.clone(),
        moving.clone(),
    );
    let jsonrpc = jsonrpc::routes(JsonRpc {
        registry,
        gate: gate.clone(),
        config: config.jsonrpc.clone(),
        ping_interval: config.trpc.ping_interval,
        tasks: tasks.clone(),
        bounds: bounds.clone(),
        documents: documents.clone(),
        moving,
    })?;
    Ok(transport::router(transport::PortParts {
        documents,
        dashboard: dashboard::routes(export),
        status: config.server.status_page,
        sign_in: sign_in(config, areas, &gate)?,
        proxy: config.auth.proxy.clone(),
        gate: gate.clone(),
        tasks: tasks.clone(),
        turns: bounds.turns.clone(),
        allowed_origins: config.server.allowed_origins.clone(),
        readiness: readiness(areas),
        metrics: metrics(config, areas),
        trpc,
        jsonrpc,
        mcp,
        gateway: gateway(config, areas, &gate),
        old,
    }))
}

/// OpenAI's and Anthropic's APIs, with a cache of answers that is emptied where a rollout goes back.
fn gateway(config: &Config, areas: &Areas, gate: &Arc<CallerGate>) -> axum::Router {
    let Areas { bounds, tasks, .. } = areas;
    let cache = Cache::new(
        config.models.answer_cache.bytes,
        config.models.answer_cache.age,
    );
    tasks.spawn(upkeep::purge_at_rollbacks(
        cache.clone(),
        areas.controller.clone(),
        tasks.stopping(),
    ));
    gateway::routes(Gateway {
        models: areas.models.clone(),
        gate: gate.clone(),
        bounds: bounds.clone(),
        keys: ApiKeys::new(Arc::new(areas.storage.clone())),
        wrong_keys: WrongKeys::new(config.models.wrong_keys_per_minute),
        spending: areas.spending.clone(),
        limits: areas.limits.clone(),
        cache,
        tasks: tasks.clone(),
    })
}

fn sign_in(config: &Config, areas: &Areas, gate: &Arc<CallerGate>) -> anyhow::Result<axum::Router> {
    let store = Arc::new(areas.storage.clone());
    sign_in::routes(SignIn {
        gate: gate.clone(),
        links: store.clone(),
        app_id: config.auth.app_id.clone(),
        session_ttl: config.auth.session_ttl,
        oidc: config.auth.oidc.clone(),
        public_url: config.public_url(),
        people: store,
    })
}

fn metrics(config: &Config, areas: &Areas) -> axum::Router {
    let gauges = Gauges {
        flags: areas.flags.clone(),
        log: areas.log.clone(),
        controller: areas.controller.clone(),
        bounds: areas.bounds.clone(),
        models: areas.models.clone(),
    };
    transport::metrics::routes(
        Arc::new(move || gauges.render()),
        prometheus::readers(config),
    )
}

/// The server that this one takes the place of; its answers take of the same memory as ours.
fn old_server(
    config: &Config,
    registry: &Registry,
    bounds: &Bounds,
    tasks: &Tasks,
) -> anyhow::Result<Option<Arc<OldServer>>> {
    let Some(settings) = &config.legacy else {
        return Ok(None);
    };
    let procedures: Vec<&str> = registry.iter().map(|it| it.path).collect();
    if let Some(pattern) = legacy::idle_pattern(&settings.procedures, &procedures) {
        anyhow::bail!("LEGACY_PROCEDURES names `{pattern}`, which this server has not");
    }
    let budget = bounds.budget.clone();
    let room = Arc::new(move |bytes| budget.hold(bytes).map(Holds::new));
    Ok(Some(Arc::new(OldServer::new(
        settings.clone(),
        room,
        tasks.clone(),
    )?)))
}

/// Why the server cannot serve just now: the database, a kill that is not stored, figures that are not
/// whole.
fn readiness(areas: &Areas) -> Readiness {
    let probe = Arc::new(areas.storage.probe());
    let (live, filling) = (areas.live.clone(), areas.filling.clone());
    let moves = areas.moves.clone();
    Arc::new(move || {
        let (probe, live, filling) = (probe.clone(), live.clone(), filling.clone());
        let moves = moves.clone();
        Box::pin(async move {
            let reason = probe.reason().await.map(str::to_owned);
            let reasons = reason.into_iter().chain(live.trouble());
            let of_moves = moves.and_then(|moves| moves.trouble());
            reasons.chain(filling.trouble()).chain(of_moves).collect()
        })
    })
}
