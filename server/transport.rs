//! One port, all wires: tRPC below `/api/trpc`, JSON-RPC at `/rpc`, and what operators ask.

pub mod bounds;
pub mod cors;
pub mod docs;
pub mod gate;
pub mod jsonrpc;
pub mod metrics;
pub mod operations;
pub mod page;
pub mod serve;
pub mod sign_in;
pub mod trpc;

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware::Next, response::Response};
use chrono::Utc;
use http::{HeaderName, HeaderValue, header};

use self::{bounds::Bounds, gate::Gate, operations::Readiness};
use crate::{
    _core::{
        config::{JsonRpcConfig, ServerConfig},
        errors::RpcError,
        registry::Registry,
        tasks::Tasks,
    },
    schema::Documents,
};

pub use self::{jsonrpc::NameTaken, serve::serve};

/// Everything that the wires need.
pub struct Parts {
    /// What can be called.
    pub registry: Arc<Registry>,
    /// Who calls, and from where.
    pub gate: Arc<Gate>,
    /// Says when the server stops; sockets are tracked here.
    pub tasks: Tasks,
    /// What clients may take of the server.
    pub bounds: Bounds,
    /// Limits of all wires, and the origins that browsers may call from.
    pub server: ServerConfig,
    /// Limits of JSON-RPC.
    pub jsonrpc: JsonRpcConfig,
    /// Between two pings on a JSON-RPC socket; zero sends none.
    pub ping_interval: Duration,
    /// What describes the procedures.
    pub documents: Documents,
    /// What `/readyz` asks.
    pub readiness: Readiness,
    /// The route for Prometheus, at `/metrics`.
    pub metrics: Router,
    /// The routes of sign-in, at `/login` and `/api/auth`.
    pub sign_in: Router,
    /// The routes of tRPC, at `/api/trpc`.
    pub trpc: Router,
}

/// All routes of the port.
///
/// Fails where a procedure has a name that JSON-RPC needs for itself.
pub fn router(parts: Parts) -> Result<Router, NameTaken> {
    let cors = cors::layer(&parts.server.allowed_origins);
    let jsonrpc = jsonrpc::routes(&parts)?;
    let Documents { openapi, page, .. } = parts.documents;
    let turns = parts.bounds.turns;
    Ok(Router::new()
        .merge(parts.trpc)
        .merge(jsonrpc)
        .merge(parts.sign_in)
        .merge(docs::routes(openapi, page, parts.gate))
        .fallback(operations::unknown_path)
        .layer(axum::middleware::from_fn(move |request, next: Next| {
            let turns = turns.clone();
            async move { turns.take(next.run(request)).await }
        }))
        // These wait for nobody.
        .merge(parts.metrics)
        .merge(operations::routes(parts.readiness, parts.tasks))
        .layer(cors)
        .layer(axum::middleware::from_fn(cors::empty_preflight)))
}

/// Lets a client name the call to whoever reads the log.
fn name(response: &mut Response, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        let header = HeaderName::from_static("x-request-id");
        response.headers_mut().insert(header, value);
    }
}

/// Says when it makes sense to try again, where that is known.
#[expect(
    clippy::disallowed_methods,
    reason = "seconds from now are told at the edge"
)]
fn retry_after(response: &mut Response, error: &RpcError) {
    if let Some(seconds) = error.retry_after_seconds(Utc::now()) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}
