//! One port, all wires: tRPC below `/api/trpc`, JSON-RPC at `/rpc`, and what operators ask.

pub mod bounds;
pub mod cors;
mod csrf_cookie;
pub mod docs;
pub mod gate;
mod headers;
pub mod jsonrpc;
pub mod mcp;
pub mod metrics;
pub mod operations;
pub mod page;
mod passed_paths;
pub mod serve;
pub mod sign_in;
pub mod status;
pub mod trpc;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::Next,
};
use http::Method;

use self::{gate::CallerGate, operations::Readiness};
use crate::{
    _core::{auth::asserted::TrustedProxy, tasks::Tasks, turns::Turns},
    legacy::{self, OldServer},
    schema::Documents,
};

pub use self::serve::serve;

/// What the port serves, and what stands before it.
pub struct PortParts {
    /// The origins that browsers may call from.
    pub allowed_origins: Vec<String>,
    /// Who computes for clients takes turns.
    pub turns: Turns,
    /// Who calls, and from where.
    pub gate: Arc<CallerGate>,
    /// Says when the server stops.
    pub tasks: Tasks,
    /// The description of the procedures, at `/api/openapi.json`, and the page about them, at `/api/docs`.
    pub documents: Arc<Documents>,
    /// Whether `/status` is there.
    pub status: bool,
    /// What `/readyz` asks.
    pub readiness: Readiness,
    /// The route for Prometheus, at `/metrics`.
    pub metrics: Router,
    /// The routes of the dashboard, at `/dashboard`.
    pub dashboard: Router,
    /// Names callers, if a proxy does; its headers are taken from all other requests.
    pub proxy: Option<TrustedProxy>,
    /// The routes of sign-in, at `/login` and `/api/auth`.
    pub sign_in: Router,
    /// The routes of tRPC, at `/api/trpc`.
    pub trpc: Router,
    /// The route of JSON-RPC, at `/rpc`.
    pub jsonrpc: Router,
    /// The route of the Model Context Protocol, at `/mcp`.
    pub mcp: Router,
    /// The routes of the gateway, at `/v1`.
    pub gateway: Router,
    /// Is asked for what nothing else serves.
    pub old: Option<Arc<OldServer>>,
}

/// Where this server itself answers, whatever is passed on to the old one; `/status` only where
/// `STATUS_PAGE` is on.
pub const OWN_PATHS: [&str; 16] = [
    trpc::MOUNT,
    "/rpc",
    "/mcp",
    "/v1",
    "/login",
    "/dashboard",
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/auth/oidc",
    "/api/auth/ways",
    "/api/docs",
    "/api/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    status::PATH,
];

/// All routes of the port.
pub fn router(parts: PortParts) -> Router {
    // Paths of the old server take more methods than ours.
    let methods: &[Method] = match &parts.old {
        Some(_) => &legacy::METHODS,
        None => &[Method::GET, Method::POST],
    };
    let cors = cors::layer(&parts.allowed_origins, methods);
    // Each layer is copied and boxed for each request, with all that are below it: so there are few.
    let in_turns = |is_private: bool| {
        let turns = parts.turns.clone();
        axum::middleware::from_fn(move |request, next: Next| {
            let turns = turns.clone();
            async move {
                let mut response = turns.take(next.run(request)).await;
                if is_private {
                    headers::uncached(&mut response);
                }
                response
            }
        })
    };
    let (old, gate, proxy) = (parts.old, parts.gate.clone(), parts.proxy);
    let shown = old.clone();
    Router::new()
        .merge(parts.trpc)
        .merge(parts.sign_in)
        .merge(parts.dashboard)
        .merge(docs::routes(parts.documents, parts.gate))
        .fallback(move |request: Request| passed_paths::answer(old.clone(), gate.clone(), request))
        .layer(in_turns(false))
        .merge((parts.jsonrpc.merge(parts.mcp).merge(parts.gateway)).layer(in_turns(true)))
        // These wait for nobody.
        .merge(parts.metrics)
        .merge(match parts.status {
            true => status::routes(parts.readiness.clone()),
            false => Router::new(),
        })
        .merge(operations::routes(parts.readiness, shown, parts.tasks))
        .layer((
            axum::middleware::from_fn(move |mut request: Request, next: Next| {
                // Before anything looks at a header.
                if let Some(proxy) = &proxy {
                    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
                    let peer = peer.map(|ConnectInfo(peer)| peer.ip());
                    proxy.cleanse(request.headers_mut(), peer);
                }
                cors::completed(request, next)
            }),
            cors,
        ))
}
