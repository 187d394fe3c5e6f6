//! Conversations and their messages, in the order in which they were stored.

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Storage, from_name, name, storable, time};
use crate::chat::store::{
    Conversation, ConversationStore, ConversationSummary, Message, MessageRole, Origin, OwnMessage,
    Verdict,
};

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

#[derive(sqlx::FromRow)]
struct OwnMessageRow {
    #[sqlx(flatten)]
    message: MessageRow,
    request_id: Option<String>,
    model: Option<String>,
    task: Option<String>,
    variant: Option<String>,
    rollout: Option<String>,
    subject: Option<i64>,
    verdict: Option<String>,
}

impl TryFrom<OwnMessageRow> for OwnMessage {
    type Error = anyhow::Error;

    fn try_from(row: OwnMessageRow) -> anyhow::Result<Self> {
        // They are written together.
        let origin = match (row.request_id, row.model, row.task, row.variant) {
            (Some(request_id), Some(model), Some(task), Some(variant)) => Some(Origin {
                request_id,
                model,
                task,
                variant: from_name(&variant)?,
                rollout: row.rollout,
                subject: row.subject.map(i64::cast_unsigned),
            }),
            _ => None,
        };
        Ok(Self {
            message: row.message.into(),
            origin,
            verdict: row.verdict.as_deref().map(from_name).transpose()?,
        })
    }
}

#[async_trait]
impl ConversationStore for Storage {
    async fn conversations_of(&self, user_id: i64) -> anyhow::Result<Vec<ConversationSummary>> {
        let rows: Vec<SummaryRow> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT c.*, (SELECT SUBSTR(m.content, 1, 40) FROM messages m \
                          WHERE m.conversation_id = c.id ORDER BY m.id DESC LIMIT 1) AS last_message \
             FROM conversations c WHERE c.user_id = $1 ORDER BY c.updated_at DESC, c.id DESC",
        )
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
        let row: Option<ConversationRow> =
            on!(self.db.read(), pool => sqlx::query_as("SELECT * FROM conversations WHERE id = $1")
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
        let row: ConversationRow = on!(self.db.write(), pool => sqlx::query_as(
            "INSERT INTO conversations (user_id, title, created_at, updated_at) \
             VALUES ($1, $2, $3, $3) RETURNING *",
        )
        .bind(user_id)
        .bind(title.map(storable))
        .bind(now.timestamp_millis())
        .fetch_one(pool)
        .await)
        .with_context(|| format!("cannot create a conversation of user `{user_id}`"))?;
        Ok(row.into())
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
        let rows: Vec<MessageRow> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT * FROM messages WHERE conversation_id = $1 ORDER BY id LIMIT $2 OFFSET $3",
        )
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
        let rows: Vec<MessageRow> = on!(self.db.read(), pool => sqlx::query_as(
            "SELECT * FROM messages WHERE conversation_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
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
        self.insert_message(conversation_id, role, content, None, now)
            .await
    }

    async fn add_answer(
        &self,
        conversation_id: i64,
        content: &str,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>> {
        let role = MessageRole::Assistant;
        self.insert_message(conversation_id, role, content, Some(origin), now)
            .await
    }

    async fn message_of(
        &self,
        user_id: i64,
        message_id: i64,
    ) -> anyhow::Result<Option<OwnMessage>> {
        let row: Option<OwnMessageRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT m.*, r.verdict FROM messages m \
                 JOIN conversations c ON c.id = m.conversation_id AND c.user_id = $1 \
                 LEFT JOIN message_ratings r ON r.message_id = m.id AND r.user_id = $1 \
                 WHERE m.id = $2",
            )
            .bind(user_id)
            .bind(message_id)
            .fetch_optional(pool)
            .await)
        .with_context(|| format!("cannot look up message `{message_id}`"))?;
        row.map(TryInto::try_into).transpose()
    }

    async fn rate_message(
        &self,
        user_id: i64,
        message_id: i64,
        verdict: Verdict,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let rated = changed!(self.db.write(), pool => sqlx::query(
                "INSERT INTO message_ratings (message_id, user_id, verdict, rated_ms) \
                 SELECT m.id, c.user_id, $3, $4 FROM messages m \
                 JOIN conversations c ON c.id = m.conversation_id \
                 WHERE m.id = $2 AND c.user_id = $1 \
                 ON CONFLICT (message_id, user_id) DO UPDATE SET \
                 verdict = excluded.verdict, rated_ms = excluded.rated_ms",
            )
            .bind(user_id)
            .bind(message_id)
            .bind(name(verdict)?)
            .bind(now.timestamp_millis())
            .execute(pool))
        .with_context(|| format!("cannot keep the rating of message `{message_id}`"))?;
        Ok(rated > 0)
    }
}

impl Storage {
    async fn insert_message(
        &self,
        conversation_id: i64,
        role: MessageRole,
        content: &str,
        origin: Option<&Origin>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Message>> {
        let variant = origin.map(|origin| name(origin.variant)).transpose()?;
        let added: sqlx::Result<MessageRow> = on!(self.db.write(), pool => sqlx::query_as(
                "INSERT INTO messages (conversation_id, role, content, created_at, request_id, \
                 model, task, variant, rollout, subject) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *",
            )
            .bind(conversation_id)
            .bind(role.name())
            .bind(storable(content))
            .bind(now.timestamp_millis())
            .bind(origin.map(|origin| &origin.request_id))
            .bind(origin.map(|origin| &origin.model))
            .bind(origin.map(|origin| &origin.task))
            .bind(variant)
            .bind(origin.and_then(|origin| origin.rollout.as_ref()))
            .bind(origin.and_then(|origin| origin.subject.map(u64::cast_signed)))
            .fetch_one(pool)
            .await);
        match added {
            Ok(row) => Ok(Some(row.into())),
            // Deleted meanwhile, which no look-up beforehand could rule out.
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("cannot add to conversation `{conversation_id}`")),
        }
    }
}
