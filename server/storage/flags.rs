//! The kill switch and the live share, with their history.

use anyhow::Context as _;
use async_trait::async_trait;

use super::{Storage, outbox, storable, time};
use crate::{
    _core::{actor::Actor, units::Percent},
    alerting::Alert,
    live_flags::store::{FlagChange, FlagCommitError, FlagPosition, FlagStore, StoredFlag},
};

/// The one flag there is, by its name on the wire.
const NAME: &str = "enableOpenRouterModels";

#[derive(sqlx::FromRow)]
struct FlagRow {
    version: i64,
    share: String,
    killed: bool,
    configured: String,
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    id: String,
    version: i64,
    at_ms: i64,
    actor: String,
    reason: String,
    position_before: String,
    position_after: String,
}

impl TryFrom<ChangeRow> for FlagChange {
    type Error = anyhow::Error;

    fn try_from(row: ChangeRow) -> anyhow::Result<Self> {
        let read = |text: &str| -> anyhow::Result<FlagPosition> {
            serde_json::from_str(text)
                .with_context(|| format!("the change `{}` of a flag is damaged", row.id))
        };
        Ok(Self {
            before: read(&row.position_before)?,
            after: read(&row.position_after)?,
            id: row.id,
            version: row.version,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
            reason: row.reason,
        })
    }
}

fn percent(text: &str) -> anyhow::Result<Percent> {
    Percent::parse(text).with_context(|| format!("the stored share `{text}` is no percentage"))
}

#[async_trait]
impl FlagStore for Storage {
    async fn open_flag(&self, configured: Percent) -> anyhow::Result<StoredFlag> {
        // Read first: a start on a full disk has nothing to write.
        if let Some(flag) = self.read_flag().await? {
            return Ok(flag);
        }
        changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO live_flags (name, version, share, killed, configured) \
                 VALUES ($1, 0, $2, FALSE, $2) ON CONFLICT (name) DO NOTHING",
            )
            .bind(NAME)
            .bind(configured.to_string())
            .execute(pool))
        .context("cannot store the live share")?;
        self.flag().await
    }

    async fn flag(&self) -> anyhow::Result<StoredFlag> {
        let flag = self.read_flag().await?;
        flag.context("the kill switch and the live share are gone from the database")
    }

    async fn commit_flag(
        &self,
        flag: &StoredFlag,
        alert: Option<&Alert>,
    ) -> Result<(), FlagCommitError> {
        let written = async {
            let mut transaction = self.db.begin().await?;
            let moved = changed!(&mut transaction, transaction => sqlx::query(
                    "UPDATE live_flags SET version = $2, share = $3, killed = $4, configured = $5 \
                     WHERE name = $1 AND version = $2 - 1",
                )
                .bind(NAME)
                .bind(flag.version)
                .bind(flag.position.share.to_string())
                .bind(flag.position.killed)
                .bind(flag.configured.to_string())
                .execute(&mut **transaction))?;
            if moved == 0 {
                return anyhow::Ok(false);
            }
            if let Some(change) = &flag.last {
                let (before, after) = (
                    serde_json::to_string(&change.before)?,
                    serde_json::to_string(&change.after)?,
                );
                changed!(&mut transaction, transaction => sqlx::query(
                        "INSERT INTO flag_audit (name, version, id, at_ms, actor, reason, \
                         position_before, position_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    )
                    .bind(NAME)
                    .bind(change.version)
                    .bind(&change.id)
                    .bind(change.at.timestamp_millis())
                    .bind(storable(&change.actor.to_string()))
                    .bind(storable(&change.reason))
                    .bind(before)
                    .bind(after)
                    .execute(&mut **transaction))?;
            }
            if let Some(alert) = alert {
                outbox::insert(&mut transaction, alert).await?;
            }
            transaction.commit().await?;
            Ok(true)
        };
        match written.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(FlagCommitError::Stale),
            Err(error) => Err(FlagCommitError::Store(
                error.context("cannot store the kill switch and the live share"),
            )),
        }
    }

    async fn flag_history(
        &self,
        from: i64,
        to: i64,
        limit: u32,
    ) -> anyhow::Result<Vec<FlagChange>> {
        let rows: Vec<ChangeRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT id, version, at_ms, actor, reason, position_before, position_after \
                 FROM flag_audit WHERE name = $1 AND version BETWEEN $2 AND $3 \
                 ORDER BY version DESC LIMIT $4",
            )
            .bind(NAME)
            .bind(from)
            .bind(to)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .context("cannot read the history of the kill switch and the live share")?;
        rows.into_iter().rev().map(TryInto::try_into).collect()
    }
}

impl Storage {
    async fn read_flag(&self) -> anyhow::Result<Option<StoredFlag>> {
        let row: Option<FlagRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT version, share, killed, configured FROM live_flags WHERE name = $1",
            )
            .bind(NAME)
            .fetch_optional(pool)
            .await)
        .context("cannot read the kill switch and the live share")?;
        let Some(row) = row else { return Ok(None) };
        // A change is never changed, so reading it afterwards is as good as together.
        let last = self.flag_history(row.version, row.version, 1).await?;
        Ok(Some(StoredFlag {
            position: FlagPosition {
                share: percent(&row.share)?,
                killed: row.killed,
            },
            version: row.version,
            configured: percent(&row.configured)?,
            last: last.into_iter().next(),
        }))
    }
}
