//! The transaction that one decision is: its events, its rollout, its line of the history, its alerts.

use super::history::{insert_audit, is_audited};
use crate::{
    rollout::store::{Commit, CommitError, Fence, RolloutChange},
    storage::{Storage, db::Write, events, lease, outbox},
};

impl Storage {
    pub(super) async fn write_all(
        &self,
        fence: &Fence,
        commit: &Commit,
    ) -> Result<(), CommitError> {
        let mut transaction = self.db.begin().await.map_err(store)?;
        let head = (commit.head, commit.new_head());
        if lease::advance(&mut transaction, fence, head)
            .await
            .map_err(store)?
        {
            let follows = events::insert(&mut transaction, fence, &commit.batches).await;
            if !follows.map_err(CommitError::Store)? {
                return Err(CommitError::Fenced);
            }
        } else if !is_ordered(&mut transaction, fence, commit)
            .await
            .map_err(store)?
        {
            return Err(CommitError::Fenced);
        }
        for change in &commit.rollouts {
            apply(&mut transaction, change).await?;
        }
        transaction.commit().await.map_err(store)
    }
}

/// Whether the batches of a commit are at the end of the log already: it was written, and the answer lost.
async fn is_ordered(transaction: &mut Write, fence: &Fence, commit: &Commit) -> sqlx::Result<bool> {
    let (Some(last), head) = (commit.batches.last(), commit.new_head()) else {
        return Ok(false);
    };
    if !lease::advance(transaction, fence, (head, head)).await? {
        return Ok(false);
    }
    let found: Option<i64> = on!(transaction, transaction => sqlx::query_scalar(
            "SELECT fence FROM event_order WHERE first_seq = $1 AND writer = $2 AND batch = $3",
        )
        .bind(last.first_seq())
        .bind(last.writer().unwrap_or(fence.writer))
        .bind(last.number())
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(found.is_some())
}

fn store(error: sqlx::Error) -> CommitError {
    CommitError::Store(error.into())
}

async fn apply(transaction: &mut Write, change: &RolloutChange) -> Result<(), CommitError> {
    if !write(transaction, change).await.map_err(store)? {
        let current = current_version(transaction, &change.rollout.id)
            .await
            .map_err(store)?;
        let is_ours = current == Some(change.rollout.version)
            && is_audited(transaction, change).await.map_err(store)?;
        return if is_ours {
            Ok(())
        } else {
            Err(CommitError::Stale {
                rollout_id: change.rollout.id.clone(),
                based_on: change.based_on.unwrap_or(0),
                current: current.unwrap_or(0),
            })
        };
    }
    if let Some(row) = &change.audit {
        insert_audit(transaction, row).await.map_err(store)?;
    }
    for alert in &change.alerts {
        outbox::insert(transaction, alert)
            .await
            .map_err(CommitError::Store)?;
    }
    Ok(())
}

/// Whether the rollout was at the version that the change is based on, and now is at the next.
async fn write(transaction: &mut Write, change: &RolloutChange) -> sqlx::Result<bool> {
    let rollout = &change.rollout;
    // What ends it says when; the upkeep helps out where nothing does.
    let ended_ms = change
        .audit
        .as_ref()
        .filter(|_| !rollout.is_live)
        .map(|row| row.at.timestamp_millis());
    let sql = if change.based_on.is_some() {
        "UPDATE rollouts SET plan = $2, status = $3, version = $4, evidence = $5, \
         event_cursor = $6, is_live = $7, ended_ms = COALESCE(ended_ms, $8) \
         WHERE id = $1 AND version = $9"
    } else {
        "INSERT INTO rollouts (id, plan, status, version, evidence, event_cursor, is_live, ended_ms, \
         events_released) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9 > 0) ON CONFLICT (id) DO NOTHING"
    };
    let written = changed!(transaction, transaction => sqlx::query(sql)
        .bind(&rollout.id)
        .bind(rollout.plan.to_string())
        .bind(rollout.status.to_string())
        .bind(rollout.version)
        .bind(rollout.evidence.to_string())
        .bind(rollout.cursor)
        .bind(rollout.is_live)
        .bind(ended_ms)
        .bind(change.based_on.unwrap_or(0))
        .execute(&mut **transaction))?;
    Ok(written > 0)
}

async fn current_version(transaction: &mut Write, id: &str) -> sqlx::Result<Option<i64>> {
    on!(transaction, transaction => sqlx::query_scalar("SELECT version FROM rollouts WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::Value;
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::{
        _core::{actor::Actor, units::Percent},
        rollout::{
            record::{Action, Damaged, Standing},
            status::RunState,
            store::{AuditRow, RolloutStore, StoredRollout},
        },
        storage::db::Db,
    };

    fn commit(version: i64) -> Commit {
        Commit {
            head: 0,
            batches: Vec::new(),
            rollouts: vec![RolloutChange {
                rollout: StoredRollout {
                    id: "r".into(),
                    plan: Value::Null,
                    status: Value::Null,
                    version,
                    // Some hundred pages.
                    evidence: vec![version; 50_000].into(),
                    cursor: 0,
                    is_live: true,
                },
                based_on: (version > 1).then(|| version - 1),
                audit: Some(AuditRow {
                    id: version.to_string(),
                    rollout_id: "r".into(),
                    at: DateTime::UNIX_EPOCH,
                    actor: Actor::Controller,
                    action: Action::Advanced,
                    // So that the second row, too, needs more room.
                    reason: version.to_string().repeat(100_000),
                    before: None,
                    after: Standing {
                        state: RunState::Running,
                        stage: 0,
                        share: Percent::ZERO,
                        soaked_ms: 0,
                    },
                    record: Err(Damaged("none".into())),
                    version,
                }),
                alerts: Vec::new(),
            }],
        }
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_commit_whole_until_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db", folder.path().display());
        let storage = Storage::open(&url).await.unwrap();
        let fence = storage.acquire("a", DateTime::UNIX_EPOCH).await.unwrap();
        let fence = &fence.unwrap();
        let Db::Sqlite(sqlite) = &storage.db else {
            unreachable!("the URL says so")
        };
        let limit = async |pages: i64| {
            let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(sql).execute(&sqlite.write).await.unwrap();
        };
        storage.commit(fence, &commit(1)).await.unwrap();
        // No smaller than it is.
        limit(1).await;
        let refused = storage.commit(fence, &commit(2)).await.unwrap_err();
        assert!(
            format!("{:#}", anyhow::Error::from(refused)).contains("is full"),
            "of all errors, the one of a full disk"
        );
        let stored = storage.rollout("r").await.unwrap().unwrap();
        assert_eq!(stored, commit(1).rollouts[0].rollout);
        assert_eq!(storage.audit("r").await.unwrap().len(), 1);

        limit(i64::from(u32::MAX) - 1).await;
        storage.commit(fence, &commit(2)).await.unwrap();
        let stored = storage.rollout("r").await.unwrap().unwrap();
        assert_eq!(stored, commit(2).rollouts[0].rollout);
        assert_eq!(storage.audit("r").await.unwrap().len(), 2);
    }
}
