//! Which candidates are to be asked whether their outage is over. Whoever asks reports what became of it.

use std::time::Duration;

use super::Controller;
use crate::rollout::status::{Hold, RunState};

/// Between two probes; less where a plan waits for less than two minutes.
const INTERVAL: Duration = Duration::from_secs(30);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// A candidate that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueProbe {
    /// Its rollout.
    pub rollout: String,
    /// Its primary models, each once, by their names in the catalog.
    pub models: Vec<String>,
}

impl Controller {
    /// The candidates whose outage is waited for and whose last probe is long enough ago.
    pub fn due_probes(&self) -> Vec<DueProbe> {
        let now = self.world.now();
        let mut inner = self.inner.lock();
        if !inner.is_numbering {
            return Vec::new();
        }
        let held = inner.rollouts.iter_mut().filter(|rollout| {
            let is_held = rollout.status.state
                == RunState::Holding {
                    because: Hold::Outage,
                };
            let calm = Duration::from_millis(rollout.plan.evidence.outage_calm_ms);
            let interval = (calm / 4).clamp(LEAST_INTERVAL, INTERVAL);
            let since = rollout.probed_at.map(|at| now.monotonic.saturating_sub(at));
            is_held && rollout.is_open && since.is_none_or(|since| since >= interval)
        });
        held.map(|rollout| {
            rollout.probed_at = Some(now.monotonic);
            let primaries = rollout.status.models.iter();
            let primaries = primaries.filter_map(|models| models.candidate.first());
            let mut models: Vec<_> = primaries.cloned().collect();
            models.sort_unstable();
            models.dedup();
            DueProbe {
                rollout: rollout.status.id.clone(),
                models,
            }
        })
        .collect()
    }

    /// Takes note of whether the candidate answered a probe; `None` where it could not be asked. A probe
    /// that ends when its rollout does not wait any more changes nothing.
    pub fn probed(&self, rollout: &str, is_answered: Option<bool>) {
        let at = self.world.now().wall;
        let mut inner = self.inner.lock();
        if let Some(rollout) = inner.get_mut(rollout)
            && let Some(outage) = &mut rollout.status.outage
        {
            outage.probed(is_answered, at);
            rollout.is_urgent = true;
        }
    }
}
