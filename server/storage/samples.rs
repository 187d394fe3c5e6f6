//! Samples of how the evidence of rollouts went.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Storage, storable, time};
use crate::rollout::samples::{Sample, SampleStore};

/// Samples that are read at once: three years of an hourly one, and two days of one a minute.
const MOST: i64 = 30_000;

#[derive(sqlx::FromRow)]
struct Row {
    at_ms: i64,
    figures: String,
}

#[async_trait]
impl SampleStore for Storage {
    async fn add_sample(&self, rollout: &str, sample: &Sample) -> anyhow::Result<()> {
        let figures = serde_json::to_string(&sample.figures)?;
        changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO rollout_samples (rollout_id, at_ms, figures) VALUES ($1, $2, $3) \
                 ON CONFLICT (rollout_id, at_ms) DO NOTHING",
            )
            .bind(rollout)
            .bind(sample.at.timestamp_millis())
            .bind(figures)
            .execute(pool))
        .map(|_| ())
        .with_context(|| format!("cannot store a sample of rollout `{rollout}`"))
    }

    async fn thin_samples(&self, before: DateTime<Utc>) -> anyhow::Result<u64> {
        changed!(self.db.write(), pool => sqlx::query(
                "DELETE FROM rollout_samples WHERE at_ms < $1 AND EXISTS \
                 (SELECT 1 FROM rollout_samples AS first \
                 WHERE first.rollout_id = rollout_samples.rollout_id \
                 AND first.at_ms < rollout_samples.at_ms \
                 AND first.at_ms >= rollout_samples.at_ms - rollout_samples.at_ms % 3600000)",
            )
            .bind(before.timestamp_millis())
            .execute(pool))
        .context("cannot thin out the samples of rollouts")
    }

    async fn samples(
        &self,
        rollout: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> anyhow::Result<Vec<Sample>> {
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT at_ms, figures FROM rollout_samples \
                 WHERE rollout_id = $1 AND at_ms >= $2 AND at_ms < $3 ORDER BY at_ms LIMIT $4",
            )
            .bind(storable(rollout))
            .bind(from.timestamp_millis())
            .bind(to.timestamp_millis())
            .bind(MOST)
            .fetch_all(pool)
            .await)
        .with_context(|| format!("cannot read the samples of rollout `{rollout}`"))?;
        let sample = |row: Row| {
            let figures = serde_json::from_str(&row.figures);
            let figures = figures.with_context(|| format!("a sample of `{rollout}` is damaged"))?;
            let at = time(row.at_ms);
            Ok(Sample { at, figures })
        };
        rows.into_iter().map(sample).collect()
    }
}
