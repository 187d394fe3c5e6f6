//! The session behind a call: whether it still holds, and its end.
//!
//! Whatever outlasts a call (a subscription, a socket) waits on [`CallerSession::lost`], which asks
//! again every [`RECHECK_AFTER`], whether or not anything happens on the stream. The look-ups go
//! through the authenticator's memory, so a thousand streams of one token cost no more queries than
//! one.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{Authenticator, Session, csrf};
use crate::_core::{
    caller::{Access, Caller, please_login},
    clock,
    errors::RpcError,
};

/// How often a stream asks whether its caller may still have it. Together with [`LAST_WORDS`] it is
/// less than the five seconds within which all is to be over.
const RECHECK_AFTER: Duration = Duration::from_millis(1500);
/// How long after the end of its session a socket stays, so that its streams, which ask at other
/// moments, have said that they are over.
pub const LAST_WORDS: Duration = Duration::from_millis(2000);

/// The session that named the caller of a request; cheap to clone.
#[derive(Clone)]
pub struct CallerSession {
    authenticator: Arc<Authenticator>,
    token: Arc<str>,
    session: Arc<Session>,
    /// When the request came that it was found in, or the one that opened the socket.
    since: Instant,
}

impl fmt::Debug for CallerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token is a secret.
        f.debug_tuple("CallerSession")
            .field(&self.session.id)
            .finish()
    }
}

impl CallerSession {
    pub(super) fn new(
        authenticator: Arc<Authenticator>,
        token: Arc<str>,
        session: Arc<Session>,
    ) -> Self {
        Self {
            authenticator,
            token,
            session,
            since: Instant::now(),
        }
    }

    /// The same, as it was when a socket was opened.
    pub fn since(self, since: Instant) -> Self {
        Self { since, ..self }
    }

    /// Until when a stream or a socket may go by what a proxy said of its caller; `None` for a token, about which
    /// the database is asked.
    fn holds_until(&self) -> Option<Instant> {
        let ttl = self.authenticator.proxy_ttl();
        ttl.filter(|_| self.session.is_asserted)
            .map(|ttl| self.since + ttl)
    }

    /// Whether a proxy has to say anew who calls, which it does with the next request.
    pub fn is_outdated(&self) -> bool {
        self.holds_until()
            .is_some_and(|until| until <= Instant::now())
    }

    /// Resolves once that is so; never for a token.
    pub async fn outdated(self) {
        match self.holds_until() {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Resolves once the session has ended, or its user may no longer have what `access` guards,
    /// with the error to say so.
    ///
    /// While the database is away it goes by what it knew, for as long as that is remembered.
    #[expect(
        clippy::disallowed_methods,
        reason = "a loop's edge: it asks about the time it is"
    )]
    pub async fn lost(self, access: Access) -> RpcError {
        loop {
            tokio::time::sleep(RECHECK_AFTER).await;
            let now = clock::now();
            let authenticator = &self.authenticator;
            let caller = match self.session.is_asserted {
                true => {
                    authenticator
                        .caller_of(&self.token, &self.session, now)
                        .await
                }
                false => authenticator.caller_of_token(&self.token, now).await,
            };
            let refused = match caller {
                // A stream that a session opened ends with it, even where others may have it too.
                Caller::Anonymous => Err(please_login()),
                Caller::Unknown {
                    last_known: Some(user),
                } => access.check_caller(&Caller::User(user), now),
                caller => access.check_caller(&caller, now),
            };
            if let Err(error) = refused {
                return error;
            }
        }
    }

    /// When it runs out, to the millisecond; the end of the calendar where that is later.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.session.expires_at()
    }

    /// What a page has to know to change something by this session; see [`super::csrf`].
    pub fn csrf(&self) -> anyhow::Result<String> {
        csrf::token(&self.authenticator.key, &self.session)
    }

    /// Ends the session: all its tokens, here at once and everywhere else as soon as it is asked about.
    ///
    /// `longest` is how long a token of it may last that was issued just now. An error says that only
    /// this process knows of the end so far; it writes it to the database as soon as that answers.
    pub async fn end(&self, longest: Duration, now: DateTime<Utc>) -> anyhow::Result<()> {
        if self.session.is_asserted {
            // Only the proxy can sign out whom it signs in.
            return Ok(());
        }
        let left = longest.max(self.session.remaining(now));
        // A day more than any clock may be wrong, and no more than a calendar holds.
        let left = left.saturating_add(Duration::from_secs(86_400));
        let until = chrono::TimeDelta::from_std(left)
            .ok()
            .and_then(|left| now.checked_add_signed(left))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.authenticator.end(&self.session, now, until).await
    }

    /// Ends all sessions of a user that began before now, this one too.
    pub async fn end_all_of(&self, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.authenticator.end_all_of(user_id, now).await
    }
}
