//! What placebo rollouts found, and the traffic that they are made of.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;

use super::{Storage, time};
use crate::{
    _core::actor::Actor,
    rollout::{
        placebos::KeptPlacebo,
        simulate::placebo::{ControlLog, PlaceboStore},
        store::RolloutStore as _,
    },
};

/// Of the time before, users are known by as many days as rollouts know them by.
const HISTORY: TimeDelta = TimeDelta::days(7);

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at_ms: i64,
    actor: String,
    result: String,
}

const COLUMNS: &str = "SELECT id, at_ms, actor, result FROM placebos";

impl TryFrom<Row> for KeptPlacebo {
    type Error = anyhow::Error;

    fn try_from(row: Row) -> anyhow::Result<Self> {
        let placebo = serde_json::from_str(&row.result);
        Ok(Self {
            placebo: placebo.with_context(|| format!("placebo `{}` is damaged", row.id))?,
            id: row.id,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
        })
    }
}

impl Storage {
    /// The newest of a plan.
    pub(super) async fn newest_placebo_of(
        &self,
        plan: &str,
    ) -> anyhow::Result<Option<KeptPlacebo>> {
        let sql = format!("{COLUMNS} WHERE plan = $1 ORDER BY at_ms DESC, id DESC LIMIT 1");
        let row: Option<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(plan)
            .fetch_optional(pool)
            .await)
        .context("cannot read the newest placebo")?;
        row.map(KeptPlacebo::try_from).transpose()
    }
}

#[async_trait]
impl PlaceboStore for Storage {
    async fn add_placebo(&self, kept: &KeptPlacebo) -> anyhow::Result<()> {
        let result = serde_json::to_string(&kept.placebo)?;
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO placebos (id, at_ms, actor, plan, result) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&kept.id)
        .bind(kept.at.timestamp_millis())
        .bind(kept.actor.to_string())
        .bind(&kept.placebo.plan)
        .bind(result)
        .execute(pool))
        .map(|_| ())
        .context("cannot keep a placebo")
    }

    async fn placebos(&self, limit: u32) -> anyhow::Result<Vec<KeptPlacebo>> {
        let sql = format!("{COLUMNS} ORDER BY at_ms DESC, id DESC LIMIT $1");
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .context("cannot read the placebos")?;
        rows.into_iter().map(KeptPlacebo::try_from).collect()
    }

    async fn control_traffic(
        &self,
        tasks: &[String],
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        most: usize,
    ) -> anyhow::Result<ControlLog> {
        let mut log = ControlLog::of(tasks, most);
        let [before, from, to] = [from - HISTORY, from, to].map(|it| it.timestamp_millis());
        let mut pages = self.events_between(from, to);
        while let Some(page) = pages.try_next().await? {
            page.iter().for_each(|event| log.add(event));
        }
        let history = self.history_by_subject(before, from, tasks).await?;
        Ok(log.after(history))
    }
}
