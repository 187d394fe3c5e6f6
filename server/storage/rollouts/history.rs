//! The lines of the history of rollouts, and their places in it.

use anyhow::Context;
use serde::de::DeserializeOwned;

use crate::{
    _core::actor::Actor,
    rollout::{
        record::{Action, Damaged, Record},
        store::{AuditRow, RolloutChange},
    },
    storage::{
        Storage,
        db::{Db, Write},
        storable, time,
    },
};

#[derive(sqlx::FromRow)]
struct AuditTableRow {
    id: String,
    rollout_id: String,
    version: i64,
    at_ms: i64,
    actor: String,
    action: String,
    reason: String,
    state_before: String,
    state_after: String,
    evidence: String,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    pos: i64,
    #[sqlx(flatten)]
    row: AuditTableRow,
}

impl TryFrom<AuditTableRow> for AuditRow {
    type Error = anyhow::Error;

    fn try_from(row: AuditTableRow) -> anyhow::Result<Self> {
        fn read<T: DeserializeOwned>(id: &str, text: &str) -> anyhow::Result<T> {
            serde_json::from_str(text).with_context(|| {
                format!(
                    "line `{id}` of a rollout's history is damaged, and where the rollout stood then is not known. A \
                     copy of the database may have it whole (`modelramp restore`)"
                )
            })
        }
        let known = Action::parse(&row.action);
        let action = known.unwrap_or(Action::Unknown);
        let record = match known {
            Some(action) => Record::read(&row.evidence, action),
            // A fault goes with its line, so that one line hides none of the others.
            None => Err(Damaged(format!(
                "its action is `{}`, which this release does not know",
                row.action
            ))),
        };
        Ok(Self {
            before: read(&row.id, &row.state_before)?,
            after: read(&row.id, &row.state_after)?,
            record,
            id: row.id,
            rollout_id: row.rollout_id,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
            action,
            reason: row.reason,
            version: row.version,
        })
    }
}

impl Storage {
    pub(super) async fn rollout_history(&self, rollout_id: &str) -> anyhow::Result<Vec<AuditRow>> {
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(
                "SELECT id, rollout_id, version, at_ms, actor, action, reason, state_before, state_after, evidence \
                 FROM rollout_audit WHERE rollout_id = $1 ORDER BY version",
            )
            .bind(storable(rollout_id))
            .fetch_all(pool)
            .await)?)
        };
        let rows: Vec<AuditTableRow> = self.in_time(read).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(super) async fn history_after(
        &self,
        place: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<(i64, AuditRow)>> {
        // Lines are only added to the table, so SQLite's own numbers count them.
        let sql = match &self.db {
            Db::Sqlite(_) => {
                "SELECT rowid AS pos, * FROM rollout_audit WHERE rowid > $1 ORDER BY rowid LIMIT $2"
            }
            Db::Postgres(_) => {
                "SELECT p.pos, a.id, a.rollout_id, a.version, a.at_ms, a.actor, a.action, a.reason, \
                 a.state_before, a.state_after, a.evidence FROM rollout_places p \
                 JOIN rollout_audit a ON a.id = p.audit_id WHERE p.pos > $1 ORDER BY p.pos LIMIT $2"
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_as(sql)
                .bind(place)
                .bind(limit)
                .fetch_all(pool)
                .await)?)
        };
        let rows: Vec<PlacedRow> = self.in_time(read).await?;
        rows.into_iter()
            .map(|placed| Ok((placed.pos, placed.row.try_into()?)))
            .collect()
    }

    /// The place of the newest line; 0 where there is none.
    pub(super) async fn end_of_history(&self) -> anyhow::Result<i64> {
        let sql = match &self.db {
            Db::Sqlite(_) => "SELECT COALESCE(MAX(rowid), 0) FROM rollout_audit",
            Db::Postgres(_) => "SELECT COALESCE(MAX(pos), 0) FROM rollout_places",
        };
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_scalar(sql).fetch_one(pool).await)?)
        };
        self.in_time(read).await
    }

    /// The place of a rollout's line of this version, else of the last line before that time; 0 where there is none.
    pub(super) async fn place_in_history(
        &self,
        id: &str,
        version: i64,
        at_ms: i64,
    ) -> anyhow::Result<i64> {
        let sql = match &self.db {
            Db::Sqlite(_) => {
                "SELECT COALESCE((SELECT rowid FROM rollout_audit WHERE rollout_id = $1 AND version = $2), \
                 (SELECT MAX(rowid) FROM rollout_audit WHERE at_ms < $3), 0)"
            }
            Db::Postgres(_) => {
                "SELECT COALESCE((SELECT p.pos FROM rollout_places p JOIN rollout_audit a ON a.id = p.audit_id \
                 WHERE a.rollout_id = $1 AND a.version = $2), \
                 (SELECT MAX(p.pos) FROM rollout_places p JOIN rollout_audit a ON a.id = p.audit_id \
                 WHERE a.at_ms < $3), 0)"
            }
        };
        let read = async {
            Ok(on!(self.db.read(), pool => sqlx::query_scalar(sql)
                .bind(storable(id))
                .bind(version)
                .bind(at_ms)
                .fetch_one(pool)
                .await)?)
        };
        self.in_time(read).await
    }
}

/// Whether the change's line of the history is stored, so that the change is.
pub(super) async fn is_audited(
    transaction: &mut Write,
    change: &RolloutChange,
) -> sqlx::Result<bool> {
    let Some(row) = &change.audit else {
        return Ok(false);
    };
    let found: Option<i64> = on!(transaction, transaction => sqlx::query_scalar(
            "SELECT version FROM rollout_audit WHERE id = $1",
        )
        .bind(&row.id)
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(found.is_some())
}

pub(super) async fn insert_audit(transaction: &mut Write, row: &AuditRow) -> sqlx::Result<()> {
    // Types of ours, all of which JSON can say.
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "null".to_owned());
    let record = row.record.as_ref().map(serde_json::to_string);
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO rollout_audit (id, rollout_id, version, at_ms, actor, action, reason, \
             state_before, state_after, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&row.id)
        .bind(&row.rollout_id)
        .bind(row.version)
        .bind(row.at.timestamp_millis())
        .bind(storable(&row.actor.to_string()))
        .bind(row.action.name())
        .bind(storable(&row.reason))
        .bind(json(serde_json::to_string(&row.before)))
        .bind(json(serde_json::to_string(&row.after)))
        .bind(record.map_or_else(|_| "null".to_owned(), json))
        .execute(&mut **transaction))
    .map(|_| ())
}
