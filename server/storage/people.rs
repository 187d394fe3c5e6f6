//! People whom a sign-in service knows, as users.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    Storage, storable,
    users::{StoredUserRow, folded, note_role, user},
};
use crate::{
    _core::{
        actor::Actor,
        auth::oidc::{Person, PersonStore},
        caller::{Role, User},
    },
    accounts::PENDING,
};

/// Who gives roles by what a sign-in service says.
const SIGN_IN: &str = "sign-in";

#[async_trait]
impl PersonStore for Storage {
    async fn admit(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<Option<User>> {
        self.upsert_person(person, now)
            .await
            .map(|row| row.map(User::from))
            .context("cannot store who signed in")
    }
}

impl Storage {
    async fn upsert_person(
        &self,
        person: &Person,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<StoredUserRow>> {
        let mut transaction = self.db.begin().await?;
        if let Some(email) = person.email.as_deref().filter(|_| person.has_proven_email) {
            // An admin made the user before, by the address alone.
            changed!(&mut transaction, transaction => sqlx::query(
                    "UPDATE users SET open_id = $1 WHERE open_id = $2 AND deleted_at IS NULL \
                     AND NOT EXISTS (SELECT 1 FROM users WHERE open_id = $1)",
                )
                .bind(&person.open_id)
                .bind(format!("{PENDING}{}", folded(&storable(email))))
                .execute(&mut **transaction))?;
        }
        let before: Option<String> = on!(&mut transaction, transaction => sqlx::query_scalar(
                "SELECT role FROM users WHERE open_id = $1 AND deleted_at IS NULL",
            )
            .bind(&person.open_id)
            .fetch_optional(&mut **transaction)
            .await)?;
        let before = before.as_deref().map(Role::named);
        let row: Option<StoredUserRow> = on!(&mut transaction, transaction => sqlx::query_as(concat!(
                "INSERT INTO users (open_id, name, folded_name, email, login_method, role, created_at, \
                 updated_at, last_signed_in) \
                 VALUES ($1, $2, $3, $4, 'oidc', COALESCE(CAST($5 AS TEXT), 'user'), $6, $6, $6) \
                 ON CONFLICT (open_id) DO UPDATE SET name = excluded.name, \
                 folded_name = excluded.folded_name, email = excluded.email, \
                 login_method = excluded.login_method, role = COALESCE(CAST($5 AS TEXT), users.role), \
                 updated_at = excluded.updated_at, last_signed_in = excluded.last_signed_in \
                 WHERE users.deleted_at IS NULL RETURNING ", user!(),
            ))
            .bind(&person.open_id)
            .bind(storable(&person.name))
            .bind(folded(&storable(&person.name)))
            .bind(person.email.as_deref().map(storable))
            // Where roles are given by hand, a new user is a plain one and others keep theirs.
            .bind(person.role.map(Role::name))
            .bind(now.timestamp_millis())
            .fetch_optional(&mut **transaction)
            .await)?;
        if let (Some(row), Some(role)) = (&row, person.role) {
            let actor = Actor::Other(SIGN_IN.into());
            note_role(&mut transaction, row.id, &actor, before, role, now).await?;
        }
        transaction.commit().await?;
        Ok(row)
    }
}
