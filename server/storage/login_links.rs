//! One-time links, by the hashes of their secrets.

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::Storage;
use crate::_core::{
    auth::login_link::{LINK_TTL, LoginLinkStore},
    caller::User,
};

impl Storage {
    /// Forgets links that cannot be used any more and ends of sessions that are over anyway.
    pub(super) async fn prune_sign_in(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        changed!(self.db.write(), pool => sqlx::query("DELETE FROM login_links WHERE made_ms < $1")
            .bind((now - LINK_TTL).timestamp_millis())
            .execute(pool))
        .context("cannot delete old sign-in links")?;
        changed!(self.db.write(), pool => sqlx::query("DELETE FROM ended_sessions WHERE until_ms < $1")
            .bind(now.timestamp_millis())
            .execute(pool))
        .context("cannot delete ended sessions")?;
        Ok(())
    }
}

#[async_trait]
impl LoginLinkStore for Storage {
    async fn keep_link(
        &self,
        hash: &str,
        user_id: i64,
        made_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO login_links (hash, user_id, made_ms) VALUES ($1, $2, $3)",
        )
        .bind(hash)
        .bind(user_id)
        .bind(made_at.timestamp_millis())
        .execute(pool))
        .map(|_| ())
        .context("cannot keep a sign-in link")
    }

    async fn spend_link(&self, hash: &str, now: DateTime<Utc>) -> anyhow::Result<Option<User>> {
        // With the users in the same statement: a link is not spent while they cannot be read. One
        // from before "log out everywhere" is over as all sessions from before are.
        let row: Option<(i64,)> = returned!(self.db.write(), pool => sqlx::query_as(
            "UPDATE login_links SET used_ms = $2 \
             WHERE hash = $1 AND used_ms IS NULL AND made_ms > $3 \
             AND user_id IN (SELECT id FROM users \
             WHERE deleted_at IS NULL AND sessions_from <= login_links.made_ms) \
             RETURNING user_id",
        )
        .bind(hash)
        .bind(now.timestamp_millis())
        .bind((now - LINK_TTL).timestamp_millis())
        .fetch_all(pool))
        .context("cannot use a sign-in link")?;
        match row {
            Some((user_id,)) => self.find_user(user_id).await,
            None => Ok(None),
        }
    }
}
