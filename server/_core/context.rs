//! What every procedure is told about the call it serves: who, when, under which id.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use parking_lot::Mutex;

use super::{
    auth::User,
    errors::{ErrorCode, RpcError},
};

/// Who calls.
#[derive(Clone, Debug, Default)]
pub enum Caller {
    /// No session, or one that does not hold.
    #[default]
    Anonymous,
    /// A user of the database; the role is the database's, never the token's.
    User(Arc<User>),
}

/// One call's circumstances; cheap to clone, shared by all calls of a batch but for the id.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who calls.
    pub caller: Caller,
    /// Finds this call in the log; sent with every error.
    pub request_id: Arc<str>,
    /// When the request arrived.
    pub received_at: DateTime<Utc>,
    /// Whether the client's side of the connection is HTTPS, as far as we are told.
    pub secure: bool,
    /// Cookies to set on the response; streams and sockets cannot set any.
    pub cookies: ResponseCookies,
}

impl Context {
    /// A context for a caller, with a fresh id.
    pub fn new(caller: Caller, received_at: DateTime<Utc>) -> Self {
        Self {
            caller,
            request_id: new_request_id(),
            received_at,
            secure: false,
            cookies: ResponseCookies::default(),
        }
    }

    /// The signed-in user, or the error the front end compares.
    pub fn user(&self) -> Result<&Arc<User>, RpcError> {
        match &self.caller {
            Caller::User(user) => Ok(user),
            Caller::Anonymous => Err(RpcError::new(
                ErrorCode::Unauthorized,
                "Please login (10001)",
            )),
        }
    }
}

/// A fresh, time-ordered request id.
pub fn new_request_id() -> Arc<str> {
    Arc::from(uuid::Uuid::now_v7().simple().to_string())
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
