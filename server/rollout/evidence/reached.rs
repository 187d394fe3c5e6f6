//! The hold and the rollback that evidence has reached. A hold ends after an hour of calm; a rollback stays.

use serde::{Deserialize, Serialize};

use super::{
    Edition, Evidence, HOUR_MS, Judged, Level, Signal,
    mixture::Restarts,
    outage::Outages,
    ratio::{Ratio, TestDirection},
    verdict,
};

/// Evidence has reached the level of hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HoldReached {
    /// Since when E is below watch.
    pub calm_since_ms: Option<i64>,
}

/// The moment of a rollback, which stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RollbackReached {
    pub at_ms: i64,
    pub cause: Signal,
    /// It looks like an outage, and not like the final one within the plan's period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_outage: bool,
}

impl Evidence {
    /// Takes note of what the evidence has reached.
    pub(super) fn settle(&mut self) {
        let at_ms = self.clock_ms;
        self.rollback = self.decided(at_ms);
        // Whichever says more: both hold at one level.
        let of_judge = self.judged.as_ref().map_or(0.0, Judged::value);
        let e = verdict::overall(self).max(of_judge);
        if e >= self.plan.hold {
            self.held = Some(HoldReached {
                calm_since_ms: None,
            });
        } else if let Some(held) = &mut self.held {
            held.calm_since_ms = match held.calm_since_ms {
                _ if e >= self.plan.watch => None,
                Some(since) if at_ms.saturating_sub(since) >= HOUR_MS => {
                    self.held = None;
                    return;
                }
                since => since.or(Some(at_ms)),
            };
        }
    }

    /// The rollback that is due, since when it is.
    pub(super) fn decided(&self, at_ms: i64) -> Option<RollbackReached> {
        self.rollback.or_else(|| {
            let cause = verdict::signal(self)?;
            let period_ms = self.plan.outage_period_ms;
            let outages = self.outages.as_ref();
            let is_outage = !matches!(cause, Signal::Uncounted | Signal::Judge)
                && outages.is_some_and(|it| {
                    it.explain(self.edition, at_ms, period_ms) && !self.is_worse_besides(it)
                });
            Some(RollbackReached {
                at_ms,
                cause,
                is_outage,
            })
        })
    }

    /// Whether the last hour speaks against the candidate without its outages.
    fn is_worse_besides(&self, outages: &Outages) -> bool {
        if self.edition < Edition::Ninth {
            return false;
        }
        let mut besides = Ratio::new(TestDirection::Worse, self.plan.margin, Restarts::NEVER);
        besides.judge(self.last_hour.without(|number| outages.is_away(number)));
        besides.value() >= self.plan.hold
    }

    pub(super) fn level_so_far(&self) -> Level {
        match (self.rollback, self.held) {
            (Some(_), _) => Level::Rollback,
            (None, Some(_)) => Level::Hold,
            (None, None) => Level::Clear,
        }
    }
}
