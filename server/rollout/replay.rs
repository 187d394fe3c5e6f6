//! Refolds the log of a rollout and compares, bit for bit.
//!
//! Events and the changes of share and stage are all that evidence is made of. Each line of
//! the history says which event was the last before it, so the same can be done again in the same
//! order: the verdict of every decision and the whole state must come out as they were stored.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    observation::{Ledger, Step},
    plan::Plan,
    store::{AuditRow, RolloutStore},
};
use crate::_core::units::Percent;

/// Events that are read at once.
const PAGE: usize = 10_000;

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// The rollout.
    pub id: String,
    /// Whether everything came out as it was stored.
    pub is_identical: bool,
    /// Events of the rollout that were folded.
    pub events: u64,
    /// Events that the stored state had folded; more than there are once old ones were rolled up.
    pub events_stored: u64,
    /// How many of them are ratings.
    pub ratings: u64,
    /// Each decision, oldest first.
    pub decisions: Vec<Replayed>,
    /// Whether the state at the end is the stored one, bit for bit.
    pub same_state: bool,
    /// What a replay could not do, in words.
    pub remarks: Vec<String>,
}

/// One decision, judged again.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// The version that it made.
    pub version: i64,
    /// What was done.
    pub action: String,
    /// Whether finding and verdict are those of the history, bit for bit.
    pub same_verdict: bool,
}

/// Folds a rollout's log again; `None` without such a rollout.
pub async fn replay(store: &dyn RolloutStore, id: &str) -> anyhow::Result<Option<Replay>> {
    let Some(stored) = store.rollout(id).await? else {
        return Ok(None);
    };
    let plan: Plan = serde_json::from_value(stored.plan.clone())?;
    let expected: Ledger = serde_json::from_value(stored.evidence.clone())?;
    let mut rows = store.audit(id).await?;
    // It may be live, and go on while it is read.
    rows.retain(|row| row.version <= stored.version);
    let started_at_ms = rows
        .first()
        .and_then(|row| row.evidence["atMs"].as_i64())
        .ok_or_else(|| anyhow::anyhow!("the history of rollout `{id}` has no beginning"))?;
    let mut again = Again {
        ledger: expected.anew(&plan, started_at_ms),
        expected: &expected,
        share: plan.share_of(0),
        plan,
        rows: &rows,
        decisions: Vec::new(),
    };
    let mut cursor = 0;
    'log: loop {
        let events = store.events_of(id, cursor, PAGE).await?;
        for event in &events {
            if event.seq > stored.cursor {
                break 'log;
            }
            again.reach(event.seq - 1);
            again.ledger.fold(event, again.share);
            cursor = event.seq;
        }
        if events.len() < PAGE {
            break;
        }
    }
    again.reach(i64::MAX);
    again.ledger.watch_as(&expected);
    // Both as this release writes them: an earlier one left out what it did not know.
    let same_state = serde_json::to_value(&again.ledger)? == serde_json::to_value(&expected)?;
    let mut remarks = Vec::new();
    if again.ledger.events < expected.events {
        let gone = expected.events - again.ledger.events;
        remarks.push(format!(
            "{gone} of {} events are no longer there one by one: old events are rolled up",
            expected.events
        ));
    }
    let same_verdicts = again.decisions.iter().all(|it| it.same_verdict);
    Ok(Some(Replay {
        id: id.to_owned(),
        is_identical: same_state && same_verdicts,
        events: again.ledger.events,
        events_stored: expected.events,
        ratings: again.ledger.ratings,
        decisions: again.decisions,
        same_state,
        remarks,
    }))
}

/// A rollout that is lived again.
struct Again<'a> {
    plan: Plan,
    ledger: Ledger,
    expected: &'a Ledger,
    share: Percent,
    rows: &'a [AuditRow],
    decisions: Vec<Replayed>,
}

impl Again<'_> {
    /// Does all that was done up to an event.
    fn reach(&mut self, cursor: i64) {
        while let Some((row, rest)) = self.rows.split_first()
            && after(row) <= cursor
        {
            self.decide(row);
            self.rows = rest;
        }
    }

    fn decide(&mut self, row: &AuditRow) {
        let at_ms = row.evidence["atMs"].as_i64().unwrap_or_default();
        let before = &row.evidence;
        if before["verdict"]["uncounted"].is_object() {
            // Decided by this release, perhaps before the first event that it saw.
            self.ledger.watch_as(self.expected);
        }
        // A start was decided by a person, on nothing.
        let same_verdict = before.get("finding").is_none() || {
            let (finding, verdict) = self.ledger.judge(&self.plan, at_ms);
            let finding = serde_json::to_value(finding).unwrap_or_default();
            before["finding"] == finding && before["verdict"] == verdict
        };
        self.decisions.push(Replayed {
            version: row.version,
            action: row.action.clone(),
            same_verdict,
        });
        let step: Step = serde_json::from_value(before["step"].clone()).unwrap_or(Step::None);
        self.ledger.step(step, at_ms);
        let share = &row.after["share"];
        if let Ok(share) = serde_json::from_value::<Percent>(Value::clone(share)) {
            self.share = share;
        }
    }
}

fn after(row: &AuditRow) -> i64 {
    row.evidence["cursor"].as_i64().unwrap_or_default()
}
