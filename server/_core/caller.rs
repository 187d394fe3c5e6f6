//! Who calls, what a user is, and what a caller may call.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::errors::{ErrorCode, RpcError};

/// Who calls.
#[derive(Clone, Debug, Default)]
pub enum Caller {
    /// No session, or one that does not hold.
    #[default]
    Anonymous,
    /// A user of the database; the role is the database's, never the token's.
    User(Arc<User>),
    /// Somebody with a session of which the database does not say now whose it is.
    Unknown {
        /// Whose it was when the database last said so, if that was minutes ago at most.
        last_known: Option<Arc<User>>,
    },
}

impl Caller {
    /// The user, as far as one is known; for the log, never for access.
    pub fn presumed(&self) -> Option<&Arc<User>> {
        match self {
            Self::User(user) => Some(user),
            Self::Unknown { last_known } => last_known.as_ref(),
            Self::Anonymous => None,
        }
    }
}

/// What a user may do; each role may also do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Uses the application.
    User,
    /// Also sees what is rolled out and how it goes, and changes nothing.
    Viewer,
    /// Also steers rollouts.
    Admin,
}

impl Role {
    /// As in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The role of this name; a name that no release knew is the least of all roles.
    pub fn named(name: &str) -> Self {
        let all = [Self::User, Self::Viewer, Self::Admin];
        let role = all.into_iter().find(|role| role.name() == name);
        role.unwrap_or(Self::User)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of the users table.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Positive; what assignment and ownership go by.
    pub id: i64,
    /// The identity provider's id.
    pub open_id: String,
    /// As shown.
    pub name: Option<String>,
    /// Where it is known.
    pub email: Option<String>,
    /// How the user first came in.
    pub login_method: Option<String>,
    /// From the database, or admin for the owner.
    pub role: Role,
    /// When the row was made.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
    /// When the user last called, to the minute.
    pub last_signed_in: DateTime<Utc>,
}

/// Who may call a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anybody.
    Public,
    /// Users with a session.
    SignedIn,
    /// Users whose role is viewer or admin.
    Viewer,
    /// Users whose role is admin.
    Admin,
}

impl Access {
    /// The least role that may call; `None` where nobody needs to be signed in.
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Public => None,
            Self::SignedIn => Some(Role::User),
            Self::Viewer => Some(Role::Viewer),
            Self::Admin => Some(Role::Admin),
        }
    }

    /// No session is 401 (10001), a user without the role 403 (10002), and 503 where the database
    /// does not say who calls.
    pub fn check_caller(self, caller: &Caller, now: DateTime<Utc>) -> Result<(), RpcError> {
        let Some(role) = self.role() else {
            return Ok(());
        };
        match caller {
            Caller::Anonymous => Err(please_login()),
            Caller::Unknown { .. } => Err(RpcError::users_unavailable(now)),
            Caller::User(user) if user.role < role => Err(not_permitted()),
            Caller::User(_) => Ok(()),
        }
    }
}

/// The user has not the role that is needed; a front end compares the text.
pub fn not_permitted() -> RpcError {
    RpcError::forbidden("You do not have required permission (10002)")
}

/// There is no session, or none that holds; a front end compares the text.
pub fn please_login() -> RpcError {
    RpcError::new(ErrorCode::Unauthorized, "Please login (10001)")
}
