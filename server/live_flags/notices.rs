//! The alerts of a change.

use serde_json::json;

use super::store::FlagChange;
use crate::alerting::{Alert, AlertKind, RESOLVES, Severity};

/// The alert of a change, under the change's own id; `None` where nothing moved. `killed_by` is the
/// alert of the kill that this one may end.
pub(super) fn of_change(change: &FlagChange, killed_by: Option<&str>) -> Option<Alert> {
    let FlagChange {
        before,
        after,
        actor,
        reason,
        ..
    } = change;
    let (share, was) = (after.share, before.share);
    let mut details = json!({
        "share": share,
        "killed": after.killed,
        "version": change.version,
        "actor": actor,
    });
    let (kind, severity, title, text) = if after.killed && !before.killed {
        (
            AlertKind::Killed,
            Severity::Critical,
            "Kill switch on",
            format!(
                "Everybody gets the control models, whatever rollout or share, by {actor}. Why: \
                 {reason}. It stays so until somebody turns it off."
            ),
        )
    } else if before.killed && !after.killed {
        details[RESOLVES] = json!(killed_by.into_iter().collect::<Vec<_>>());
        (
            AlertKind::KillEnded,
            Severity::Info,
            "Kill switch off",
            format!(
                "Rollouts decide again, and the live share of {share} %, by {actor}. Why: {reason}."
            ),
        )
    } else if share != was {
        (
            AlertKind::ShareSet,
            Severity::Info,
            "Live share set",
            format!(
                "The share of tasks that no rollout covers is {share} %; it was {was} %, by {actor}. \
                 Why: {reason}."
            ),
        )
    } else {
        return None;
    };
    Some(Alert {
        id: change.id.clone(),
        kind,
        severity,
        rollout_id: None,
        title: title.to_owned(),
        text,
        details,
        at: change.at,
    })
}
