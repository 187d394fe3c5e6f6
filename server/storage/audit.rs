//! The histories of all that people change, as one list.

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::QueryBuilder;

use super::{Storage, storable, time};
use crate::{
    _core::actor::Actor,
    dashboard::{
        audit::{AuditEntry, AuditFilter, AuditPlace, AuditStore, AuditSubject},
        audited::AuditedState,
    },
};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at_ms: i64,
    subject_id: Option<String>,
    actor: Option<String>,
    action: String,
    before_text: Option<String>,
    after_text: Option<String>,
    reason: Option<String>,
    version: Option<i64>,
}

impl Row {
    fn entry(self, subject: AuditSubject) -> AuditEntry {
        let state = |stored: Option<String>| AuditedState::read(subject, &stored?);
        AuditEntry {
            id: self.id,
            at: time(self.at_ms),
            subject,
            subject_id: self.subject_id,
            // Empty where it was not kept yet.
            actor: (self.actor.as_deref())
                .filter(|it| !it.is_empty())
                .map(Actor::parse),
            action: self.action,
            before: state(self.before_text),
            after: state(self.after_text),
            reason: self.reason,
            version: self.version,
        }
    }
}

/// The history of one kind of thing, with the columns of [`Row`].
const fn history(subject: AuditSubject) -> &'static str {
    match subject {
        AuditSubject::Rollout => {
            "SELECT id, at_ms, rollout_id AS subject_id, actor, action, state_before AS before_text, \
             state_after AS after_text, reason, version FROM rollout_audit"
        }
        AuditSubject::Flags => {
            "SELECT id, at_ms, NULL AS subject_id, actor, 'changed' AS action, \
             position_before AS before_text, position_after AS after_text, reason, version \
             FROM flag_audit"
        }
        _ => {
            "SELECT id, at_ms, subject_id, actor, action, state_before AS before_text, \
             state_after AS after_text, NULL AS reason, CAST(NULL AS BIGINT) AS version, subject \
             FROM changes"
        }
    }
}

#[async_trait]
impl AuditStore for Storage {
    async fn changes(
        &self,
        filter: &AuditFilter,
        before: Option<&AuditPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<AuditEntry>> {
        let mut all = Vec::new();
        for &subject in &filter.subjects {
            let changes = self.history_of(subject, filter, before, limit).await;
            all.extend(changes.context("cannot read the audit")?);
        }
        all.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        all.truncate(limit as usize);
        Ok(all)
    }

    async fn newest_ms(&self) -> anyhow::Result<Option<i64>> {
        on!(self.db.read(), pool => sqlx::query_scalar(
                "SELECT MAX(at_ms) FROM (SELECT MAX(at_ms) AS at_ms FROM rollout_audit \
                 UNION ALL SELECT MAX(at_ms) FROM flag_audit \
                 UNION ALL SELECT MAX(at_ms) FROM changes) AS newest",
            )
            .fetch_one(pool)
            .await)
        .context("cannot look for the newest line of the audit")
    }
}

impl Storage {
    async fn history_of(
        &self,
        subject: AuditSubject,
        filter: &AuditFilter,
        before: Option<&AuditPlace>,
        limit: u32,
    ) -> sqlx::Result<Vec<AuditEntry>> {
        // Places are compared here and in Rust, so both have to order them alike.
        let bytewise = self.db.bytewise();
        let rows: Vec<Row> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT * FROM (");
            query.push(history(subject)).push(") AS history WHERE ");
            if !matches!(subject, AuditSubject::Rollout | AuditSubject::Flags) {
                query.push("subject = ").push_bind(subject.name()).push(" AND ");
            }
            query.push("at_ms >= ").push_bind(filter.from_ms.unwrap_or(i64::MIN));
            query.push(" AND at_ms < ").push_bind(filter.to_ms.unwrap_or(i64::MAX));
            if let Some(id) = &filter.subject_id {
                query.push(" AND subject_id = ").push_bind(storable(id).into_owned());
            }
            if let Some(actor) = &filter.actor {
                query.push(" AND actor = ").push_bind(storable(actor).into_owned());
            }
            if let Some(AuditPlace { at_ms, id }) = before {
                query.push(" AND at_ms <= ").push_bind(*at_ms);
                query.push(" AND (at_ms < ").push_bind(*at_ms);
                query.push(" OR id").push(bytewise).push(" < ");
                query.push_bind(storable(id).into_owned()).push(")");
            }
            query.push(" ORDER BY at_ms DESC, id").push(bytewise).push(" DESC LIMIT ");
            query.push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await?
        });
        Ok(rows.into_iter().map(|row| row.entry(subject)).collect())
    }
}
