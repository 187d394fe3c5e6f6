//! `auth`: who the caller is, and the end of a session.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    _core::{
        auth::{Role, User, cookie},
        context::{Caller, Context},
        errors::RpcError,
        iso_text,
        registry::Registry,
    },
    procedures,
};

/// Registers `auth.*`.
pub fn register(registry: &mut Registry) {
    procedures!(registry.router("auth", ());
        /// The signed-in user, or `null`.
        query Public me = me;
        /// Ends the session by clearing its cookie.
        mutation Public logout = logout;
    );
}

/// A user as the front end knows it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Me {
    /// What conversations and rollouts go by.
    id: i64,
    /// The identity provider's id.
    open_id: String,
    /// As shown.
    name: Option<String>,
    /// Where it is known.
    email: Option<String>,
    /// How the user first came in.
    login_method: Option<String>,
    /// What the user may do.
    role: Role,
    /// When the user first came, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    created_at: DateTime<Utc>,
    /// When the user was last changed, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    updated_at: DateTime<Utc>,
    /// When the user last called, to the minute, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    last_signed_in: DateTime<Utc>,
}

impl From<&User> for Me {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            open_id: user.open_id.clone(),
            name: user.name.clone(),
            email: user.email.clone(),
            login_method: user.login_method.clone(),
            role: user.role,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_signed_in: user.last_signed_in,
        }
    }
}

async fn me((): (), context: Context) -> Result<Option<Me>, RpcError> {
    Ok(match &context.caller {
        Caller::User(user) => Some(Me::from(&**user)),
        Caller::Anonymous => None,
    })
}

/// That it was done.
#[derive(Serialize, JsonSchema)]
struct LoggedOut {
    /// Always `true`.
    success: bool,
}

async fn logout((): (), context: Context) -> Result<LoggedOut, RpcError> {
    context.cookies.push(cookie::cleared());
    Ok(LoggedOut { success: true })
}
