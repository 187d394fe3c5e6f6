//! What trials found.

use anyhow::Context as _;
use async_trait::async_trait;

use super::{Storage, time};
use crate::{
    _core::actor::Actor,
    rollout::trials::{Trial, TrialStore},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at_ms: i64,
    actor: String,
    task: String,
    control: String,
    candidate: String,
    result: String,
}

const COLUMNS: &str = "SELECT id, at_ms, actor, task, control, candidate, result FROM trials";

impl TryFrom<Row> for Trial {
    type Error = anyhow::Error;

    fn try_from(row: Row) -> anyhow::Result<Self> {
        let result = serde_json::from_str(&row.result);
        Ok(Self {
            result: result.with_context(|| format!("trial `{}` is damaged", row.id))?,
            id: row.id,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
            task: row.task,
            control: row.control,
            candidate: row.candidate,
        })
    }
}

impl Storage {
    /// The newest trial of two models for a task.
    pub(super) async fn newest_trial_of(
        &self,
        task: &str,
        control: &str,
        candidate: &str,
    ) -> anyhow::Result<Option<Trial>> {
        let sql = format!(
            "{COLUMNS} WHERE task = $1 AND control = $2 AND candidate = $3 \
             ORDER BY at_ms DESC, id DESC LIMIT 1"
        );
        let row: Option<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(task)
            .bind(control)
            .bind(candidate)
            .fetch_optional(pool)
            .await)
        .context("cannot read the newest trial")?;
        row.map(Trial::try_from).transpose()
    }
}

#[async_trait]
impl TrialStore for Storage {
    async fn add_trial(&self, trial: &Trial) -> anyhow::Result<()> {
        let result = serde_json::to_string(&trial.result)?;
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO trials (id, at_ms, actor, task, control, candidate, result) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&trial.id)
        .bind(trial.at.timestamp_millis())
        .bind(trial.actor.to_string())
        .bind(&trial.task)
        .bind(&trial.control)
        .bind(&trial.candidate)
        .bind(result)
        .execute(pool))
        .map(|_| ())
        .context("cannot keep a trial")
    }

    async fn trials(&self, limit: u32) -> anyhow::Result<Vec<Trial>> {
        let sql = format!("{COLUMNS} ORDER BY at_ms DESC, id DESC LIMIT $1");
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .context("cannot read the trials")?;
        rows.into_iter().map(Trial::try_from).collect()
    }
}
