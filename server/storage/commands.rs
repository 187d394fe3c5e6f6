//! Changes that processes hand over to the one that leads, on PostgreSQL.

use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::Value;
use sqlx::PgPool;

use super::{Storage, db::Db, postgres::in_time, storable};
use crate::fleet::store::{CommandStore, HandedOver};

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    procedure: String,
    input: String,
    user_id: i64,
    role: String,
    lowers: bool,
}

impl Row {
    fn asked(self) -> anyhow::Result<HandedOver> {
        Ok(HandedOver {
            input: serde_json::from_str(&self.input)
                .with_context(|| format!("the command `{}` is damaged", self.id))?,
            id: self.id,
            procedure: self.procedure,
            user: self.user_id,
            role: self.role,
            lowers: self.lowers,
        })
    }
}

impl Storage {
    /// Of a database that several processes share.
    pub(super) fn shared(&self) -> anyhow::Result<&PgPool> {
        match &self.db {
            Db::Postgres(postgres) => Ok(&postgres.pool),
            Db::Sqlite(_) => anyhow::bail!("on SQLite one process leads for ever"),
        }
    }

    /// Deletes what was asked long ago.
    pub(super) async fn prune_commands(&self) -> anyhow::Result<()> {
        if let Db::Postgres(postgres) = &self.db {
            sqlx::query(
                "DELETE FROM commands WHERE asked_at < clock_timestamp() - INTERVAL '1 day'",
            )
            .execute(&postgres.long)
            .await
            .context("cannot delete old commands")?;
        }
        Ok(())
    }
}

#[async_trait]
impl CommandStore for Storage {
    async fn ask(&self, asked: &HandedOver) -> anyhow::Result<()> {
        let input = asked.input.to_string();
        let asking = sqlx::query(
            "INSERT INTO commands (id, procedure, input, user_id, role, lowers) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&asked.id)
        .bind(&asked.procedure)
        .bind(storable(&input))
        .bind(asked.user)
        .bind(&asked.role)
        .bind(asked.lowers)
        .execute(self.shared()?);
        in_time(0, async { Ok(asking.await?) })
            .await
            .context("cannot hand a change over")?;
        Ok(())
    }

    async fn answer(&self, id: &str) -> anyhow::Result<Option<Value>> {
        let asking = sqlx::query_scalar("SELECT answer FROM commands WHERE id = $1")
            .bind(id)
            .fetch_optional(self.shared()?);
        let answer: Option<Option<String>> = in_time(0, async { Ok(asking.await?) })
            .await
            .context("cannot read what was answered")?;
        let answer = answer.flatten().map(|text| serde_json::from_str(&text));
        answer.transpose().context("an answer is damaged")
    }

    async fn take(&self, holder: &str) -> anyhow::Result<Vec<HandedOver>> {
        // A lowering that was taken and is not answered is taken again, by the same process too: the answer to this
        // statement may have been lost.
        let taking = sqlx::query_as(
            "UPDATE commands SET taken_by = $1 WHERE answer IS NULL AND (taken_by IS NULL \
             AND (lowers OR asked_at > clock_timestamp() - INTERVAL '5 seconds') \
             OR lowers) \
             RETURNING id, procedure, input, user_id, role, lowers",
        )
        .bind(holder)
        .fetch_all(self.shared()?);
        let rows: Vec<Row> = in_time(0, async { Ok(taking.await?) })
            .await
            .context("cannot read what is asked")?;
        let mut taken: Vec<HandedOver> = rows
            .into_iter()
            .map(Row::asked)
            .collect::<anyhow::Result<_>>()?;
        // Ids of version 7 grow with time.
        taken.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(taken)
    }

    async fn give_back(&self, id: &str) -> anyhow::Result<()> {
        let giving =
            sqlx::query("UPDATE commands SET taken_by = NULL WHERE id = $1 AND answer IS NULL")
                .bind(id)
                .execute(self.shared()?);
        in_time(0, async { Ok(giving.await?) })
            .await
            .context("cannot give back what was asked")?;
        Ok(())
    }

    async fn done(&self, id: &str, answer: &Value) -> anyhow::Result<()> {
        let answer = answer.to_string();
        let saying =
            sqlx::query("UPDATE commands SET answer = $2 WHERE id = $1 AND answer IS NULL")
                .bind(id)
                .bind(storable(&answer))
                .execute(self.shared()?);
        in_time(0, async { Ok(saying.await?) })
            .await
            .context("cannot store an answer")?;
        Ok(())
    }
}
