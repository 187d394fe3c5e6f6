//! Refolds the log of a rollout and compares, bit for bit.
//!
//! Events and the changes of share and stage are all that evidence is made of. Each line of
//! the history says which event was the last before it, so the same can be done again in the same
//! order: the verdict of every decision and the whole state must come out as they were stored. What is
//! missing or damaged in the history is reported, and is never the same verdict.

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::to_value;

use super::{
    observation::Ledger,
    plan::Plan,
    record::{Action, Record},
    store::{AuditRow, RolloutStore, damaged},
};
use crate::{_core::units::Percent, recording::Event};

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
    pub action: Action,
    /// Whether finding and verdict are those of the history, bit for bit.
    pub same_verdict: bool,
    /// Why what the history keeps of it cannot be read; null where it can.
    pub damage: Option<String>,
}

/// What is known at a place of the log, while it is folded again.
pub struct Passing<'a> {
    /// The evidence there.
    pub ledger: &'a Ledger,
    /// What was wanted.
    pub plan: &'a Plan,
    /// The share in force.
    pub share: Percent,
    /// What comes next.
    pub next: LogStep<'a>,
}

/// What comes next in the log.
pub enum LogStep<'a> {
    /// An event of the rollout.
    Event(&'a Event),
    /// A line of its history.
    Decision(&'a AuditRow),
    /// Nothing.
    End,
}

/// Folds a rollout's log again; `None` without such a rollout.
pub async fn replay(store: &dyn RolloutStore, id: &str) -> anyhow::Result<Option<Replay>> {
    replay_watched(store, id, &mut |_| {}).await
}

/// The same, and reports what is known before each event and each decision.
pub(super) async fn replay_watched(
    store: &dyn RolloutStore,
    id: &str,
    watch: &mut (dyn for<'a> FnMut(Passing<'a>) + Send),
) -> anyhow::Result<Option<Replay>> {
    let Some(stored) = store.rollout(id).await? else {
        return Ok(None);
    };
    let damaged = |part| move || damaged(id, part);
    let plan: Plan = serde_json::from_value(stored.plan).with_context(damaged("plan"))?;
    let expected: Ledger =
        serde_json::from_value(stored.evidence).with_context(damaged("evidence"))?;
    let mut rows = store.audit(id).await?;
    // It may be live, and go on while it is read.
    rows.retain(|row| row.version <= stored.version);
    let started_at_ms = match rows.first() {
        Some(row) if row.version == 1 => row.at.timestamp_millis(),
        _ => anyhow::bail!(
            "the history of rollout `{id}` has no beginning, so nothing can be folded again. A copy of the database \
             may have it (`modelramp restore`)"
        ),
    };
    let mut again = Again {
        ledger: expected.anew(&plan, started_at_ms),
        expected: &expected,
        share: plan.share_of(0),
        plan,
        rows: &rows,
        decisions: Vec::new(),
        watch,
    };
    let mut cursor = 0;
    'log: loop {
        let events = store.events_of(id, cursor, PAGE).await?;
        for event in &events {
            if event.seq > stored.cursor {
                break 'log;
            }
            again.reach(event.seq - 1);
            again.report(LogStep::Event(event));
            again.ledger.fold(event, again.share);
            cursor = event.seq;
        }
        if events.len() < PAGE {
            break;
        }
    }
    again.reach(i64::MAX);
    again.report(LogStep::End);
    again.ledger.watch_as(&expected);
    // Both as this release writes them: an earlier one left out what it did not know.
    let same_state = to_value(&again.ledger)? == to_value(&expected)?;
    let mut remarks = Vec::new();
    if again.ledger.events < expected.events {
        let gone = expected.events - again.ledger.events;
        remarks.push(format!(
            "{gone} of {} events are no longer there one by one: old events are rolled up",
            expected.events
        ));
    }
    let mut is_whole = true;
    for gap in gaps(&rows, stored.version) {
        is_whole = false;
        remarks.push(gap);
    }
    let same_verdicts = again.decisions.iter().all(|it| it.same_verdict);
    Ok(Some(Replay {
        id: id.to_owned(),
        is_identical: is_whole && same_state && same_verdicts,
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
    watch: &'a mut (dyn for<'b> FnMut(Passing<'b>) + Send),
}

impl Again<'_> {
    fn report(&mut self, next: LogStep<'_>) {
        (self.watch)(Passing {
            ledger: &self.ledger,
            plan: &self.plan,
            share: self.share,
            next,
        });
    }

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
        self.report(LogStep::Decision(row));
        let same_verdict = row.record.as_ref().is_ok_and(|record| {
            if record
                .verdict
                .as_ref()
                .is_some_and(|it| it.uncounted.is_some())
            {
                // Decided by this release, perhaps before the first event that it saw.
                self.ledger.watch_as(self.expected);
            }
            let is_same = self.is_same(record);
            self.ledger.step(record.step, record.at_ms);
            is_same
        });
        self.decisions.push(Replayed {
            version: row.version,
            action: row.action,
            same_verdict,
            damage: row.record.as_ref().err().map(ToString::to_string),
        });
        self.share = row.after.share;
    }

    /// Whether what is found now is what was found then, as both are stored.
    fn is_same(&self, record: &Record) -> bool {
        let (Some(finding), Some(verdict)) = (&record.finding, &record.verdict) else {
            // A start was decided by a person, on nothing.
            return true;
        };
        let (finding_now, verdict_now) = self.ledger.judge(&self.plan, record.at_ms);
        is_stored_alike(finding, &finding_now) && is_stored_alike(verdict, &verdict_now)
    }
}

/// Whether two values are the same JSON.
fn is_stored_alike<T: Serialize>(one: &T, other: &T) -> bool {
    matches!((to_value(one), to_value(other)), (Ok(one), Ok(other)) if one == other)
}

/// The last event that was known; of a damaged record nobody knows, so it comes as soon as it can.
fn after(row: &AuditRow) -> i64 {
    row.record.as_ref().map_or(i64::MIN, |record| record.cursor)
}

/// What the history lacks, a sentence for each.
fn gaps(rows: &[AuditRow], version: i64) -> Vec<String> {
    let damaged = rows.iter().filter_map(|row| {
        let damage = row.record.as_ref().err()?;
        Some(format!("of version {}, {damage}", row.version))
    });
    let mut missing = Vec::new();
    let mut next = 1;
    let end = version.saturating_add(1);
    for version in rows.iter().map(|row| row.version).chain([end]) {
        if version > next {
            missing.push(match version - 1 {
                last if last == next => format!("version {next} is not in the history"),
                last => format!("versions {next} to {last} are not in the history"),
            });
        }
        next = version.saturating_add(1);
    }
    damaged.chain(missing).collect()
}
