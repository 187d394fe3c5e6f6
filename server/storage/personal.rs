//! What is kept of one user: given out whole, and forgotten.

use std::io::Write;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::{
    Storage,
    changes::{self, ChangeLine},
    db::{self, Db},
    time,
    users::{role_of, role_state},
};
use crate::{_core::actor::Actor, accounts::PENDING, dashboard::audit::AuditSubject};

/// What was deleted of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Conversations, with all their messages.
    pub conversations: u64,
    /// Events that no longer say whose they are.
    pub events: u64,
}

#[derive(sqlx::FromRow)]
struct ConversationRow {
    id: i64,
    title: Option<String>,
    created_at: i64,
    updated_at: i64,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: i64,
    conversation_id: i64,
    role: String,
    content: String,
    created_at: i64,
    model: Option<String>,
    verdict: Option<String>,
}

#[derive(sqlx::FromRow)]
struct EmailRow {
    kind: String,
    thread_id: String,
    text: String,
    at_ms: i64,
    used_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct TextRow {
    at_ms: i64,
    request_id: String,
    task: String,
    prompt: String,
    answer: Option<String>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    at_ms: i64,
    request_id: String,
    model: String,
    task: String,
    variant: String,
    outcome: String,
    position: i64,
    latency_ms: f64,
    first_token_ms: Option<f64>,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost_microdollars: i64,
}

impl ConversationRow {
    fn kind(&self) -> &str {
        "conversation"
    }

    fn content(&self) -> Value {
        json!({
            "id": self.id, "title": self.title, "createdAt": time(self.created_at),
            "updatedAt": time(self.updated_at),
        })
    }
}

impl MessageRow {
    fn kind(&self) -> &str {
        "message"
    }

    fn content(&self) -> Value {
        json!({
            "id": self.id, "conversationId": self.conversation_id, "role": self.role,
            "content": self.content, "createdAt": time(self.created_at), "model": self.model,
            "rating": self.verdict,
        })
    }
}

impl EmailRow {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn content(&self) -> Value {
        let mut found = json!({
            "threadId": self.thread_id, "at": time(self.at_ms), "found": read_or_text(&self.text),
        });
        if self.kind == "emailSuggestion" {
            found["takenAt"] = json!(self.used_ms.map(time));
        }
        found
    }
}

impl TextRow {
    fn kind(&self) -> &str {
        "requestText"
    }

    fn content(&self) -> Value {
        json!({
            "at": time(self.at_ms), "requestId": self.request_id, "task": self.task,
            "prompt": read_or_text(&self.prompt), "answer": self.answer,
        })
    }
}

impl EventRow {
    fn kind(&self) -> &str {
        "event"
    }

    fn content(&self) -> Value {
        json!({
            "at": time(self.at_ms), "requestId": self.request_id, "model": self.model, "task": self.task,
            "variant": self.variant, "outcome": self.outcome, "position": self.position,
            "latencyMs": self.latency_ms, "firstTokenMs": self.first_token_ms,
            "promptTokens": self.prompt_tokens, "completionTokens": self.completion_tokens,
            "costMicrodollars": self.cost_microdollars,
        })
    }
}

/// What is stored as JSON, or as a text where it is none.
fn read_or_text(stored: &str) -> Value {
    serde_json::from_str(stored).unwrap_or_else(|_| Value::from(stored))
}

/// Writes a line for each of a user's rows of one kind, as it is read.
macro_rules! write_rows {
    ($reading:ident, $user:ident, $out:ident, $row:ty, $sql:literal) => {
        let mut rows = sqlx::query_as($sql).bind($user).fetch(&mut *$reading);
        while let Some(row) = rows.try_next().await? {
            let row: $row = row;
            line($out, row.kind(), &row.content())?;
        }
        drop(rows);
    };
}

impl Storage {
    /// Writes what docs/privacy.md says of a user, a JSON object a line; `false` if there is no such user.
    ///
    /// Texts of conversations are in it. Lines are written as they are read, so memory stays small, and all are of
    /// one moment.
    pub async fn export_user(&self, id: i64, out: &mut (dyn Write + Send)) -> anyhow::Result<bool> {
        let Some(user) = self.find_user(id).await? else {
            return Ok(false);
        };
        line(
            out,
            "user",
            &json!({
                "id": user.id, "openId": user.open_id, "name": user.name, "email": user.email,
                "loginMethod": user.login_method, "role": user.role.name(), "createdAt": user.created_at,
                "lastSignedIn": user.last_signed_in,
            }),
        )?;
        let one_state = self.db.one_state();
        let written: anyhow::Result<()> = on!(self.db.read_long(), pool => async {
            let mut reading = pool.begin().await?;
            if let Some(one_state) = one_state {
                sqlx::query(one_state).execute(&mut *reading).await?;
            }
            write_rows!(reading, id, out, ConversationRow,
                "SELECT id, title, created_at, updated_at FROM conversations WHERE user_id = $1 ORDER BY id");
            write_rows!(reading, id, out, MessageRow,
                "SELECT m.id, m.conversation_id, m.role, m.content, m.created_at, m.model, r.verdict \
                 FROM messages m JOIN conversations c ON c.id = m.conversation_id \
                 LEFT JOIN message_ratings r ON r.message_id = m.id AND r.user_id = c.user_id \
                 WHERE c.user_id = $1 ORDER BY m.id");
            write_rows!(reading, id, out, EmailRow,
                "SELECT 'emailInsight' AS kind, thread_id, insight AS text, found_ms AS at_ms, CAST(NULL AS BIGINT) AS used_ms \
                 FROM email_insights WHERE user_id = $1 UNION ALL \
                 SELECT 'emailSuggestion', thread_id, suggestion, made_ms, used_ms FROM email_suggestions WHERE user_id = $1");
            write_rows!(reading, id, out, TextRow,
                "SELECT at_ms, request_id, task, prompt, answer FROM request_texts WHERE user_id = $1 ORDER BY at_ms");
            write_rows!(reading, id, out, EventRow,
                "SELECT at_ms, request_id, model, task, variant, outcome, position, latency_ms, first_token_ms, \
                 prompt_tokens, completion_tokens, cost_microdollars FROM events WHERE user_id = $1 ORDER BY at_ms");
            Ok(())
        }
        .await);
        written.with_context(|| format!("cannot read what is kept of user `{id}`"))?;
        Ok(true)
    }

    /// Deletes a user's conversations, name, address and links, and takes the user out of events; `None`
    /// if there was never such a user. Of one who was deleted before it deletes what a call that was under way
    /// then has left since. The id by which the sign-in knows the user stays, and all sessions are
    /// refused by it. Events keep the hash that put the user on a side, so that replays stay the same.
    pub async fn forget_user(
        &self,
        id: i64,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Forgotten>> {
        let forgotten = async {
            let mut transaction = self.db.begin_long().await?;
            let forgotten = forget(&mut transaction, id, actor, now).await?;
            transaction.commit().await?;
            Ok(forgotten)
        };
        let forgotten: sqlx::Result<_> = forgotten.await;
        let forgotten = forgotten.with_context(|| format!("cannot delete user `{id}`"))?;
        self.empty_log().await;
        Ok(forgotten)
    }

    /// SQLite's log holds older pages. Where somebody reads, that is done by the next who can.
    pub(super) async fn empty_log(&self) {
        if let Db::Sqlite(sqlite) = &self.db {
            let truncate = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
            let _ = truncate.execute(&sqlite.write).await;
        }
    }
}

/// Has SQLite overwrite what is deleted in the file, or only let it go. In the transaction: beside it another deletion
/// could end it.
async fn overwrite(transaction: &mut db::Write, pragma: &'static str) -> sqlx::Result<()> {
    if let db::Write::Sqlite(transaction) = transaction {
        sqlx::query(pragma).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// What [`Storage::forget_user`] does, in a transaction of the caller's.
pub(super) async fn forget(
    transaction: &mut db::Write,
    id: i64,
    actor: &Actor,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Forgotten>> {
    overwrite(transaction, "PRAGMA secure_delete = ON").await?;
    let before = role_of(transaction, id).await?;
    // First, so that a call of the user that comes meanwhile is refused or has waited.
    let deleted = changed!(&mut *transaction, transaction => sqlx::query(
            "UPDATE users SET deleted_at = COALESCE(deleted_at, $2), updated_at = $2, name = NULL, \
             folded_name = NULL, email = NULL, open_id = CASE WHEN substr(open_id, 1, length($3)) = $3 \
             THEN 'deleted:' || id ELSE open_id END WHERE id = $1",
        )
        .bind(id)
        .bind(now.timestamp_millis())
        // It is an address.
        .bind(PENDING)
        .execute(&mut **transaction))?;
    if deleted == 0 {
        overwrite(transaction, "PRAGMA secure_delete = OFF").await?;
        return Ok(None);
    }
    for sql in [
        "DELETE FROM message_ratings WHERE user_id = $1",
        "DELETE FROM login_links WHERE user_id = $1",
        "DELETE FROM email_insights WHERE user_id = $1",
        "DELETE FROM email_suggestions WHERE user_id = $1",
        "DELETE FROM request_texts WHERE user_id = $1",
    ] {
        changed!(&mut *transaction, transaction => sqlx::query(sql)
            .bind(id)
            .execute(&mut **transaction))?;
    }
    // Their messages, and ratings of these, go with them.
    let conversations = changed!(&mut *transaction, transaction => sqlx::query(
            "DELETE FROM conversations WHERE user_id = $1",
        )
        .bind(id)
        .execute(&mut **transaction))?;
    let events = changed!(&mut *transaction, transaction => sqlx::query(
            "UPDATE events SET user_id = NULL WHERE user_id = $1",
        )
        .bind(id)
        .execute(&mut **transaction))?;
    // Of one who was deleted before nothing is known any more.
    if before.is_some() {
        let change = ChangeLine {
            subject: AuditSubject::Users,
            subject_id: &id.to_string(),
            actor,
            action: "deleted",
            before: before.map(role_state),
            after: None,
        };
        changes::note(transaction, change, now).await?;
    }
    overwrite(transaction, "PRAGMA secure_delete = OFF").await?;
    Ok(Some(Forgotten {
        conversations,
        events,
    }))
}

fn line(out: &mut (dyn Write + Send), kind: &str, value: &Value) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", json!({ kind: value }))?)
}
