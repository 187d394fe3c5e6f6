//! Turns a session cookie or a bearer token into a caller, and makes such tokens.
//!
//! A token says only who somebody is; whether that user still exists, what the user may do, and
//! whether the session was ended is asked of the database, at most once in [`CACHE_TTL`] per token.
//! So a deleted user is refused and a changed role counts within that time, also when another process
//! made the change, and a busy user costs neither a query nor a signature check per call. Those who
//! ask about one token at once share one question.
//!
//! A token that does not hold makes its bearer anonymous, as in the original: public procedures
//! still work, all others answer 401. Where the database does not say, nobody is signed out: the
//! caller is [`Caller::Unknown`], whose calls answer 503, but for the few that an administrator needs
//! just then. Whoever was known as signed out stays out.

pub mod asserted;
pub mod cookie;
mod credentials;
pub mod csrf;
mod ending;
pub mod leave;
pub mod login_link;
mod memory;
pub mod oidc;
mod session;
mod token;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    caller::{Caller, Role, User},
    errors::in_full,
    failure_edge::FailureEdge,
};

use self::{
    asserted::TrustedProxy,
    memory::{DatabaseAway, SessionMemory, SessionQuestion},
};
pub use self::{
    credentials::{bearer, has_session_cookie, is_bearer},
    memory::REMEMBERED_FOR,
    session::{CallerSession, LAST_WORDS},
    token::{Claims, Session, SessionKey},
};

/// The session cookie's name.
pub const SESSION_COOKIE: &str = "app_session_id";
/// Open ids that start so belong to users made by `modelramp token`; only that command makes them.
pub const LOCAL_PREFIX: &str = "local:";
/// How long a look-up of a user may be relied on.
const CACHE_TTL: Duration = Duration::from_millis(200);
/// How long a look-up or an end may take; then the database is taken to be away.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Where users are kept, and which of their sessions were ended.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Who a session belongs to, noting that the user called.
    ///
    /// An unknown open id becomes a user with the given name, as in the original. It is `None` where
    /// the session was ended, by itself or with all of its user's, where the user was deleted, and
    /// for an open id that starts with [`LOCAL_PREFIX`] and does not exist.
    async fn user_of_session(
        &self,
        session: &Session,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>>;

    /// Ends one session; it needs to be known until its last token has run out.
    async fn end_session(&self, session: &Session, until: DateTime<Utc>) -> anyhow::Result<()>;

    /// Ends all sessions of a user whose tokens were issued before now.
    async fn end_sessions_of(&self, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()>;
}

/// Finds the caller of a request.
pub struct Authenticator {
    key: SessionKey,
    owner_open_id: Option<String>,
    users: Arc<dyn UserStore>,
    /// Names callers, if one does.
    proxy: Option<TrustedProxy>,
    /// Of the database, as look-ups meet it.
    outage: Arc<FailureEdge>,
    memory: Mutex<SessionMemory>,
    /// Wakes [`Authenticator::pay_owed`].
    owed: Notify,
}

impl Authenticator {
    /// An authenticator whose owner is always admin.
    pub fn new(key: SessionKey, owner_open_id: Option<String>, users: Arc<dyn UserStore>) -> Self {
        Self {
            key,
            owner_open_id,
            users,
            proxy: None,
            outage: Arc::default(),
            memory: Mutex::default(),
            owed: Notify::new(),
        }
    }

    /// The same where a proxy names callers.
    pub fn with_proxy(self, proxy: Option<TrustedProxy>) -> Self {
        Self { proxy, ..self }
    }

    /// The session of whoever a proxy names, in a request whose headers were cleansed; none where the caller
    /// brings a bearer token, which counts before.
    pub fn asserted(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Session> {
        if credentials::token(headers).is_some() {
            return None;
        }
        let named = self.proxy.as_ref()?.named(headers)?;
        Some(Session::asserted(named.name, named.role, now))
    }

    /// What signs sessions.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// The caller that the headers name, with the session that says so: `Authorization: Bearer` before a
    /// proxy that names callers, and that before session cookies, of which the first that holds counts.
    pub async fn identify(
        self: &Arc<Self>,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> (Caller, Option<CallerSession>) {
        if let Some(session) = self.asserted(headers, now).map(Arc::new) {
            // No header can carry a line's end, so this is nobody's token.
            let token = format!("named by a proxy\n{}\n{:?}", session.name, session.role).into();
            return match self.caller_of(&token, &session, now).await {
                // Whoever was deleted here is nobody, whatever cookies there are.
                Caller::Anonymous => (Caller::Anonymous, None),
                caller => {
                    let session = CallerSession::new(self.clone(), token, session);
                    (caller, Some(session))
                }
            };
        }
        for token in credentials::candidates(headers) {
            let Some((token, session)) = self.held(token, now) else {
                continue;
            };
            match self.caller_of(&token, &session, now).await {
                Caller::Anonymous => {}
                caller => {
                    let session = CallerSession::new(self.clone(), token, session);
                    return (caller, Some(session));
                }
            }
        }
        (Caller::Anonymous, None)
    }

    /// The caller that a session token names.
    pub async fn caller_of_token(&self, token: &str, now: DateTime<Utc>) -> Caller {
        match self.held(token, now) {
            Some((token, session)) => self.caller_of(&token, &session, now).await,
            None => Caller::Anonymous,
        }
    }

    /// Asks the database now, whatever is remembered: for what makes a new session out of an old one.
    pub async fn ask_anew(&self, session: &Arc<Session>, now: DateTime<Utc>) -> Caller {
        if self.memory.lock().ended.contains_key(&session.id) {
            return Caller::Anonymous;
        }
        match self.question(session.clone(), now).await {
            Ok(Some(user)) => Caller::User(user),
            Ok(None) => Caller::Anonymous,
            Err(DatabaseAway) => Caller::Unknown { last_known: None },
        }
    }

    /// Whether the bearer that came along is the token of a session, by its signature and its times.
    pub fn has_bearer_session(&self, headers: &HeaderMap, now: DateTime<Utc>) -> bool {
        let token = credentials::token(headers);
        token.is_some_and(|token| self.session_of(token, now).is_some())
    }

    /// How long a stream or a socket goes on by what a proxy said when it was opened.
    fn proxy_ttl(&self) -> Option<Duration> {
        self.proxy.as_ref().map(|proxy| proxy.ttl)
    }

    /// The session by which a request counts that goes by cookies: the first whose signature and times hold and whose
    /// user is there, as in [`Self::identify`]. Where nobody's is, the first whose signature and times hold, which may
    /// still be worth something to the old server.
    pub async fn session_by_cookie(
        self: &Arc<Self>,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Option<Arc<Session>> {
        let cookies = credentials::session_cookies(headers);
        let held: Vec<_> = cookies.filter_map(|token| self.held(token, now)).collect();
        // Of one alone nothing has to be asked.
        if held.len() > 1 {
            for (token, session) in &held {
                if !matches!(self.caller_of(token, session, now).await, Caller::Anonymous) {
                    return Some(session.clone());
                }
            }
        }
        held.into_iter().next().map(|(_, session)| session)
    }

    /// The sessions of the cookies whose signatures and times hold.
    pub fn sessions_of_cookies(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Vec<Arc<Session>> {
        credentials::session_cookies(headers)
            .filter_map(|token| self.session_of(token, now))
            .collect()
    }

    /// What a token says, if its signature and its times hold.
    fn session_of(&self, token: &str, now: DateTime<Utc>) -> Option<Arc<Session>> {
        self.held(token, now).map(|(_, session)| session)
    }

    /// The same with the token, as it is remembered.
    fn held(&self, token: &str, now: DateTime<Utc>) -> Option<(Arc<str>, Arc<Session>)> {
        if let Some((token, known)) = self.memory.lock().tokens.get_key_value(token) {
            let holds = known.session.holds_at(now);
            return holds.then(|| (token.clone(), known.session.clone()));
        }
        let session = self.key.verify(token, now)?;
        Some((token.into(), Arc::new(session)))
    }

    async fn caller_of(
        &self,
        token: &Arc<str>,
        session: &Arc<Session>,
        now: DateTime<Utc>,
    ) -> Caller {
        let at = Instant::now();
        let (asked_at, question) = {
            let mut memory = self.memory.lock();
            if memory.ended.contains_key(&session.id) {
                return Caller::Anonymous;
            }
            memory.make_room(at);
            let known = memory.known(token, session);
            let is_fresh = known.told_at.is_some() || known.is_away;
            if is_fresh && at.duration_since(known.asked_at) < CACHE_TTL {
                return known.caller(at);
            }
            // One that everybody left behind may have an answer of long ago.
            let is_current = |asked_at| at.duration_since(asked_at) < LOOK_UP_PATIENCE;
            known
                .question
                .take_if(|(asked_at, _)| !is_current(*asked_at));
            let ask = || (at, self.question(session.clone(), now));
            known.question.get_or_insert_with(ask).clone()
        };
        let answer = question.clone().await;
        let mut memory = self.memory.lock();
        if memory.ended.contains_key(&session.id) {
            return Caller::Anonymous;
        }
        // It may have been dropped for want of room, or because its user's sessions were ended.
        let known = memory.known(token, session);
        // Of those who shared the question, the first notes the answer.
        let asked = known.question.as_ref();
        if asked.is_none_or(|(_, asked)| asked.ptr_eq(&question)) {
            known.question = None;
            known.asked_at = asked_at;
            known.is_away = answer.is_err();
            if let Ok(user) = answer {
                known.user = user;
                known.told_at = Some(asked_at);
            }
        }
        known.caller(Instant::now())
    }

    fn question(&self, session: Arc<Session>, now: DateTime<Utc>) -> SessionQuestion {
        let users = self.users.clone();
        let owner = self.owner_open_id.clone();
        let outage = self.outage.clone();
        let question = async move {
            let asked = users.user_of_session(&session, now);
            let user = match tokio::time::timeout(LOOK_UP_PATIENCE, asked).await {
                Ok(Ok(user)) => user,
                failed => {
                    // Each call asks, so a line for each failure would bury all others.
                    if outage.begins() {
                        let error = match failed {
                            Ok(answer) => answer.err().map(|error| in_full(error.as_ref())),
                            Err(_) => Some(format!("no answer within {LOOK_UP_PATIENCE:?}")),
                        };
                        tracing::error!(error, "the database does not say who calls");
                    }
                    return Err(DatabaseAway);
                }
            };
            if outage.ends() {
                tracing::info!("the database says again who calls");
            }
            Ok(user.map(|mut user| {
                user.role = session.role.unwrap_or(user.role);
                if owner.as_ref() == Some(&user.open_id) {
                    user.role = Role::Admin;
                }
                Arc::new(user)
            }))
        };
        question.boxed().shared()
    }
}

#[cfg(test)]
mod tests;
