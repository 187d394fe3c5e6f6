//! Asks the flags, as any request does, whether what was decided is what is served.

use std::sync::Arc;

use super::World;
use crate::_core::{
    assignment::{self, Subject, Variant},
    feature_flags::{FeatureFlags, LiveRollout, Reason},
};

/// Subjects that are tried for each task.
const SUBJECTS: usize = 64;
/// What stands for any task where a rollout covers all.
const ANY_TASK: &str = "any";

/// What does not match, in words; `None` where all does.
pub(super) fn mismatch(
    flags: &FeatureFlags,
    expected: &Arc<LiveRollout>,
    world: &World,
) -> Option<String> {
    if expected.is_released {
        return None;
    }
    let any = [ANY_TASK.to_owned()];
    let tasks = if expected.tasks.is_empty() {
        &any[..]
    } else {
        &expected.tasks
    };
    for task in tasks {
        for _ in 0..SUBJECTS {
            let subject = Subject::Opaque(format!("probe-{:x}", world.random()));
            let assigned = flags.assign(task, Some(&subject));
            let decision = assigned.decision;
            let by = assigned.rollout.map(|rollout| rollout.id.clone());
            if by.as_ref() != Some(&expected.id) {
                let by = by.as_deref().unwrap_or("no rollout");
                return Some(format!(
                    "task `{task}` is decided by {by}, not by `{}`",
                    expected.id
                ));
            }
            if decision.share != expected.share {
                let (is, should) = (decision.share, expected.share);
                return Some(format!(
                    "task `{task}` is served at {is} %, not at {should} %"
                ));
            }
            let bucket = assignment::bucket(expected.algorithm, &expected.salt, &subject);
            let should = match decision.reason {
                Reason::Share if assignment::is_in(bucket, expected.share) => Variant::Candidate,
                Reason::Share => Variant::Control,
                // The kill switch and the settings' lists stand above any rollout.
                _ => continue,
            };
            if decision.variant != should {
                return Some(format!(
                    "task `{task}`, bucket {bucket}: the wrong arm is served"
                ));
            }
        }
    }
    None
}
