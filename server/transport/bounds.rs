//! What a client, and all of them together, may take of the server: docs/limits.md lists it.
//!
//! Every wire comes through here. [`connections`] counts who is connected and who is served,
//! [`stream`] watches what comes and goes on a connection, [`bodies`] reads bodies, [`socket`] holds a
//! WebSocket, and [`budget`] is the memory that all of them take from. How many calls run at once is
//! bounded where they are run, in the registry; who computes takes turns ([`Turns`]).

pub mod arrived;
pub mod bodies;
pub mod budget;
pub mod connections;
pub mod descriptors;
mod frames;
mod pace;
pub mod socket;
mod stream;

use std::sync::Arc;

use http::Extensions;

use self::arrived::Arrived;
pub use self::{
    budget::{Budget, BudgetShare},
    connections::{ConnectionHandle, Connections},
    stream::BoundedStream,
};
use super::gate::CallerGate;
use crate::{
    _core::{
        caller::{Caller, Role},
        context::Context,
        errors::RpcError,
        turns::Turns,
    },
    config::ServerConfig,
};

/// The limits of one server.
#[derive(Clone)]
pub struct Bounds {
    /// Memory of what comes in and goes out.
    pub budget: Budget,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// The largest body and the largest message of a socket.
    pub max_body_bytes: usize,
    /// Of whatever computes for clients.
    pub turns: Turns,
}

impl Bounds {
    /// Those of the settings.
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            budget: Budget::new(config.max_bytes_in_flight),
            connections: Connections::new(config.max_connections),
            max_body_bytes: config.max_body_bytes,
            turns: Turns::default(),
        }
    }
}

/// Refuses a request that came when the server was full, unless an admin sent it.
///
/// A wire asks this before anything else. What operators ask (`/healthz`, `/readyz`) does not.
pub async fn admit(
    extensions: &Extensions,
    context: impl Future<Output = Context>,
) -> Result<(), RpcError> {
    if !extensions
        .get::<Arrived>()
        .is_some_and(|arrived| arrived.under_way.is_excess())
    {
        return Ok(());
    }
    match context.await.caller {
        Caller::User(user) if user.role == Role::Admin => Ok(()),
        _ => Err(RpcError::overloaded()),
    }
}

/// The request is refused, and its caller kept waiting for that: others may have its place meanwhile.
pub fn step_aside(extensions: &Extensions) {
    if let Some(arrived) = extensions.get::<Arrived>() {
        arrived.under_way.step_aside();
    }
}

/// The same as [`admit`], of a request whose headers say who sent it.
pub async fn admit_request(
    gate: &CallerGate,
    extensions: &Extensions,
    headers: &http::HeaderMap,
) -> Result<(), RpcError> {
    admit(extensions, gate.context(headers)).await
}
