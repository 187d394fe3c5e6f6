//! What came of a rollout, as the database has it.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

/// A rollout with its history and its alerts.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredRollout {
    pub(crate) state: String,
    pub(crate) share: Value,
    /// What was done, with the share after it.
    pub(crate) actions: Vec<(String, String)>,
    pub(crate) versions: Vec<i64>,
    /// Alerts by kind.
    pub(crate) alerts: BTreeMap<String, i64>,
}

impl StoredRollout {
    /// Reads it from the database at this URL.
    pub(crate) async fn read(database: &str, id: &str) -> Self {
        let mut connection = SqliteConnection::connect(database).await.unwrap();
        let status: String = sqlx::query_scalar("SELECT status FROM rollouts WHERE id = $1")
            .bind(id)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        let audit: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT version, action, state_after FROM rollout_audit WHERE rollout_id = $1 ORDER BY version",
        )
        .bind(id)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let alerts: Vec<(String, i64)> =
            sqlx::query_as("SELECT kind, COUNT(*) FROM alerts WHERE rollout_id = $1 GROUP BY kind")
                .bind(id)
                .fetch_all(&mut connection)
                .await
                .unwrap();
        connection.close().await.unwrap();
        let share = |after: &str| {
            let after: Value = serde_json::from_str(after).unwrap();
            after["share"].to_string()
        };
        Self {
            state: status["state"]["name"].as_str().unwrap().to_owned(),
            share: status["share"].clone(),
            versions: audit.iter().map(|(version, ..)| *version).collect(),
            actions: audit
                .into_iter()
                .map(|(_, action, after)| (action, share(&after)))
                .collect(),
            alerts: alerts.into_iter().collect(),
        }
    }

    /// Whether it has come to an end.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "rolled-back")
    }
}
