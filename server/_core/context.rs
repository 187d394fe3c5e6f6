//! What every procedure knows of the call that it serves: who, when, under which id.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use http::HeaderValue;
use parking_lot::Mutex;

use super::{
    auth::{CallerSession, cookie::CookieOptions},
    caller::{Caller, User, please_login},
    errors::RpcError,
};

/// One call's circumstances; cheap to clone, shared by all calls of a batch but for the id.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who calls.
    pub caller: Caller,
    /// Finds this call in the log; sent with every error.
    pub request_id: Arc<str>,
    /// When the request arrived.
    pub received_at: DateTime<Utc>,
    /// What named the caller; `None` for nobody.
    pub session: Option<CallerSession>,
    /// How a session's cookie is cleared where the request came from.
    pub clearing: CookieOptions,
    /// Cookies to set on the response; streams and sockets cannot set any.
    pub cookies: ResponseCookies,
    /// What the call takes of the server's memory, until it is over.
    pub holds: Holds,
    /// Whether another process has handed it over, and reads the answer once it is stored.
    pub is_handed_over: bool,
}

impl Context {
    /// A context for a caller, with a fresh id.
    pub fn new(caller: Caller, received_at: DateTime<Utc>) -> Self {
        Self {
            caller,
            request_id: new_request_id(),
            received_at,
            session: None,
            clearing: CookieOptions::default(),
            cookies: ResponseCookies::default(),
            holds: Holds::default(),
            is_handed_over: false,
        }
    }

    /// The signed-in user, or the error the front end compares.
    pub fn user(&self) -> Result<&Arc<User>, RpcError> {
        match &self.caller {
            Caller::User(user) => Ok(user),
            Caller::Anonymous => Err(please_login()),
            Caller::Unknown { .. } => Err(RpcError::users_unavailable(self.received_at)),
        }
    }
}

/// Something that is kept until a call is over, such as a share of a budget.
#[derive(Clone, Default)]
pub struct Holds(Option<Arc<dyn Send + Sync>>);

impl Holds {
    /// Keeps this.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(held)))
    }
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Holds").field(&self.0.is_some()).finish()
    }
}

/// A fresh, time-ordered request id.
pub fn new_request_id() -> Arc<str> {
    let mut digits = uuid::Uuid::encode_buffer();
    Arc::from(&*uuid::Uuid::now_v7().simple().encode_lower(&mut digits))
}

/// `Set-Cookie` headers collected while the calls of one request run.
#[derive(Clone, Debug, Default)]
pub struct ResponseCookies(Arc<Mutex<Vec<HeaderValue>>>);

impl ResponseCookies {
    /// Adds one `Set-Cookie` value.
    pub fn push(&self, cookie: HeaderValue) {
        self.0.lock().push(cookie);
    }

    /// Takes what was collected.
    pub fn take(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut self.0.lock())
    }
}
