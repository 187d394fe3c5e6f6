//! The tRPC wire: what `@trpc/client` 10 and 11 speak, over HTTP, SSE and WebSocket.
//!
//! A request is served in steps, each in its own file: `request` takes apart what the URL and
//! the headers say, `input` what was sent along, `handler` finds the procedures and runs them,
//! `envelope` writes what came of it, and `respond` makes a response of that. Batches, streamed
//! batches, event streams and sockets differ only in how many calls there are and how their
//! envelopes are strung together. Every answer below the mount point is an envelope, because clients
//! cannot read anything else.

pub mod batch;
mod batch_stream;
mod envelope;
mod handler;
mod input;
mod moving;
pub(super) mod other_wires;
mod part;
pub(super) mod passing;
pub mod request;
mod respond;
mod sse;
pub mod superjson;
pub mod websocket;

use std::sync::Arc;

use axum::{Router, routing::any};
use http::Method;

use self::envelope::{CallAnswer, CallFailure, Payload};
use super::{
    bounds::{Bounds, socket::ticks},
    gate::CallerGate,
    headers,
};
use crate::{
    _core::{
        context::Context,
        errors::{ErrorCode, RpcError},
        procedure::{Input, Procedure, ProcedureKind},
        registry::{Registry, Target},
        tasks::Tasks,
    },
    config::TrpcConfig,
    legacy::OldServer,
    migration::Moves,
};

/// Where the wire lies; the original's path, which front ends have built in.
pub const MOUNT: &str = "/api/trpc";

/// What the wire needs.
pub struct Trpc {
    /// The procedures.
    pub registry: Arc<Registry>,
    /// Finds callers and refuses foreign origins.
    pub gate: Arc<CallerGate>,
    /// Transformer, method override, limits.
    pub config: TrpcConfig,
    /// Tells sockets and streams when the server stops.
    pub tasks: Tasks,
    /// What clients may take of the server.
    pub bounds: Bounds,
    /// Answers calls to procedures that are not in the registry.
    pub old: Option<Arc<OldServer>>,
    /// Which of those that are it answers as well; there is an old server where there are moves.
    pub moves: Option<Arc<Moves>>,
}

/// The routes at and below [`MOUNT`], to be merged into the server's router.
pub fn routes(trpc: Arc<Trpc>) -> Router {
    Router::new()
        .route(MOUNT, any(handler::handle))
        .route(&format!("{MOUNT}/"), any(handler::handle))
        .route(&format!("{MOUNT}/{{*path}}"), any(handler::handle))
        .with_state(trpc)
}

impl Trpc {
    /// The methods by which a target is asked. A GET never runs a mutation, so that no link can.
    fn allowed(&self, target: &Target) -> &'static [Method] {
        match target.here().map(|procedure| procedure.kind) {
            None => &[],
            Some(ProcedureKind::Mutation) => headers::POST,
            Some(ProcedureKind::Query | ProcedureKind::Subscription)
                if self.config.method_override =>
            {
                headers::GET_OR_POST
            }
            Some(ProcedureKind::Query | ProcedureKind::Subscription) => headers::GET,
        }
    }

    /// The procedure that a path leads to, if the method fits.
    fn callable(
        &self,
        target: Target,
        path: &str,
        method: &Method,
    ) -> Result<Arc<Procedure>, RpcError> {
        let fits = self.allowed(&target).contains(method);
        match target {
            Target::Unknown => Err(self.registry.unknown(path)),
            Target::Here(procedure) if fits => Ok(procedure),
            Target::Here(procedure) => Err(RpcError::new(
                ErrorCode::MethodNotSupported,
                format!(
                    "Unsupported {method}-request to {} procedure at path \"{path}\"",
                    procedure.kind.name()
                ),
            )),
        }
    }

    /// Runs a query or a mutation and encodes what came of it.
    async fn call(&self, procedure: &Procedure, context: Context, input: Input) -> CallAnswer {
        let request_id = context.request_id.clone();
        match procedure.call(context, input).await {
            Ok(output) => Payload::encode(self.config.transformer, &procedure.output, &*output)
                .and_then(|mut payload| payload.hold(&self.bounds).map(|()| payload))
                .map_err(|error| CallFailure::report(error, Some(procedure.path), request_id)),
            Err(error) => Err(CallFailure::reported(error, procedure.path, request_id)),
        }
    }
}
