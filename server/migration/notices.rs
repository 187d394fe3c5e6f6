//! What people are told when a move is taken back.

use serde_json::json;

use super::{guard::MoveEvidence, mode::Move};
use crate::alerting::{Alert, AlertKind, Severity};

/// The alert, under the id of the change.
pub(super) fn taken_back(change: &Move, before: &Move, evidence: MoveEvidence) -> Alert {
    let name = &change.name;
    let reason = &change.reason;
    Alert {
        id: change.id.clone(),
        kind: AlertKind::TakenBack,
        severity: Severity::Critical,
        rollout_id: None,
        title: format!("`{name}` went back to the old server"),
        text: format!(
            "{} % of the users of `{name}` were answered by this server; now the old one answers all. Why: \
             {reason}. `modelramp migration report {name}` shows what was seen.",
            before.share
        ),
        details: json!({
            "name": name,
            "share": before.share,
            "fails": evidence.fails,
            "refuses": evidence.refuses,
            "slower": evidence.slower,
            "differs": evidence.differs,
        }),
        at: change.at,
    }
}
