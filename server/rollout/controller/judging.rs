//! Whether answers may be judged just now: what the plan allows a day, and whether the judge still counts.

use super::Controller;
use crate::rollout::plan::Judging;

impl Controller {
    /// How the answers of a rollout are to be judged now; `None` where its plan names no model for it, the day's budget
    /// is used up, the model does not count any more, or the rollout is not under way.
    pub fn judging(&self, rollout: &str) -> Option<Judging> {
        let now = self.world.now().wall;
        let inner = self.inner.lock();
        let rollout = inner.get(rollout).filter(|it| it.is_live())?;
        let judging = rollout.plan.judging.as_ref()?;
        if let Some(judge) = rollout.ledger.judged() {
            let (pairs, cost) = judge.used(now.timestamp_millis());
            let is_over = pairs >= judging.per_day || cost >= judging.max_cost && cost.0 > 0;
            if is_over || judge.stopped.is_some() {
                return None;
            }
        }
        Some(judging.clone())
    }
}
