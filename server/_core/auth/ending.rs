//! Ends sessions: here at once, in the database as soon as it answers.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{Authenticator, LOOK_UP_PATIENCE, memory::EndedSession, token::Session};

/// Between two tries to write the ends of sessions to the database.
pub(super) const OWED_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Authenticator {
    /// Ends a session here at once, and then in the database. `until` its last token has run out.
    ///
    /// An error says that the database could not be written; the end is then owed to it.
    pub(super) async fn end(
        &self,
        session: &Arc<Session>,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        {
            let mut memory = self.memory.lock();
            if memory.ended.len() == memory.ended.capacity() {
                memory.ended.retain(|_, ended| ended.is_needed(now));
            }
            let ended = EndedSession {
                session: session.clone(),
                until,
                stored_at: None,
            };
            memory.ended.insert(session.id.clone(), ended);
            memory
                .tokens
                .retain(|_, known| known.session.id != session.id);
        }
        let stored = self.store_end(session, until).await;
        if stored.is_err() {
            self.owed.notify_one();
        }
        stored
    }

    async fn store_end(&self, session: &Session, until: DateTime<Utc>) -> anyhow::Result<()> {
        let stored = self.users.end_session(session, until);
        let stored = tokio::time::timeout(LOOK_UP_PATIENCE, stored).await;
        stored.context("the database takes too long")??;
        if let Some(ended) = self.memory.lock().ended.get_mut(&session.id) {
            ended.stored_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Writes the ends that could not be written before, as soon as the database answers; once more when
    /// the server stops.
    pub async fn pay_owed(self: Arc<Self>, stopping: impl Future<Output = ()>) {
        let mut stopping = pin!(stopping);
        loop {
            let pay = async {
                if self.pay().await {
                    self.owed.notified().await;
                } else {
                    tokio::time::sleep(OWED_AGAIN_AFTER).await;
                }
            };
            tokio::select! {
                () = &mut stopping => break,
                () = pay => {}
            }
        }
        self.pay().await;
    }

    /// Whether nothing is owed any more.
    async fn pay(&self) -> bool {
        let owed: Vec<_> = {
            let memory = self.memory.lock();
            let owed = memory.ended.values();
            let owed = owed.filter(|ended| ended.stored_at.is_none());
            owed.map(|ended| (ended.session.clone(), ended.until))
                .collect()
        };
        for (session, until) in owed {
            if let Err(error) = self.store_end(&session, until).await {
                tracing::debug!(error = format!("{error:#}"), "an end of a session is owed");
                return false;
            }
        }
        true
    }

    /// Ends all sessions that a user has by now.
    pub(super) async fn end_all_of(&self, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
        let stored = self.users.end_sessions_of(user_id, now);
        let stored = tokio::time::timeout(LOOK_UP_PATIENCE, stored).await;
        stored.context("the database takes too long")??;
        self.memory
            .lock()
            .tokens
            .retain(|_, known| known.user.as_ref().is_none_or(|user| user.id != user_id));
        Ok(())
    }
}
