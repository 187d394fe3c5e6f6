//! `dashboard.*`: what every page shows at once, in one stream.

mod pulse;

use futures::Stream;
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::pulse::State;
use self::pulse::{Beat, Pulse};
use crate::{
    _core::{context::Context, errors::RpcError, procedure::Tracked, registry::Registry},
    procedures,
};

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("dashboard", state.into());
        /// How everything is: at once, then once a second, and at each change of a rollout, of the kill
        /// switch or of the live share. Each event says all, so a client that lost its connection has
        /// missed nothing that counts; what changed meanwhile is in `audit.list`.
        subscription Viewer onPulse = on_pulse;
        /// The same, once; for clients that no stream reaches.
        query Viewer pulse = pulse_once;
    );
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Resume {
    /// The id of the last event that arrived; taken and not needed, as each event says all.
    last_event_id: Option<String>,
}

async fn on_pulse(
    state: State,
    context: Context,
    _: Resume,
) -> Result<impl Stream<Item = Result<Tracked<Pulse>, RpcError>>, RpcError> {
    Ok(pulse::follow(state, context))
}

async fn pulse_once(state: State, context: Context) -> Result<Pulse, RpcError> {
    Ok(Pulse::new(&Beat::new(&state).await, &context))
}
