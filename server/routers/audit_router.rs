//! `audit.*`: who changed what, when, and why; rollouts, flags and keys in one list.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        actor::Actor,
        caller::not_permitted,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    dashboard::{
        audit::{AuditEntry, AuditFilter, AuditPlace, AuditStore, AuditSubject},
        audited::AuditedState,
    },
    procedures,
};

/// Lines on a page where nothing else is asked for, and at most.
const LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Registers the namespace.
pub fn register(registry: &mut Registry, audit: impl Into<Option<Arc<dyn AuditStore>>>) {
    procedures!(registry.outline("audit", audit.into());
        /// Every change of a rollout, of the kill switch and the live share, of users, of programs' keys and of
        /// settings, and who opened texts; the newest first. What is in force and not stored yet is not in it; of
        /// only admins see those of keys and settings.
        query Viewer list = list, errors [
            Declared::new(ErrorCode::Forbidden, "A viewer asks for what only admins are told."),
        ];
    );
}

/// Which changes; what is left out is not looked at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ListChanges {
    /// What was changed.
    pub(crate) subject: Option<AuditSubject>,
    /// Which one: a rollout's whole id, or a key's name.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) id: Option<String>,
    /// By whom: `user:7`, `controller`, `settings`.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) actor: Option<String>,
    /// At this time or later.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Before this time.
    pub(crate) to: Option<DateTime<Utc>>,
    /// The page after the one that gave this as `nextCursor`.
    #[schemars(length(max = 200))]
    pub(crate) cursor: Option<String>,
    /// The most lines on the page; 50 where it is not given.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub(crate) limit: Option<u32>,
}

/// A page of changes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeList {
    /// The newest first.
    pub(crate) rows: Vec<ChangeRow>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// One change.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeRow {
    /// Names the line.
    pub(crate) id: String,
    /// When it was done.
    pub(crate) at: DateTime<Utc>,
    /// Who did it; null where that is not kept.
    pub(crate) actor: Option<Actor>,
    /// What was changed.
    pub(crate) subject: AuditSubject,
    /// Which one: a rollout's id, a key's name; null for flags.
    pub(crate) subject_id: Option<String>,
    /// What was done.
    pub(crate) action: String,
    /// How it was before, as that history keeps it: a rollout's stages are counted from 0. Null at a beginning, and
    /// where that is not kept or cannot be read.
    before: Option<AuditedState>,
    /// How it was after; null where that is not kept or cannot be read.
    after: Option<AuditedState>,
    /// The reason that was given; null where none is asked for.
    pub(crate) reason: Option<String>,
    /// The version that this made; null where versions are not counted.
    pub(crate) version: Option<i64>,
}

impl From<AuditEntry> for ChangeRow {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at.trunc_subsecs(3),
            actor: entry.actor,
            subject: entry.subject,
            subject_id: entry.subject_id,
            action: entry.action,
            before: entry.before,
            after: entry.after,
            reason: entry.reason,
            version: entry.version,
        }
    }
}

async fn list(
    audit: Arc<dyn AuditStore>,
    context: Context,
    input: ListChanges,
) -> Result<ChangeList, RpcError> {
    let role = context.user()?.role;
    let subjects = match input.subject {
        Some(subject) if role < subject.told_to() => return Err(not_permitted()),
        Some(subject) => vec![subject],
        None => (AuditSubject::ALL.into_iter())
            .filter(|subject| role >= subject.told_to())
            .collect(),
    };
    let before = input.cursor.as_deref().map(place).transpose()?;
    let limit = input.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let filter = AuditFilter {
        subjects,
        subject_id: input.id,
        actor: input.actor,
        from_ms: input.from.map(|at| at.timestamp_millis()),
        to_ms: input.to.map(|at| at.timestamp_millis()),
    };
    let found = audit.changes(&filter, before.as_ref(), limit + 1).await;
    let mut found = found.map_err(RpcError::internal)?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| has_more);
    Ok(ChangeList {
        next_cursor: last.map(|it| format!("{}.{}", it.at.timestamp_millis(), it.id)),
        rows: found.into_iter().map(ChangeRow::from).collect(),
    })
}

fn place(cursor: &str) -> Result<AuditPlace, RpcError> {
    let read = || {
        let (at_ms, id) = cursor.split_once('.')?;
        Some(AuditPlace {
            at_ms: at_ms.parse().ok()?,
            id: id.to_owned(),
        })
    };
    read().ok_or_else(|| {
        RpcError::bad_request(format!(
            "`cursor` = `{cursor}` is no place; expected the `nextCursor` of a page"
        ))
    })
}
