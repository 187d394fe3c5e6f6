//! What was changed that has no history of its own: users, their sessions, the settings.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Storage, db::Write, storable};
use crate::{_core::actor::Actor, dashboard::audit::AuditSubject};

/// One change, as a line that is added.
pub(super) struct ChangeLine<'a> {
    /// What was changed.
    pub(super) subject: AuditSubject,
    /// Which one.
    pub(super) subject_id: &'a str,
    /// Who did it.
    pub(super) actor: &'a Actor,
    /// What was done.
    pub(super) action: &'a str,
    /// How it was before.
    pub(super) before: Option<Value>,
    /// How it is now.
    pub(super) after: Option<Value>,
}

/// Adds the line, in the transaction of the change that it is about.
pub(super) async fn note(
    transaction: &mut Write,
    change: ChangeLine<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let ChangeLine {
        subject,
        subject_id,
        actor,
        action,
        before,
        after,
    } = change;
    let text = |value: Option<Value>| value.map(|it| storable(&it.to_string()).into_owned());
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO changes (id, at_ms, subject, subject_id, actor, action, state_before, \
             state_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(now.timestamp_millis())
        .bind(subject.name())
        .bind(storable(subject_id))
        .bind(storable(&actor.to_string()))
        .bind(action)
        .bind(text(before))
        .bind(text(after))
        .execute(&mut **transaction))?;
    Ok(())
}

/// Lines of one setting that a day adds. Replicas with different settings that start in turn would else add one
/// with each start, for ever.
const MOST_A_DAY: usize = 10;

#[derive(sqlx::FromRow)]
struct Last {
    at_ms: i64,
    subject_id: String,
    state_after: Option<String>,
}

impl Storage {
    /// Adds a line for each setting that is not what it was at the last start, by name and value; one that
    /// is left out is at its default. Secrets are not in it. At most ten lines of one setting a day. How many there were.
    pub async fn note_settings(
        &self,
        settings: &BTreeMap<&'static str, String>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<usize> {
        let noted = async {
            let mut transaction = self.db.begin().await?;
            let lines: Vec<Last> = on!(&mut transaction, transaction => sqlx::query_as(
                    "SELECT at_ms, subject_id, state_after FROM changes WHERE subject = $1 ORDER BY at_ms, id",
                )
                .bind(AuditSubject::Settings.name())
                .fetch_all(&mut **transaction)
                .await)?;
            let mut last: BTreeMap<String, Value> = BTreeMap::new();
            let mut of_the_day: BTreeMap<String, usize> = BTreeMap::new();
            let day_ms = (now - TimeDelta::days(1)).timestamp_millis();
            for Last {
                at_ms,
                subject_id,
                state_after,
            } in lines
            {
                if at_ms > day_ms {
                    *of_the_day.entry(subject_id.clone()).or_default() += 1;
                }
                match state_after.and_then(|text| serde_json::from_str(&text).ok()) {
                    Some(value) => last.insert(subject_id, value),
                    None => last.remove(&subject_id),
                };
            }
            let now_in_force = settings.iter().map(|(name, value)| (*name, json!(value)));
            let now_in_force: BTreeMap<&str, Value> = now_in_force.collect();
            let gone = last.keys().map(String::as_str);
            let mut names: Vec<&str> = gone.chain(now_in_force.keys().copied()).collect();
            names.sort_unstable();
            names.dedup();
            let mut count = 0;
            for name in names {
                let (before, after) = (last.get(name), now_in_force.get(name));
                if before == after {
                    continue;
                }
                if of_the_day.get(name).is_some_and(|it| *it >= MOST_A_DAY) {
                    tracing::warn!(
                        setting = name,
                        "it changes with each start, which is no longer in the audit today; do all processes \
                         have the same settings?"
                    );
                    continue;
                }
                count += 1;
                let change = ChangeLine {
                    subject: AuditSubject::Settings,
                    subject_id: name,
                    actor: &Actor::Settings,
                    action: if after.is_some() { "set" } else { "left-out" },
                    before: before.cloned(),
                    after: after.cloned(),
                };
                note(&mut transaction, change, now).await?;
            }
            transaction.commit().await?;
            anyhow::Ok(count)
        };
        noted
            .await
            .context("cannot note which settings have changed")
    }
}
