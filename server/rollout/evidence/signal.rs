//! Which tests take a rollout back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which test took a rollout back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// The candidate is worse than the margin tolerates, over all metrics.
    Worse,
    /// It fails more than control, whatever the margin.
    Crash,
    /// It fails more than the plan ever allows, and control does not.
    AbsoluteLimit,
    /// It gives no good answer any more, and control does.
    NoAnswers,
    /// Outcomes that are not counted as errors come on it alone.
    Uncounted,
    /// A model that judges answers finds its worse than control's.
    Judge,
}
