//! What those who watch are shown from memory, whatever the store does.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Controller;
use crate::rollout::view::View;

/// Who moves the rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Leader")]
#[serde(rename_all = "kebab-case")]
pub enum WhoLeads {
    /// This process.
    Here,
    /// Another one, whose decisions this one serves.
    Elsewhere,
    /// None that is known: this one has only begun, or the store does not say.
    Nobody,
}

impl Controller {
    /// The rollouts that are under way, with what their traffic proves, the newest first.
    pub fn views(&self) -> Vec<View> {
        let at = self.world.now().wall;
        let inner = self.inner.lock();
        let live = inner.rollouts.iter().filter(|rollout| rollout.is_live());
        live.map(|rollout| View::of(rollout, at)).collect()
    }

    /// Who moves the rollouts, as far as this process knows.
    pub fn leader(&self) -> WhoLeads {
        let inner = self.inner.lock();
        match (inner.is_numbering, inner.followed.is_some()) {
            // The store is silent: another process may have taken over.
            (true, _) if !self.has_lease() => WhoLeads::Nobody,
            (true, _) => WhoLeads::Here,
            (false, true) => WhoLeads::Elsewhere,
            (false, false) => WhoLeads::Nobody,
        }
    }

    /// Whether this process moves the rollouts, and does what one of several does for all.
    pub fn leads(&self) -> bool {
        self.inner.lock().is_numbering
    }

    /// How long ago all was stored, where this process stores; it is tried once a second.
    pub fn behind(&self) -> Duration {
        let now = self.world.now().monotonic;
        let stored_at = self.inner.lock().stored_at;
        stored_at.map_or(Duration::ZERO, |at| now.saturating_sub(at))
    }
}
