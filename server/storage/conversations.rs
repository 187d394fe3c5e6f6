//! Conversations and their messages, in the order in which they were stored.

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Storage, storable, time};
use crate::_core::assignment::Variant;
use crate::chat::store::{
    AnswerOrigin, Conversation, ConversationStore, ConversationSummary, Message, MessageRole,
    Rating, RatingOutcome,
};

macro_rules! conversation {
    () => {
        "id, user_id, title, created_at, updated_at"
    };
}
macro_rules! message {
    () => {
        "id, conversation_id, role, content, created_at"
    };
}
/// A message with what wrote it.
macro_rules! with_origin {
    () => {
        concat!(
            message!(),
            ", request_id, model, task, variant, rollout, subject"
        )
    };
}

#[derive(sqlx::FromRow)]
struct ConversationRow {
    id: i64,
    user_id: i64,
    title: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            title: row.title,
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
        }
    }
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    #[sqlx(flatten)]
    conversation: ConversationRow,
    last_message: Option<String>,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: i64,
    conversation_id: i64,
    role: String,
    content: String,
    created_at: i64,
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id,
            conversation_id: row.conversation_id,
            role: match row.role.as_str() {
                "assistant" => MessageRole::Assistant,
                "system" => MessageRole::System,
                _ => MessageRole::User,
            },
            content: row.content,
            created_at: time(row.created_at),
        }
    }
}

/// A message with what wrote it; `NULL` throughout for what no model wrote.
#[derive(sqlx::FromRow)]
struct OriginRow {
    #[sqlx(flatten)]
    message: MessageRow,
    request_id: Option<String>,
    model: Option<String>,
    task: Option<String>,
    variant: Option<String>,
    rollout: Option<String>,
    subject: Option<i64>,
}

impl OriginRow {
    fn into_parts(self) -> (Message, Option<AnswerOrigin>) {
        let variant = self.variant.as_deref().and_then(|name| match name {
            "control" => Some(Variant::Control),
            "candidate" => Some(Variant::Candidate),
            _ => None,
        });
        let origin = (|| {
            Some(AnswerOrigin {
                request_id: self.request_id?.into(),
                model: self.model?.into(),
                task: self.task?.into(),
                variant: variant?,
                rollout: self.rollout.map(Into::into),
                subject: self.subject?.cast_unsigned(),
            })
        })();
        (self.message.into(), origin)
    }
}

#[async_trait]
impl ConversationStore for Storage {
    async fn conversations_of(&self, user_id: i64) -> anyhow::Result<Vec<ConversationSummary>> {
        let rows: Vec<SummaryRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
            "SELECT ", conversation!(), ", (SELECT SUBSTR(m.content, 1, 40) FROM messages m \
                          WHERE m.conversation_id = c.id ORDER BY m.id DESC LIMIT 1) AS last_message \
             FROM conversations c WHERE c.user_id = $1 ORDER BY c.updated_at DESC, c.id DESC",
        ))
        .bind(user_id)
        .fetch_all(pool)
        .await)
        .with_context(|| format!("cannot list the conversations of user `{user_id}`"))?;
        Ok(rows
            .into_iter()
            .map(|row| ConversationSummary {
                conversation: row.conversation.into(),
                last_message: row.last_message,
            })
            .collect())
    }

    async fn conversation(&self, id: i64) -> anyhow::Result<Option<Conversation>> {
        let row: Option<ConversationRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
                "SELECT ", conversation!(), " FROM conversations WHERE id = $1"
            ))
                .bind(id)
                .fetch_optional(pool)
                .await)
        .with_context(|| format!("cannot look up conversation `{id}`"))?;
        Ok(row.map(Conversation::from))
    }

    async fn create_conversation(
        &self,
        user_id: i64,
        title: Option<&str>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Conversation> {
        let row: Option<ConversationRow> =
            returned!(self.db.write(), pool => sqlx::query_as(concat!(
            "INSERT INTO conversations (user_id, title, created_at, updated_at) \
             VALUES ($1, $2, $3, $3) RETURNING ", conversation!(),
        ))
        .bind(user_id)
        .bind(title.map(storable))
        .bind(now.timestamp_millis())
        .fetch_all(pool))
            .with_context(|| format!("cannot create a conversation of user `{user_id}`"))?;
        row.map(Conversation::from)
            .context("a conversation that was stored was not returned")
    }

    async fn delete_conversation(&self, id: i64) -> anyhow::Result<()> {
        // The messages go with it, by the foreign key.
        changed!(self.db.write(), pool => sqlx::query("DELETE FROM conversations WHERE id = $1")
            .bind(id)
            .execute(pool))
        .with_context(|| format!("cannot delete conversation `{id}`"))?;
        Ok(())
    }

    async fn messages(
        &self,
        conversation_id: i64,
        skip: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<Message>> {
        let rows: Vec<MessageRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
            "SELECT ", message!(),
            " FROM messages WHERE conversation_id = $1 ORDER BY id LIMIT $2 OFFSET $3",
        ))
        .bind(conversation_id)
        .bind(limit)
        .bind(skip)
        .fetch_all(pool)
        .await)
        .with_context(|| format!("cannot read the messages of conversation `{conversation_id}`"))?;
        Ok(rows.into_iter().map(Message::from).collect())
    }

    async fn messages_before(
        &self,
        conversation_id: i64,
        before: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<Message>> {
        let rows: Vec<MessageRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
            "SELECT ", message!(),
            " FROM messages WHERE conversation_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        ))
        .bind(conversation_id)
        .bind(before)
        .bind(limit)
        .fetch_all(pool)
        .await)
        .with_context(|| format!("cannot read the history of conversation `{conversation_id}`"))?;
        Ok(rows.into_iter().map(Message::from).collect())
    }

    async fn add_message(
        &self,
        conversation_id: i64,
        role: MessageRole,
        content: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>> {
        let added: sqlx::Result<Option<MessageRow>> = returned!(self.db.write(), pool => sqlx::query_as(concat!(
            "INSERT INTO messages (conversation_id, role, content, created_at) \
             VALUES ($1, $2, $3, $4) RETURNING ", message!(),
        ))
        .bind(conversation_id)
        .bind(role.name())
        .bind(storable(content))
        .bind(now.timestamp_millis())
        .fetch_all(pool));
        match added {
            Ok(row) => Ok(row.map(Message::from)),
            // Deleted meanwhile, which no look-up beforehand could rule out.
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("cannot add to conversation `{conversation_id}`")),
        }
    }

    async fn answer_to(
        &self,
        question: &Message,
    ) -> anyhow::Result<Option<(Message, Option<AnswerOrigin>)>> {
        // Answers of earlier releases do not say what they answer.
        let found: Option<OriginRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
            "SELECT ", with_origin!(), " FROM messages WHERE in_reply_to = $1 OR (conversation_id = $2 AND id > $1 \
             AND role = 'assistant' AND in_reply_to IS NULL) ORDER BY id LIMIT 1",
        ))
        .bind(question.id)
        .bind(question.conversation_id)
        .fetch_optional(pool)
        .await)
        .with_context(|| format!("cannot look up the answer to message `{}`", question.id))?;
        Ok(found.map(OriginRow::into_parts))
    }

    async fn add_answer(
        &self,
        question: &Message,
        content: &str,
        origin: &AnswerOrigin,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>> {
        let variant = match origin.variant {
            Variant::Control => "control",
            Variant::Candidate => "candidate",
        };
        let added: sqlx::Result<Option<MessageRow>> = returned!(self.db.write(), pool => sqlx::query_as(concat!(
            "INSERT INTO messages (conversation_id, role, content, created_at, \
                                   request_id, model, task, variant, rollout, subject, in_reply_to) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING ", message!(),
        ))
        .bind(question.conversation_id)
        .bind(MessageRole::Assistant.name())
        .bind(storable(content))
        .bind(now.timestamp_millis())
        .bind(&*origin.request_id)
        .bind(&*origin.model)
        .bind(&*origin.task)
        .bind(variant)
        .bind(origin.rollout.as_deref())
        .bind(origin.subject.cast_signed())
        .bind(question.id)
        .fetch_all(pool));
        match added {
            Ok(row) => Ok(row.map(Message::from)),
            // Deleted meanwhile, as with a message; or answered meanwhile by another server.
            Err(sqlx::Error::Database(error))
                if error.is_foreign_key_violation() || error.is_unique_violation() =>
            {
                Ok(None)
            }
            Err(error) => Err(error)
                .with_context(|| format!("cannot store the answer to message `{}`", question.id)),
        }
    }

    async fn message(&self, id: i64) -> anyhow::Result<Option<(Message, Option<AnswerOrigin>)>> {
        let row: Option<OriginRow> = on!(self.db.read(), pool => sqlx::query_as(concat!(
                "SELECT ", with_origin!(), " FROM messages WHERE id = $1"
            ))
                .bind(id)
                .fetch_optional(pool)
                .await)
        .with_context(|| format!("cannot look up message `{id}`"))?;
        Ok(row.map(OriginRow::into_parts))
    }

    async fn rate_message(
        &self,
        message_id: i64,
        user_id: i64,
        rating: Rating,
        now: DateTime<Utc>,
    ) -> anyhow::Result<RatingOutcome> {
        // One statement decides who is first, so of two ratings at once only one is reported.
        let added = changed!(self.db.write(), pool => sqlx::query(
            "INSERT INTO message_ratings (message_id, user_id, verdict, rated_ms) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (message_id, user_id) DO NOTHING",
        )
        .bind(message_id)
        .bind(user_id)
        .bind(rating.name())
        .bind(now.timestamp_millis())
        .execute(pool));
        match added {
            Ok(1) => return Ok(RatingOutcome::First),
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                return Ok(RatingOutcome::Gone);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot rate message `{message_id}`"));
            }
        }
        let replaced = changed!(self.db.write(), pool => sqlx::query(
            "UPDATE message_ratings SET verdict = $3, rated_ms = $4 \
             WHERE message_id = $1 AND user_id = $2",
        )
        .bind(message_id)
        .bind(user_id)
        .bind(rating.name())
        .bind(now.timestamp_millis())
        .execute(pool))
        .with_context(|| format!("cannot rate message `{message_id}`"))?;
        Ok(if replaced == 0 {
            RatingOutcome::Gone
        } else {
            RatingOutcome::Again
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{_core::caller::Role, rollout::store::RolloutStore, storage::db::Db};

    #[tokio::test]
    async fn what_could_not_be_committed_is_not_said_to_be_stored() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a.db", folder.path().display());
        let storage = Storage::open(&url).await.unwrap();
        let now = DateTime::UNIX_EPOCH;
        storage.ensure_local_user(1, Role::User, now).await.unwrap();
        let id = storage.create_conversation(1, None, now).await.unwrap().id;
        let Db::Sqlite(sqlite) = &storage.db else {
            unreachable!("the URL says so")
        };
        let mut writer = sqlite.write.acquire().await.unwrap();
        // The statement succeeds, and its commit does not.
        writer
            .lock_handle()
            .await
            .unwrap()
            .set_commit_hook(|| false);
        drop(writer);

        let origin = AnswerOrigin {
            request_id: "r".into(),
            model: "m".into(),
            task: "chat".into(),
            variant: Variant::Control,
            rollout: None,
            subject: 1,
        };
        assert!(storage.create_conversation(1, None, now).await.is_err());
        let message = storage.add_message(id, MessageRole::User, "hello", now);
        assert!(message.await.is_err());
        let question = Message {
            id: 1,
            conversation_id: id,
            role: MessageRole::User,
            content: "hello".into(),
            created_at: now,
        };
        let answer = storage.add_answer(&question, "hello", &origin, now);
        assert!(answer.await.is_err());
        assert!(storage.acquire("a", now).await.is_err());
        assert_eq!(storage.conversations_of(1).await.unwrap().len(), 1);
        assert!(storage.messages(id, 0, 10).await.unwrap().is_empty());
    }
}
