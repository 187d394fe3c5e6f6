//! The routes of the port: every wire with what it works with.

use std::sync::Arc;

use anyhow::Context as _;

use super::{
    filling::Filling,
    prometheus::{self, Gauges},
};
use crate::{
    _core::{call_limits::CallLimits, context::Holds, registry::Registry, tasks::Tasks},
    config::Config,
    dashboard::{self, Export},
    gateway::{self, Cache, Gateway},
    keys::{ApiKeys, Spending, WrongKeys},
    legacy::{self, OldServer},
    live_flags::LiveFlags,
    migration::{self, Moves, compare::ComparedPart},
    model_router::ModelRouter,
    schema,
    storage::Storage,
    transport::{
        self,
        bounds::Bounds,
        gate::Gate,
        jsonrpc::{self, JsonRpc},
        mcp,
        operations::Readiness,
        sign_in::{self, SignIn},
        trpc,
    },
};

/// What the wires work with.
pub(super) struct WireParts<'a> {
    pub(super) config: &'a Config,
    pub(super) registry: Arc<Registry>,
    pub(super) gate: Arc<Gate>,
    pub(super) models: Arc<ModelRouter>,
    pub(super) spending: Arc<Spending>,
    pub(super) cache: Arc<Cache>,
    pub(super) storage: &'a Storage,
    pub(super) limits: CallLimits,
    pub(super) tasks: &'a Tasks,
    pub(super) bounds: &'a Bounds,
    pub(super) readiness: Readiness,
    pub(super) gauges: Gauges,
    pub(super) old: Option<Arc<OldServer>>,
    pub(super) moves: Option<Arc<Moves>>,
}

/// All routes. Fails where a procedure has a name that JSON-RPC needs for itself.
pub(super) fn router(parts: WireParts<'_>) -> anyhow::Result<axum::Router> {
    let WireParts {
        config,
        registry,
        gate,
        models,
        spending,
        cache,
        storage,
        limits,
        tasks,
        bounds,
        readiness,
        gauges,
        old,
        moves,
    } = parts;
    let store = Arc::new(storage.clone());
    let trpc = Arc::new(trpc::Trpc {
        registry: registry.clone(),
        gate: gate.clone(),
        config: config.trpc.clone(),
        tasks: tasks.clone(),
        bounds: bounds.clone(),
        old: old.clone(),
        moves,
    });
    let moving = old.is_some().then(|| trpc.clone());
    let trpc = trpc::routes(trpc);
    let gateway = gateway::routes(Gateway {
        models,
        gate: gate.clone(),
        bounds: bounds.clone(),
        keys: ApiKeys::new(store.clone()),
        wrong_keys: WrongKeys::new(config.models.wrong_keys_per_minute),
        spending,
        limits,
        cache,
        tasks: tasks.clone(),
    });
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
    let sign_in = sign_in::routes(SignIn {
        gate: gate.clone(),
        links: store.clone(),
        app_id: config.auth.app_id.clone(),
        session_ttl: config.auth.session_ttl,
        oidc: config.auth.oidc.clone(),
        public_url: config.public_url(),
        people: store,
    })?;
    let metrics = transport::metrics::routes(
        Arc::new(move || gauges.render()),
        prometheus::readers(config),
    );
    Ok(transport::router(transport::PortParts {
        documents,
        dashboard: dashboard::routes(export),
        status: config.server.status_page,
        sign_in,
        proxy: config.auth.proxy.clone(),
        gate,
        tasks: tasks.clone(),
        turns: bounds.turns.clone(),
        allowed_origins: config.server.allowed_origins.clone(),
        readiness,
        metrics,
        trpc,
        jsonrpc,
        mcp,
        gateway,
        old,
    }))
}

/// The server that this one takes the place of; its answers take of the same memory as ours.
pub(super) fn old_server(
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

/// Who answers what both servers have.
pub(super) async fn moves(
    config: &Config,
    store: Arc<Storage>,
) -> anyhow::Result<Option<Arc<Moves>>> {
    let Some(settings) = &config.legacy else {
        return Ok(None);
    };
    // The settings were checked to be of this form.
    let parts = |texts: &[String]| {
        texts
            .iter()
            .filter_map(|it| ComparedPart::parse(it))
            .collect()
    };
    let settings = migration::Settings {
        kept: settings.procedures.clone(),
        algorithm: config.flags.algorithm,
        salt: config.flags.salt.clone(),
        may_differ: parts(&settings.may_differ),
        unordered: parts(&settings.unordered),
        tolerated: settings.tolerated_differences,
        shadows: settings.max_shadows,
    };
    let moves = Moves::open(store, settings).await;
    moves
        .map(Some)
        .context("cannot read who answers which procedures")
}

/// Why the server cannot serve just now: the database, a kill that is not stored, figures that are not
/// whole.
pub(super) fn readiness(
    storage: &Storage,
    live: &Arc<LiveFlags>,
    filling: &Arc<Filling>,
    moves: Option<&Arc<Moves>>,
) -> Readiness {
    let (probe, live, filling) = (Arc::new(storage.probe()), live.clone(), filling.clone());
    let moves = moves.cloned();
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
