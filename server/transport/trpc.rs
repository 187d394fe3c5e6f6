//! The tRPC wire: what `@trpc/client` 10 and 11 speak, over HTTP, SSE and WebSocket.
//!
//! A request is read in four steps, each in its own file: `request` takes apart what the URL and
//! the headers say, `input` what was sent along, `http` finds the procedures and runs them, and
//! `envelope` writes what came of it. Batches, streamed batches, event streams and sockets differ
//! only in how many calls there are and how their envelopes are strung together. Every answer below
//! the mount point is an envelope, because clients cannot read anything else.

pub mod batch;
mod batch_stream;
mod envelope;
mod http;
mod input;
pub mod request;
mod sse;
pub mod superjson;
pub mod websocket;

use std::sync::Arc;

use axum::{Router, routing::any};

use super::{
    bounds::{Bounds, socket::ticks},
    gate::Gate,
};
use crate::_core::{config::TrpcConfig, registry::Registry, tasks::Tasks};

/// Where the wire lies; the original's path, which front ends have built in.
pub const MOUNT: &str = "/api/trpc";

/// What the wire needs.
pub struct Trpc {
    /// The procedures.
    pub registry: Arc<Registry>,
    /// Finds callers and refuses foreign origins.
    pub gate: Arc<Gate>,
    /// Transformer, method override, limits.
    pub config: TrpcConfig,
    /// Tells sockets and streams when the server stops.
    pub tasks: Tasks,
    /// What clients may take of the server.
    pub bounds: Bounds,
}

/// The routes at and below [`MOUNT`], to be merged into the server's router.
pub fn routes(trpc: Arc<Trpc>) -> Router {
    Router::new()
        .route(MOUNT, any(http::handle))
        .route(&format!("{MOUNT}/"), any(http::handle))
        .route(&format!("{MOUNT}/{{*path}}"), any(http::handle))
        .with_state(trpc)
}
