//! What is known of tokens, so that not each call asks the database, and of sessions that have ended.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::{
    super::caller::{Caller, Role, User},
    token::Session,
};

/// How long what was known of a user counts for what must work without the database.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// How long an ended session is remembered that the database knows of: longer than an answer from
/// before can be on its way and relied on.
const ENDED_KEPT: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const CACHE_LIMIT: usize = 10_000;

/// What the database said of a session; `Err` where it did not say.
pub(super) type SessionAnswer = Result<Option<Arc<User>>, DatabaseAway>;
pub(super) type SessionQuestion = Shared<BoxFuture<'static, SessionAnswer>>;

/// The database did not answer, or not in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatabaseAway;

/// What is known of a token whose signature holds.
pub(super) struct KnownToken {
    pub(super) session: Arc<Session>,
    /// Of the last answer, or of the last that did not come.
    pub(super) asked_at: Instant,
    pub(super) is_away: bool,
    /// Whose it is, as the database last answered; `None` where it is nobody's.
    pub(super) user: Option<Arc<User>>,
    /// When the database answered so.
    pub(super) told_at: Option<Instant>,
    /// What is being asked, and since when.
    pub(super) question: Option<(Instant, SessionQuestion)>,
}

impl KnownToken {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            asked_at: Instant::now(),
            is_away: false,
            user: None,
            told_at: None,
            question: None,
        }
    }

    /// Whether a database that goes away now would make it missed.
    fn is_worth_remembering(&self, at: Instant) -> bool {
        let is_recent = |told_at| at.duration_since(told_at) < REMEMBERED_FOR;
        let is_admin = self
            .user
            .as_ref()
            .is_some_and(|user| user.role == Role::Admin);
        self.question.is_some() || (is_admin && self.told_at.is_some_and(is_recent))
    }

    pub(super) fn caller(&self, at: Instant) -> Caller {
        match (&self.user, self.told_at) {
            (Some(user), Some(told_at)) => {
                if !self.is_away {
                    return Caller::User(user.clone());
                }
                let is_recent = at.duration_since(told_at) < REMEMBERED_FOR;
                Caller::Unknown {
                    last_known: is_recent.then(|| user.clone()),
                }
            }
            (None, Some(_)) => Caller::Anonymous,
            (_, None) => Caller::Unknown { last_known: None },
        }
    }
}

/// What this process knows.
#[derive(Default)]
pub(super) struct SessionMemory {
    /// By token: checking a signature costs more than all else that a small query does.
    pub(super) tokens: HashMap<Arc<str>, KnownToken>,
    /// Sessions that this process has ended, by their ids. So they stay ended while the database
    /// is not known, and where it was asked just before.
    pub(super) ended: HashMap<String, EndedSession>,
}

/// A session that this process has ended.
pub(super) struct EndedSession {
    pub(super) session: Arc<Session>,
    /// When its last token would have run out.
    pub(super) until: DateTime<Utc>,
    /// When the database had taken note.
    pub(super) stored_at: Option<Instant>,
}

impl EndedSession {
    /// Whether the database may still say, or have said just before, that the session holds.
    pub(super) fn is_needed(&self, now: DateTime<Utc>) -> bool {
        let is_new = |stored_at: Instant| stored_at.elapsed() < ENDED_KEPT;
        self.until > now && self.stored_at.is_none_or(is_new)
    }
}

impl SessionMemory {
    /// What is known of a token; nothing yet of one that is new here.
    pub(super) fn known(&mut self, token: &Arc<str>, session: &Arc<Session>) -> &mut KnownToken {
        let new = || KnownToken::new(session.clone());
        self.tokens.entry(token.clone()).or_insert_with(new)
    }

    pub(super) fn make_room(&mut self, at: Instant) {
        if self.tokens.len() < CACHE_LIMIT {
            return;
        }
        self.tokens
            .retain(|_, known| known.is_worth_remembering(at));
        if self.tokens.len() >= CACHE_LIMIT {
            self.tokens.clear();
        }
    }
}
