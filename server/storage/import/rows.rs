//! Each of the three tables, as its rows are taken over.

use super::{Import, RowFate};
use crate::{
    _core::{actor::Actor, auth::LOCAL_PREFIX, caller::Role},
    storage::{
        db::Write,
        original::{OriginalTable, TheirConversation, TheirMessage, TheirUser},
        storable,
        users::{folded, note_role},
    },
};

/// A row that can be taken over.
pub(super) trait ImportRow: OriginalTable {
    /// The table and the row that have to be here before.
    fn parent(&self) -> Option<(&'static str, i64)>;
    /// Why it cannot be taken over at all.
    fn refusal(&self) -> Option<&'static str>;
    /// What of it may change, as it would be taken over.
    fn changing(&self) -> Vec<Option<String>>;
    /// The same of the row here; `None` where it is no more.
    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>>;
    /// Brings the row here up to date.
    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()>;
    /// Writes it, with the number here of what has to be here before. Numbers that are not free are made above `greatest`.
    async fn write(
        &self,
        transaction: &mut Write,
        parent: i64,
        greatest: i64,
        import: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, RowFate), &'static str>>;
}

/// So that nobody is handed a number while the sequence is moved.
pub(super) async fn lock(transaction: &mut Write, table: &str) -> sqlx::Result<()> {
    if let Write::Postgres(transaction) = transaction {
        let statement = match table {
            TheirUser::NAME => "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE",
            TheirConversation::NAME => "LOCK TABLE conversations IN SHARE ROW EXCLUSIVE MODE",
            // Messages get the numbers that come.
            _ => return Ok(()),
        };
        sqlx::query(statement).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Numbers that are handed out later go on above the greatest one. SQLite does so by itself.
pub(super) async fn go_on_above(transaction: &mut Write, table: &str) -> sqlx::Result<()> {
    if let Write::Postgres(transaction) = transaction {
        let statement = match table {
            TheirUser::NAME => {
                "SELECT SETVAL('users_id_seq', GREATEST((SELECT MAX(id) FROM users), \
                 (SELECT last_value FROM users_id_seq)))"
            }
            TheirConversation::NAME => {
                "SELECT SETVAL('conversations_id_seq', GREATEST((SELECT MAX(id) FROM conversations), \
                 (SELECT last_value FROM conversations_id_seq)))"
            }
            _ => return Ok(()),
        };
        sqlx::query(statement).execute(&mut **transaction).await?;
    }
    Ok(())
}

fn stored(text: Option<&str>) -> Option<String> {
    text.map(|text| storable(text).into_owned())
}

/// The number of a row: its own where that is free, otherwise the next one above all here and there.
async fn number(
    transaction: &mut Write,
    table: &str,
    theirs: i64,
    greatest: i64,
) -> sqlx::Result<i64> {
    let (taken, most) = match table {
        TheirUser::NAME => (
            "SELECT COUNT(*) FROM users WHERE id = $1",
            "SELECT COALESCE(MAX(id), 0) FROM users",
        ),
        _ => (
            "SELECT COUNT(*) FROM conversations WHERE id = $1",
            "SELECT COALESCE(MAX(id), 0) FROM conversations",
        ),
    };
    let taken: i64 = on!(&mut *transaction, transaction => sqlx::query_scalar(taken)
        .bind(theirs)
        .fetch_one(&mut **transaction)
        .await)?;
    if taken == 0 && theirs > 0 {
        return Ok(theirs);
    }
    let most: i64 = on!(&mut *transaction, transaction => sqlx::query_scalar(most)
        .fetch_one(&mut **transaction)
        .await)?;
    Ok(most.max(greatest) + 1)
}

impl ImportRow for TheirUser {
    fn parent(&self) -> Option<(&'static str, i64)> {
        None
    }

    fn refusal(&self) -> Option<&'static str> {
        let is_refused = self.open_id.is_empty() || self.open_id.starts_with(LOCAL_PREFIX);
        is_refused.then_some("its open id is empty, or of a local user here")
    }

    fn changing(&self) -> Vec<Option<String>> {
        let parts = [&self.name, &self.email, &self.login_method];
        parts.into_iter().map(|it| stored(it.as_deref())).collect()
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let row: Option<(Option<String>, Option<String>, Option<String>)> = on!(transaction, transaction => sqlx::query_as(
                "SELECT name, email, login_method FROM users WHERE id = $1 AND deleted_at IS NULL",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(row.map(|(name, email, login_method)| vec![name, email, login_method]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        let name = stored(self.name.as_deref());
        changed!(transaction, transaction => sqlx::query(
                "UPDATE users SET name = $2, folded_name = $3, email = $4, login_method = $5, updated_at = $6 \
                 WHERE id = $1",
            )
            .bind(ours)
            .bind(name.clone())
            .bind(name.as_deref().map(folded))
            .bind(stored(self.email.as_deref()))
            .bind(stored(self.login_method.as_deref()))
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        _: i64,
        greatest: i64,
        import: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, RowFate), &'static str>> {
        let here: Option<(i64, Option<i64>)> = on!(&mut *transaction, transaction => sqlx::query_as(
                "SELECT id, deleted_at FROM users WHERE open_id = $1",
            )
            .bind(storable(&self.open_id))
            .fetch_optional(&mut **transaction)
            .await)?;
        match here {
            Some((_, Some(_))) => return Ok(Err("this user was deleted here")),
            Some((ours, None)) => return Ok(Ok((ours, RowFate::Joined))),
            None => {}
        }
        let role = match self.role.as_str() {
            "admin" if import.plan.keeps_roles => Role::Admin,
            _ => Role::User,
        };
        let id = number(transaction, Self::NAME, self.id, greatest).await?;
        let name = self.name.as_deref().map(storable);
        changed!(&mut *transaction, transaction => sqlx::query(
                "INSERT INTO users (id, open_id, name, folded_name, email, login_method, role, created_at, \
                 updated_at, last_signed_in) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(id)
            .bind(storable(&self.open_id))
            .bind(name.clone())
            .bind(name.as_deref().map(folded))
            .bind(self.email.as_deref().map(storable))
            .bind(self.login_method.as_deref().map(storable))
            .bind(role.name())
            .bind(self.created_at)
            .bind(self.updated_at)
            .bind(self.last_signed_in)
            .execute(&mut **transaction))?;
        note_role(transaction, id, &Actor::CommandLine, None, role, import.now).await?;
        Ok(Ok((id, RowFate::New)))
    }
}

impl ImportRow for TheirConversation {
    fn parent(&self) -> Option<(&'static str, i64)> {
        Some((TheirUser::NAME, self.user_id))
    }

    fn refusal(&self) -> Option<&'static str> {
        None
    }

    fn changing(&self) -> Vec<Option<String>> {
        vec![stored(self.title.as_deref())]
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let title: Option<(Option<String>,)> = on!(transaction, transaction => sqlx::query_as(
                "SELECT title FROM conversations WHERE id = $1",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(title.map(|(title,)| vec![title]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        changed!(transaction, transaction => sqlx::query(
                "UPDATE conversations SET title = $2, updated_at = $3 WHERE id = $1",
            )
            .bind(ours)
            .bind(stored(self.title.as_deref()))
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        user: i64,
        greatest: i64,
        _: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, RowFate), &'static str>> {
        let live: Option<i64> = on!(&mut *transaction, transaction => sqlx::query_scalar(
                "SELECT id FROM users WHERE id = $1 AND deleted_at IS NULL",
            )
            .bind(user)
            .fetch_optional(&mut **transaction)
            .await)?;
        if live.is_none() {
            return Ok(Err("its user was deleted here"));
        }
        let id = number(transaction, Self::NAME, self.id, greatest).await?;
        changed!(&mut *transaction, transaction => sqlx::query(
                "INSERT INTO conversations (id, user_id, title, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id)
            .bind(user)
            .bind(self.title.as_deref().map(storable))
            .bind(self.created_at)
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(Ok((id, RowFate::New)))
    }
}

impl ImportRow for TheirMessage {
    fn parent(&self) -> Option<(&'static str, i64)> {
        Some((TheirConversation::NAME, self.conversation_id))
    }

    fn refusal(&self) -> Option<&'static str> {
        let is_known = matches!(self.role.as_str(), "user" | "assistant" | "system");
        (!is_known).then_some("its role is none of `user`, `assistant` and `system`")
    }

    fn changing(&self) -> Vec<Option<String>> {
        vec![stored(Some(&self.content))]
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let content: Option<String> = on!(transaction, transaction => sqlx::query_scalar(
                "SELECT content FROM messages WHERE id = $1",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(content.map(|content| vec![Some(content)]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        changed!(transaction, transaction => sqlx::query(
                "UPDATE messages SET content = $2 WHERE id = $1",
            )
            .bind(ours)
            .bind(storable(&self.content))
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        conversation: i64,
        _: i64,
        _: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, RowFate), &'static str>> {
        let ours: Option<i64> = returned!(&mut *transaction, transaction => sqlx::query_scalar(
                "INSERT INTO messages (conversation_id, role, content, created_at) \
                 SELECT id, $2, $3, $4 FROM conversations WHERE id = $1 RETURNING id",
            )
            .bind(conversation)
            .bind(&self.role)
            .bind(storable(&self.content))
            .bind(self.created_at)
            .fetch_all(&mut **transaction))?;
        match ours {
            Some(ours) => Ok(Ok((ours, RowFate::New))),
            None => Ok(Err("its conversation was deleted here")),
        }
    }
}
