//! Users: who may call, and what they may do.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{
    Storage,
    changes::{self, ChangeLine},
    db::Write,
    storable, time,
};
use crate::{
    _core::{
        actor::Actor,
        auth::{LOCAL_PREFIX, Session, UserStore},
        caller::{Role, User},
    },
    dashboard::{audit::AuditSubject, users::UserLookup},
};

/// `last_signed_in` is kept to the minute, so that calls do not cost a write each.
const SIGNED_IN_PRECISION: TimeDelta = TimeDelta::minutes(1);
/// How long a call may be held up by noting that.
const SIGNED_IN_PATIENCE: Duration = Duration::from_millis(200);
/// The greatest id that can be asked for; what the original's column could hold.
const MAX_LOCAL_ID: i64 = i32::MAX as i64;

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Ids are positive integers.
    #[error("`{id}` is not a user id; expected a whole number from 1 to {MAX_LOCAL_ID}")]
    InvalidId {
        /// What was asked for.
        id: i64,
    },
    /// Deleted users stay deleted.
    #[error("user `{id}` was deleted")]
    Deleted {
        /// What was asked for.
        id: i64,
    },
    /// The database failed.
    #[error("cannot write user `{id}`")]
    Database {
        /// What was asked for.
        id: i64,
        /// What the database said.
        source: sqlx::Error,
    },
}

/// A text that is meant literally, for `LIKE … ESCAPE '\'`.
pub(super) fn literal(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

/// A name as it is looked for, whatever the case of its letters; SQLite's own `LOWER` knows those of ASCII.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// What a [`StoredUserRow`] has of a user.
macro_rules! user {
    () => {
        "id, open_id, name, email, login_method, role, created_at, updated_at, last_signed_in, deleted_at, sessions_from"
    };
}
pub(super) use user;

#[derive(sqlx::FromRow)]
pub(super) struct StoredUserRow {
    pub(super) id: i64,
    open_id: String,
    name: Option<String>,
    email: Option<String>,
    login_method: Option<String>,
    role: String,
    created_at: i64,
    updated_at: i64,
    last_signed_in: i64,
    deleted_at: Option<i64>,
    sessions_from: i64,
    /// Whether the session that was asked about was ended by itself.
    #[sqlx(default)]
    is_ended: bool,
}

impl From<StoredUserRow> for User {
    fn from(row: StoredUserRow) -> Self {
        Self {
            id: row.id,
            open_id: row.open_id,
            name: row.name,
            email: row.email,
            login_method: row.login_method,
            role: Role::named(&row.role),
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
            last_signed_in: time(row.last_signed_in),
        }
    }
}

/// What a user may do, as the audit keeps it.
pub(super) fn role_state(role: Role) -> Value {
    json!({ "role": role.name() })
}

/// The role of a user who was not deleted.
pub(super) async fn role_of(transaction: &mut Write, id: i64) -> sqlx::Result<Option<Role>> {
    let role: Option<String> = on!(transaction, transaction => sqlx::query_scalar(
            "SELECT role FROM users WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(role.as_deref().map(Role::named))
}

/// Adds a line where a user got another role; a new user who is a plain one is no news.
pub(super) async fn note_role(
    transaction: &mut Write,
    id: i64,
    actor: &Actor,
    before: Option<Role>,
    after: Role,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if before.unwrap_or(Role::User) == after {
        return Ok(());
    }
    let change = ChangeLine {
        subject: AuditSubject::Users,
        subject_id: &id.to_string(),
        actor,
        action: "role-set",
        before: before.map(role_state),
        after: Some(role_state(after)),
    };
    changes::note(transaction, change, now).await
}

impl Storage {
    /// Makes user `id` with the open id `local:<id>`, or gives the existing user of that id the role.
    ///
    /// Ids that are handed out later go on above the greatest one so far.
    pub async fn ensure_local_user(
        &self,
        id: i64,
        role: Role,
        now: DateTime<Utc>,
    ) -> Result<User, UserError> {
        if !(1..=MAX_LOCAL_ID).contains(&id) {
            return Err(UserError::InvalidId { id });
        }
        let row = self
            .upsert_local_user(id, role, now)
            .await
            .map_err(|source| UserError::Database { id, source })?;
        row.map(User::from).ok_or(UserError::Deleted { id })
    }

    async fn upsert_local_user(
        &self,
        id: i64,
        role: Role,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<StoredUserRow>> {
        let mut transaction = self.db.begin().await?;
        if let Write::Postgres(transaction) = &mut transaction {
            // So that nobody is handed an id while the sequence is moved.
            sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
                .execute(&mut **transaction)
                .await?;
        }
        let before = role_of(&mut transaction, id).await?;
        let row: Option<StoredUserRow> = on!(&mut transaction, transaction => sqlx::query_as(concat!(
                "INSERT INTO users (id, open_id, name, folded_name, login_method, role, created_at, \
                 updated_at, last_signed_in) VALUES ($1, $2, $3, LOWER($3), 'local', $4, $5, $5, $5) \
                 ON CONFLICT (id) DO UPDATE SET role = excluded.role, updated_at = excluded.updated_at \
                 WHERE users.deleted_at IS NULL \
                 RETURNING ", user!(),
            ))
            .bind(id)
            .bind(format!("{LOCAL_PREFIX}{id}"))
            .bind(format!("Local user {id}"))
            .bind(role.name())
            .bind(now.timestamp_millis())
            .fetch_optional(&mut **transaction)
            .await)?;
        if let Write::Postgres(transaction) = &mut transaction {
            // SQLite goes on above the greatest id by itself.
            sqlx::query(
                "SELECT SETVAL('users_id_seq', GREATEST((SELECT MAX(id) FROM users), \
                 (SELECT last_value FROM users_id_seq)))",
            )
            .execute(&mut **transaction)
            .await?;
        }
        if row.is_some() {
            note_role(&mut transaction, id, &Actor::CommandLine, before, role, now).await?;
        }
        transaction.commit().await?;
        Ok(row)
    }

    /// The user of this id, unless deleted.
    pub async fn find_user(&self, id: i64) -> anyhow::Result<Option<User>> {
        let row: Option<StoredUserRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
                "SELECT ", user!(), " FROM users WHERE id = $1 AND deleted_at IS NULL",
            ))
                .bind(id)
                .fetch_optional(pool)
                .await)
        .with_context(|| format!("cannot look up user `{id}`"))?;
        Ok(row.map(User::from))
    }

    /// Gives a user a role, which counts within a second; the user with it, and the role before, or
    /// `None` if there is no such user.
    pub async fn set_role(
        &self,
        id: i64,
        role: Role,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<(User, Role)>> {
        let Some(before) = self.find_user(id).await? else {
            return Ok(None);
        };
        let given = async {
            let mut transaction = self.db.begin().await?;
            let done = changed!(&mut transaction, transaction => sqlx::query(
                    "UPDATE users SET role = $2, updated_at = $3 WHERE id = $1 AND deleted_at IS NULL",
                )
                .bind(id)
                .bind(role.name())
                .bind(now.timestamp_millis())
                .execute(&mut **transaction))?;
            if done > 0 {
                note_role(
                    &mut transaction,
                    id,
                    &Actor::CommandLine,
                    Some(before.role),
                    role,
                    now,
                )
                .await?;
            }
            transaction.commit().await
        };
        given
            .await
            .with_context(|| format!("cannot give user `{id}` the role {role}"))?;
        let after = self.find_user(id).await?;
        Ok(after.map(|user| (user, before.role)))
    }

    async fn users_like(&self, text: &str, limit: u32) -> sqlx::Result<Vec<StoredUserRow>> {
        let escaped = literal(text);
        on!(self.db.read(), pool => sqlx::query_as(concat!(
                "SELECT ", user!(), " FROM users WHERE deleted_at IS NULL AND (id = $1 \
                 OR folded_name LIKE $2 ESCAPE '\\' OR email = $4 OR LOWER(email) = LOWER($4)) \
                 ORDER BY id LIMIT $3",
            ))
            // No user has that number.
            .bind(text.parse().unwrap_or(0_i64))
            .bind(storable(&(folded(&escaped) + "%")))
            .bind(i64::from(limit))
            // Whole: who may not see addresses could else spell one out, letter by letter.
            .bind(storable(text))
            .fetch_all(pool)
            .await)
    }

    /// Ends all sessions of a user that were issued before now; `false` if there is no such user.
    pub async fn end_sessions(&self, id: i64, now: DateTime<Utc>) -> anyhow::Result<bool> {
        self.end_all_sessions(id, &Actor::CommandLine, now).await
    }

    async fn end_all_sessions(
        &self,
        id: i64,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let ended = async {
            let mut transaction = self.db.begin().await?;
            let done = changed!(&mut transaction, transaction => sqlx::query(
                    // One that was stored late takes nothing back of a newer one.
                    "UPDATE users SET updated_at = $2, \
                     sessions_from = CASE WHEN sessions_from < $2 THEN $2 ELSE sessions_from END \
                     WHERE id = $1 AND deleted_at IS NULL",
                )
                .bind(id)
                .bind(now.timestamp_millis())
                .execute(&mut **transaction))?;
            if done > 0 {
                let change = ChangeLine {
                    subject: AuditSubject::Sessions,
                    subject_id: &id.to_string(),
                    actor,
                    action: "ended",
                    before: None,
                    after: None,
                };
                changes::note(&mut transaction, change, now).await?;
            }
            transaction.commit().await?;
            anyhow::Ok(done > 0)
        };
        ended
            .await
            .with_context(|| format!("cannot end the sessions of user `{id}`"))
    }

    async fn user_by_session(&self, session: &Session) -> anyhow::Result<Option<StoredUserRow>> {
        on!(self.db.read(), pool => sqlx::query_as(concat!(
            "SELECT ", user!(), ", EXISTS (SELECT 1 FROM ended_sessions WHERE id = $2) AS is_ended \
             FROM users WHERE open_id = $1",
        ))
            .bind(storable(&session.open_id))
            .bind(&session.id)
            .fetch_optional(pool)
            .await)
        .context("cannot look up the user of a session")
    }

    async fn create_user(&self, open_id: &str, name: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO users (open_id, name, folded_name, login_method, role, created_at, updated_at, \
             last_signed_in) VALUES ($1, $2, $4, 'dev', 'user', $3, $3, $3) \
             ON CONFLICT (open_id) DO NOTHING",
        )
        .bind(storable(open_id))
        .bind(storable(name))
        .bind(now.timestamp_millis())
        .bind(folded(&storable(name)))
        .execute(pool))
        .map(|_| ())
    }

    async fn touch(&self, user: &mut User, now: DateTime<Utc>) {
        let write = async {
            changed!(self.db.write(), pool => sqlx::query(
                "UPDATE users SET last_signed_in = $2, folded_name = $3 WHERE id = $1",
            )
            .bind(user.id)
            .bind(now.timestamp_millis())
            // Those of an earlier release are folded as far as its database could.
            .bind(user.name.as_deref().map(folded))
            .execute(pool))
        };
        let written = tokio::time::timeout(SIGNED_IN_PATIENCE, write).await;
        match written.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)) {
            Ok(_) => user.last_signed_in = time(now.timestamp_millis()),
            // Who called when is not worth refusing the call for.
            Err(error) => tracing::warn!(%error, user = user.id, "cannot note that a user called"),
        }
    }
}

#[async_trait]
impl UserLookup for Storage {
    async fn look_up(&self, text: &str, limit: u32) -> anyhow::Result<Vec<User>> {
        let rows = self.users_like(text, limit).await;
        let rows = rows.context("cannot look up users")?;
        Ok(rows.into_iter().map(User::from).collect())
    }
}

#[async_trait]
impl UserStore for Storage {
    async fn user_of_session(
        &self,
        session: &Session,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>> {
        let mut row = self.user_by_session(session).await?;
        if row.is_none() && !session.open_id.starts_with(LOCAL_PREFIX) {
            self.create_user(&session.open_id, &session.name, now)
                .await
                .context("cannot create the user of a session")?;
            row = self.user_by_session(session).await?;
        }
        let holds = |row: &StoredUserRow| {
            row.deleted_at.is_none() && !row.is_ended && session.issued_ms >= row.sessions_from
        };
        let Some(row) = row.filter(holds) else {
            return Ok(None);
        };
        let mut user = User::from(row);
        if now - user.last_signed_in >= SIGNED_IN_PRECISION {
            self.touch(&mut user, now).await;
        }
        Ok(Some(user))
    }

    async fn end_session(&self, session: &Session, until: DateTime<Utc>) -> anyhow::Result<()> {
        changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO ended_sessions (id, until_ms) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&session.id)
        .bind(until.timestamp_millis())
        .execute(pool))
        .map(|_| ())
        .context("cannot end a session")
    }

    async fn end_sessions_of(&self, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
        let actor = Actor::User(user_id);
        let ended = self.end_all_sessions(user_id, &actor, now).await;
        ended.map(|_| ())
    }
}
