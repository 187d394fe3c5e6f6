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
pub mod leave;
pub mod login_link;
pub mod oidc;
mod session;
mod token;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    caller::{Caller, Role, User},
    errors::in_full,
    outage::Outage,
};

use self::asserted::TrustedProxy;
pub use self::{
    credentials::{bearer, has_session_cookie, is_bearer},
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
/// Between two tries to tell the database of sessions that have ended.
const OWED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long what was known of a user counts for what must work without the database.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// How long an ended session is remembered that the database knows of: longer than an answer from
/// before can be on its way and relied on.
const ENDED_KEPT: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const CACHE_LIMIT: usize = 10_000;

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

/// What the database said of a session; `Err` where it did not say.
type Answer = Result<Option<Arc<User>>, Away>;
type Question = Shared<BoxFuture<'static, Answer>>;

/// The database did not answer, or not in time.
#[derive(Clone, Copy, Debug)]
struct Away;

/// What is known of a token whose signature holds.
struct Known {
    session: Arc<Session>,
    /// Of the last answer, or of the last that did not come.
    asked_at: Instant,
    is_away: bool,
    /// Whose it is, as last told; `None` where it was told to be nobody's.
    user: Option<Arc<User>>,
    /// When that was told.
    told_at: Option<Instant>,
    /// What is being asked, and since when.
    question: Option<(Instant, Question)>,
}

impl Known {
    fn caller(&self, at: Instant) -> Caller {
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

#[derive(Default)]
struct Memory {
    /// By token: checking a signature costs more than all else that a small query does.
    tokens: HashMap<Box<str>, Known>,
    /// Sessions that this process has ended, by their ids. So they stay ended while the database
    /// cannot be told, and where it was asked just before.
    ended: HashMap<String, Ended>,
}

struct Ended {
    session: Arc<Session>,
    /// When its last token would have run out.
    until: DateTime<Utc>,
    /// When the database had taken note.
    stored_at: Option<Instant>,
}

impl Ended {
    /// Whether the database may still say, or have said just before, that the session holds.
    fn is_needed(&self, now: DateTime<Utc>) -> bool {
        let is_new = |stored_at: Instant| stored_at.elapsed() < ENDED_KEPT;
        self.until > now && self.stored_at.is_none_or(is_new)
    }
}

/// Finds the caller of a request.
pub struct Authenticator {
    key: SessionKey,
    owner_open_id: Option<String>,
    users: Arc<dyn UserStore>,
    /// Names callers, if one does.
    proxy: Option<TrustedProxy>,
    /// Of the database, as look-ups meet it.
    outage: Arc<Outage>,
    memory: Mutex<Memory>,
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
            let token = format!("named by a proxy\n{}\n{:?}", session.name, session.role);
            return match self.caller_of(&token, &session, now).await {
                // Whoever was deleted here is nobody, whatever cookies there are.
                Caller::Anonymous => (Caller::Anonymous, None),
                caller => {
                    let session = CallerSession::new(self.clone(), &token, session);
                    (caller, Some(session))
                }
            };
        }
        for token in credentials::candidates(headers) {
            let Some(session) = self.session_of(token, now) else {
                continue;
            };
            match self.caller_of(token, &session, now).await {
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
        match self.session_of(token, now) {
            Some(session) => self.caller_of(token, &session, now).await,
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
            Err(Away) => Caller::Unknown { last_known: None },
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
        let held = cookies.filter_map(|token| Some((token, self.session_of(token, now)?)));
        let held: Vec<_> = held.collect();
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
        if let Some(known) = self.memory.lock().tokens.get(token) {
            let holds = known.session.holds_at(now);
            return holds.then(|| known.session.clone());
        }
        self.key.verify(token, now).map(Arc::new)
    }

    async fn caller_of(&self, token: &str, session: &Arc<Session>, now: DateTime<Utc>) -> Caller {
        let at = Instant::now();
        let (asked_at, question) = {
            let mut memory = self.memory.lock();
            if memory.ended.contains_key(&session.id) {
                return Caller::Anonymous;
            }
            memory.make_room(at);
            let known = memory
                .tokens
                .entry(token.into())
                .or_insert_with(|| Known::new(session.clone()));
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
        let known = memory
            .tokens
            .entry(token.into())
            .or_insert_with(|| Known::new(session.clone()));
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

    fn question(&self, session: Arc<Session>, now: DateTime<Utc>) -> Question {
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
                    return Err(Away);
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

    /// Ends a session here at once, and then in the database. `until` its last token has run out.
    ///
    /// An error says that the database could not be told; that is then owed to it.
    async fn end(
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
            let ended = Ended {
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

    /// Tells the database of the ends that it could not be told of, as soon as it answers; once more when
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
    async fn end_all_of(&self, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
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

impl Known {
    fn new(session: Arc<Session>) -> Self {
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
}

impl Memory {
    fn make_room(&mut self, at: Instant) {
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

#[cfg(test)]
mod tests;
