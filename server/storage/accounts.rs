//! Users as admins keep them.

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    Storage,
    db::Write,
    personal::forget,
    storable,
    users::{StoredUserRow, folded, literal, note_role, role_of, user},
};
use crate::{
    _core::{
        actor::Actor,
        caller::{Role, User},
    },
    accounts::{
        AccountError, AccountStore, ActingAdmin, Direction, Edit, NewUser, Order, PENDING,
        UserSearch,
    },
};

/// The users that are wanted; `$1` is part of a name or an address, `$2` a role.
const WANTED: &str = "FROM users WHERE deleted_at IS NULL AND ($1 IS NULL \
     OR folded_name LIKE $1 ESCAPE '\\' OR LOWER(email) LIKE $1 ESCAPE '\\') \
     AND ($2 IS NULL OR role = $2)";

/// By what, and those who have none of it last; the number orders those who are alike.
const fn ordered(order: Order, direction: Direction) -> &'static str {
    match (order, direction) {
        (Order::Name, Direction::Asc) => "folded_name IS NULL, folded_name, id",
        (Order::Name, Direction::Desc) => "folded_name IS NULL, folded_name DESC, id DESC",
        (Order::Email, Direction::Asc) => "email IS NULL, LOWER(email), id",
        (Order::Email, Direction::Desc) => "email IS NULL, LOWER(email) DESC, id DESC",
        (Order::CreatedAt, Direction::Asc) => "created_at, id",
        (Order::CreatedAt, Direction::Desc) => "created_at DESC, id DESC",
        (Order::LastSignedIn, Direction::Asc) => "last_signed_in, id",
        (Order::LastSignedIn, Direction::Desc) => "last_signed_in DESC, id DESC",
    }
}

#[async_trait]
impl AccountStore for Storage {
    async fn accounts(&self, wanted: &UserSearch) -> anyhow::Result<(Vec<User>, i64)> {
        let search = wanted.search.as_deref();
        let search = search.map(|text| format!("%{}%", literal(&folded(&storable(text)))));
        let role = wanted.role.map(Role::name);
        let sql = format!(
            "SELECT {} {WANTED} ORDER BY {} LIMIT $3 OFFSET $4",
            user!(),
            ordered(wanted.order, wanted.direction)
        );
        let rows: Vec<StoredUserRow> =
            on!(self.db.read(), pool => sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(search.as_deref())
            .bind(role)
            .bind(i64::from(wanted.limit))
            .bind(i64::from(wanted.offset))
            .fetch_all(pool)
            .await)
            .context("cannot list the users")?;
        let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) {WANTED}"));
        let total = on!(self.db.read(), pool => sqlx::query_scalar(count)
            .bind(search.as_deref())
            .bind(role)
            .fetch_one(pool)
            .await)
        .context("cannot count the users")?;
        Ok((rows.into_iter().map(User::from).collect(), total))
    }

    async fn account(&self, id: i64) -> anyhow::Result<Option<User>> {
        self.find_user(id).await
    }

    async fn create_account(
        &self,
        new: &NewUser,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<User, AccountError> {
        by.may_create(new.role)?;
        let mut transaction = self.alone(by).await?;
        let made: sqlx::Result<Option<StoredUserRow>> = async {
            if is_taken(&mut transaction, &new.email, 0).await? {
                return Ok(None);
            }
            let row: Option<StoredUserRow> = on!(&mut transaction, transaction => sqlx::query_as(concat!(
                    "INSERT INTO users (open_id, name, folded_name, email, login_method, role, created_at, \
                     updated_at, last_signed_in) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7) \
                     ON CONFLICT (open_id) DO NOTHING RETURNING ", user!(),
                ))
                .bind(format!("{PENDING}{}", folded(&storable(&new.email))))
                .bind(storable(&new.name))
                .bind(folded(&storable(&new.name)))
                .bind(storable(&new.email))
                .bind(new.login_method)
                .bind(new.role.name())
                .bind(now.timestamp_millis())
                .fetch_optional(&mut **transaction)
                .await)?;
            if let Some(row) = &row {
                let actor = Actor::User(by.user.id);
                note_role(&mut transaction, row.id, &actor, None, new.role, now).await?;
            }
            transaction.commit().await?;
            Ok(row)
        }
        .await;
        let made = made.context("cannot make a user")?;
        made.map(User::from).ok_or(AccountError::EmailTaken)
    }

    async fn edit_account(
        &self,
        id: i64,
        edit: &Edit,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let failed = || format!("cannot change user `{id}`");
        let mut transaction = self.alone(by).await?;
        let user = user_of(&mut transaction, id).await.with_context(failed)?;
        let user = user.ok_or(AccountError::NotFound)?;
        by.may_edit(&user, edit)?;
        if let Some(email) = &edit.email
            && is_taken(&mut transaction, email, id)
                .await
                .with_context(failed)?
        {
            return Err(AccountError::EmailTaken);
        }
        let written = async {
            // Who has not signed in is known by the address alone.
            let pending = edit
                .email
                .as_deref()
                .filter(|_| user.open_id.starts_with(PENDING));
            let open_id = pending.map(|email| format!("{PENDING}{}", folded(&storable(email))));
            changed!(&mut transaction, transaction => sqlx::query(
                    "UPDATE users SET name = COALESCE(CAST($2 AS TEXT), name), \
                     folded_name = COALESCE(CAST($3 AS TEXT), folded_name), \
                     email = COALESCE(CAST($4 AS TEXT), email), role = COALESCE(CAST($5 AS TEXT), role), \
                     open_id = COALESCE(CAST($7 AS TEXT), open_id), updated_at = $6 WHERE id = $1",
                )
                .bind(id)
                .bind(edit.name.as_deref().map(storable))
                .bind(edit.name.as_deref().map(|name| folded(&storable(name))))
                .bind(edit.email.as_deref().map(storable))
                .bind(edit.role.map(Role::name))
                .bind(now.timestamp_millis())
                .bind(open_id)
                .execute(&mut **transaction))?;
            if let Some(role) = edit.role {
                let actor = Actor::User(by.user.id);
                note_role(&mut transaction, id, &actor, Some(user.role), role, now).await?;
            }
            transaction.commit().await
        };
        Ok(written.await.with_context(failed)?)
    }

    async fn delete_account(
        &self,
        id: i64,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let failed = || format!("cannot delete user `{id}`");
        let asker = by.user.id;
        let mut transaction = self.db.begin_long().await.with_context(failed)?;
        let users = held(&mut transaction, [asker, id]).await;
        let users = users.with_context(failed)?;
        if !users.iter().any(|it| it.id == asker) {
            return Err(AccountError::Forbidden(GONE));
        }
        let user = users.iter().find(|it| it.id == id);
        by.may_delete(user.ok_or(AccountError::NotFound)?)?;
        let forgotten = forget(&mut transaction, id, &Actor::User(asker), now).await;
        let forgotten = forgotten.with_context(failed)?;
        transaction.commit().await.with_context(failed)?;
        self.empty_log().await;
        forgotten.map(|_| ()).ok_or(AccountError::NotFound)
    }
}

/// Whoever asks was deleted meanwhile.
const GONE: &str = "Your account was deleted";

impl Storage {
    /// A transaction beside which nobody makes or changes users, so that what it found holds until its end. Whoever
    /// asks is there still; what they may do counts as everywhere, within a second.
    async fn alone(&self, by: ActingAdmin<'_>) -> Result<Write, AccountError> {
        let begun = async {
            let mut transaction = self.db.begin().await?;
            if let Write::Postgres(transaction) = &mut transaction {
                sqlx::query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
                    .execute(&mut **transaction)
                    .await?;
            }
            let asker = role_of(&mut transaction, by.user.id).await?;
            Ok(asker.map(|_| transaction))
        };
        let begun: sqlx::Result<_> = begun.await;
        let begun = begun.context("cannot begin to change users")?;
        begun.ok_or(AccountError::Forbidden(GONE))
    }
}

/// Those of two users who are there, and stay as they are until the end. Of two who delete each other the second waits,
/// and finds itself gone.
async fn held(transaction: &mut Write, ids: [i64; 2]) -> sqlx::Result<Vec<User>> {
    if let Write::Postgres(transaction) = &mut *transaction {
        // Not beside `alone`, which would wait for a row while this waits for the table.
        sqlx::query("LOCK TABLE users IN ROW EXCLUSIVE MODE")
            .execute(&mut **transaction)
            .await?;
    }
    let sql = match &*transaction {
        // Nobody else writes there.
        Write::Sqlite(_) => {
            concat!(
                "SELECT ",
                user!(),
                " FROM users WHERE id IN ($1, $2) AND deleted_at IS NULL ORDER BY id"
            )
        }
        Write::Postgres(_) => {
            concat!(
                "SELECT ",
                user!(),
                " FROM users WHERE id IN ($1, $2) AND deleted_at IS NULL ORDER BY id FOR UPDATE"
            )
        }
    };
    let rows: Vec<StoredUserRow> = on!(transaction, transaction => sqlx::query_as(sql)
        .bind(ids[0])
        .bind(ids[1])
        .fetch_all(&mut **transaction)
        .await)?;
    Ok(rows.into_iter().map(User::from).collect())
}

async fn user_of(transaction: &mut Write, id: i64) -> sqlx::Result<Option<User>> {
    let row: Option<StoredUserRow> = on!(transaction, transaction => sqlx::query_as(concat!(
            "SELECT ", user!(), " FROM users WHERE id = $1 AND deleted_at IS NULL",
        ))
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await)?;
    Ok(row.map(User::from))
}

/// Whether another user than this one has the address.
async fn is_taken(transaction: &mut Write, email: &str, id: i64) -> sqlx::Result<bool> {
    on!(transaction, transaction => sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM users WHERE deleted_at IS NULL AND id <> $2 \
             AND LOWER(email) = LOWER($1))",
        )
        .bind(storable(email))
        .bind(id)
        .fetch_one(&mut **transaction)
        .await)
}
